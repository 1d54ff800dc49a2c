"""`python -m benchmarks.maintenance.locks`: how long `prune` and `forget_contact` make others wait.

Both run in a process of their own on a database with a million messages. Meanwhile three connections write what a
running installation writes there: a receipt for a message that is about to be deleted, a new message, and the
conversation's row. A fourth one asks PostgreSQL how long who waits for a lock.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import scratch  # noqa: F401  # isort: skip  # first: models need it

from django.core.files.base import ContentFile
from django.db import IntegrityError, connection, connections
from django.db.models import Count
from django.utils import timezone

from benchmarks import usage
from messaging.management.seeding import seed
from messaging.models import Conversation, Event, Media, Message, ToolCall, Turn
from sessions_app.services import ensure_default_bridges

ROOT = Path(__file__).resolve().parents[2]
TARGET_S = 0.2
BATCH = 2000
LOCK_WAITS = """
SELECT COALESCE(max(EXTRACT(epoch FROM clock_timestamp() - waitstart)), 0)::float8 FROM pg_locks WHERE NOT granted
"""


class Writers:
    """What writes beside the command; `waits` has the seconds that each statement took, by what it does."""

    def __init__(self, writes: dict[str, Callable[[], Any]]) -> None:
        self.waits: dict[str, list[float]] = {name: [] for name in writes}
        self.lock_wait_s = 0.0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._measure, args=each, daemon=True) for each in writes.items()] + [
            threading.Thread(target=self._watch_locks, daemon=True)
        ]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _measure(self, name: str, write: Callable[[], Any]) -> None:
        while not self._is_over.wait(0.005):
            began = time.perf_counter()
            write()
            self.waits[name].append(time.perf_counter() - began)
        connections.close_all()

    def _watch_locks(self) -> None:
        with connection.cursor() as cursor:
            while not self._is_over.wait(0.005):
                cursor.execute(LOCK_WAITS)
                self.lock_wait_s = max(self.lock_wait_s, cursor.fetchone()[0])
        connections.close_all()


def writes(conversation: Conversation, *, concerned: Any, into: Conversation) -> dict[str, Callable[[], Any]]:
    """Return what writes into the rows that are about to be deleted, and beside them."""

    def receipt() -> None:
        ids = list(concerned.values_list("pk", flat=True)[:400])
        if ids:
            Message.objects.filter(pk=random.choice(ids)).update(read_at=timezone.now())

    def message() -> None:
        row = Message(
            session_id=into.session_id, conversation=into, direction="inbound", author="contact",
            status="handled", text="Are you open?",
        )  # fmt: skip
        with suppress(IntegrityError):  # the person is forgotten
            row.save(force_insert=True)

    def conversation_row() -> None:
        Conversation.objects.filter(pk=conversation.pk).update(last_message_at=timezone.now())

    return {"receipt": receipt, "message": message, "conversation": conversation_row}


def add_history(conversation: Conversation) -> str:
    """Give each message of the conversation an event, each tenth a turn with a tool call, each fiftieth a file."""
    messages = list(conversation.messages.order_by("id").values_list("pk", "said_at"))
    of_conversation = {"session_id": conversation.session_id, "conversation_id": conversation.pk}
    Event.objects.bulk_create(
        (Event(type="message.received", data={"message": str(pk)}, **of_conversation) for pk, _ in messages),
        batch_size=BATCH,
    )
    turns = Turn.objects.bulk_create(
        (
            Turn(conversation=conversation, model="a-model", outcome=Turn.Outcome.ANSWERED, started_at=at)
            for _, at in messages[::10]
        ),
        batch_size=BATCH,
    )
    ToolCall.objects.bulk_create((ToolCall(turn=turn, name="search") for turn in turns), batch_size=BATCH)
    files = []
    for pk, _ in messages[::50]:
        media = Media(message_id=pk, filename="photo.jpg", mime_type="image/jpeg", status=Media.Status.READY)
        media.file.save("photo.jpg", ContentFile(b"x" * 20_000), save=False)
        files.append(media)
    Media.objects.bulk_create(files, batch_size=BATCH)
    return (
        f"{len(messages):,} messages and events, {len(turns):,} turns, each with a tool call, and {len(files):,} files"
    )


def run(*arguments: str, limit_s: float) -> float:
    """Run a management command for `limit_s` at most; return the seconds it took."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    return time.monotonic() - began


def measure(
    name: str,
    arguments: tuple[str, ...],
    conversation: Conversation,
    *,
    concerned: Any,
    into: Conversation,
    limit_s: float,
) -> bool:
    count = Message.objects.count()
    with Writers(writes(conversation, concerned=concerned, into=into)) as writers:
        took_s = run(*arguments, limit_s=limit_s)
    deleted = count + len(writers.waits["message"]) - Message.objects.count()
    print(f"{name}: about {deleted:,} messages deleted in {took_s:.0f} s, pace {usage.pace_ms():.0f} ms", flush=True)
    for what, waits in writers.waits.items():
        ordered = sorted(waits) or [0.0]
        print(
            f"  {what:12} {len(waits):6,} times: {1000 * median(ordered):6.1f} ms in the median, "
            f"{1000 * ordered[int((len(ordered) - 1) * 0.99)]:6.1f} ms 99%, {1000 * ordered[-1]:6.1f} ms at most",
            flush=True,
        )
    is_met = writers.lock_wait_s <= TARGET_S
    print(f"  the longest wait for a lock: {1000 * writers.lock_wait_s:.0f} ms; 200 ms {'met' if is_met else 'MISSED'}")
    return is_met


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintenance.locks", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120, help="how long each command may run")
    arguments = parser.parse_args()
    os.environ["LOG_LEVEL"] = "WARNING"
    ensure_default_bridges()
    for _ in seed(messages=arguments.messages, conversations=arguments.conversations):
        pass
    longest = Conversation.objects.annotate(count=Count("messages")).order_by("-count")
    person, other = longest[0], longest[1]
    expired = Message.objects.filter(said_at__lt=timezone.now() - timedelta(days=30)).order_by("said_at", "id")
    own = Message.objects.filter(conversation=person).order_by()  # as they are deleted
    forget = ("forget_contact", str(person.contact_id), "--yes")
    print(f"who is forgotten has {add_history(person)}", flush=True)
    results = [
        measure("nothing", ("version",), other, concerned=expired, into=other, limit_s=10),
        measure(
            "prune", ("prune", "--messages", "30d"), other, concerned=expired, into=other, limit_s=arguments.seconds
        ),
        # Its messages end: who writes more quickly than they are deleted is not forgotten meanwhile.
        measure("forget_contact", forget, person, concerned=own, into=other, limit_s=arguments.seconds),
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
