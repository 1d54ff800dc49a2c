"""`manage.py move_session`: move a number to another bridge, with its contacts and conversations."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from sessions_app import services
from sessions_app.management.commands.sync_sessions import ensure_bridges, find_bridge
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Move a number to another bridge. Its contacts and conversations stay; link it there afterwards."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--bridge", metavar="SLUG", default=Bridge.DEFAULT, help="Where it is; else `default`.")
        parser.add_argument("--to", metavar="SLUG", required=True, help="The bridge to move it to.")
        parser.add_argument("--as", metavar="NAME", default="", dest="new_name", help="Its name there, if another.")
        parser.add_argument("--dry-run", action="store_true", help="Say whether it can be moved, and move nothing.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(
        self, *, name: str, bridge: str, to: str, new_name: str, dry_run: bool, json: bool, **_options: Any
    ) -> None:
        ensure_bridges()
        session = WhatsAppSession.objects.filter(bridge=find_bridge(bridge), name=name).first()
        if session is None:
            raise CommandError(f"The bridge {bridge} has no session {name}.")
        with transaction.atomic():
            session = services.move_session(session, to=find_bridge(to), name=new_name)
            transaction.set_rollback(dry_run)
        if json:
            self.print_json({"dry_run": dry_run, "session": session.pk, "bridge": to, "name": session.name})
            return
        if dry_run:
            self.stdout.write(f"{name} can be moved to {to} as {session.name}. Nothing was changed.")
            return
        self.stdout.write(
            f"{session.name} is at {to} now. Link it there (manage.py link_session {session.name} --bridge {to}), "
            f"then log it out at {bridge}."
        )
