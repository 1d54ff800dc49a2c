"""Who is on the other side: contacts by alias, and two that turn out to be one."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, models, transaction
from django.db.models import Case, F, Max, Q, Value, When

from agent.bridges.events import AliasKind, ChatAddress
from messaging.models import Contact, ContactAlias, Conversation, Fact, Message, Summary
from messaging.phones import canonical_phone, owner_spellings, phone_spellings
from messaging.search.index import list_moved_messages
from sessions_app.models import WhatsAppSession


def contact_for(*, session: WhatsAppSession, address: ChatAddress) -> Contact:
    """Return the contact this address belongs to; create it if it is unknown.

    Addresses that the bridge ties together become one contact. A phone is also found under its other spelling.
    """
    contacts, known_aliases = _find_contacts(session=session, address=address)
    if not contacts:
        return _make_contact(session=session, address=address)
    contact = contacts[0]
    for other in contacts[1:]:
        merge_contacts(keep=contact, lose=other)
    _learn(contact=contact, address=address, new=[alias for alias in address.aliases if alias not in known_aliases])
    return contact


def _find_contacts(
    *, session: WhatsAppSession, address: ChatAddress
) -> tuple[list[Contact], dict[tuple[AliasKind, str], Contact]]:
    """Return the contacts that have the address's aliases, the surest first, and which alias is whose.

    The other spelling of a phone counts only where nobody has the phone itself: contacts that are known apart stay
    apart until a person merges them (`manage.py contacts_doctor`).
    """
    spellings = {alias: alias_spellings(*alias) for alias in address.aliases}
    rows = ContactAlias.objects.filter(
        session=session, value__in=[value for each in spellings.values() for value in each]
    )
    owners = {
        (AliasKind(row.kind), row.value): row.contact for row in rows.select_related("contact").order_by("created_at")
    }
    contacts = [
        next((owners[kind, value] for value in values if (kind, value) in owners), None)
        for (kind, _), values in spellings.items()
    ]
    return list(dict.fromkeys(contact for contact in contacts if contact is not None)), owners


def alias_spellings(kind: AliasKind, value: str) -> list[str]:
    """Return an alias and, of a phone, its other spelling."""
    return phone_spellings(value) if kind == AliasKind.PHONE else [value]


def _make_contact(*, session: WhatsAppSession, address: ChatAddress) -> Contact:
    try:
        with transaction.atomic():
            if _lock_phones(session=session, address=address) and _find_contacts(session=session, address=address)[0]:
                return contact_for(session=session, address=address)  # made under its other spelling meanwhile
            name = _name(address)
            contact = Contact.objects.create(
                session=session, name=name, bridge_name=name, phone=_phone(address), is_group=address.is_group
            )
            ContactAlias.objects.bulk_create(
                ContactAlias(session=session, contact=contact, kind=kind, value=value)
                for kind, value in address.aliases
            )
            return contact
    except IntegrityError:
        if not ContactAlias.objects.filter(session=session, value__in=[value for _, value in address.aliases]).exists():
            raise
        return contact_for(session=session, address=address)  # made by another transaction at the same moment


def _lock_phones(*, session: WhatsAppSession, address: ChatAddress) -> bool:
    """Lock the address's phones that have two spellings, until the transaction ends; return whether there are any.

    The unique alias keeps a contact from being made twice under one spelling; only this does so under two.
    """
    phones = {value for kind, value in address.aliases if len(alias_spellings(kind, value)) > 1}
    names = sorted(f"contact:{session.pk}:{canonical_phone(phone)}" for phone in phones)
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
    return bool(names)


def _learn(*, contact: Contact, address: ChatAddress, new: list[tuple[AliasKind, str]]) -> None:
    ContactAlias.objects.bulk_create(
        (ContactAlias(session_id=contact.session_id, contact=contact, kind=kind, value=value) for kind, value in new),
        ignore_conflicts=True,
    )
    changes: dict[str, Any] = {}
    if (name := _name(address)) and contact.bridge_name != name:
        is_the_bridges = Q(name="") | Q(name=F("bridge_name"))  # any other was given by staff, and stays
        changes["name"] = Case(When(is_the_bridges, then=Value(name)), default=F("name"))
        changes["bridge_name"] = name
    if _phone(address) and not contact.phone:
        changes["phone"] = _phone(address)
    if changes:
        Contact.objects.filter(pk=contact.pk).update(**changes)
        contact.refresh_from_db(fields=list(changes))


def _name(address: ChatAddress) -> str:
    return next((a.name for a in (address, *address.alternates) if a.name), "")[:200]


def _phone(address: ChatAddress) -> str:
    return next((a.phone for a in (address, *address.alternates) if a.phone), "")


def conversation_with(*, contact: Contact, address: str) -> Conversation:
    """The conversation with this contact; `address` is what the bridge is told to write to."""
    conversation, is_new = Conversation.objects.get_or_create(
        contact=contact, defaults={"session_id": contact.session_id, "address": address}
    )
    if not is_new and conversation.address != address:
        Conversation.objects.filter(pk=conversation.pk).update(address=address)
        conversation.address = address
    return conversation


@transaction.atomic
def merge_contacts(*, keep: Contact, lose: Contact) -> None:
    """Two contacts were one person all along: everything of `lose` becomes part of `keep`."""
    _locked_conversations(keep, lose)  # before the contacts, as a message on its way in takes them
    both = {row.pk: row for row in Contact.objects.select_for_update().filter(pk__in=[keep.pk, lose.pk]).order_by("pk")}
    if keep.pk not in both or lose.pk not in both:
        return  # someone else has merged them already
    conversations = _locked_conversations(keep, lose)  # again: one may have been made in between
    theirs, ours = conversations.get(lose.pk), conversations.get(keep.pk)
    if theirs is not None and ours is None:
        Conversation.objects.filter(pk=theirs.pk).update(contact=keep)
    elif theirs is not None and ours is not None:
        _merge_conversations(keep=ours, lose=theirs)
    known = Fact.objects.filter(contact=keep, forgotten_at=None).values("text")
    Fact.objects.filter(contact=lose).exclude(forgotten_at=None, text__in=known).update(contact=keep)
    _hand_over(lose, to=keep, but=(Conversation, Fact))
    keep, lose = both[keep.pk], both[lose.pk]  # as they are now
    by_staff = [each.name for each in (keep, lose) if each.name not in {"", each.bridge_name}]
    Contact.objects.filter(pk=keep.pk).update(
        name=(by_staff or [keep.name or lose.name])[0],
        bridge_name=keep.bridge_name or lose.bridge_name,
        phone=keep.phone or lose.phone,
        is_blocked=keep.is_blocked or lose.is_blocked,
        is_allowed=keep.is_allowed or lose.is_allowed,
    )
    lose.delete()


def _locked_conversations(*contacts: Contact) -> dict[UUID, Conversation]:
    rows = Conversation.objects.select_for_update().filter(contact__in=contacts).order_by("pk")
    return {row.contact_id: row for row in rows}


def _merge_conversations(*, keep: Conversation, lose: Conversation) -> None:
    """What is being written was written with half of the past and is dropped; what is queued still leaves."""
    agent_speaks = {keep.control, lose.control} == {Conversation.Control.AGENT}
    epoch = max(keep.control_epoch, lose.control_epoch) + 1
    queued = Message.objects.filter(conversation__in=[keep, lose], status=Message.Status.QUEUED)
    if agent_speaks:
        queued.exclude(control_epoch=None).update(control_epoch=epoch)
    else:
        queued.cancel_queued_replies()
    known_ids = (
        Message.objects.filter(conversation=keep).exclude(provider_message_id=None).values("provider_message_id")
    )
    Message.objects.filter(conversation=lose, provider_message_id__in=known_ids).update(provider_message_id=None)
    list_moved_messages(lose.pk, to=keep.pk)
    _hand_over(lose, to=keep, but=(Summary,))
    stricter = max(keep, lose, key=_strictness)
    Conversation.objects.filter(pk=keep.pk).update(
        control=stricter.control,
        control_until=stricter.control_until,
        control_reason=stricter.control_reason,
        controlled_by=stricter.controlled_by_id,
        control_epoch=epoch,
        due_at=min(filter(None, [keep.due_at, lose.due_at]), default=None) if agent_speaks else None,
        inbound_count=F("inbound_count") + lose.inbound_count,
        unread_count=F("unread_count") + lose.unread_count,
        needs_attention=keep.needs_attention or lose.needs_attention,
        attention_reason=(keep if keep.needs_attention else lose).attention_reason,
        attention_note="\n".join(dict.fromkeys(filter(None, [keep.attention_note, lose.attention_note]))),
        last_message_at=max(filter(None, [keep.last_message_at, lose.last_message_at]), default=None),
        context_from=max(filter(None, [keep.context_from, lose.context_from]), default=None),
        summary="",  # of one half, and it would hide what was said in the other
        summary_until=None,
        summary_version=F("summary_version") + 1,
        lease_token=None,
        lease_expires_at=None,
    )
    lose.delete()


def _strictness(conversation: Conversation) -> tuple[bool, bool, datetime, bool]:
    """Order controls by how long they keep the agent silent; muted before human where both last as long."""
    is_silent = conversation.control != Conversation.Control.AGENT
    until = conversation.control_until or datetime.max.replace(tzinfo=UTC)
    return is_silent, conversation.control_until is None, until, conversation.control == Conversation.Control.MUTED


def _hand_over(lose: models.Model, *, to: models.Model, but: tuple[type[models.Model], ...]) -> None:
    """Whatever refers to `lose`, in whichever app, refers to `to` from now on."""
    for relation in lose._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.ForeignObjectRel) and relation.related_model not in but:
            rows = relation.related_model._default_manager.filter(**{relation.field.name: lose})
            rows.update(**{relation.field.name: to})


@dataclass(frozen=True, slots=True)
class Twins:
    """Contacts of one session that are likely one person, the one to keep first.

    `is_sure` is false where both wrote and their spellings are no proof (Argentina): they may be two people.
    """

    contacts: Sequence[Contact]
    is_sure: bool


def find_twins() -> list[Twins]:
    """Return contacts known apart under two spellings of one phone. `contact_for` no longer creates any."""
    rows = ContactAlias.objects.filter(kind=AliasKind.PHONE).values_list("session_id", "value", "contact_id")
    groups: dict[tuple[UUID, str], set[UUID]] = defaultdict(set)
    for session_id, phone, contact_id in rows.iterator():
        if len(phone_spellings(phone)) > 1:
            groups[session_id, canonical_phone(phone)].add(contact_id)
    inbound = Max("conversation__messages__created_at", filter=Q(conversation__messages__direction="inbound"))
    twins = []
    for (_, phone), ids in sorted(groups.items(), key=str):
        if len(ids) < 2:
            continue
        found = Contact.objects.filter(pk__in=ids).select_related("session").annotate(last_inbound_at=inbound)
        contacts = list(found.order_by(F("last_inbound_at").desc(nulls_last=True), "created_at"))
        have_written = sum(contact.last_inbound_at is not None for contact in contacts)
        twins.append(Twins(contacts, is_sure=len(owner_spellings(phone)) > 1 or have_written < 2))
    return twins


def known_by_phone(*, session: WhatsAppSession, phone: str) -> Contact | None:
    """Return the contact of an E.164 phone, also under its other spelling; the exact one first."""
    aliases = ContactAlias.objects.filter(session=session, kind=AliasKind.PHONE, value__in=phone_spellings(phone))
    found = sorted(aliases.select_related("contact"), key=lambda alias: (alias.value != phone, alias.created_at))
    return found[0].contact if found else None
