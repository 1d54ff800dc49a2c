"""`make bench`: overhead, throughput, intake, CPU and memory of the application, measured from outside.

The application runs as `manage.py up` runs it, on an embedded PostgreSQL of its own with everything durable. The
bridge, the model (1 s for each answer) and the load run here, in one process on the same cores. docs/benchmarks.md
says what is measured and how.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from benchmarks import fairness, usage
from benchmarks.fakes import SEED, Bridge, Model, Webhooks
from tests.support.application import Application

LATENCY_S = 1.0
CONVERSATIONS = 1000
HISTORY = 20  # messages of the past in each conversation
PHASES = ("idle", "overhead", "waiting-400", "waiting-1000", "intake")
MORE_PHASES = ("crowd", "hung-bridge", "hung-model")  # with --concurrency 32, as it is by default


@dataclass
class Figure:
    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.target is None or (self.value >= self.target if self.at_least else self.value <= self.target)

    def line(self) -> str:
        wanted = "" if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}"
        verdict = "" if self.target is None else ("met" if self.is_met else "MISSED")
        return f"  {self.name:<52}{self.value:>9.1f} {self.unit:<9}{wanted:>8}  {verdict}"


class Bench:
    """One application under load, and what was measured."""

    def __init__(self, application: Application, *, model: Model, seconds: float, processes: int) -> None:
        self.application = application
        self.model = model
        self.seconds = seconds
        self.processes = processes
        self.path = application.webhook_url.removeprefix(application.url)
        self.webhooks = Webhooks(port=application.port, path=self.path)
        self.figures: list[Figure] = []
        self.answers = 0
        self._waits: dict[int, asyncio.Future[float]] = {}

    def on_send(self, conversation: int, at: float) -> None:
        """The bridge was asked to send an answer."""
        self.answers += 1
        waiting = self._waits.pop(conversation, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(at)

    def _answer_to(self, conversation: int) -> asyncio.Future[float]:
        self._waits[conversation] = asyncio.get_running_loop().create_future()
        return self._waits[conversation]

    def show(self, name: str, value: float, unit: str, *, target: float | None = None, at_least: bool = False) -> None:
        figure = Figure(name, value, unit, target, at_least)
        self.figures.append(figure)
        print(figure.line(), flush=True)

    def cpu(self) -> usage.Cpu:
        return usage.cpu(self.application.processes(), self.application.data_dir / "postgres")

    def show_cpu(self, spent: usage.Cpu, count: int, *, of: str, target: float | None = None) -> None:
        each = 1000 / max(count, 1)
        self.show(f"CPU per {of}, our processes", spent.ours * each, "ms", target=target)
        self.show(f"CPU per {of}, database", spent.database * each, "ms")
        self.show(f"CPU per {of}, load, bridge and model", spent.load * each, "ms")
        self.show("CPU of our processes", 100 * spent.ours / spent.at, "% of one")
        self.show("CPU of what has nothing to do with it", 100 * spent.others / spent.at, "% of one")

    # --- the phases -----------------------------------------------------------------------------------------------

    async def idle(self) -> None:
        await asyncio.sleep(2)
        before = self.cpu()
        await asyncio.sleep(3)
        spent = self.cpu().since(before)
        for process in self.application.processes():
            name = "the first process" if process.pid == self.application.process.pid else "a worker"
            resident_mb, share_mb = usage.memory_mb(process)
            self.show(f"memory of {name}", resident_mb, "MB", target=150)
            self.show(f"memory of {name}, less what it shares", share_mb, "MB")
        self.show("CPU when idle, our processes", 100 * spent.ours / spent.at, "% of one")

    async def overhead(self, *, per_s: int = 20) -> None:
        """Messages at a steady pace, each to a conversation at rest: what an answer takes beside the model."""
        took: list[float] = []
        acknowledged: list[float] = []
        loop = asyncio.get_running_loop()

        async def one(conversation: int) -> None:
            began = time.perf_counter()
            answered = self._answer_to(conversation)
            acknowledged.append(await self.webhooks.post(conversation))
            took.append(await asyncio.wait_for(answered, 30) - began - LATENCY_S)

        before = self.cpu()
        start, tasks = loop.time(), []
        for number in range(int(self.seconds * per_s)):
            await asyncio.sleep(start + number / per_s - loop.time())
            tasks.append(asyncio.create_task(one(number % 400)))
        await asyncio.gather(*tasks)
        spent = self.cpu().since(before)
        self.show(f"overhead at {per_s}/s, median", 1000 * median(took), "ms", target=20)
        self.show(f"overhead at {per_s}/s, p99", 1000 * percentile(took, 99), "ms", target=100)
        self.show(f"overhead at {per_s}/s, longest", 1000 * max(took), "ms")
        self.show("webhook acknowledged, median", 1000 * median(acknowledged), "ms")
        self.show_cpu(spent, len(took), of="answer", target=12)

    async def beside_hung_session(self, what: Literal["bridge", "model"], *, per_s: int = 5) -> None:
        """Answers of one session while another's bridge or model hangs."""

        async def times() -> list[float]:
            took: list[float] = []

            async def one(conversation: int) -> None:
                began = time.perf_counter()
                answered = self._answer_to(conversation)
                await self.webhooks.post(conversation)
                took.append(await asyncio.wait_for(answered, 120) - began)

            tasks = []
            for number in range(int(self.seconds * per_s)):
                tasks.append(asyncio.create_task(one(number % 400)))
                await asyncio.sleep(1 / per_s)
            await asyncio.gather(*tasks)
            return took

        usual = median(await times())
        bridge_url = self.application.environment["WHATSAPP_API_URL"]
        await fairness.write_to_hung_session(self.application, what, bridge_url=bridge_url)
        beside = median(await times())
        self.show("from message to answer, median", usual, "s")
        self.show(f"the same beside a session whose {what} hangs", beside, "s", target=3 * usual)

    async def beside_crowd(self, *, messages: int = 20) -> None:
        """Single messages to one session while thousands of conversations of another one are due."""
        self.show("conversations due in another session", await fairness.make_crowd(self.application), "")
        took = []
        for number in range(messages):
            began = time.perf_counter()
            answered = self._answer_to(number)
            await self.webhooks.post(number)
            took.append(await asyncio.wait_for(answered, 120) - began - LATENCY_S)
        due = self.application.rows("SELECT count(*) FROM messaging_conversation WHERE due_at <= now()")[0][0]
        self.show("still due at the end", due, "")
        self.show("from message to answer, less the model, median", median(took), "s")
        self.show("the same, longest", max(took), "s", target=2)

    async def waiting(self, conversations: int, *, at_least: float | None = None) -> float:
        """So many conversations at once, each writing again as soon as it is answered; returns answers/s."""
        stopped = False
        took: list[float] = []
        connections: list[int] = []

        async def talk(conversation: int) -> None:
            while not stopped:
                began = time.perf_counter()
                answered = self._answer_to(conversation)
                await self.webhooks.post(conversation)
                took.append(await asyncio.wait_for(answered, 120) - began)

        tasks = [asyncio.create_task(talk(number)) for number in range(conversations)]
        await asyncio.sleep(4)
        self.model.most_waiting = 0
        took.clear()
        before, count = self.cpu(), self.answers
        for _ in range(int(self.seconds)):
            await asyncio.sleep(1)
            connections.append(await asyncio.to_thread(self._database_connections))
        spent, answers = self.cpu().since(before), self.answers - count
        times = sorted(took) or [0.0]
        stopped = True
        await asyncio.gather(*tasks)
        rate = answers / spent.at
        self.show(f"{conversations} at once, answers", rate, "/s", target=at_least, at_least=True)
        self.show("from message to answer, median", median(times), "s")
        self.show("waiting for the model at once, most", self.model.most_waiting, "")
        self.show("database connections, most", max(connections), "", target=20 * (self.processes + 1))
        self.show_cpu(spent, answers, of="answer", target=12)
        return rate

    def _database_connections(self) -> int:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return int(self.application.rows(others)[0][0])

    async def intake(self, *, connections: int = 32) -> None:
        """Webhooks only: the turns they ask for are put off."""
        self.application.rows("UPDATE sessions_app_agentprofile SET debounce_s = 300, debounce_max_s = 600")
        took: list[float] = []
        end = time.perf_counter() + self.seconds

        async def post(conversation: int) -> None:
            while time.perf_counter() < end:
                took.append(await self.webhooks.post(conversation % CONVERSATIONS))
                conversation += connections

        before = self.cpu()
        await asyncio.gather(*(post(number) for number in range(connections)))
        spent = self.cpu().since(before)
        self.show(f"intake over {connections} connections", len(took) / spent.at, "/s", target=700, at_least=True)
        self.show("acknowledged, median", 1000 * median(took), "ms")
        self.show("acknowledged, p99", 1000 * percentile(took, 99), "ms", target=120)
        self.show_cpu(spent, len(took), of="webhook")
        waiting = self.application.rows("SELECT count(*) FROM messaging_message WHERE status = 'received'")[0][0]
        self.show("acknowledged and not kept", len(took) - waiting, "", target=0)

    async def run(self, phases: Sequence[str]) -> None:
        rates: dict[int, float] = {}
        for phase in phases:
            print(f"{phase}:", flush=True)
            self.show("pace of the machine: a million additions", usage.pace_ms(), "ms")
            match phase:
                case "idle":
                    await self.idle()
                case "overhead":
                    await self.overhead()
                case "waiting-400":
                    rates[400] = await self.waiting(400, at_least=100)
                case "waiting-1000":
                    rates[1000] = await self.waiting(1000)
                case "intake":
                    await self.intake()
                case "crowd":
                    await self.beside_crowd()
                case "hung-bridge":
                    await self.beside_hung_session("bridge")
                case "hung-model":
                    await self.beside_hung_session("model")
        self.show("webhooks refused, and posted again", self.webhooks.not_taken, "")
        if len(rates) == 2:
            kept = 100 * rates[1000] / rates[400]
            self.show("answers/s with 1,000 at once, of those with 400", kept, "%", target=90, at_least=True)


def percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def measure(arguments: argparse.Namespace, data_dir: Path) -> int:
    """Run the phases; returns how many targets were missed."""
    bench: Bench | None = None
    model = Model(latency_s=LATENCY_S)
    bridge = Bridge(lambda conversation, at: bench.on_send(conversation, at) if bench else None)
    environment: dict[str, Any] = {
        "WHATSAPP_API_URL": f"http://127.0.0.1:{await bridge.listen()}",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{await model.listen()}/v1",
        "OPENAI_API_KEY": "bench",
        "AGENT_DEBOUNCE_S": 0,
        "AGENT_CONCURRENCY": arguments.concurrency,
        "WEB_PROCESSES": arguments.processes,
        "LOG_FORMAT": "json",
    } | dict(pair.split("=", 1) for pair in arguments.set)
    application = Application(data_dir, **environment)
    await asyncio.to_thread(application.start)
    try:
        await asyncio.to_thread(application.manage, "shell", "-v0", "-c", SEED.format(CONVERSATIONS, HISTORY))
        if arguments.sql:
            application.rows(arguments.sql)
        bench = Bench(application, model=model, seconds=arguments.seconds, processes=arguments.processes)
        await bench.run(arguments.phases)
    finally:
        await asyncio.to_thread(application.stop)
    missed = [figure.name for figure in bench.figures if not figure.is_met]
    print(f"missed: {', '.join(missed) or 'nothing'}")
    return len(missed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("phases", nargs="*", default=PHASES, help=f"of: {', '.join(PHASES + MORE_PHASES)}")
    parser.add_argument("--seconds", type=float, default=15, help="how long each phase measures")
    parser.add_argument("--concurrency", type=int, default=512, help="AGENT_CONCURRENCY")
    parser.add_argument("--processes", type=int, default=2, help="WEB_PROCESSES")
    parser.add_argument("--sql", default="", help="run this in the database before anything is measured")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")
    arguments = parser.parse_args()
    data_dir = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        missed = asyncio.run(measure(arguments, data_dir))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
