"""`manage.py doctor`: what is wrong, and what to do."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from agent.server.doctor import findings


class Command(BaseCommand):
    help = (
        "Check configuration, database, engine, bridges and model, and say what to do. Fails when something is wrong."
    )
    requires_system_checks = []

    def handle(self, **options: Any) -> None:  # noqa: ARG002
        wrong = 0
        for finding in findings():
            mark = self.style.SUCCESS("OK   ") if finding.is_well else self.style.ERROR("WRONG")
            self.stdout.write(f"{mark} {finding.about}: {finding.text}")
            if not finding.is_well:
                wrong += 1
                self.stdout.write(f"      -> {finding.remedy}")
            self.stdout.flush()
        if wrong:
            sys.exit(1)
