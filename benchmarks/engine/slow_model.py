"""`python -m benchmarks.engine.slow_model`: 1,000 conversations on a model of 20 s, with several kinds of processes.

Each conversation writes again as soon as it is answered: at most 50 answers a second. Printed are answers a second,
database connections and memory, for one engine process, two, and two Celery workers.
"""

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import usage
from benchmarks.fakes import SEED, Bridge, Model, Webhooks
from tests.support.application import Application, Worker
from tests.support.redis_server import RedisServer

CONVERSATIONS = 1000
LATENCY_S = 20.0
KINDS: dict[str, dict[str, Any]] = {
    "one engine process": {"ENGINE_PROCESSES": 1},
    "two engine processes": {"ENGINE_PROCESSES": 2},
    "two Celery workers": {"workers": 2},
}


@contextmanager
def application(data_dir: Path, *, workers: int = 0, **environment: Any) -> Iterator[tuple[Application, list[Worker]]]:
    with ExitStack() as stack:
        if workers:
            environment["REDIS_URL"] = stack.enter_context(RedisServer(data_dir / "redis")).url
        started = stack.enter_context(Application(data_dir, **environment))
        yield started, [stack.enter_context(Worker(started, f"worker-{number}")) for number in range(workers)]


def memory_mb(application: Application, workers: list[Worker]) -> float:
    processes = application.processes()
    for worker in workers:
        first = psutil.Process(worker.process.pid)
        processes += [first, *first.children(recursive=True)]
    return sum(usage.memory_mb(process)[1] for process in processes)


async def measure(name: str, *, seconds: float, data_dir: Path) -> None:
    answered: dict[int, asyncio.Future[None]] = {}
    sent: list[float] = []

    def on_send(conversation: int, at: float) -> None:
        sent.append(at)
        if (future := answered.pop(conversation, None)) is not None and not future.done():
            future.set_result(None)

    model, bridge = Model(latency_s=LATENCY_S), Bridge(on_send)
    environment = KINDS[name] | {
        "WHATSAPP_API_URL": f"http://127.0.0.1:{await bridge.listen()}",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{await model.listen()}/v1",
        "OPENAI_API_KEY": "bench",
        "AGENT_DEBOUNCE_S": 0,
        "AGENT_CONCURRENCY": 1024,
        "SEND_RATE_PER_MINUTE": 0,
    }
    context = application(data_dir, **environment)
    running, workers = await asyncio.to_thread(context.__enter__)
    try:
        await asyncio.to_thread(running.manage, "shell", "-v0", "-c", SEED.format(CONVERSATIONS, 20))
        webhooks = Webhooks(port=running.port, path=running.webhook_url.removeprefix(running.url))
        idle_mb = await asyncio.to_thread(memory_mb, running, workers)

        async def talk(conversation: int) -> None:
            await asyncio.sleep(random.uniform(0, LATENCY_S))  # people do not write in step
            while True:
                answered[conversation] = asyncio.get_running_loop().create_future()
                await webhooks.post(conversation)
                await answered[conversation]

        tasks = [asyncio.create_task(talk(number)) for number in range(CONVERSATIONS)]
        await asyncio.sleep(2 * LATENCY_S)
        began, count = time.perf_counter(), len(sent)
        connections, memory = [], []
        while time.perf_counter() - began < seconds:
            await asyncio.sleep(2)
            connections.append(await asyncio.to_thread(_connections, running))
            memory.append(await asyncio.to_thread(memory_mb, running, workers))
        rate = (len(sent) - count) / (time.perf_counter() - began)
        for task in tasks:
            task.cancel()
        print(
            f"{name:<22}{rate:6.1f} answers/s, at most {max(connections):.0f} database connections, "
            f"{model.most_waiting} waiting for the model, memory {idle_mb:.0f} MB idle, {max(memory):.0f} MB at most",
            flush=True,
        )
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def _connections(application: Application) -> int:
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return int(application.rows(others)[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.slow_model", description=__doc__)
    parser.add_argument("--seconds", type=float, default=40)
    arguments = parser.parse_args()
    for name in KINDS:
        data_dir = Path(tempfile.mkdtemp(prefix="slow-model-"))
        try:
            asyncio.run(measure(name, seconds=arguments.seconds, data_dir=data_dir))
        finally:
            shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
