"""Many write at once while the bridge and the model fail, and processes are killed."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import Future
from typing import Self

import psutil

from benchmarks.drill.promises import promises
from benchmarks.drill.world import TEA, UNDER_WAY, Check, Drill

MODEL_FAILURES = ["rate_limited", "error_500", "not_json", "empty", "drop"]
BRIDGE_FAILURES = ["error_500", "error_500_after", "drop_before", "drop_after", "rate_limited"]


def cause_failures(drill: Drill) -> None:
    """Let webhooks come twice, and the bridge and the model fail and hang from now on."""
    drill.bridge.duplicate_rate = 0.1
    for outcome in MODEL_FAILURES:
        drill.model.fail(outcome, rate=0.2 / len(MODEL_FAILURES), headers={"Retry-After": "0.2"})
    drill.model.fail("hang", rate=0.05, wait_s=4)
    for outcome in BRIDGE_FAILURES:
        more = {"headers": (("Retry-After", "0.2"),)} if outcome == "rate_limited" else {}
        drill.bridge.fail(outcome, rate=0.2 / len(BRIDGE_FAILURES), **more)
    drill.bridge.fail("hang", rate=0.025, wait_s=4)
    drill.bridge.fail("hang_after", rate=0.025, wait_s=4)
    drill.model.latency_s = 0.2


class Writer:
    """People who write at moments of chance, until the block ends; by then the bridge has posted everything."""

    def __init__(self, drill: Drill, *, per_s: float, conversations: int) -> None:
        self.written: list[Future[None]] = []
        self._drill = drill
        self._per_s = per_s
        self._phones = [f"55119880000{number:02}" for number in range(conversations)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for one in self.written:
            one.result(180)

    def _write(self) -> None:
        while not self._over.wait(random.expovariate(self._per_s)):
            text = random.choice(["Message", "Message", TEA])
            self.written.append(self._drill.write(random.choice(self._phones), text))


def storm(drill: Drill, *, seconds: float, per_s: float, kill_every_s: float, conversations: int) -> list[Check]:
    """Many write at once; webhooks come twice, the bridge and the model fail and hang, and processes are killed."""
    cause_failures(drill)
    under_way: Counter[str] = Counter()
    with Writer(drill, per_s=per_s, conversations=conversations) as writer:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(random.uniform(0.5, 1.5) * kill_every_s)
            under_way.update(dict(drill.rows(WHAT_IS_UNDER_WAY)))
            if drill.kills % 3 == 2:
                drill.application.kill_a_worker()
                drill.kills += 1
            else:
                drill.kill()
                drill.application.start()
        kill_the_database(drill)
        time.sleep(3)
    quiet = drill.wait_until_quiet(*UNDER_WAY, timeout_s=90)
    print(
        f"  {len(writer.written)} messages written, {drill.kills} times killed, the database once;"
        " under way at those moments:"
    )
    print(f"  {', '.join(f'{what}: {count}' for what, count in sorted(under_way.items()))}")
    return [Check("all comes to rest", quiet), *promises(drill)]


WHAT_IS_UNDER_WAY = """
SELECT 'waiting for a turn', count(*) FROM messaging_conversation WHERE due_at IS NOT NULL AND lease_token IS NULL
UNION ALL SELECT 'in a turn', count(*) FROM messaging_conversation WHERE lease_expires_at > now()
UNION ALL SELECT message.status, count(*) FROM messaging_message message
           WHERE message.status IN ('queued', 'sending') GROUP BY 1
"""


def kill_the_database(drill: Drill) -> None:
    """The embedded server too may be killed: the next process that needs it starts it."""
    drill.kills += 1
    first = psutil.Process(int((drill.data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]))
    for process in [first, *first.children(recursive=True)]:
        process.kill()
