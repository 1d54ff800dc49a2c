"""Contacts and their conversations by address and by phone."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from agent.bridges.addresses import separate_from_us
from agent.bridges.events import AliasKind, ChatAddress
from messaging.contacts.locks import ContactGone, lock_contacts
from messaging.contacts.proposals import join, propose_merge
from messaging.contacts.recycled import former_owners, names_other_id, take_phones_away
from messaging.models import Contact, ContactAlias, ContactMerge, Conversation, Message
from sessions_app.models import WhatsAppSession
from whatsapp_agent.postgres.advisory import lock
from whatsapp_agent.text.phones import canonical_phone, phone_spellings

log = structlog.get_logger(__name__)

BY_PHONE = {"phone", "phone_spelling"}


@transaction.atomic(savepoint=False)
def resolve_contact(*, session: WhatsAppSession, address: ChatAddress) -> Contact:
    """Return the contact of an address; create it if there is none.

    The first alias that is known decides, in the order of `ChatAddress.aliases`: phone, hidden number or
    business-scoped id, then the further addresses. A phone is also found under its other spelling, and not at all if it
    comes with the id of another person than before: it passes to the other. Contacts whose
    addresses the bridge names together are merged; if they have two phone numbers, a person decides.

    It locks contacts: in a transaction, call it before a conversation is locked. Raises ContactGone when the contact is
    merged or deleted meanwhile: try again.
    """
    address = separate_from_us(address, own_phone=session.phone, own_lid=session.lid)
    found, known_aliases = _find_contacts(session=session, address=address)
    has_new_phone = any(
        kind == AliasKind.PHONE and (kind, value) not in known_aliases for kind, value in address.aliases
    )
    if found and has_new_phone and lock_phones(session_id=session.pk, address=address):
        found, known_aliases = _find_contacts(session=session, address=address)
    if not found:
        return _create_contact(session=session, address=address)
    if passed_on := former_owners((each for each, by in found.items() if by in BY_PHONE), address):
        for owner in passed_on:
            take_phones_away(owner, phones=[value for kind, value in address.aliases if kind == AliasKind.PHONE])
        return resolve_contact(session=session, address=address)
    (contact, decided_by), *others = found.items()
    log.info(
        "contact_resolved", session=str(session.pk), contact=str(contact.pk), decided_by=decided_by, others=len(others)
    )
    if others:
        _join_all(contact, [other for other, _ in others])
        _, known_aliases = _find_contacts(session=session, address=address)
    _update_contact(contact=contact, address=address, new=_new_aliases(address, known_aliases, of=contact))
    return contact


def _new_aliases(
    address: ChatAddress, known: dict[tuple[AliasKind, str], Contact], *, of: Contact
) -> list[tuple[AliasKind, str]]:
    """Return the aliases of an address that nobody has. The other spelling of a phone belongs to who has the phone."""
    owners = {
        (kind, value): {known[kind, each] for each in alias_spellings(kind, value) if (kind, each) in known}
        for kind, value in address.aliases
    }
    return [alias for alias in address.aliases if alias not in known and owners[alias] <= {of}]


@transaction.atomic
def _join_all(contact: Contact, others: list[Contact]) -> None:
    if contact.pk not in lock_contacts(contact.pk, *(other.pk for other in others)):  # in their order, not in ours
        raise ContactGone()
    for other in others:
        join(keep=contact, other=other)
        contact.refresh_from_db()  # it may have a phone now, which the next may contradict


def _find_contacts(
    *, session: WhatsAppSession, address: ChatAddress
) -> tuple[dict[Contact, str], dict[tuple[AliasKind, str], Contact]]:
    """Return the contacts that have one of the address's aliases, each with what decided it, and the contact of each
    known alias.

    The contact of the address's own alias comes first. The other spelling of a phone is used only if no contact has
    the phone itself: two contacts that have one each are merged by staff alone (`manage.py contacts_doctor`).
    """
    spellings = {alias: alias_spellings(*alias) for alias in address.aliases}
    rows = ContactAlias.objects.filter(
        session=session, value__in=[value for each in spellings.values() for value in each]
    )
    owners = {
        (AliasKind(row.kind), row.value): row.contact for row in rows.select_related("contact").order_by("created_at")
    }
    contacts: dict[Contact, str] = {}
    for (kind, written), values in spellings.items():
        known = next((value for value in values if (kind, value) in owners), None)
        if known is not None:
            decided_by = kind.value if known == written else f"{kind.value}_spelling"
            contacts.setdefault(owners[kind, known], decided_by)
    return contacts, owners


def alias_spellings(kind: AliasKind, value: str) -> list[str]:
    """Return the spellings of an alias: of a phone up to two, otherwise the alias itself."""
    return phone_spellings(value) if kind == AliasKind.PHONE else [value]


def _create_contact(*, session: WhatsAppSession, address: ChatAddress) -> Contact:
    try:
        with transaction.atomic():
            if (
                lock_phones(session_id=session.pk, address=address)
                and _find_contacts(session=session, address=address)[0]
            ):
                return resolve_contact(
                    session=session, address=address
                )  # another transaction created it under the other spelling
            name = name_of(address)
            contact = Contact.objects.create(
                session=session, name=name, bridge_name=name, phone=phone_of(address), is_group=address.is_group
            )
            ContactAlias.objects.bulk_create(
                ContactAlias(session=session, contact=contact, kind=kind, value=value)
                for kind, value in in_lock_order(address.aliases)
            )
            _set_username(contact=contact, address=address)
            log_created(session.pk, contact.pk)
            return contact
    except IntegrityError:
        if not ContactAlias.objects.filter(session=session, value__in=[value for _, value in address.aliases]).exists():
            raise
        return resolve_contact(session=session, address=address)  # another transaction created it at the same moment


def in_lock_order(aliases: Iterable[tuple[AliasKind, str]]) -> list[tuple[AliasKind, str]]:
    """Return aliases as they are inserted: two insert the same ones of a new person at once, and wait for each other's
    rows. Bridges name them in any order."""
    return sorted(aliases, key=lambda alias: (alias[0].value, alias[1]))


def log_created(session_id: UUID, contact_id: UUID) -> None:
    log.info("contact_resolved", session=str(session_id), contact=str(contact_id), decided_by="created", others=0)


def lock_phones(*, session_id: UUID, address: ChatAddress) -> bool:
    """Lock the address's phones that have two spellings, until the transaction ends; return whether there are any.

    The unique constraint on aliases prevents a second contact under the same spelling, this lock one under the other.
    It is taken before contacts are locked.
    """
    names = [f"contact:{session_id}:{phone}" for phone in phones_to_lock(address)]
    for name in names:
        lock(name)
    return bool(names)


def phones_to_lock(address: ChatAddress) -> list[str]:
    """Return the address's phones that have two spellings, each in one that both share, in the order of their locks."""
    phones = {value for kind, value in address.aliases if len(alias_spellings(kind, value)) > 1}
    return sorted({canonical_phone(phone) for phone in phones})


@transaction.atomic
def record_changed_id(
    *, session: WhatsAppSession, old: ChatAddress, new: ChatAddress, at: datetime | None = None
) -> None:
    """Let the contact with the old address be found by the new one too, and be written to there since `at`.

    A new id without a phone means that the person has another number, which is not told: the phone they had finds them
    no more. Changes nothing if no contact has the old address. A contact that has the new one already is the same
    person; if both have phones, a person decides: numbers pass to other people.
    """
    found, _ = _find_contacts(session=session, address=old)
    former = former_owners((each for each, by in found.items() if by in BY_PHONE), old)
    contacts = [each for each in found if each not in former]
    if len(contacts) != 1:
        return
    (contact,) = contacts
    others, known_aliases = _find_contacts(session=session, address=new)
    lock_contacts(contact.pk, *(other.pk for other in others))
    had_phone = bool(contact.phone)
    if known_aliases.get((new.kind, new.address)) != contact and not phone_of(new):
        phones = ContactAlias.objects.filter(contact=contact, kind=AliasKind.PHONE).values_list("value", flat=True)
        take_phones_away(contact, phones=list(phones))
    if strangers := [other for other in others if other != contact]:
        contact.refresh_from_db()
        for other in strangers:
            if had_phone and other.phone:
                propose_merge(keep=contact, lose=other, reason=ContactMerge.Reason.NUMBER_CHANGED)
            else:
                join(keep=contact, other=other)
        return
    _update_contact(contact=contact, address=new, new=[each for each in new.aliases if each not in known_aliases])
    if phone_of(new):
        if names_other_id(old, new) and phone_of(old) not in alias_spellings(AliasKind.PHONE, phone_of(new)):
            take_phones_away(contact, phones=filter(None, [phone_of(old)]))
        Contact.objects.filter(pk=contact.pk).update(phone=phone_of(new))
    conversation = Conversation.objects.filter(contact=contact).first()
    at = min(at or timezone.now(), timezone.now())
    if conversation is not None and not _has_left(conversation, at):
        Conversation.objects.filter(pk=conversation.pk).update(address=new.address, address_changed_at=at)


@transaction.atomic
def _update_contact(*, contact: Contact, address: ChatAddress, new: list[tuple[AliasKind, str]]) -> None:
    """Store the aliases, name and phone that are new in this address. Raises ContactGone."""
    if not (new or address.username or _changes(contact, address)):
        return
    changes = _changes(_lock_contact(contact), address)
    if changes:
        Contact.objects.filter(pk=contact.pk).update(**changes)
        contact.refresh_from_db(fields=list(changes))
    ContactAlias.objects.bulk_create(
        (
            ContactAlias(session_id=contact.session_id, contact=contact, kind=kind, value=value)
            for kind, value in in_lock_order(new)
        ),
        ignore_conflicts=True,
    )
    _set_username(contact=contact, address=address)


def _changes(contact: Contact, address: ChatAddress) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if (name := name_of(address)) and contact.bridge_name != name:
        is_from_bridge = Q(name="") | Q(name=F("bridge_name"))  # any other name is from staff and is not replaced
        changes["name"] = Case(When(is_from_bridge, then=Value(name)), default=F("name"))
        changes["bridge_name"] = name
    if phone_of(address) and not contact.phone:
        changes["phone"] = phone_of(address)
    return changes


def _lock_contact(contact: Contact) -> Contact:
    locked = lock_contacts(contact.pk).get(contact.pk)
    if locked is None:
        raise ContactGone()
    return locked


def _set_username(*, contact: Contact, address: ChatAddress) -> None:
    """Store the username, for display: nobody is found by it, because it may pass to another person."""
    if address.username:
        ContactAlias.objects.update_or_create(
            session_id=contact.session_id,
            kind=AliasKind.USERNAME,
            value=address.username,
            defaults={"contact": contact},
        )


def name_of(address: ChatAddress) -> str:
    return next((a.name for a in (address, *address.alternates) if a.name), "")[:200]


def phone_of(address: ChatAddress) -> str:
    return next((a.phone for a in (address, *address.alternates) if a.phone), "")


def resolve_conversation(*, contact: Contact, address: str, at: datetime | None = None) -> Conversation:
    """Return the contact's conversation; create it if there is none. From now on it is written to at `address`.

    `at` is when something was written from this address: what comes late does not move the conversation back to an
    address that the contact has left since. Raises ContactGone when the contact is merged or deleted meanwhile.
    """
    conversation = Conversation.objects.filter(contact=contact).first()
    if conversation is None:
        with transaction.atomic():
            _lock_contact(contact)  # while contacts are merged, none gets a conversation
            conversation, _ = Conversation.objects.get_or_create(
                contact=contact, defaults={"session_id": contact.session_id, "address": address}
            )
    if conversation.address != address and not _has_left(conversation, at):
        Conversation.objects.filter(pk=conversation.pk).update(address=address)
        conversation.address = address
    return conversation


def _has_left(conversation: Conversation, at: datetime | None) -> bool:
    """Return whether the contact has written from the conversation's present address, or moved to it, after `at`."""
    if at is None:
        return False
    if conversation.address_changed_at is not None and conversation.address_changed_at > at:
        return True
    inbound = conversation.messages.filter(direction=Message.Direction.INBOUND, address=conversation.address)
    return inbound.filter(written_at__gt=at).exists()


def find_contact_by_phone(*, session: WhatsAppSession, phone: str) -> Contact | None:
    """Return the contact with this E.164 phone, else the one with its other spelling, else None."""
    aliases = ContactAlias.objects.filter(session=session, kind=AliasKind.PHONE, value__in=phone_spellings(phone))
    found = sorted(aliases.select_related("contact"), key=lambda alias: (alias.value != phone, alias.created_at))
    return found[0].contact if found else None
