"""`manage.py contacts_doctor`: find contacts that are probably the same person."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.contacts.merging import Twins, find_twins, merge_contacts
from messaging.contacts.phones import canonical_phone, parse_phone
from whatsapp_agent.errors import InvalidInput


class Command(BaseCommand):
    help = (
        "List contacts that are likely one person under two spellings of a phone (with and without Brazil's ninth "
        "digit, Mexico's 1, Argentina's 9). Changes nothing without --merge."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("phones", nargs="*", metavar="PHONE", help="only these phones, e.g. +5511988887777")
        parser.add_argument(
            "--merge",
            action="store_true",
            help="merge them; messages, facts and blocks of both stay, and the stricter control applies",
        )

    def handle(self, *, phones: list[str], merge: bool, **options: Any) -> None:  # noqa: ARG002
        try:
            wanted = {canonical_phone(parse_phone(phone)) for phone in phones}
        except InvalidInput as exc:
            raise CommandError(str(exc)) from exc
        twins = [each for each in find_twins() if not wanted or wanted & _phones(each)]
        if not twins:
            self.stdout.write("No twins found.")
            return
        merged = 0
        for each in twins:
            keep, *others = each.contacts
            may_merge = each.is_sure or bool(wanted)
            names = ", ".join(f"{row} ({row.phone or 'hidden number'}, {row.pk})" for row in each.contacts)
            doubt = "" if each.is_sure else " Both wrote, so they may be two people: merged only if the phone is given."
            self.stdout.write(f"{keep.session}: {names}.{doubt}")
            if merge and may_merge:
                for other in others:
                    merge_contacts(keep=keep, lose=other)
                merged += 1
        hint = "" if merge else " Run with --merge to merge them."
        self.stdout.write(f"{len(twins)} found, {merged} merged.{hint}")


def _phones(twins: Twins) -> set[str]:
    return {
        canonical_phone(alias.value)
        for contact in twins.contacts
        for alias in contact.aliases.all()
        if alias.kind == alias.Kind.PHONE
    }
