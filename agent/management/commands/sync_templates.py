"""`manage.py sync_templates`: store the message templates of a business account (Cloud API) as Meta has them now."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from messaging.whatsapp_templates.service import known_accounts, sync_account
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Store the message templates of the numbers of a WhatsApp business account (WABA) as Meta has them now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", default="", help="The id of the business account. Default: those known.")
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="The bridge. Default: default.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *, account: str, bridge: str, json: bool, **_options: Any) -> None:
        ensure_bridges()
        row = find_bridge(bridge)
        accounts = [account] if account else known_accounts(row)
        if not accounts:
            raise CommandError("No business account is known yet. Name one with --account.")
        counts: dict[str, int] = {}
        for each in accounts:
            counts |= sync_account(row, each)
        if not counts:
            raise CommandError("None of the account's numbers is linked here. manage.py list_numbers lists them.")
        if json:
            self.print_json({"accounts": accounts, "templates": counts})
            return
        for name, count in counts.items():
            self.stdout.write(f"{name}: {count} templates")
