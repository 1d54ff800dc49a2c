"""`manage.py create_api_key USERNAME`: create an API key."""

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts.credentials.keys import create_key
from accounts.models import Scope, User
from whatsapp_agent.terminal import OperatorCommand
from whatsapp_agent.text.single_line import single_line_error


def parse_days(text: str) -> timedelta:
    if not text.isdigit() or not 1 <= int(text) <= 36500:
        raise ArgumentTypeError("must be a whole number of days from 1 to 36500")
    return timedelta(days=int(text))


class Command(OperatorCommand):
    help = "Create an API key for a user and print it. It cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", required=True, help="the program that uses it")
        parser.add_argument(
            "--scope", action="append", required=True, choices=Scope.values, dest="scopes", help="repeat for several"
        )
        parser.add_argument(
            "--session",
            action="append",
            default=[],
            type=UUID,
            dest="sessions",
            help="limit the key to the session with this id; repeat for several",
        )
        parser.add_argument("--expires-in-days", type=parse_days)
        parser.add_argument(
            "--dry-run", action="store_true", help="say whether the key can be created, and create none"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(
        self,
        *,
        username: str,
        name: str,
        scopes: list[str],
        sessions: list[UUID],
        expires_in_days: timedelta | None,
        dry_run: bool,
        json: bool,
        **_options: Any,
    ) -> None:
        name = name.strip()[:100]
        if error := single_line_error(name) if name else "The name is empty.":
            raise CommandError(f"--name: {error}")
        user = User.objects.filter(username=username, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {username}.")
        known = apps.get_model("sessions_app", "WhatsAppSession").objects.filter(pk__in=sessions)
        if unknown := set(sessions) - set(known.values_list("pk", flat=True)):
            raise CommandError(f"There is no session {', '.join(sorted(map(str, unknown)))}.")
        expires_at = timezone.now() + expires_in_days if expires_in_days else None
        result: dict[str, Any] = {
            "dry_run": dry_run, "username": username, "name": name, "scopes": scopes, "sessions": sessions,
            "expires_at": expires_at,
        }  # fmt: skip
        if not dry_run:
            row, result["key"] = create_key(
                user=user, name=name, scopes=scopes, session_ids=sessions, expires_at=expires_at
            )
            result["id"] = row.pk
        if json:
            self.print_json(result)
        elif dry_run:
            self.stdout.write(f"A key {name} of {username} would be created. Nothing was changed.")
        else:
            self.stdout.write(result["key"])
