"""`manage.py permission_matrix`: print the table of docs/permissions.md."""

from typing import Any

from django.core.management.base import BaseCommand

from accounts.permissions import as_markdown


class Command(BaseCommand):
    help = "Print the permission matrix, as in docs/permissions.md."

    def handle(self, **options: Any) -> None:  # noqa: ARG002
        self.stdout.write(as_markdown(), ending="")
