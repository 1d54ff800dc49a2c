"""Who is on the other side: contacts by alias, and two that turn out to be one."""

from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.db.models import F

from agent.bridges.events import AliasKind, ChatAddress
from messaging.models import Contact, ContactAlias, Conversation, Fact, Message, Summary
from messaging.phones import phone_spellings
from messaging.search.index import note_move
from sessions_app.models import WhatsAppSession


def contact_for(*, session: WhatsAppSession, address: ChatAddress) -> Contact:
    """The contact this address belongs to, made when unknown. Addresses the bridge ties together become one contact."""
    aliases = address.aliases
    known = list(
        ContactAlias.objects.filter(session=session, value__in=[value for _, value in aliases])
        .select_related("contact")
        .order_by("created_at")
    )
    found = {(alias.kind, alias.value): alias.contact for alias in known}
    contacts = list(dict.fromkeys(found[alias] for alias in aliases if alias in found))
    if not contacts:
        return _make_contact(session=session, address=address)
    contact = contacts[0]
    for other in contacts[1:]:
        merge_contacts(keep=contact, lose=other)
    _learn(contact=contact, address=address, new=[alias for alias in aliases if alias not in found])
    return contact


def _make_contact(*, session: WhatsAppSession, address: ChatAddress) -> Contact:
    try:
        with transaction.atomic():
            contact = Contact.objects.create(
                session=session, name=_name(address), phone=_phone(address), is_group=address.is_group
            )
            ContactAlias.objects.bulk_create(
                ContactAlias(session=session, contact=contact, kind=kind, value=value)
                for kind, value in address.aliases
            )
            return contact
    except IntegrityError:
        if not ContactAlias.objects.filter(session=session, value__in=[value for _, value in address.aliases]).exists():
            raise
        return contact_for(session=session, address=address)  # someone else made it at the same moment


def _learn(*, contact: Contact, address: ChatAddress, new: list[tuple[AliasKind, str]]) -> None:
    ContactAlias.objects.bulk_create(
        (ContactAlias(session_id=contact.session_id, contact=contact, kind=kind, value=value) for kind, value in new),
        ignore_conflicts=True,
    )
    changes = {}
    if _name(address) and contact.name != _name(address):
        changes["name"] = _name(address)
    if _phone(address) and not contact.phone:
        changes["phone"] = _phone(address)
    if changes:
        Contact.objects.filter(pk=contact.pk).update(**changes)
        for field, value in changes.items():
            setattr(contact, field, value)


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
    Contact.objects.filter(pk=keep.pk).update(
        name=keep.name or lose.name,
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
    note_move(lose.pk, to=keep.pk)
    _hand_over(lose, to=keep, but=(Summary,))
    stricter = lose if keep.control == Conversation.Control.AGENT else keep
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
        last_message_at=max(filter(None, [keep.last_message_at, lose.last_message_at]), default=None),
        context_from=max(filter(None, [keep.context_from, lose.context_from]), default=None),
        summary="",  # of one half, and it would hide what was said in the other
        summary_until=None,
        summary_version=F("summary_version") + 1,
        lease_token=None,
        lease_expires_at=None,
    )
    lose.delete()


def _hand_over(lose: models.Model, *, to: models.Model, but: tuple[type[models.Model], ...]) -> None:
    """Whatever refers to `lose`, in whichever app, refers to `to` from now on."""
    for relation in lose._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.ForeignObjectRel) and relation.related_model not in but:
            rows = relation.related_model._default_manager.filter(**{relation.field.name: lose})
            rows.update(**{relation.field.name: to})


def known_by_phone(*, session: WhatsAppSession, phone: str) -> Contact | None:
    """Return the contact of an E.164 phone, also under its other spelling; the exact one first."""
    aliases = ContactAlias.objects.filter(session=session, kind=AliasKind.PHONE, value__in=phone_spellings(phone))
    found = sorted(aliases.select_related("contact"), key=lambda alias: (alias.value != phone, alias.created_at))
    return found[0].contact if found else None
