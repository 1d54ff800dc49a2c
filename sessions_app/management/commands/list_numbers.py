"""`manage.py list_numbers ACCOUNT`: the numbers of a business account (Cloud API), with the names to link them by."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sessions_app.links import reconciliation
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge
from whatsapp_agent.errors import AppError


class Command(BaseCommand):
    help = "List the numbers of a WhatsApp business account (WABA), each with the name that link_session takes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("account", help="The id of the business account.")
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="The bridge. Default: default.")

    def handle(self, *, account: str, bridge: str, **options: Any) -> None:  # noqa: ARG002
        ensure_bridges()
        try:
            numbers = reconciliation.list_numbers(find_bridge(bridge), account=account)
        except AppError as exc:
            raise CommandError(str(exc)) from exc
        for number in numbers:
            self.stdout.write("  ".join([number.name, number.phone or "-", number.status, number.display_name or ""]))
        if not numbers:
            self.stdout.write("The account has no numbers.")
