"""`manage.py bridge_matrix`: what each bridge can do, as a Markdown table for docs/bridges/README.md."""

from typing import Any

from django.core.management.base import BaseCommand

from agent.bridges import ADAPTERS
from agent.bridges.capabilities import DESCRIPTIONS


class Command(BaseCommand):
    help = "Print what each bridge can do, as the adapters declare it: a Markdown table."

    def handle(self, **options: Any) -> None:  # noqa: ARG002
        kinds = [kind for kind in ADAPTERS if kind != "simulator"]
        lines = [f"| it can | {' | '.join(kinds)} |", f"| --- |{' --- |' * len(kinds)}"]
        for capability, description in DESCRIPTIONS.items():
            marks = ["yes" if capability in ADAPTERS[kind].capabilities else "no" for kind in kinds]
            lines.append(f"| {description} | {' | '.join(marks)} |")
        self.stdout.write("\n".join(lines))
