"""`manage.py seed_demo`: generate demonstration data."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.management.seeding import seed
from sessions_app.services import ensure_default_bridges


class Command(BaseCommand):
    help = "Generate demonstration data of any size in new simulator sessions, to try lists, pages and search."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--messages", type=int, default=10_000)
        parser.add_argument("--conversations", type=int, default=200)
        parser.add_argument("--sessions", type=int, default=5)

    def handle(self, *, messages: int, conversations: int, sessions: int, **options: Any) -> None:  # noqa: ARG002
        if not (1 <= sessions <= conversations <= 5_000_000 and 1 <= messages <= 100_000_000):
            raise CommandError("Ask for at least one message, and at least one conversation per session.")
        ensure_default_bridges()
        started_at = time.monotonic()
        for step in seed(messages=messages, conversations=conversations, sessions=sessions):
            self.stdout.write(f"{time.monotonic() - started_at:6.1f} s  {step} ...")
            self.stdout.flush()
        self.stdout.write(f"{time.monotonic() - started_at:6.1f} s  done")
