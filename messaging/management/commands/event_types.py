"""`manage.py event_types`: print the event types for docs/events.md."""

from typing import Any

from django.core.management.base import BaseCommand

from messaging.events.types import as_markdown


class Command(BaseCommand):
    help = "Print the event types with their payloads, as in docs/events.md."

    def handle(self, **options: Any) -> None:  # noqa: ARG002
        self.stdout.write(as_markdown(), ending="")
