"""Phone numbers that pass to another person. The Cloud API's business-scoped ids tell: a person gets another one with
another number, so that a phone that comes with the id of somebody else is somebody else's."""

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

import structlog
from django.db import transaction

from agent.bridges.events import AliasKind, ChatAddress
from messaging.contacts.locks import lock_contacts
from messaging.models import Contact, ContactAlias, Conversation
from sessions_app.models import WhatsAppSession
from whatsapp_agent.text.phones import phone_spellings

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


def _own_ids(address: ChatAddress) -> set[str]:
    return {value for kind, value in address.aliases if kind == AliasKind.BSUID and not _is_parent(value)}


def names_other_id(old: ChatAddress, new: ChatAddress) -> bool:
    """Return whether both name an id of the person, and not the same one."""
    return bool(_own_ids(old) and _own_ids(new)) and _own_ids(old).isdisjoint(_own_ids(new))


def _newest_id(contact_id: UUID) -> str | None:
    """Return the business-scoped id that came last, a parent only if there is no other."""
    ids = ContactAlias.objects.filter(contact=contact_id, kind=AliasKind.BSUID).order_by("-created_at", "-id")
    return min(ids.values_list("value", flat=True), key=_is_parent, default=None)


def without_former_phone(*, session: WhatsAppSession, address: ChatAddress) -> ChatAddress:
    """Return the address without a phone that the person had before: a webhook request may come late, or again.

    A number and an id belong together. So the phone is not theirs any more if they have a newer id, or if somebody
    whose id is newer has it; nothing is sent to it, and it does not find them. `address` itself otherwise.
    """
    own = _own_ids(address)
    phones = [each for kind, value in address.aliases if kind == AliasKind.PHONE for each in phone_spellings(value)]
    if not (own and phones):
        return address
    aliases = ContactAlias.objects.filter(session=session)
    named = aliases.filter(kind=AliasKind.BSUID, value__in=own).order_by("-created_at", "-id").first()
    if named is None:
        return address
    holders = set(aliases.filter(kind=AliasKind.PHONE, value__in=phones).values_list("contact", flat=True))
    if named.contact_id in holders:
        return address
    newest = _newest_id(named.contact_id) or named.value
    newer = aliases.filter(contact__in=holders, kind=AliasKind.BSUID, created_at__gt=named.created_at)
    if newest == named.value and all(_is_parent(value) for value in newer.values_list("value", flat=True)):
        return address
    others = (address, *address.alternates)
    return ChatAddress(
        newest,
        AliasKind.BSUID,
        name=next((each.name for each in others if each.name), None),
        username=address.username,
        alternates=tuple(ChatAddress(value, kind) for kind, value in address.aliases if kind == AliasKind.BSUID),
    )


@transaction.atomic
def take_phones_away(contact: Contact, *, phones: Iterable[str]) -> None:
    """Let these phones find the contact no more, nor be written to for them: they are, or may become, another's."""
    if not lock_contacts(contact.pk):
        return
    values = {spelling for phone in phones for spelling in phone_spellings(phone)}
    taken, _ = ContactAlias.objects.filter(contact=contact, kind=AliasKind.PHONE, value__in=values).delete()
    Contact.objects.filter(pk=contact.pk, phone__in=values).update(phone="")
    newest = _newest_id(contact.pk)
    if newest is not None:
        addresses = {value.removeprefix("+") for value in values}
        Conversation.objects.filter(contact=contact, address__in=addresses | values).update(address=newest)
    if taken:
        log.info("phone_passed_on", contact=str(contact.pk))
