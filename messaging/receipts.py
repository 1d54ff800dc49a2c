"""What changes a stored message: receipts, edits and deletions. Everything may come twice, late, or too early."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import Case, Exists, ExpressionWrapper, F, Func, IntegerField, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext_noop

from agent.bridges import ADAPTERS
from agent.bridges.addresses import is_own
from agent.bridges.capabilities import Capability
from agent.bridges.events import (
    ChatAddress,
    Kind,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Receipt,
    StatusChanged,
)
from messaging.contacts.lookup import alias_spellings
from messaging.models import ContactAlias, Conversation, EarlyChange, EarlyReceipt, Message
from messaging.models.messages import MessageQuerySet
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import register_session
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

# From where each receipt may move a message: forward only, and `failed` only before anyone has seen it arrive.
MOVES_FROM: dict[str, list[str]] = {
    Receipt.SENT.value: ["queued", "sending", "unconfirmed"],
    Receipt.DELIVERED.value: ["queued", "sending", "unconfirmed", "sent", "failed"],
    Receipt.READ.value: ["queued", "sending", "unconfirmed", "sent", "failed", "delivered"],
    Receipt.FAILED.value: ["queued", "sending", "unconfirmed", "sent"],
}
PAYMENT_CODE = "payment"  # of a message that was not delivered because the account has no payment method
PAYMENT_NOTE = gettext_noop("Meta delivers no more answers: the business account needs a payment method (code 131042).")
EARLY_FOR = timedelta(days=1)  # how long what came before its message waits for it
ELSEWHERE_FOR = timedelta(days=7)  # a change whose message is in another chat, perhaps of the same person
RECEIPT_AFTER = timedelta(minutes=5)  # a phone that is on reports a message as delivered within seconds
WITH_RECEIPTS = [kind for kind, adapter in ADAPTERS.items() if Capability.RECEIPTS in adapter.capabilities]
ECHO_WITHIN = timedelta(minutes=10)  # of a send, by two clocks; the same text at another time is a person's
COMPARED = {"poll": ("name", "options"), "menu": ("rows",)}  # in the details of a send and of its echo
STORED_AS = {Receipt.PLAYED: Receipt.READ}
TIME_OF = {Receipt.SENT.value: "sent_at", Receipt.DELIVERED.value: "delivered_at", Receipt.READ.value: "read_at"}


def without_receipt() -> Q:
    """Return the condition of messages that were sent minutes ago and that nobody has reported as delivered since,
    although their bridge reports it: WhatsApp may have dropped them. `lacks_receipt` says the same of one message."""
    waiting = Q(status=Message.Status.SENT, direction=Message.Direction.OUTBOUND, sent_at__lt=Now() - RECEIPT_AFTER)
    of_others = Q(author=Message.Author.PHONE) | Q(kind=Message.Kind.REACTION)  # reported by nobody
    return waiting & Q(session__bridge__kind__in=WITH_RECEIPTS) & ~of_others


def lacks_receipt(message: Message, *, bridge_kind: str) -> bool:
    return (
        message.status == Message.Status.SENT
        and message.direction == Message.Direction.OUTBOUND
        and message.sent_at is not None
        and message.sent_at < timezone.now() - RECEIPT_AFTER
        and bridge_kind in WITH_RECEIPTS
        and message.author != Message.Author.PHONE
        and message.kind != Message.Kind.REACTION
    )


def record_status(*, bridge: Bridge, event: StatusChanged) -> None:
    """Move a message's status forward. A receipt of a message we do not know yet waits until we do."""
    if event.status == Receipt.PENDING:
        return  # the bridge has it, which the answer to our send says as well
    session = register_session(bridge=bridge, name=event.session)
    at = event.at or timezone.now()
    status = STORED_AS.get(event.status, event.status).value
    error_code = PAYMENT_CODE if event.is_payment else event.error_meaning
    known = _find_sent(session.pk, event.provider_message_id, chat=event.chat)
    if not known.exists():
        EarlyReceipt.objects.get_or_create(
            session=session,
            provider_message_id=event.provider_message_id,
            status=status,
            defaults={
                "at": at,
                "error": event.error[:300],
                "error_code": error_code[:50],
                "pricing": event.pricing,
            },
        )
        known = known.all()  # the send's answer may have come between the two: look once more
        if not known.exists():
            return
    _apply_receipt(known=known, status=status, at=at, error=event.error, error_code=error_code, pricing=event.pricing)


def _find_sent(session_id: UUID, provider_message_id: str, *, chat: ChatAddress | None) -> MessageQuerySet:
    """Return the outbound messages a receipt is about.

    Where the chat is not given and several have this id, it is about what we sent: a message typed on the phone may go
    to many chats under one id.
    """
    sent = Message.objects.filter(
        session=session_id, provider_message_id=provider_message_id, direction=Message.Direction.OUTBOUND
    )
    if chat is not None:
        return _within_chat(sent, session_id, _addresses(chat))
    return sent if sent.count() < 2 else sent.exclude(author=Message.Author.PHONE)


def _within_chat(messages: MessageQuerySet, session_id: UUID, addresses: list[str]) -> MessageQuerySet:
    contacts = ContactAlias.objects.filter(session=session_id, value__in=addresses).values("contact")
    return messages.filter(conversation__contact__in=contacts)


def _addresses(who: ChatAddress | None) -> list[str]:
    return [value for kind, alias in who.aliases for value in alias_spellings(kind, alias)] if who else []


def _apply_receipt(
    *,
    known: Any,
    status: str,
    at: datetime,
    error: str = "",
    error_code: str = "",
    pricing: dict[str, Any] | None = None,
) -> None:
    if pricing is not None:
        known.filter(direction=Message.Direction.OUTBOUND).update(pricing=pricing)
    changes: dict[str, Any] = {"status": status}
    if status in TIME_OF:
        changes |= {TIME_OF[status]: at, "error_code": "", "error": ""}
    else:
        changes |= {"error_code": error_code or "failed_at_whatsapp", "error": error[:300]}
    moved = known.filter(direction=Message.Direction.OUTBOUND, status__in=MOVES_FROM[status]).update(**changes)
    if moved and status == Receipt.FAILED.value:
        note = gettext_noop("WhatsApp did not deliver a message.")
        if error_code in {"restricted", PAYMENT_CODE}:  # of our account: every later message fails in the same way
            note = f"WhatsApp delivers nothing from this number at present: {error[:200]}"
            if error_code == PAYMENT_CODE:
                note = PAYMENT_NOTE
            log.error("account_restricted", code=error_code, message=str(known.values_list("pk", flat=True).first()))
        Conversation.objects.filter(pk__in=known.values("conversation_id")).ask_for_attention(
            Conversation.Attention.NOT_SENT, note=note
        )


def _apply_early(receipt: EarlyReceipt, *, known: Any) -> None:
    _apply_receipt(
        known=known,
        status=receipt.status,
        at=receipt.at,
        error=receipt.error,
        error_code=receipt.error_code,
        pricing=receipt.pricing,
    )


@transaction.atomic
def record_sent(*, message_id: UUID, provider_message_id: str, at: datetime | None = None) -> None:
    """Record that the bridge accepted a message under this id, and apply the receipts that came earlier.

    `messaging.outbox.MARK_SENT` does the same in one round trip.
    """
    _hold_conversation_of(message_id)  # before the message's row, as everywhere
    message = Message.objects.select_for_update(no_key=True).get(pk=message_id)
    # An echo may have come first and found nothing to settle; it was this message all along.
    Message.objects.filter(session_id=message.session_id, provider_message_id=provider_message_id).exclude(
        pk=message_id
    ).filter(
        Q(conversation=message.conversation_id) | Q(text=message.text, kind=message.kind),
        direction=Message.Direction.OUTBOUND,
        author=Message.Author.PHONE,
    ).delete()
    known = Message.objects.filter(pk=message_id)
    now = timezone.now()
    at = min(at or now, now)
    earlier_try = None if message.status == Message.Status.QUEUED else message.unconfirmed_at  # None: it was that one
    known.update(
        provider_message_id=provider_message_id, sent_at=Coalesce("sent_at", Value(at)), unconfirmed_at=earlier_try
    )
    _apply_receipt(known=known, status=Receipt.SENT.value, at=message.sent_at or at)
    early = EarlyReceipt.objects.filter(session_id=message.session_id, provider_message_id=provider_message_id)
    for receipt in early.order_by("at", "id"):
        _apply_early(receipt, known=known)
    early.delete()


def find_unsettled_send(conversation: Conversation, event: MessageReceived) -> Message | None:
    """Return the send in this conversation that this may be the echo of; None if there is none."""
    unsettled = unsettled_sends(event).filter(conversation=conversation)
    is_queued = Case(When(status=Message.Status.QUEUED, then=1), default=0)
    # What is being sent before what is unconfirmed, and that before what is queued again.
    return unsettled.order_by(is_queued, "status", "created_at", "id").first()


def settle_earlier_try(conversation: Conversation, event: MessageReceived) -> bool:
    """Return whether this is the echo of a try that may have arrived, of a message that was sent again since.

    True once for each such message. The text may have been edited after that.
    """
    if event.is_typed:
        return False
    same_text = same_content(event) | Q(earlier_texts__contains=[{"text": event.text}], kind=event.kind.value)
    tried = Message.objects.filter(
        same_text, conversation=conversation, unconfirmed_at__range=_echo_range(event.sent_at)
    ).first()
    return tried is not None and bool(Message.objects.filter(pk=tried.pk).update(unconfirmed_at=None))


def _echo_range(at: datetime | None) -> tuple[datetime, datetime]:
    written_at = at or timezone.now()
    return written_at - ECHO_WITHIN, written_at + ECHO_WITHIN


def unsettled_sends(event: MessageReceived) -> MessageQuerySet:
    """Return the sends that this may be the echo of, with the same text at the same time: being sent, unconfirmed, or
    queued again after that.

    The caller narrows them to the conversation.
    """
    if event.is_typed:
        return Message.objects.none()
    near = _echo_range(event.sent_at)
    statuses = [Message.Status.SENDING, Message.Status.UNCONFIRMED]
    same: dict[str, Any] = {}
    if event.kind is Kind.REACTION:  # WAHA does not name the id of one that it took: its echo does
        statuses.append(Message.Status.SENT)
        same = {f"details__{name}": event.details.get(name) for name in ("emoji", "target_id")}
    # An echo may name the kind otherwise than we did: a voice note for an audio file.
    return Message.objects.filter(
        same_content(event, any_kind=event.is_echo and event.kind is not Kind.REACTION),
        Q(status__in=statuses, sending_at__range=near) | Q(status=Message.Status.QUEUED, unconfirmed_at__range=near),
        direction=Message.Direction.OUTBOUND,
        provider_message_id=None,
        **same,
    )


def same_content(event: MessageReceived, *, any_kind: bool = False) -> Q:
    """Return the condition that a message has the content of an echo, and its kind.

    Polls and lists come back as WhatsApp has them, without our text and kind.
    """
    for name, parts in COMPARED.items():
        if isinstance(choices := event.details.get(name), dict):
            return Q(kind=Kind.INTERACTIVE.value, **{f"details__{name}__{part}": choices.get(part) for part in parts})
    return Q(text=event.text) if any_kind else Q(text=event.text, kind=event.kind.value)


def record_full_id(*, event: MessageReceived, session_id: UUID) -> None:
    """Store the id that the echo of our message in a group has: it names us too, as the answer to the send may not."""
    if not (event.full_id and event.chat.is_group):
        return
    echoed = Message.objects.filter(
        session=session_id, provider_message_id=event.provider_message_id, direction=Message.Direction.OUTBOUND
    )
    for message in echoed.exclude(details__has_key="full_id").exclude(author=Message.Author.PHONE).only("details"):
        message.details = message.details | {"full_id": event.full_id}
        message.save(update_fields=["details"])


def _hold_conversation_of(message_id: UUID) -> None:
    holding = Conversation.objects.select_for_update(of=["self"]).filter(messages=message_id)
    if not list(holding):  # it was merged into another while we waited for it, and has taken the message along
        list(holding.all())


@periodic(every_s=5)
def settle_early_receipts() -> None:
    """Apply receipts that arrived together with the id of their message, and delete expired ones."""
    messages = Message.objects.filter(
        session=OuterRef("session"),
        provider_message_id=OuterRef("provider_message_id"),
        direction=Message.Direction.OUTBOUND,
    )
    for receipt in EarlyReceipt.objects.filter(Exists(messages)).order_by("at", "id")[:500]:
        known = _find_sent(receipt.session_id, receipt.provider_message_id, chat=None)
        _apply_early(receipt, known=known)
        receipt.delete()
    EarlyReceipt.objects.filter(created_at__lt=timezone.now() - EARLY_FOR).delete()


# --- edits and deletions ------------------------------------------------------------------------------------------

MAX_EARLIER_TEXTS = 20
# Bridges deliver edits twice and in any order. Of two with the same time one wins, whichever comes first.
EDIT_MESSAGES = """
UPDATE messaging_message
   SET text = %(text)s, edited_at = %(at)s,
       earlier_texts = CASE WHEN text <> %(text)s AND jsonb_array_length(earlier_texts) < %(max_texts)s THEN
           earlier_texts || jsonb_build_object('text', text, 'until', %(at)s::timestamptz) ELSE earlier_texts END
 WHERE id = ANY(%(ids)s::uuid[]) AND (text <> %(text)s OR %(has_time)s)
   AND (%(text)s <> '' OR kind <> 'text')  -- a caption can be taken away, a text only be deleted
   AND (edited_at IS NULL OR edited_at < %(at)s OR (edited_at = %(at)s AND text COLLATE "C" < %(text)s))
"""


def record_edit(*, bridge: Bridge, event: MessageEdited) -> None:
    """Store the text that the writer edited; the model sees the new one, staff those before too.

    Ignores an edit older than the last. One whose message is not stored yet waits for it.
    """
    ids = _find_target(bridge=bridge, event=event)
    if ids is None:
        _record_early_change(bridge=bridge, event=event, at=event.at, text=event.text)
    else:
        apply_edit(ids, text=event.text, at=event.at)


@transaction.atomic
def apply_edit(ids: list[UUID], *, text: str, at: datetime | None = None) -> None:
    """Store a new text of messages, beside the one before, unless they were edited later. Safe to run twice.

    `at` is when it was edited; None: now, and an edit to the text that they have is ignored.
    """
    _make_drafts_stale(Message.objects.filter(pk__in=ids))
    now = timezone.now()
    values: dict[str, Any] = {"at": min(at or now, now), "has_time": at is not None, "max_texts": MAX_EARLIER_TEXTS}
    with connection.cursor() as cursor:
        cursor.execute(EDIT_MESSAGES, {"ids": ids, "text": text} | values)


def record_revocation(*, bridge: Bridge, event: MessageRevoked) -> None:
    """Mark a message that its writer revoked: still stored, never answered, not shown to the model again.

    A revocation whose message is not stored yet waits for it.
    """
    ids = _find_target(bridge=bridge, event=event)
    if ids is None:
        _record_early_change(bridge=bridge, event=event)
    else:
        apply_revocation(ids)


@transaction.atomic
def apply_revocation(ids: list[UUID]) -> None:
    revoked = Message.objects.filter(pk__in=ids)
    _make_drafts_stale(revoked)
    revoked.update(revoked_at=Coalesce("revoked_at", timezone.now()))
    revoked.filter(status=Message.Status.RECEIVED).update(
        status=Message.Status.HANDLED, unanswered=Message.Unanswered.KIND
    )


def _find_target(*, bridge: Bridge, event: MessageEdited | MessageRevoked) -> list[UUID] | None:
    """Return the ids of the messages that an event changes; None if there is none yet."""
    session = WhatsAppSession.objects.filter(bridge=bridge, name=event.session).first()
    if session is None:
        return None
    ids = _find_changed(session.pk, event.target_id, chat=_addresses(event.chat))
    if ids is None and _is_in_our_chat(event, session=session):
        return _find_changed(session.pk, event.target_id, chat=[])
    return ids


def _is_in_our_chat(event: MessageEdited | MessageRevoked, *, session: WhatsAppSession) -> bool:
    """Return whether the chat that is named is ourselves: as its writer sees it, who is not named then."""
    return event.chat is not None and is_own(event.chat, phone=session.phone, lid=session.lid)


def _find_changed(session_id: UUID, provider_message_id: str, *, chat: list[str]) -> list[UUID] | None:
    """Where the chat is not known and several have a message with this id, none of them is changed.

    Nor is one in a group then, whose members see the ids of others.
    """
    found = Message.objects.filter(session=session_id, provider_message_id=provider_message_id)
    found = _within_chat(found, session_id, chat) if chat else found
    rows = list(found.values_list("pk", "conversation__contact__is_group"))
    if not rows:
        return None
    is_in_doubt = not chat and (len(rows) > 1 or rows[0][1])
    return [] if is_in_doubt else [pk for pk, _ in rows]


def _record_early_change(
    *, bridge: Bridge, event: MessageEdited | MessageRevoked, at: datetime | None = None, **what: Any
) -> None:
    now = timezone.now()
    session = register_session(bridge=bridge, name=event.session)
    is_in_our_chat = _is_in_our_chat(event, session=session)
    place = {
        "session": session,
        "provider_message_id": event.target_id,
        "chat": [] if is_in_our_chat else _addresses(event.chat),
        "sender": [] if is_in_our_chat else _addresses(event.sender),
        "is_revoked": "text" not in what,
    }
    known = EarlyChange.objects.filter(**place, **({"at": at} if at else {})).order_by("-at", "-id")
    change = known.first()
    if change is None or change.text != what.get("text", ""):  # else a bridge reports or lists the last one again
        change = EarlyChange.objects.create(**place, **what, at=min(at or now, now))
    _apply_early_change(change)  # the message may have come between the two


def _apply_early_change(change: EarlyChange) -> None:
    ids = _find_changed(change.session_id, change.provider_message_id, chat=change.chat)
    if ids is None:
        return
    if change.is_revoked:
        apply_revocation(ids)
    else:
        apply_edit(ids, text=change.text, at=change.at)
    change.delete()


def apply_early_changes(*, session_id: UUID, provider_message_id: str) -> None:
    """Apply the edits and deletions that came before their message, which has just been stored."""
    early = EarlyChange.objects.filter(session=session_id, provider_message_id=provider_message_id)
    for change in early.order_by("at", "id"):
        _apply_early_change(change)


@periodic(every_s=5)
def settle_early_changes() -> None:
    """Apply the edits and deletions that arrived together with their message, and delete expired ones.

    The message may be in another chat with this id, or in the same one under another address (phone, hidden number)
    that is not known as the same person's yet: such a change waits longer, and is applied once it is.
    """
    messages = Message.objects.filter(session=OuterRef("session"), provider_message_id=OuterRef("provider_message_id"))
    place = Func(OuterRef("chat"), F("conversation__contact__aliases__value"), function="array_position")
    here = messages.annotate(place=ExpressionWrapper(place, IntegerField())).filter(place__isnull=False)
    for change in EarlyChange.objects.filter(Exists(here) | Q(Exists(messages), chat=[])).order_by("at", "id")[:500]:
        _apply_early_change(change)
    now = timezone.now()
    EarlyChange.objects.filter(~Exists(messages), created_at__lt=now - EARLY_FOR).delete()
    EarlyChange.objects.filter(created_at__lt=now - ELSEWHERE_FOR).delete()


def _make_drafts_stale(changed: MessageQuerySet) -> None:
    """Lock the conversations of messages; where one waits for its answer, a turn under way starts again."""
    conversations = Conversation.objects.filter(pk__in=list(changed.values_list("conversation_id", flat=True)))
    list(conversations.select_for_update().order_by("pk").values_list("pk"))
    waiting = changed.filter(status=Message.Status.RECEIVED).values("conversation_id")
    conversations.filter(pk__in=waiting).update(inbound_count=F("inbound_count") + 1)
