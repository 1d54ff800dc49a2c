"""Forget a person: delete everything of theirs, in small batches, and redact what stays because it belongs to others.

The contact's row is deleted last. Whatever interrupts it, running it again goes on; what they write meanwhile is
deleted too, and a message after the end makes a new contact.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.contrib.admin.models import LogEntry
from django.core.files.storage import default_storage
from django.db import connection, models, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.idempotency import forget_answers
from messaging import control
from messaging.contacts.locks import lock_contacts
from messaging.maintenance.retention import (
    FIRST_BATCH,
    MAX_BATCH,
    PAUSE_S,
    delete_messages,
    delete_turns,
    files_of,
    in_batches,
    next_size,
)
from messaging.media.files import LIBRARY, files_of_merges
from messaging.models import (
    Contact,
    ContactAlias,
    ContactMerge,
    Conversation,
    Correction,
    Event,
    Fact,
    Media,
    Message,
    Summary,
    ToolCall,
    Turn,
    WebhookAttempt,
    WebhookDelivery,
)
from messaging.people.merges import remove_from_merges
from messaging.people.redaction import (
    corrections_for,
    delete_early_changes,
    delete_early_receipts,
    profiles_that_name,
    record_corrections,
    redact_names,
    redact_numbers,
    redact_profile,
)
from sessions_app.links.catching_up import forget_missed
from whatsapp_agent.errors import AppError, Conflict
from whatsapp_agent.periodic import periodic
from whatsapp_agent.postgres.advisory import try_lock

log = structlog.get_logger(__name__)

# Aliases go last, with the contact: they tell what to redact. Corrections go with the conversation, once reported.
OWN_STEP = (ContactAlias, Conversation, Correction, Message, Turn)


@dataclass(slots=True)
class Receipt:
    """What was deleted, as numbers: it proves that a person was forgotten and says nothing about them."""

    contact: UUID
    session: UUID
    forgotten_at: datetime | None = None
    messages: int = 0
    files: int = 0
    turns: int = 0
    events: int = 0
    other_rows: int = 0
    redacted_rows: int = 0
    summaries_reset: int = 0
    profiles_to_review: list[str] = field(default_factory=list)  # ids: their texts hold a name, which is left to people
    corrections_to_review: list[dict[str, Any]] = field(default_factory=list)  # profile and version of its draft

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forget_contact(contact: Contact) -> Iterator[Receipt]:
    """Delete the person; yield the receipt as it grows, complete at the end. Two at once share the work.

    If it is interrupted, the engine completes it. Raises Conflict if the contact was merged into another one meanwhile.
    """
    request_forgetting(contact=contact)  # before anything is read: from here on nobody merges the contact
    with _lock(contact):
        yield from _forget(contact)


@contextmanager
def _lock(contact: Contact) -> Iterator[bool]:
    """Keep the engine from sharing the work, whose receipts would count a part each; yield whether nobody else does."""
    holder = connection.copy()
    try:
        holder.set_autocommit(False)
        yield try_lock(f"forget:{contact.pk}", holder=holder)
    finally:
        holder.close()


def _forget(contact: Contact) -> Iterator[Receipt]:
    forgetting = _Forgetting(contact)
    for _step in forgetting.run():
        yield forgetting.receipt
    forgetting.receipt.forgotten_at = timezone.now()
    yield forgetting.receipt


class _Forgetting:
    """Each step yields after every small transaction."""

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.conversation = Conversation.objects.filter(contact=contact).first()
        self.receipt = Receipt(contact=contact.pk, session=contact.session_id)
        self.newest_event = 0  # those up to it were looked at
        self.addresses = {*ContactAlias.objects.filter(contact=contact).values_list("value", flat=True), contact.phone}

    def run(self) -> Iterator[None]:
        if self.conversation is not None:
            with suppress(control.ConversationGone):  # nothing is answered meanwhile
                control.mute(conversation=self.conversation, reason="forgotten")
        forget_missed(self.receipt.session, addresses=self.addresses)  # at the end, too, if it comes to that
        self.receipt.other_rows += delete_early_changes(self.contact)
        yield from self._messages_in_groups()
        yield from self._own_messages()
        yield from self._turns()
        yield from self._references()
        yield from self._events()
        yield from self._staff_log()
        self.receipt.redacted_rows += forget_answers(self._ids())
        yield from self._count_redacted(redact_numbers(self.contact))
        self.receipt.redacted_rows += redact_profile(self.contact)
        self.receipt.profiles_to_review = profiles_that_name(self.contact)
        self.receipt.other_rows += delete_early_receipts(self.contact)
        while not self._delete_contact():
            yield from self._own_messages()  # written meanwhile
            yield from self._messages_in_groups()
            yield from self._events()

    def _ids(self) -> list[str]:
        """Return what tells the person in a stored response."""
        values = self.contact.aliases.values_list("value", flat=True)
        rows = [str(row.pk) for row in (self.contact, self.conversation) if row]
        return [*rows, *(value.partition("@")[0] for value in values)]

    def _own_messages(self) -> Iterator[None]:
        if self.conversation is not None:
            yield from self._delete_messages(Message.objects.filter(conversation=self.conversation))

    def _messages_in_groups(self) -> Iterator[None]:
        """Delete what they wrote in groups, and what came of it: answers, tool calls, command runs, summaries."""
        theirs = Message.objects.filter(sender=self.contact)
        if self.conversation is not None:
            theirs = theirs.exclude(conversation=self.conversation)
        for group_id in list(theirs.values_list("conversation", flat=True).distinct()):
            here = theirs.filter(conversation=group_id)
            since = here.order_by("said_at").values_list("said_at", flat=True).first() or timezone.now()
            record_corrections(self.contact, group=group_id, since=since)
            turns = list(here.exclude(turn=None).values_list("turn", flat=True).distinct())
            yield from self._delete_rows(ToolCall.objects.filter(turn__conversation=group_id, created_at__gte=since))
            for model in _models_with(Turn, Conversation):
                if model is not Message:
                    rows = model._default_manager.filter(conversation=group_id, created_at__gte=since)
                    yield from self._delete_rows(rows)
            answers = Message.objects.filter(conversation=group_id, direction=Message.Direction.OUTBOUND)
            yield from self._delete_messages(answers.filter(turn__in=turns))
            yield from self._count_redacted(redact_names(self.contact, group=group_id))
            yield from self._empty_webhook_answers(group_id)
            self._reset_summary(group_id)
            yield from self._delete_messages(here)  # last: they tell an interrupted run which groups there are
            self._reset_summary(group_id)
            self.receipt.summaries_reset += 1
            yield

    def _count_redacted(self, counts: Iterator[int]) -> Iterator[None]:
        for count in counts:
            self.receipt.redacted_rows += count
            yield

    @transaction.atomic
    def _reset_summary(self, group_id: UUID) -> None:
        """Delete the group's summaries: the next turn compacts what is left of its history again."""
        if Conversation.objects.select_for_update().filter(pk=group_id).exists():
            Summary.objects.filter(conversation=group_id).delete()
            Conversation.objects.filter(pk=group_id).update(
                summary="", summary_until=None, summary_version=F("summary_version") + 1, attention_note=""
            )

    def _turns(self) -> Iterator[None]:
        for count in in_batches(lambda: Turn.objects.filter(conversation=self.conversation), delete_turns):
            self.receipt.turns += count
            yield

    def _references(self) -> Iterator[None]:
        """Delete the rows that refer to the conversation or the contact, in whichever app."""
        yield from self._merges()
        for row in filter(None, (self.conversation, self.contact)):
            for relation in row._meta.get_fields(include_hidden=True):
                if isinstance(relation, models.ForeignObjectRel) and relation.related_model not in OWN_STEP:
                    manager: Any = relation.related_model._default_manager
                    yield from self._delete_rows(manager.filter(**{relation.field.name: row}))

    def _merges(self) -> Iterator[None]:
        """Delete the merges of the contact, and the files that only taking them back would restore; remove the person
        from merges of groups."""
        for files in remove_from_merges(self.contact):
            self.receipt.files += files
            self.receipt.redacted_rows += 1
            yield
        merges = ContactMerge.objects.filter(Q(contact=self.contact) | Q(merged_id=self.contact.pk))
        for name in files_of_merges(merges):  # before the rows, as in `_delete_messages`
            if not name.startswith(f"{LIBRARY}/"):
                default_storage.delete(name)
                self.receipt.files += 1
        yield from self._delete_rows(merges)

    def _events(self) -> Iterator[None]:
        """Delete the conversation's events with their deliveries."""
        if self.conversation is None:
            return
        newest = Event.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        rows = Event.objects.filter(conversation_id=self.conversation.pk, pk__gt=self.newest_event)
        ids = list(rows.values_list("pk", flat=True))  # not in a transaction: it reads the whole table
        self.newest_event = newest
        start, size = 0, FIRST_BATCH
        while batch := ids[start : start + size]:
            started_at = time.monotonic()
            with transaction.atomic():
                WebhookAttempt.objects.filter(delivery__event__in=batch).delete()
                WebhookDelivery.objects.filter(event__in=batch).delete()
                self.receipt.events += Event.objects.filter(pk__in=batch).delete()[0]
            start += size
            size = next_size(size, took_s=time.monotonic() - started_at)
            yield
            time.sleep(PAUSE_S)

    def _empty_webhook_answers(self, group_id: UUID) -> Iterator[None]:
        """Empty what webhook endpoints have answered to the group's events: it may repeat what the person wrote."""
        rows = WebhookAttempt.objects.filter(delivery__event__conversation_id=group_id)
        ids = list(rows.exclude(answer="").values_list("pk", flat=True))  # not in a transaction, as in `_events`
        for start in range(0, len(ids), MAX_BATCH):
            batch = WebhookAttempt.objects.filter(pk__in=ids[start : start + MAX_BATCH])
            self.receipt.redacted_rows += batch.update(answer="")
            yield

    def _staff_log(self) -> Iterator[None]:
        """Delete what Django's admin has logged about the person: entries hold the name of what was changed."""
        mentions = Q(object_id__in=[str(row.pk) for row in (self.contact, self.conversation) if row])
        for name in {str(self.contact), self.contact.name, self.contact.bridge_name, self.contact.phone} - {""}:
            of_ours = Q(content_type__app_label__in=["messaging", "commands"])
            mentions |= of_ours & (Q(object_repr__icontains=name) | Q(change_message__icontains=name))
        yield from self._delete_rows(LogEntry.objects.filter(mentions))

    @transaction.atomic
    def _delete_contact(self) -> bool:
        """Delete contact and conversation; return False if messages have come meanwhile."""
        lock_contacts(self.contact.pk)
        conversation = Conversation.objects.select_for_update().filter(contact=self.contact).first()
        messages = Message.objects.order_by()
        if messages.filter(sender=self.contact).exists() or messages.filter(conversation=conversation).exists():
            self.conversation = conversation  # two questions: an index answers each, and none answers both
            return False
        self.receipt.corrections_to_review = corrections_for(self.contact)
        if conversation is not None:
            conversation.delete()
            Event.objects.filter(conversation_id=conversation.pk, pk__gt=self.newest_event).delete()
        if Contact.objects.filter(pk=self.contact.pk).delete()[0]:
            forget_missed(self.receipt.session, addresses=self.addresses)
            review = {name: getattr(self.receipt, name) for name in ("profiles_to_review", "corrections_to_review")}
            data = {"contact": str(self.receipt.contact), **review}
            Event.objects.create(type="contact.forgotten", session_id=self.receipt.session, data=data)
        return True

    def _delete_messages(self, rows: QuerySet[Message]) -> Iterator[None]:
        def delete(ids: list[Any]) -> None:
            files = files_of(Media.objects.filter(message__in=ids))
            for name in files:  # before the rows: a process that dies in between leaves no file without a row
                default_storage.delete(name)
            self.receipt.files += len(files)
            Fact.objects.filter(message__in=ids).delete()
            delete_messages(ids)

        for count in in_batches(lambda: rows, delete):
            self.receipt.messages += count
            yield

    def _delete_rows(self, rows: QuerySet[Any]) -> Iterator[None]:
        def delete(ids: list[Any]) -> None:
            rows.model._default_manager.filter(pk__in=ids).delete()

        for count in in_batches(lambda: rows, delete):
            self.receipt.other_rows += count
            yield


def _models_with(*targets: type[models.Model]) -> list[Any]:
    """Return the models that refer to all of these."""
    referring = [
        {
            relation.related_model
            for relation in target._meta.get_fields(include_hidden=True)
            if isinstance(relation, models.ForeignObjectRel)
        }
        for target in targets
    ]
    return sorted(set.intersection(*referring), key=lambda model: model._meta.label)


# --- on request of staff ------------------------------------------------------------------------------------------


def request_forgetting(*, contact: Contact) -> None:
    """Let the engine forget the contact, in the background: a long history takes minutes.

    Raises Conflict if the contact was merged into another one meanwhile.
    """
    found = Contact.objects.filter(pk=contact.pk)
    if found.filter(forget_requested_at=None).update(forget_requested_at=timezone.now()) or found.exists():
        return
    if ContactMerge.objects.filter(merged_id=contact.pk, status=ContactMerge.Status.MERGED).exists():
        raise Conflict(_("This contact was merged into another one meanwhile. Forget that one."))


@periodic(every_s=5, may_block=True)
def forget_requested() -> None:
    """Forget the contacts that staff asked to forget; one that was interrupted is continued.

    What `manage.py forget_contact` is doing at this moment is left to it.
    """
    for contact in Contact.objects.exclude(forget_requested_at=None).select_related("session")[:20]:
        started_at = time.monotonic()
        receipt = None
        try:
            with _lock(contact) as is_alone:
                for receipt in _forget(contact) if is_alone else ():  # noqa: B007  the last one is whole
                    pass
        except AppError as exc:
            log.warning("contact_forget_failed", contact=str(contact.pk), reason=exc.code)
            continue
        if receipt is None:
            continue
        log.info("contact_forgotten", **receipt.as_dict(), took_s=round(time.monotonic() - started_at, 1))
