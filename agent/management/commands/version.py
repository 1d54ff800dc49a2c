"""`manage.py version`: print which versions are installed."""

from typing import Any

from django.core.management.base import CommandParser

from agent.server.version import versions
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Print the versions of WhatsApp Agent, Python, Django and PostgreSQL, and whether the database is up to date."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, json: bool, **_options: Any) -> None:
        report = versions()
        if json:
            self.print_json(report)
            return
        self.stdout.write(f"WhatsApp Agent {report['version']}")
        self.stdout.write(f"Python {report['python']}, Django {report['django']}")
        if report["database_error"]:
            self.stdout.write(f"The database cannot be reached: {report['database_error']}")
            return
        pending = report["pending_migrations"]
        state = f"{pending} migrations pending: run manage.py migrate" if pending else "up to date"
        self.stdout.write(f"PostgreSQL {report['postgresql']}, database {state}")
