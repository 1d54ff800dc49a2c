"""`python -m benchmarks.engine.soak`: what grows under a steady load: memory, connections, threads, files, leases.

One line a minute, then the slopes, without the first five minutes, in which caches fill.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression, median
from typing import NamedTuple

import psutil

from benchmarks import usage
from benchmarks.fakes import SEED, Bridge, Model, Webhooks
from tests.support.application import Application

CONVERSATIONS = 400
WARM_UP_MINUTES = 5
COUNTS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
       (SELECT count(*) FROM messaging_conversation WHERE lease_expires_at IS NOT NULL),
       (SELECT count(*) FROM messaging_message WHERE status IN ('received', 'queued', 'sending')
           AND created_at < now() - interval '10 seconds')
"""


class Sample(NamedTuple):
    minute: float
    memory_mb: float  # PSS of our processes together
    database_mb: float
    connections: int
    leases: int
    overdue: int  # messages without an answer, or not sent, after 10 s
    threads: int
    files: int


def sample(application: Application, *, minute: float) -> Sample:
    ours = application.processes()
    first = int((application.data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    database = [psutil.Process(first), *psutil.Process(first).children()]
    connections, leases, overdue = application.rows(COUNTS)[0]
    return Sample(
        minute=minute,
        memory_mb=sum(usage.memory_mb(process)[1] for process in ours),
        database_mb=sum(_pss_mb(process) for process in database),
        connections=connections,
        leases=leases,
        overdue=overdue,
        threads=sum(process.num_threads() for process in ours),
        files=sum(process.num_fds() for process in ours),
    )


def _pss_mb(process: psutil.Process) -> float:
    try:
        return usage.memory_mb(process)[1]
    except psutil.NoSuchProcess:
        return 0.0


def report(samples: Sequence[Sample], *, answers: int, took: Sequence[float]) -> None:
    settled = [each for each in samples if each.minute >= WARM_UP_MINUTES] or samples
    print(f"{answers} answers, {median(took):.2f} s in the median, {max(took):.1f} s at most")
    for name in Sample._fields[1:]:
        values = [float(getattr(each, name)) for each in settled]
        slope = linear_regression([each.minute for each in settled], values).slope if len(settled) > 1 else 0.0
        most = max(values)
        print(
            f"  {name:<12}{values[0]:>9.1f} -> {values[-1]:>9.1f}   at most {most:>9.1f}   {slope * 60:>+9.2f} an hour"
        )


async def soak(
    application: Application,
    *,
    webhooks: Webhooks,
    per_s: float,
    minutes: float,
    answered: dict[int, asyncio.Future[float]],
) -> None:
    took: list[float] = []
    samples: list[Sample] = []

    async def one(conversation: int) -> None:
        began = time.perf_counter()
        future = answered.setdefault(conversation, asyncio.get_running_loop().create_future())
        await webhooks.post(conversation)
        took.append(await asyncio.wait_for(future, 120) - began)

    start, tasks = time.monotonic(), set[asyncio.Task[None]]()
    number = 0
    while (elapsed := time.monotonic() - start) < minutes * 60:
        task = asyncio.create_task(one(number % CONVERSATIONS))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        if elapsed >= len(samples) * 60:
            samples.append(await asyncio.to_thread(sample, application, minute=elapsed / 60))
            print(" ".join(f"{name}={value:.1f}" for name, value in samples[-1]._asdict().items()), flush=True)
        await asyncio.sleep(max(start + number / per_s - time.monotonic(), 0))
    await asyncio.gather(*tasks)
    report(samples, answers=len(took), took=took)


async def run(arguments: argparse.Namespace, data_dir: Path) -> None:
    answered: dict[int, asyncio.Future[float]] = {}

    def on_send(conversation: int, at: float) -> None:
        future = answered.pop(conversation, None)
        if future is not None and not future.done():
            future.set_result(at)

    model, bridge = Model(latency_s=1.0), Bridge(on_send)
    application = Application(
        data_dir,
        WHATSAPP_API_URL=f"http://127.0.0.1:{await bridge.listen()}",
        OPENAI_BASE_URL=f"http://127.0.0.1:{await model.listen()}/v1",
        OPENAI_API_KEY="bench",
        AGENT_DEBOUNCE_S=0,
        LOG_FORMAT="json",
    )
    await asyncio.to_thread(application.start)
    try:
        await asyncio.to_thread(application.manage, "shell", "-v0", "-c", SEED.format(CONVERSATIONS, 20))
        path = application.webhook_url.removeprefix(application.url)
        webhooks = Webhooks(port=application.port, path=path)
        await soak(application, webhooks=webhooks, per_s=arguments.rate, minutes=arguments.minutes, answered=answered)
    finally:
        await asyncio.to_thread(application.stop)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=10, help="messages a second")
    arguments = parser.parse_args()
    data_dir = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        asyncio.run(run(arguments, data_dir))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
