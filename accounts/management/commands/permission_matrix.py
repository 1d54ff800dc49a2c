from typing import Any

from django.core.management.base import BaseCommand

from accounts.permissions import as_markdown


class Command(BaseCommand):
    help = "Print who may call which route, as docs/permissions.md has it."

    def handle(self, **options: Any) -> None:  # noqa: ARG002
        self.stdout.write(as_markdown(), ending="")
