"""`manage.py export_contact CONTACT`: everything about one person."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from messaging.people.export import write_contact
from messaging.people.find import find_contacts
from sessions_app.members import find_session
from whatsapp_agent.storage.whole_file import whole_file
from whatsapp_agent.terminal import OperatorCommand


class Command(OperatorCommand):
    help = "Write everything about one person into a .zip: messages, files, notes, facts, what the agent did."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "contact", metavar="CONTACT", help="the contact's id, or a phone number like +5511988887777"
        )
        parser.add_argument("--session", metavar="NAME", help="the session, if several know the phone")
        parser.add_argument("--output", type=Path, metavar="FILE", required=True, help="a new .zip file")
        parser.add_argument("--json", action="store_true", help="print a summary as JSON")

    def handle(self, *, contact: str, session: str | None, output: Path, json: bool, **_: Any) -> None:
        contacts = find_contacts(contact, session=find_session(session) if session else None)
        if len(contacts) > 1:
            names = ", ".join(each.session.name for each in contacts)
            raise CommandError(f"Several sessions know this phone ({names}): add --session.")
        (each,) = contacts
        with whole_file(output) as file:
            count = sum(1 for _ in self.progress(write_contact(each, file), what="rows and files"))
        if json:
            size_bytes = output.stat().st_size
            self.print_json({"file": str(output), "contact": each.pk, "items": count, "size_bytes": size_bytes})
            return
        self.stdout.write(f"Wrote {output} ({output.stat().st_size / 1e6:.1f} MB). It holds what people wrote.")
