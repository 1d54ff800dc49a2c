"""Contacts that turn out to be one person: merge them, and list those that may be."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import models, transaction
from django.db.models import F, Max, Q

from agent.bridges.events import AliasKind
from messaging.contacts.phones import canonical_phone, owner_spellings, phone_spellings
from messaging.models import Contact, ContactAlias, Conversation, Fact, Message, Presence, Summary
from messaging.search.index import list_moved_messages


@transaction.atomic
def merge_contacts(*, keep: Contact, lose: Contact) -> None:
    """Move everything of `lose` to `keep`, and delete `lose`. Does nothing if one of them was merged meanwhile."""
    _lock_conversations(keep, lose)  # lock order: conversations, then contacts, as when a message is received
    both = {row.pk: row for row in Contact.objects.select_for_update().filter(pk__in=[keep.pk, lose.pk]).order_by("pk")}
    if keep.pk not in both or lose.pk not in both:
        return  # another transaction has merged them
    conversations = _lock_conversations(keep, lose)  # again: one may have been created in between
    theirs, ours = conversations.get(lose.pk), conversations.get(keep.pk)
    if theirs is not None and ours is None:
        Conversation.objects.filter(pk=theirs.pk).update(contact=keep)
    elif theirs is not None and ours is not None:
        _merge_conversations(keep=ours, lose=theirs)
    known = Fact.objects.filter(contact=keep, forgotten_at=None).values("text")
    Fact.objects.filter(contact=lose).exclude(forgotten_at=None, text__in=known).update(contact=keep)
    _move_references(lose, to=keep, but=(Conversation, Fact))
    keep, lose = both[keep.pk], both[lose.pk]  # re-read under the lock
    by_staff = [each.name for each in (keep, lose) if each.name not in {"", each.bridge_name}]
    Contact.objects.filter(pk=keep.pk).update(
        name=(by_staff or [keep.name or lose.name])[0],
        bridge_name=keep.bridge_name or lose.bridge_name,
        phone=keep.phone or lose.phone,
        is_blocked=keep.is_blocked or lose.is_blocked,
        is_allowed=keep.is_allowed or lose.is_allowed,
    )
    lose.delete()


def _lock_conversations(*contacts: Contact) -> dict[UUID, Conversation]:
    rows = Conversation.objects.select_for_update().filter(contact__in=contacts).order_by("pk")
    return {row.contact_id: row for row in rows}


def _merge_conversations(*, keep: Conversation, lose: Conversation) -> None:
    """Merge two conversations. The lease ends, because the turn in progress knows one half of the history; queued
    replies are still sent, unless a person has control of either."""
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
    _move_references(lose, to=keep, but=(Summary, Presence))
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
        assigned_to=keep.assigned_to_id or lose.assigned_to_id,
        assigned_at=keep.assigned_at if keep.assigned_to_id else lose.assigned_at,
        labels=sorted({*keep.labels, *lose.labels}),
        snoozed_until=None,  # the merged conversation is open: one of the two may be
        done_at=None,
        done_reason="",
        summary="",  # it covers one half, and would hide older messages of the other
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


def _move_references(lose: models.Model, *, to: models.Model, but: tuple[type[models.Model], ...]) -> None:
    """Point every foreign key to `lose`, in any app, at `to`; leave out the models in `but`."""
    for relation in lose._meta.get_fields(include_hidden=True):
        if isinstance(relation, models.ForeignObjectRel) and relation.related_model not in but:
            rows = relation.related_model._default_manager.filter(**{relation.field.name: lose})
            rows.update(**{relation.field.name: to})


@dataclass(frozen=True, slots=True)
class Twins:
    """Contacts of one session that are likely one person, the one to keep first.

    `is_sure` is false if both have written and the two spellings may be two people's phones (Argentina).
    """

    contacts: Sequence[Contact]
    is_sure: bool


def find_twins() -> list[Twins]:
    """Return the contacts that share a phone in two spellings. `resolve_contact` no longer creates such contacts."""
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
