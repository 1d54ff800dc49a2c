"""`manage.py demo_data`: create a small shop with conversations, to look at the inbox."""

from typing import Any

from django.core.management.base import CommandParser

from messaging.management.demo_business import SHOP, create_demo_data
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Create a small shop with colleagues and conversations, to look at the inbox. Nobody in it exists, and nothing "
        "leaves: its numbers are of the simulator. Does nothing if it is there."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--force", action="store_true", help="also into a database that has conversations")

    def handle(self, *, force: bool, **_options: Any) -> None:
        if create_demo_data(force=force):
            self.stdout.write(f"Created {SHOP}. Open /admin/ and log in as an administrator.")
        else:
            self.stdout.write(f"{SHOP} is there already.")
