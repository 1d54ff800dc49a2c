"""`manage.py contacts_doctor`: find contacts that are probably the same person."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from messaging.contacts.merging import merge_contacts
from messaging.contacts.twins import Twins, find_twins
from messaging.models import Contact, ContactMerge
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.phones import canonical_phone, parse_phone


class Command(BaseCommand):
    help = (
        "List contacts that are likely one person: under two spellings of a phone (with and without Brazil's ninth "
        "digit, Mexico's 1, Argentina's 9), under a phone and a hidden number of the same name, and those that a "
        "person has to decide about. Changes nothing without --merge; a merge can be taken back in admin and API."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("phones", nargs="*", metavar="PHONE", help="only these phones, e.g. +5511988887777")
        parser.add_argument(
            "--merge",
            action="store_true",
            help="merge those that are surely one person, and others whose phone is given; messages, facts and blocks "
            "of both stay, and the stricter control applies",
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="print a list for programs")

    def handle(self, *, phones: list[str], merge: bool, as_json: bool, **options: Any) -> None:  # noqa: ARG002
        try:
            wanted = {canonical_phone(parse_phone(phone)) for phone in phones}
        except InvalidInput as exc:
            raise CommandError(str(exc)) from exc
        twins = [each for each in find_twins() if not wanted or wanted & _phones(each)]
        rows = [_as_row(each, is_merged=merge and (each.is_sure or bool(wanted)) and _merge(each)) for each in twins]
        if as_json:
            self.stdout.write(json.dumps(rows, indent=2, default=str, ensure_ascii=False))
            return
        if not rows:
            self.stdout.write("No twins found.")
            return
        for each in twins:
            names = ", ".join(f"{row} ({row.phone or 'hidden number'}, {row.pk})" for row in each.contacts)
            doubt = "" if each.is_sure else " They may be two people: merged only if the phone is given."
            self.stdout.write(f"{each.contacts[0].session}: {names}. {each.reason.capitalize()}.{doubt}")
        merged = sum(row["is_merged"] for row in rows)
        hint = "" if merge else " Run with --merge to merge them."
        self.stdout.write(f"{len(twins)} found, {merged} merged.{hint}")


def _merge(twins: Twins) -> bool:
    keep, *others = twins.contacts
    reason = ContactMerge.Reason.SPELLING if twins.is_sure else ContactMerge.Reason.PERSON
    merges = [merge_contacts(keep=keep, lose=other, reason=reason) for other in others]
    return any(merges)


def _as_row(twins: Twins, *, is_merged: bool) -> dict[str, Any]:
    session = twins.contacts[0].session
    return {
        "session": {"id": session.pk, "name": session.name},
        "reason": twins.reason,
        "is_sure": twins.is_sure,
        "is_merged": is_merged,
        "contacts": [_contact(contact) for contact in twins.contacts],
    }


def _contact(contact: Contact) -> dict[str, Any]:
    last = getattr(contact, "last_inbound_at", None)
    return {
        "id": contact.pk,
        "name": contact.name,
        "phone": contact.phone,
        "last_inbound_at": last.isoformat() if last else None,
    }


def _phones(twins: Twins) -> set[str]:
    return {
        canonical_phone(alias.value)
        for contact in twins.contacts
        for alias in contact.aliases.all()
        if alias.kind == alias.Kind.PHONE
    }
