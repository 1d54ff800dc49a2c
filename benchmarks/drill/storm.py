"""Many write at once while the bridge and the model fail, and processes are killed."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import Future

import psutil

from benchmarks.drill.promises import promises
from benchmarks.drill.world import TEA, UNDER_WAY, Check, Drill

MODEL_FAILURES = ["rate_limited", "error_500", "not_json", "empty", "drop"]
BRIDGE_FAILURES = ["error_500", "error_500_after", "drop_before", "drop_after", "rate_limited"]


def storm(drill: Drill, *, seconds: float, per_s: float, kill_every_s: float, conversations: int) -> list[Check]:
    """Many write at once; webhooks come twice, the bridge and the model fail and hang, and processes are killed."""
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
    phones = [f"55119880000{number:02}" for number in range(conversations)]
    under_way: Counter[str] = Counter()
    over = threading.Event()
    written: list[Future[None]] = []

    def write() -> None:
        while not over.wait(random.expovariate(per_s)):
            written.append(drill.write(random.choice(phones), random.choice(["Message", "Message", TEA])))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
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
    over.set()
    writer.join()
    for one in written:
        one.result(60)
    quiet = drill.wait_until_quiet(*UNDER_WAY, timeout_s=90)
    print(
        f"  {len(written)} messages written, {drill.kills} times killed, the database once; under way at those moments:"
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
    """The embedded server too may be killed: whoever needs it next starts it."""
    drill.kills += 1
    first = psutil.Process(int((drill.data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]))
    for process in [first, *first.children(recursive=True)]:
        process.kill()
