"""`manage.py prepare_static_files`: collect static files, as a start does. An image does it when it is built."""

from typing import Any

from django.core.management.base import BaseCommand

from agent.server import startup


class Command(BaseCommand):
    help = "Collect and compress static files into STATIC_ROOT, unless nothing has changed. `up` does it, too."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def handle(self, **options: Any) -> None:  # noqa: ARG002
        startup.prepare_static_files(report=self.stdout.write)
