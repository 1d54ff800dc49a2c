"""`python -m benchmarks.engine.pace FILE.svg`: what hung sessions do to another one, and how sends are paced.

For half a minute each: a session alone; beside one whose bridge takes requests and never answers; beside one whose
model does, too. In the same time another session, with 60 sends a minute, answers 80 people who wrote at once.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import fairness
from benchmarks.chart import Panel, draw
from benchmarks.fakes import SEED, Bridge, Model, Webhooks
from tests.support.application import Application

PART_S = 30.0
PER_S = 4
PACED_RATE = 60
PACED_PEOPLE = 80
FIRST_PACED = 7000  # number of the first conversation of the paced session
CREATE_PACED = f"""
from sessions_app.models import Bridge
from sessions_app.services import register_session
session = register_session(bridge=Bridge.objects.get(slug="default"), name="paced", phone="+5511999990002")
session.send_rate_per_minute = {PACED_RATE}
session.status = "connected"
session.save()
"""


async def measure(data_dir: Path) -> str:
    """Return the chart."""
    answered: dict[int, asyncio.Future[float]] = {}
    paced: list[float] = []

    def on_send(conversation: int, at: float) -> None:
        if conversation >= FIRST_PACED:
            paced.append(at)
        elif (future := answered.pop(conversation, None)) is not None:
            future.set_result(at)

    model, bridge = Model(latency_s=1.0), Bridge(on_send)
    bridge_url = f"http://127.0.0.1:{await bridge.listen()}"
    application = Application(
        data_dir,
        WHATSAPP_API_URL=bridge_url,
        OPENAI_BASE_URL=f"http://127.0.0.1:{await model.listen()}/v1",
        OPENAI_API_KEY="bench",
        AGENT_DEBOUNCE_S=0,
        ENGINE_PROCESSES=2,
        SEND_RATE_PER_MINUTE=0,
    )
    await asyncio.to_thread(application.start)
    try:
        await asyncio.to_thread(application.manage, "shell", "-v0", "-c", SEED.format(400, 20))
        await asyncio.to_thread(application.manage, "shell", "-v0", "-c", CREATE_PACED)
        path = application.webhook_url.removeprefix(application.url)
        webhooks = Webhooks(port=application.port, path=path)
        paced_webhooks = Webhooks(port=application.port, path=path, session="paced")
        took: list[tuple[float, float]] = []
        start = time.perf_counter()

        async def one(conversation: int) -> None:
            began = time.perf_counter()
            future = answered[conversation] = asyncio.get_running_loop().create_future()
            await webhooks.post(conversation)
            took.append((began - start, await asyncio.wait_for(future, 120) - began))

        await asyncio.gather(*(paced_webhooks.post(FIRST_PACED + number) for number in range(PACED_PEOPLE)))
        marks, number = [], 0
        for what in (None, "bridge", "model"):
            if what is not None:
                await fairness.write_to_hung_session(application, what, bridge_url=bridge_url)
            marks.append(time.perf_counter() - start)
            part = asyncio.create_task(asyncio.sleep(PART_S))
            tasks = []
            while not part.done():
                tasks.append(asyncio.create_task(one(number % 400)))
                number += 1
                await asyncio.sleep(1 / PER_S)
            await asyncio.gather(*tasks)
            times = [seconds for at, seconds in took if at >= marks[-1]]
            print(
                f"hung: {what or 'nothing'}: {median(times):.2f} s in the median, {max(times):.2f} s at most",
                flush=True,
            )
    finally:
        await asyncio.to_thread(application.stop)
    sends = [(at - start, float(count)) for count, at in enumerate(sorted(paced), start=1)]
    print(f"paced: {len(sends)} sends in {sends[-1][0] - sends[0][0]:.0f} s")
    even = [(0.0, 0.0), (sends[-1][0], sends[-1][0] * PACED_RATE / 60)]
    return draw(
        [
            Panel(
                "From message to answer (s); marks: nothing hangs, a bridge hangs, a model hangs too",
                {"": sorted(took)},
                marks=marks,
                x_ticks=(0, 30, 60, 90, 120),
            ),
            Panel(
                "Sends of a session with 60 a minute, two processes, over seconds", {"sent": sends, "60 a minute": even}
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine.pace", description=__doc__)
    parser.add_argument("chart", type=Path, help="where to draw both, as SVG")
    arguments = parser.parse_args()
    data_dir = Path(tempfile.mkdtemp(prefix="pace-"))
    try:
        arguments.chart.write_text(asyncio.run(measure(data_dir)))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
