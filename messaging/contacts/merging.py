"""Contacts that turn out to be one person: merge them.

A merge is a row of ContactMerge, whose `undo` says what every changed row was before (`messaging.contacts.journal`).
"""

from datetime import UTC, datetime
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from messaging.contacts.journal import Journal
from messaging.contacts.locks import close_contacts, lock_contacts, lock_conversations
from messaging.events.types import CONTACT_MERGED, EventType
from messaging.models import (
    Contact,
    ContactMerge,
    Conversation,
    Embedding,
    Event,
    Media,
    Message,
    SearchEntry,
    Summary,
)
from messaging.search.index import reindex_messages
from whatsapp_agent.errors import InvalidInput

log = structlog.get_logger(__name__)

Status, Reason = ContactMerge.Status, ContactMerge.Reason
CANCELLED = {"status": Message.Status.CANCELLED, "error_code": "taken_over", "error": "A person took over first."}
NO_LEASE: dict[str, Any] = {"lease_token": None, "lease_expires_at": None}


@transaction.atomic
def merge_contacts(
    *, keep: Contact, lose: Contact, by: User | None = None, reason: str = Reason.PERSON
) -> ContactMerge | None:
    """Move everything of `lose` to `keep`, and delete `lose`; return the merge, which `unmerge` takes back.

    Returns None if one of them was merged meanwhile or is being forgotten. Raises InvalidInput for contacts that cannot
    be one person.
    """
    if keep.pk == lose.pk or keep.session_id != lose.session_id or keep.is_group != lose.is_group:
        raise InvalidInput(_("Only two people, or two groups, of the same number can be merged."), field="contact")
    both = lock_contacts(keep.pk, lose.pk)
    if len(both) < 2 or any(row.forget_requested_at for row in both.values()):
        return None
    conversations = lock_conversations(*both)
    close_contacts(*both)
    keep, lose = both[keep.pk], both[lose.pk]
    merge = ContactMerge.objects.of_pair(keep.pk, lose.pk).filter(status=Status.PROPOSED).first() or ContactMerge()
    journal = Journal()
    journal.watch(keep)
    theirs, ours = conversations.get(lose.pk), conversations.get(keep.pk)
    if theirs is not None and ours is None:
        journal.move(Conversation.objects.filter(pk=theirs.pk), "contact", to=keep)
    elif theirs is not None and ours is not None:
        journal.watch(ours)
        _merge_conversations(journal, keep=ours, lose=theirs)
    journal.move(ContactMerge.objects.filter(contact=lose).exclude(pk=merge.pk), "contact", to=keep)
    journal.move_references(lose, to=keep, but=(Conversation, ContactMerge))
    by_staff = [each.name for each in (keep, lose) if each.name not in {"", each.bridge_name}]
    Contact.objects.filter(pk=keep.pk).update(
        name=(by_staff or [keep.name or lose.name])[0],
        bridge_name=keep.bridge_name or lose.bridge_name,
        phone=keep.phone or lose.phone,
        is_blocked=keep.is_blocked or lose.is_blocked,
        is_allowed=keep.is_allowed or lose.is_allowed,
    )
    others = ContactMerge.objects.filter(merged_id=lose.pk).exclude(status=Status.MERGED).exclude(contact=keep)
    journal.change(others, merged_id=keep.pk)  # they are about the contact that has everything of it now
    journal.delete(Contact.objects.filter(pk=lose.pk))
    merge.session_id, merge.contact, merge.merged_id = keep.session_id, keep, lose.pk
    merge.merged_name, merge.merged_phone = lose.name, lose.phone
    merge.status, merge.reason, merge.decided_by, merge.decided_at = Status.MERGED, reason, by, timezone.now()
    merge.undo = journal.finish() | {"merged_conversation": str(theirs.pk) if theirs else None}
    merge.save()
    write_merge_event(CONTACT_MERGED, merge, conversation=ours or theirs)
    log.info("contacts_merged", contact=str(keep.pk), merged=str(lose.pk), reason=str(merge.reason))
    return merge


def _merge_conversations(journal: Journal, *, keep: Conversation, lose: Conversation) -> None:
    """Merge two conversations. The lease ends, because the turn in progress knows one half of the history; queued
    replies are still sent, unless a person has control of either."""
    agent_speaks = {keep.control, lose.control} == {Conversation.Control.AGENT}
    epoch = max(keep.control_epoch, lose.control_epoch) + 1
    replies = Message.objects.filter(
        conversation__in=[keep, lose], status=Message.Status.QUEUED, control_epoch__isnull=False
    )
    if agent_speaks:
        journal.change(replies, control_epoch=epoch)
    else:
        journal.change(replies, **CANCELLED)
    removed = _remove_repetitions(journal, keep=keep, lose=lose)
    moved = list(Message.objects.filter(conversation=lose).values_list("pk", flat=True))
    journal.move_references(lose, to=keep, but=(Summary,))
    reindex_messages(moved, conversation_id=keep.pk)
    stricter = max(keep, lose, key=_strictness)
    Conversation.objects.filter(pk=keep.pk).update(
        control=stricter.control,
        control_until=stricter.control_until,
        control_reason=stricter.control_reason,
        controlled_by=stricter.controlled_by_id,
        control_epoch=epoch,
        external_controller=keep.external_controller or lose.external_controller,
        external_controller_at=max(
            filter(None, [keep.external_controller_at, lose.external_controller_at]), default=None
        ),
        due_at=min(filter(None, [keep.due_at, lose.due_at]), default=None) if agent_speaks else None,
        inbound_count=F("inbound_count") + lose.inbound_count,
        unread_count=F("unread_count") + max(0, lose.unread_count - removed),
        needs_attention=keep.needs_attention or lose.needs_attention,
        attention_reason=(keep if keep.needs_attention else lose).attention_reason,
        attention_note="\n".join(dict.fromkeys(filter(None, [keep.attention_note, lose.attention_note]))),
        last_message_at=max(filter(None, [keep.last_message_at, lose.last_message_at]), default=None),
        context_from=max(filter(None, [keep.context_from, lose.context_from]), default=None),
        assigned_to=keep.assigned_to_id or lose.assigned_to_id,
        labels=sorted({*keep.labels, *lose.labels}),
        snoozed_until=None,  # the merged conversation is open: one of the two may be
        done_at=None,
        done_reason="",
        summary="",  # it covers one half, and would hide older messages of the other
        summary_until=None,
        summary_version=F("summary_version") + 1,
        **NO_LEASE,
    )
    Conversation.objects.filter(pk=lose.pk).update(**NO_LEASE)
    journal.delete(Conversation.objects.filter(pk=lose.pk))


def _remove_repetitions(journal: Journal, *, keep: Conversation, lose: Conversation) -> int:
    """Delete what came under both addresses of the person: messages of `lose` that `keep` has under the same id.

    Returns how many of them were inbound. Other messages that have an id of `keep` by chance stay, without their id,
    because ids are unique within a chat.
    """
    ids = Message.objects.filter(conversation=lose).exclude(provider_message_id=None).values("provider_message_id")
    known = {
        message.provider_message_id: message
        for message in Message.objects.filter(conversation=keep, provider_message_id__in=ids)
    }
    inbound = 0
    for message in Message.objects.filter(conversation=lose, provider_message_id__in=list(known)):
        first = known[message.provider_message_id]
        if _content(message) != _content(first):
            journal.change(Message.objects.filter(pk=message.pk), provider_message_id=None)
            continue
        inbound += message.direction == Message.Direction.INBOUND
        journal.move_references(message, to=first, but=(Media, SearchEntry, Embedding))
        journal.delete(Message.objects.filter(pk=message.pk))
    return inbound


def _content(message: Message) -> tuple[str, str, str]:
    return message.direction, message.kind, message.text


def _strictness(conversation: Conversation) -> tuple[bool, bool, datetime, bool]:
    """Order controls by how long they keep the agent silent; muted before human where both last as long."""
    is_silent = conversation.control != Conversation.Control.AGENT
    until = conversation.control_until or datetime.max.replace(tzinfo=UTC)
    return is_silent, conversation.control_until is None, until, conversation.control == Conversation.Control.MUTED


def write_merge_event(event_type: EventType, merge: ContactMerge, *, conversation: Conversation | None) -> None:
    Event.objects.create(
        type=event_type.name,
        session_id=merge.session_id,
        conversation_id=conversation.pk if conversation else None,
        data={
            "session": str(merge.session_id),
            "conversation": str(conversation.pk) if conversation else None,
            "merge": str(merge.pk),
            "contact": str(merge.contact_id),
            "merged_contact": str(merge.merged_id),
            "reason": merge.reason,
        },
    )
