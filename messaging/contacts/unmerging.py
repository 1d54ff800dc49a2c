"""Take the merge of two contacts back."""

from collections.abc import Iterator
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F, Max
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.models import User
from agent.bridges.addresses import read_address
from agent.bridges.parsing import WrongShape
from messaging.contacts.journal import undo
from messaging.contacts.locks import ContactGone, lock_contacts, lock_conversations
from messaging.contacts.merging import CANCELLED, NO_LEASE, write_merge_event
from messaging.events.types import CONTACT_UNMERGED
from messaging.models import Contact, ContactMerge, Conversation, CurrentTransaction, Event, Message, Turn
from messaging.search.index import reindex_messages
from whatsapp_agent.errors import Conflict

log = structlog.get_logger(__name__)

Status = ContactMerge.Status
CONTROL_COLUMNS = frozenset(
    {"control", "control_until", "control_reason", "control_epoch", "controlled_by_id", "due_at", "burst_started_at"}
)
COUNTERS = frozenset({"inbound_count", "unread_count", "summary_version"})


class NotMerged(Conflict):
    code, detail = "not_merged", gettext_lazy("This merge was taken back already, or never made.")


class NotTheLatest(Conflict):
    code, detail = "not_the_latest", gettext_lazy("A later merge of this contact has to be taken back first.")


@transaction.atomic
def unmerge(*, merge: ContactMerge, by: User | None = None) -> Contact:
    """Take a merge back: both contacts and conversations are as they were, and this pair is not merged by itself again.

    What came after the merge goes to whom it came from (by the address of each message; what we wrote follows the
    message before it). What staff changed meanwhile stays with the kept contact; a takeover or block applies to both.
    Raises NotMerged, NotTheLatest, ContactGone, or Conflict if the contact is being forgotten.
    """
    keep = lock_contacts(merge.contact_id).get(merge.contact_id)
    if keep is None:
        raise ContactGone()
    lock_conversations(keep.pk)
    merge = ContactMerge.objects.select_for_update().get(pk=merge.pk)
    if merge.status != Status.MERGED or merge.undo is None:
        raise NotMerged()
    if keep.forget_requested_at is not None:
        raise Conflict(_("This contact is being forgotten, and so is what was merged into it."))
    if ContactMerge.objects.filter(contact=keep, status=Status.MERGED, decided_at__gt=merge.decided_at).exists():
        raise NotTheLatest()
    shared = Conversation.objects.filter(contact=keep).first()
    _keep_changed_control(merge.undo, shared=shared)
    last_event_id = Event.objects.aggregate(last=Max("id"))["last"] or 0
    undo(merge.undo, counters=COUNTERS)
    lost = Contact.objects.get(pk=merge.merged_id)
    _delete_events_of_restored(merge.undo, after=last_event_id)
    Conversation.objects.filter(contact__in=[keep, lost]).update(**NO_LEASE)  # a turn in progress knew both halves
    if shared is not None:
        _divide(merge, shared=shared, keep=keep, lost=lost)
    if keep.is_blocked and not _was(merge, Contact, "is_blocked"):
        Contact.objects.filter(pk=lost.pk).update(is_blocked=True)
    ContactMerge.objects.filter(pk=merge.pk).update(
        status=Status.UNDONE, undone_by=by, undone_at=timezone.now(), undo=None
    )
    merge.refresh_from_db()
    write_merge_event(CONTACT_UNMERGED, merge, conversation=shared)
    log.info("contacts_unmerged", contact=str(keep.pk), unmerged=str(lost.pk))
    return lost


def _keep_changed_control(record: dict[str, Any], *, shared: Conversation | None) -> None:
    """Leave out who has control, if that changed since the merge: half of a takeover is none."""
    if shared is None:
        return
    for entry in record["watched"]:
        is_other = (
            entry["model"] == Conversation._meta.label and entry["after"]["control_epoch"] != shared.control_epoch
        )
        if is_other:
            entry["before"] = {name: entry["before"][name] for name in entry["before"].keys() - CONTROL_COLUMNS}


def _delete_events_of_restored(record: dict[str, Any], *, after: int) -> None:
    """Delete the events that say that messages came which had been here before."""
    restored = [entry["row"]["id"] for entry in record["deleted"] if entry["model"] == Message._meta.label]
    if restored:
        mine = Event.objects.filter(id__gt=after, transaction=CurrentTransaction(), type__startswith="message.")
        mine.filter(data__message__in=restored).delete()


def _was(merge: ContactMerge, model: type[Contact | Conversation], column: str) -> Any:
    """Return what a column of the kept row became by the merge."""
    watched = merge.undo["watched"] if merge.undo else []
    return next((entry["after"][column] for entry in watched if entry["model"] == model._meta.label), None)


def _divide(merge: ContactMerge, *, shared: Conversation, keep: Contact, lost: Contact) -> None:
    """Give what came after the merge to whom it came from. `shared` is the conversation as it was before the undo."""
    restored = set(_moved_messages(merge))
    if restored and (conversation := Conversation.objects.filter(contact=lost).first()):
        reindex_messages(list(restored), conversation_id=conversation.pk)
    later = Message.objects.filter(conversation=shared, created_at__gt=merge.decided_at).exclude(pk__in=restored)
    for contact, messages in _owners(later.order_by("said_at", "id"), lost=lost, keep=keep).items():
        conversation = Conversation.objects.filter(contact=contact).first()
        if conversation is not None and conversation.pk == shared.pk:
            _refresh(conversation)
            continue
        if conversation is None:
            address = next((message.address for message in reversed(messages) if message.address), shared.address)
            conversation = Conversation.objects.create(session_id=shared.session_id, contact=contact, address=address)
        _move_later(messages, to=conversation)
        _refresh(conversation)
    _share_control(merge, shared=shared, lost=lost)
    for row in Conversation.objects.filter(contact__in=[keep, lost]):  # replies of another epoch would never leave
        replies = Message.objects.filter(conversation=row, status=Message.Status.QUEUED, control_epoch__isnull=False)
        replies.exclude(control_epoch=row.control_epoch).update(**CANCELLED | {"error": "The contacts were separated."})


def _moved_messages(merge: ContactMerge) -> Iterator[str]:
    for entry in (merge.undo or {})["moved"]:
        if entry["model"] == Message._meta.label and entry["field"] == "conversation_id":
            yield from entry["ids"]


def _owners(messages: Any, *, keep: Contact, lost: Contact) -> dict[Contact, list[Message]]:
    """Return the messages of each contact. What has no address of either belongs to who wrote last."""
    owners: dict[Contact, list[Message]] = {keep: [], lost: []}
    values = {contact: set(contact.aliases.values_list("value", flat=True)) for contact in owners}
    current = keep
    for message in messages:
        named = _names_of(message.address)
        current = next((contact for contact in owners if named & values[contact]), current)
        owners[current].append(message)
    return {contact: messages for contact, messages in owners.items() if messages}


def _names_of(address: str) -> set[str]:
    """Return the values that aliases of an address may have."""
    try:
        parsed = read_address(address) if address else None
    except WrongShape:
        parsed = None  # the Cloud API's business-scoped id, or a group's id
    return {address, *(value for _, value in parsed.aliases)} if parsed else {address} - {""}


def _move_later(messages: list[Message], *, to: Conversation) -> None:
    ids = [message.pk for message in messages]
    Message.objects.filter(pk__in=ids).update(conversation=to)
    Message.objects.filter(pk__in=ids, sender__isnull=False).update(sender=to.contact_id)
    turns = {message.turn_id for message in messages if message.turn_id}
    elsewhere = Message.objects.filter(turn__in=turns).exclude(conversation=to).values("turn")
    Turn.objects.filter(pk__in=turns).exclude(pk__in=elsewhere).update(conversation=to)
    reindex_messages(ids, conversation_id=to.pk)


def _refresh(conversation: Conversation) -> None:
    """Set what follows from a conversation's messages: the time of the latest, and whether an answer is due."""
    messages = Message.objects.filter(conversation=conversation)
    row = Conversation.objects.get(pk=conversation.pk)
    waits = row.control == Conversation.Control.AGENT and messages.filter(status=Message.Status.RECEIVED).exists()
    Conversation.objects.filter(pk=conversation.pk).update(
        last_message_at=messages.aggregate(at=Max("said_at"))["at"], due_at=timezone.now() if waits else None
    )


def _share_control(merge: ContactMerge, *, shared: Conversation, lost: Contact) -> None:
    """Let a change of control since the merge apply to both: a person wins in either."""
    epoch = _was(merge, Conversation, "control_epoch")
    if epoch is None or shared.control_epoch == epoch:
        return
    Conversation.objects.filter(contact=lost).update(
        control=shared.control,
        control_until=shared.control_until,
        control_reason=shared.control_reason,
        controlled_by=shared.controlled_by_id,
        control_epoch=F("control_epoch") + 1,
        due_at=None,
    )
