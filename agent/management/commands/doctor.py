"""`manage.py doctor`: print what is wrong and how to fix it."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from agent.server.doctor import findings


class Command(BaseCommand):
    help = "Check configuration, database, engine, bridges and model, and print what is wrong and how to fix it."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--forget-limits",
            action="store_true",
            help="Detect again what the models do not accept, for instance after an update of their server.",
        )

    def handle(self, *, forget_limits: bool, **options: Any) -> None:  # noqa: ARG002
        wrong = 0
        for finding in findings(forget_limits=forget_limits):
            mark = self.style.SUCCESS("OK   ") if finding.is_healthy else self.style.ERROR("WRONG")
            self.stdout.write(f"{mark} {finding.about}: {finding.text}")
            if not finding.is_healthy:
                wrong += 1
                self.stdout.write(f"      -> {finding.remedy}")
            self.stdout.flush()
        if wrong:
            sys.exit(1)
