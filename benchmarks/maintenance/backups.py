"""`python -m benchmarks.maintenance.backups`: how long `backup` and `restore` take with a million messages."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import scratch  # isort: skip  # first: models need it

from django.db import connection

from benchmarks import usage
from messaging.management.seeding import seed
from messaging.models import Message
from sessions_app.services import ensure_default_bridges

ROOT = Path(__file__).resolve().parents[2]


def manage(data_dir: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)], cwd=ROOT, env=os.environ | {"DATA_DIR": str(data_dir)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
    )  # fmt: skip
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintenance.backups", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--conversations", type=int, default=2000)
    arguments = parser.parse_args()
    ensure_default_bridges()
    for _ in seed(messages=arguments.messages, conversations=arguments.conversations):
        pass
    stored = Message.objects.count()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        print(f"{stored:,} messages, {cursor.fetchone()[0] / 1e6:,.0f} MB of database", flush=True)
    target = Path(tempfile.mkdtemp(prefix="benchmark-restored-"))
    backup = target / "agent.backup"
    restored = target / "data"
    try:
        target.chmod(0o755)
        restored.mkdir(mode=0o755)
        began = time.perf_counter()
        manage(scratch.POSTGRES.parent, "backup", backup)
        print(
            f"backup: {time.perf_counter() - began:.1f} s, {backup.stat().st_size / 1e6:,.0f} MB, "
            f"pace {usage.pace_ms():.0f} ms",
            flush=True,
        )
        began = time.perf_counter()
        manage(restored, "restore", backup)
        print(f"restore: {time.perf_counter() - began:.1f} s, pace {usage.pace_ms():.0f} ms", flush=True)
        counted = json.loads(manage(restored, "stats", "--since", "3000d", "--json"))["messages"]
        count = sum(count for each in counted.values() for count in each.values())
        print(f"restored: {count:,} messages")
        return 0 if count == stored else 1
    finally:
        shutil.rmtree(target, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
