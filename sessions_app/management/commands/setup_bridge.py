"""`manage.py setup_bridge`: configure our webhook address at a bridge."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from agent.bridges.capabilities import Capability
from sessions_app import bridges
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge
from whatsapp_agent.errors import BridgeFailed
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Configure our webhook address at a bridge, or print what to configure by hand."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="The bridge. Default: default.")
        parser.add_argument(
            "--account",
            metavar="ID",
            default="",
            help="Cloud API: subscribe our app to the events of this business account (WABA).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Print the address, and configure nothing.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *, bridge: str, account: str, dry_run: bool, json: bool, **_options: Any) -> None:
        ensure_bridges()
        try:
            row = find_bridge(bridge)
            lines = self._would(row, account) if dry_run else bridges.setup_bridge(row, account=account)
        except BridgeFailed as exc:
            raise CommandError(f"{bridge}: {exc}") from exc
        target = bridges.webhook_target(row)
        if target is None:
            raise CommandError(f"{bridge}: " + " ".join(lines))
        if json:
            self.print_json({"dry_run": dry_run, "bridge": bridge, "webhook_url": target.url, "lines": lines})
            return
        for line in lines:
            self.stdout.write(line)

    def _would(self, row: Bridge, account: str) -> list[str]:
        target = bridges.webhook_target(row)
        if target is None or Capability.SET_WEBHOOK not in bridges.adapter_for(row).capabilities:
            return bridges.setup_bridge(row)  # it asks the bridge nothing, and says what to do by hand
        names = [*row.sessions.live().order_by("name").values_list("name", flat=True), *filter(None, [account])]
        return [
            f"{', '.join(names) or 'No number yet'}: events would come to {target.url}",
            "Nothing was changed.",
        ]
