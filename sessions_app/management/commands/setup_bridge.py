"""`manage.py setup_bridge`: configure our webhook address at a bridge."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sessions_app import bridges
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge
from whatsapp_agent.errors import BridgeFailed


class Command(BaseCommand):
    help = "Configure our webhook address at a bridge, or print what to configure by hand."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="The bridge. Default: default.")
        parser.add_argument(
            "--account",
            metavar="ID",
            default="",
            help="Cloud API: subscribe our app to the events of this business account (WABA).",
        )

    def handle(self, *, bridge: str, account: str, **options: Any) -> None:  # noqa: ARG002
        ensure_bridges()
        try:
            row = find_bridge(bridge)
            lines = bridges.setup_bridge(row, account=account)
        except BridgeFailed as exc:
            raise CommandError(f"{bridge}: {exc}") from exc
        if bridges.webhook_target(row) is None:
            raise CommandError(f"{bridge}: " + " ".join(lines))
        for line in lines:
            self.stdout.write(line)
