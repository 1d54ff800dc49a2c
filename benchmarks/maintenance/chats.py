"""`python -m benchmarks.maintenance.chats`: how long `import_chat` takes for a chat of 200,000 lines."""

import argparse
import io
import time

from benchmarks import scratch  # isort: skip  # first: models need it

from benchmarks import usage
from messaging.imports.parsing import decode_lines, parse_chat
from messaging.imports.service import run_import
from sessions_app.models import Bridge
from sessions_app.services import ensure_default_bridges, register_session

TARGET_S = 60


def chat(lines: int) -> bytes:
    """Return a chat of about a hundred messages a day, a tenth of them without a file that they had."""
    return "".join(
        f"{1 + n // 100 % 28:02}/{1 + n // 2800 % 12:02}/{20 + n // 33600}, {n % 1440 // 60:02}:{n % 60:02} - "
        f"{'Ana' if n % 3 else 'The Shop'}: "
        f"{'<Media omitted>' if n % 10 == 0 else f'Line {n} of a long chat about an order, and when it arrives'}\n"
        for n in range(lines)
    ).encode()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintenance.chats", description=__doc__)
    parser.add_argument("--lines", type=int, default=200_000)
    arguments = parser.parse_args()
    ensure_default_bridges()
    session = register_session(bridge=Bridge.objects.get(slug=Bridge.DEFAULT), name="sales", phone="+5511999990000")
    content = chat(arguments.lines)
    began = time.perf_counter()
    parse_chat(decode_lines(content))
    print(f"read: {time.perf_counter() - began:.1f} s", flush=True)
    slowest = 0.0
    for what in ("imported", "imported again"):
        before = usage.cpu([], scratch.POSTGRES)
        began = time.perf_counter()
        *_, report = run_import(io.BytesIO(content), session=session, contact="+5511988887777", me="The Shop")
        took_s = time.perf_counter() - began
        spent = usage.cpu([], scratch.POSTGRES).since(before)
        slowest = max(slowest, took_s)
        print(
            f"{what}: {took_s:.1f} s, CPU {spent.load:.1f} s ours and {spent.database:.1f} s of the database; "
            f"{report.new:,} new, {report.known:,} known, pace {usage.pace_ms():.0f} ms",
            flush=True,
        )
    print(f"{TARGET_S} s {'met' if slowest <= TARGET_S else 'MISSED'}")
    return 0 if slowest <= TARGET_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
