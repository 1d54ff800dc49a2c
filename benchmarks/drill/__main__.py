"""`make drill`: kill the application at every step of the path of a message, then in a storm of failures.

Processes end by SIGKILL, all at once. To stop the application between two of its lines, the drill holds a lock in the
database. Afterwards the database is compared with the bridge's own record of what was sent.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.drill.steps import STEPS, step_by_step
from benchmarks.drill.storm import storm
from benchmarks.drill.workers import CeleryDrill, celery_storm
from benchmarks.drill.world import Check, Drill


def show(title: str, checks: list[Check]) -> list[Check]:
    print(f"{title}:")
    for check in checks:
        print(check.line())
    return [check for check in checks if not check.is_good]


def main() -> None:
    parser = argparse.ArgumentParser(prog="make drill ARGS=...", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the storm lasts")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--redis", action="store_true", help="the storm with Celery workers and a Redis instead")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    failed = []
    began = time.monotonic()
    drills: tuple[tuple[str, Callable[[Any], list[Check]], dict[str, Any]], ...] = (
        ("Killed at each step", lambda drill: step_by_step(drill, STEPS), {"WEB_PROCESSES": 1}),
        (
            "Killed at each step, over WAHA with echoes and receipts",
            lambda drill: step_by_step(drill, STEPS),
            {"WEB_PROCESSES": 1, "bridge": "waha"},
        ),
        (
            "Killed in a storm",
            lambda drill: storm(drill, seconds=arguments.seconds, per_s=8, kill_every_s=5, conversations=30),
            {"WEB_PROCESSES": 2, "long_every": 9},
        ),
    )
    if arguments.redis:
        rounds = max(round(arguments.seconds / 40), 1)
        drills = (
            (
                "Celery workers and Redis in a storm",
                lambda drill: celery_storm(drill, rounds=rounds, every_s=3, per_s=8, conversations=30),
                {"long_every": 9},
            ),
        )
    for title, act, settings in drills:
        data_dir = Path(tempfile.mkdtemp(prefix="drill-"))
        try:
            with (CeleryDrill if arguments.redis else Drill)(data_dir, **settings) as drill:
                failed += show(title, act(drill))
        finally:
            shutil.rmtree(data_dir, ignore_errors=True)
    print(f"{'All promises held' if not failed else f'{len(failed)} FAILED'}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
