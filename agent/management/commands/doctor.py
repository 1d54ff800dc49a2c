"""`manage.py doctor`: print what is wrong and how to fix it."""

import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from agent.server.doctor import findings
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Check configuration, database, engine, bridges and model, and print what is wrong and how to fix it."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--forget-limits",
            action="store_true",
            help="Detect again what the models do not accept, for instance after an update of their server.",
        )
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *, forget_limits: bool, json: bool, **_options: Any) -> None:
        if json:
            found = list(findings(forget_limits=forget_limits))
            self.print_json({"healthy": all(each.is_healthy for each in found), "findings": list(map(asdict, found))})
            if not all(each.is_healthy for each in found):
                sys.exit(1)
            return
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
