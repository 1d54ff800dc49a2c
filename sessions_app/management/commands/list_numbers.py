"""`manage.py list_numbers ACCOUNT`: the numbers of a business account (Cloud API), with the names to link them by."""

from argparse import ArgumentParser
from typing import Any

from sessions_app.links import reconciliation
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "List the numbers of a WhatsApp business account (WABA), each with the name that link_session takes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("account", help="The id of the business account.")
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="The bridge. Default: default.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *, account: str, bridge: str, json: bool, **_options: Any) -> None:
        ensure_bridges()
        numbers = reconciliation.list_numbers(find_bridge(bridge), account=account)
        if json:
            names = ("name", "phone", "status", "display_name")
            self.print_json([{name: getattr(number, name) for name in names} for number in numbers])
            return
        for number in numbers:
            self.stdout.write("  ".join([number.name, number.phone or "-", number.status, number.display_name or ""]))
        if not numbers:
            self.stdout.write("The account has no numbers.")
