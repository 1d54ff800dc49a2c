"""`manage.py sync_templates`: store the message templates of a business account (Cloud API) as Meta has them now."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from messaging.whatsapp_templates.service import known_accounts, sync_account
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge
from whatsapp_agent.errors import AppError


class Command(BaseCommand):
    help = "Store the message templates of the numbers of a WhatsApp business account (WABA) as Meta has them now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", default="", help="The id of the business account. Default: those known.")
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="The bridge. Default: default.")

    def handle(self, *, account: str, bridge: str, **options: Any) -> None:  # noqa: ARG002
        ensure_bridges()
        row = find_bridge(bridge)
        accounts = [account] if account else known_accounts(row)
        if not accounts:
            raise CommandError("No business account is known yet. Name one with --account.")
        counts: dict[str, int] = {}
        try:
            for each in accounts:
                counts |= sync_account(row, each)
        except AppError as exc:
            raise CommandError(str(exc)) from exc
        for name, count in counts.items():
            self.stdout.write(f"{name}: {count} templates")
        if not counts:
            raise CommandError("None of the account's numbers is linked here. manage.py list_numbers lists them.")
