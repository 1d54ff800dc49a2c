"""`manage.py create_user NAME`: create a user with a role, a member of sessions."""

import getpass
import secrets
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.models import Role
from accounts.services import check_new_user
from sessions_app.members import create_member, find_session
from whatsapp_agent.terminal import OperatorCommand, is_terminal


class Command(OperatorCommand):
    help = (
        "Create a user for the admin and the API. In a terminal the command prompts for the password; otherwise "
        "one is generated and printed once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        roles = [role.name.lower() for role in Role]
        parser.add_argument("--role", choices=roles, default="operator", help="default: operator")
        parser.add_argument(
            "--session",
            metavar="NAME",
            action="append",
            default=[],
            help="a session the user may see: its name, BRIDGE/NAME or id; may be repeated. Administrators see all.",
        )
        parser.add_argument("--email", default="", help="e-mail address")
        parser.add_argument("--api-only", action="store_true", help="may not log in to the admin")
        parser.add_argument("--password-stdin", action="store_true", help="read the password from the standard input")
        parser.add_argument("--dry-run", action="store_true", help="check everything and create nothing")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, name: str, role: str, session: list[str], json: bool, **options: Any) -> None:
        sessions = [find_session(each) for each in session]
        check_new_user(username=name, email=options["email"])
        if options["dry_run"]:
            self._report(name, role, [each.name for each in sessions], json=json, dry_run=True)
            return
        password, is_generated = _password(from_stdin=options["password_stdin"])
        create_member(
            username=name,
            password=password,
            role=Role[role.upper()],
            sessions=sessions,
            email=options["email"],
            is_staff=not options["api_only"],
        )
        shown = password if is_generated else None
        self._report(name, role, [each.name for each in sessions], json=json, password=shown)

    def _report(
        self,
        name: str,
        role: str,
        sessions: list[str],
        *,
        json: bool,
        password: str | None = None,
        dry_run: bool = False,
    ) -> None:
        if json:
            self.print_json(
                {"username": name, "role": role, "sessions": sessions, "password": password, "dry_run": dry_run}
            )
            return
        seen = "every session" if role == "admin" else ", ".join(sessions) or "no session yet (--session NAME)"
        self.stdout.write(f"{'Would create' if dry_run else 'Created'} {name}, {role}, who sees {seen}.")
        if password:
            self.stdout.write(f"Password: {password}\nIt is not shown again.")


def _password(*, from_stdin: bool) -> tuple[str, bool]:
    """Return the password, and whether it was generated."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise CommandError("The standard input is empty: it must hold the password.")
        return password, False
    if not is_terminal():
        return secrets.token_urlsafe(18), True
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise CommandError("The two passwords differ.")
    return password, False
