"""Contacts that are likely one person: the list of `manage.py contacts_doctor`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Exists, F, Max, OuterRef, Q

from agent.bridges.events import AliasKind
from messaging.models import Contact, ContactAlias, ContactMerge
from whatsapp_agent.text.phones import canonical_phone, owner_spellings, phone_spellings

MIN_NAME_LENGTH = 4  # shorter names are many people's


@dataclass(frozen=True, slots=True)
class Twins:
    """Contacts of one session that are likely one person, the one to keep first. `reason` is for people.

    `is_sure` is false if they may be two people: both wrote under two spellings that may be two phones (Argentina), a
    person has to decide about a proposal, or they have nothing in common but a name.
    """

    contacts: Sequence[Contact]
    is_sure: bool
    reason: str


def find_twins() -> list[Twins]:
    """Return contacts that share a phone in two spellings, that are proposed to be merged, or that share a name with a
    hidden number. Pairs of which a person has said that they are two people are left out.
    """
    apart = {
        frozenset(pair)
        for pair in ContactMerge.objects.filter(
            status__in=[ContactMerge.Status.REFUSED, ContactMerge.Status.UNDONE]
        ).values_list("contact", "merged_id")
    }
    found: dict[frozenset[UUID], Twins] = {}
    for twins in (*_under_two_spellings(), *_proposed(), *_of_one_name()):
        ids = frozenset(contact.pk for contact in twins.contacts)
        if len(ids) > 1 and ids not in apart:
            found.setdefault(ids, twins)
    return list(found.values())


def _load(ids: set[UUID]) -> list[Contact]:
    """Return these contacts, who wrote last first."""
    inbound = Max("conversation__messages__created_at", filter=Q(conversation__messages__direction="inbound"))
    found = Contact.objects.filter(pk__in=ids).select_related("session").annotate(last_inbound_at=inbound)
    return list(found.order_by(F("last_inbound_at").desc(nulls_last=True), "created_at"))


def _under_two_spellings() -> Iterator[Twins]:
    rows = ContactAlias.objects.filter(kind=AliasKind.PHONE).values_list("session_id", "value", "contact_id")
    groups: dict[tuple[UUID, str], set[UUID]] = defaultdict(set)
    for session_id, phone, contact_id in rows.iterator():
        if len(phone_spellings(phone)) > 1:
            groups[session_id, canonical_phone(phone)].add(contact_id)
    for (_, phone), ids in sorted(groups.items(), key=str):
        if len(ids) > 1:
            contacts = _load(ids)
            have_written = sum(contact.last_inbound_at is not None for contact in contacts)  # type: ignore[attr-defined]
            is_sure = len(owner_spellings(phone)) > 1 or have_written < 2
            yield Twins(contacts, is_sure=is_sure, reason="one phone number in two spellings")


def _proposed() -> Iterator[Twins]:
    for merge in ContactMerge.objects.filter(status=ContactMerge.Status.PROPOSED).order_by("created_at"):
        contacts = _load({merge.contact_id, merge.merged_id})
        yield Twins(contacts, is_sure=False, reason=f"a person has to decide: {merge.get_reason_display()}")


def _of_one_name() -> Iterator[Twins]:
    """Yield hidden numbers, each with the one contact of the session that has a phone and the same name."""
    people = Contact.objects.filter(is_group=False)
    hidden_alias = ContactAlias.objects.filter(contact=OuterRef("pk"), kind__in=[AliasKind.LID, AliasKind.BSUID])
    hidden = people.filter(Exists(hidden_alias), phone="").exclude(bridge_name="").order_by("created_at")
    for contact in hidden.iterator():
        if len(contact.bridge_name) >= MIN_NAME_LENGTH:
            same = people.filter(session=contact.session_id, bridge_name=contact.bridge_name).exclude(phone="")
            if len(ids := list(same.values_list("pk", flat=True)[:2])) == 1:
                yield Twins(_load({contact.pk, ids[0]}), is_sure=False, reason="a hidden number of the same name")
