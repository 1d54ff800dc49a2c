"""`manage.py forget_contact CONTACT`: delete everything of one person."""

from collections import deque
from typing import Any

from django.core.management.base import CommandError, CommandParser

from messaging.models import Conversation, Message
from messaging.people.find import find_contacts
from messaging.people.forgetting import Receipt, forget_contact
from sessions_app.members import find_session
from whatsapp_agent.terminal import OperatorCommand, is_terminal


class Command(OperatorCommand):
    help = "Delete everything of one person: messages, files, notes, facts, what the agent did. It cannot be undone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "contact", metavar="CONTACT", help="the contact's id, or a phone number like +5511988887777"
        )
        parser.add_argument("--session", metavar="NAME", help="only in this session; else in each that knows the phone")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--dry-run", action="store_true", help="count what would be deleted, and delete nothing")
        parser.add_argument("--json", action="store_true", help="print the receipt as JSON")

    def handle(self, *, contact: str, session: str | None, yes: bool, dry_run: bool, json: bool, **_: Any) -> None:
        contacts = find_contacts(contact, session=find_session(session) if session else None)
        for each in contacts:
            if dry_run or not yes:
                own = Message.objects.filter(conversation__in=Conversation.objects.filter(contact=each)).count()
                in_groups = Message.objects.filter(sender=each).exclude(conversation__contact=each).count()
                self.stderr.write(
                    f"Contact {each.pk} of {each.session.name}: {own} messages in the conversation, {in_groups} in "
                    "groups."
                )
        if dry_run:
            self.stdout.write("Nothing was deleted.")
            return
        if not yes:
            if not is_terminal():
                raise CommandError("Nothing was deleted: add --yes. It cannot be undone.")
            if input("Delete everything of this person? It cannot be undone. [y/N] ").strip().lower() not in {
                "y",
                "yes",
            }:
                raise CommandError("Nothing was deleted.")
        receipts: list[Receipt] = []
        for each in contacts:
            receipts.append(deque(self.progress(forget_contact(each), what="batches"), maxlen=1)[0])
        if json:
            self.print_json([receipt.as_dict() for receipt in receipts])
            return
        for receipt in receipts:
            self.stdout.write(
                f"Forgot contact {receipt.contact}: {receipt.messages} messages, {receipt.files} files, "
                f"{receipt.turns} turns, {receipt.events} events and {receipt.other_rows} other rows deleted, "
                f"{receipt.redacted_rows} rows of others redacted, {receipt.summaries_reset} summaries of groups reset."
            )
            for profile in receipt.profiles_to_review:
                self.stdout.write(
                    f"The agent profile {profile}, its draft or a version of them holds a name of theirs, which is not "
                    "replaced: see docs/operate.md."
                )
            for line in receipt.corrections_to_review:
                self.stdout.write(
                    f"Version {line['draft_version']} of the draft of the profile {line['profile']} has a line by "
                    "Correct it in that conversation, which stays: see docs/operate.md."
                )
        self.stdout.write("Backups made before still hold them.")
