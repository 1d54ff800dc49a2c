"""Phone numbers that pass to another person. The Cloud API's business-scoped ids tell: a person gets another one with
another number, so that a phone that comes with the id of somebody else is somebody else's."""

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

import structlog
from django.db import transaction

from agent.bridges.events import AliasKind, ChatAddress
from messaging.contacts.locks import lock_contacts
from messaging.contacts.phones import phone_spellings
from messaging.models import Contact, ContactAlias, Conversation

log = structlog.get_logger(__name__)


def former_owners(contacts: Iterable[Contact], address: ChatAddress) -> list[Contact]:
    """Return those of these contacts who are other people than the address, by their business-scoped ids."""
    named = {value for kind, value in address.aliases if kind == AliasKind.BSUID}
    if not named:
        return []
    contacts = list(contacts)
    known: dict[UUID, set[str]] = defaultdict(set)
    for contact_id, value in ContactAlias.objects.filter(contact__in=contacts, kind=AliasKind.BSUID).values_list(
        "contact", "value"
    ):
        known[contact_id].add(value)
    return [contact for contact in contacts if _are_of_two_people(known[contact.pk], named)]


def _are_of_two_people(known: set[str], named: set[str]) -> bool:
    """Return whether ids of the same form, a person's own or their parent, are known and named, and all differ."""
    forms = [{_is_parent(each) for each in ids} for ids in (known, named)]
    return known.isdisjoint(named) and not forms[0].isdisjoint(forms[1])


def _is_parent(bsuid: str) -> bool:
    return bsuid.partition(".")[2].startswith("ENT.")


@transaction.atomic
def take_phones_away(contact: Contact, *, phones: Iterable[str]) -> None:
    """Let these phones find the contact no more, nor be written to for them: they are, or may become, another's."""
    if not lock_contacts(contact.pk):
        return
    values = {spelling for phone in phones for spelling in phone_spellings(phone)}
    taken, _ = ContactAlias.objects.filter(contact=contact, kind=AliasKind.PHONE, value__in=values).delete()
    Contact.objects.filter(pk=contact.pk, phone__in=values).update(phone="")
    ids = ContactAlias.objects.filter(contact=contact, kind=AliasKind.BSUID).order_by("-created_at", "-id")
    newest = next((value for value in ids.values_list("value", flat=True) if not _is_parent(value)), None)
    if newest is not None:
        addresses = {value.removeprefix("+") for value in values}
        Conversation.objects.filter(contact=contact, address__in=addresses | values).update(address=newest)
    if taken:
        log.info("phone_passed_on", contact=str(contact.pk))
