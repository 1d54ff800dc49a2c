"""`python -m benchmarks.maintenance.monitoring`: what a scrape of `/metrics` and a check of the alerts take.

On a database with a million messages, some of which have failed or wait.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

from benchmarks import scratch  # noqa: F401  # isort: skip  # first: models need it

from django.db import connection

from agent.monitoring.alert_rules import RULES
from agent.monitoring.counts import store_counts
from agent.monitoring.exposition import render
from benchmarks import usage
from messaging.management.seeding import seed
from sessions_app.services import ensure_default_bridges

TARGET_S = 1.0
# A hundredth of all outbound messages failed, one of them a minute ago; some wait, and some conversations are due.
TROUBLE = """
UPDATE messaging_message SET status = 'failed', error_code = 'payment'
 WHERE direction = 'outbound' AND get_byte(uuid_send(id), 15) < 3;
UPDATE messaging_message SET status = 'queued'
 WHERE direction = 'outbound' AND status <> 'failed' AND get_byte(uuid_send(id), 15) = 3;
UPDATE messaging_conversation SET due_at = now() - interval '1 hour', burst_started_at = now() - interval '1 hour'
 WHERE get_byte(uuid_send(id), 15) < 128;
ANALYZE;
"""


def timed(call: Callable[[], Any], *, rounds: int = 5) -> tuple[float, float]:
    """Return the seconds of the first call, and of the slowest of the others."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return took[0], max(took[1:])


def scrape() -> None:
    store_counts()
    render()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintenance.monitoring", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--conversations", type=int, default=100_000)
    arguments = parser.parse_args()
    ensure_default_bridges()
    for _ in seed(messages=arguments.messages, conversations=arguments.conversations):
        pass
    with connection.cursor() as cursor:
        cursor.execute(TROUBLE)
    calls: dict[str, Callable[[], Any]] = {"scrape of /metrics": scrape}
    calls |= {f"alert {rule.name}": rule.find for rule in RULES if not rule.asks_others}
    slowest = 0.0
    for name, call in calls.items():
        first, later = timed(call)
        slowest = max(slowest, first, later)
        print(f"{name:28} {1000 * first:8.1f} ms the first time, {1000 * later:8.1f} ms at most after it", flush=True)
    print(f"pace {usage.pace_ms():.0f} ms; 1 s {'met' if slowest <= TARGET_S else 'MISSED'}")
    return 0 if slowest <= TARGET_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
