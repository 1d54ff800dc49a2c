"""Record calls: an event for each status, and one message a call, so that people and the model see it among others.

Everything may come twice and in any order. No turn follows from a call; a missed one may be answered by a text.
"""

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Greatest
from django.utils import timezone

from agent.bridges import ADAPTERS
from agent.bridges.events import CallChanged, CallStatus
from messaging import control
from messaging.contacts.lookup import resolve_contact, resolve_conversation
from messaging.contacts.recycled import without_former_phone
from messaging.control import ConversationGone
from messaging.events.types import CALL_CHANGED
from messaging.models import CallEvent, Contact, Conversation, Event, Message
from messaging.outbound import send_text
from sessions_app.models import Bridge
from sessions_app.services import register_session
from whatsapp_agent.errors import AppError
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_RINGING_TIME = timedelta(seconds=60)
WITHOUT_END = [kind for kind, adapter in ADAPTERS.items() if not adapter.reports_end_of_calls]
LOOKBACK = timedelta(days=1)  # a ringing call of which nothing more was heard
# Of two statuses of a call the later one here is shown, whichever came first. Every call ends.
ORDER = [CallStatus.RINGING, CallStatus.ENDED, CallStatus.MISSED, CallStatus.ACCEPTED, CallStatus.REJECTED]


@transaction.atomic
def record_call(*, bridge: Bridge, event: CallChanged) -> None:
    """Record a status of a call, once. A call that nobody picked up is missed, whatever the bridge calls its end."""
    session = register_session(bridge=bridge, name=event.session)
    chat, caller = (without_former_phone(session=session, address=each) for each in (event.chat, event.sender))
    contact = resolve_contact(session=session, address=chat)
    sender = None if event.outbound else resolve_contact(session=session, address=caller)
    conversation = resolve_conversation(contact=contact, address=chat.address, at=event.at)
    conversation = control.lock_conversation(conversation.pk)
    at = event.at or timezone.now()
    if not _add_event(conversation, call_id=event.call_id, status=event.status, at=at):
        return
    message = _store_message(conversation, event, sender=sender)
    _write_to_feed(message, status=event.status)
    if _has_ended(event) and not _was_picked_up(conversation, event.call_id):
        _record_missed(message, at=at, was_reported=event.status == CallStatus.MISSED)


def _has_ended(event: CallChanged) -> bool:
    """Return whether it is an end that nobody may have picked up before; `duration_s` is given where somebody did."""
    return not event.outbound and event.status in {CallStatus.MISSED, CallStatus.ENDED} and event.duration_s is None


def _was_picked_up(conversation: Conversation, call_id: str) -> bool:
    statuses = CallEvent.objects.filter(session=conversation.session_id, provider_call_id=call_id)
    return statuses.filter(status__in=[CallStatus.ACCEPTED, CallStatus.REJECTED]).exists()


def _record_missed(message: Message, *, at: datetime, was_reported: bool) -> None:
    """Record that nobody picked up and queue the profile's text, both once for a call. The conversation is locked."""
    call, conversation = message.details["call"], message.conversation
    _set_status(message, CallStatus.MISSED)
    if not was_reported:
        if not _add_event(conversation, call_id=call["id"], status=CallStatus.MISSED, at=at):
            return
        _write_to_feed(message, status=CallStatus.MISSED)
    _show_again(conversation)
    if not call.get("is_offline") and not call.get("is_group"):
        _answer(conversation, at=at)


def _record_unknown_end(message: Message, *, at: datetime) -> None:
    """Record that a call has ended of which the bridge does not report whether somebody picked it up."""
    if _add_event(message.conversation, call_id=message.details["call"]["id"], status=CallStatus.ENDED, at=at):
        _set_status(message, CallStatus.ENDED)
        _write_to_feed(message, status=CallStatus.ENDED)
        _show_again(message.conversation)


def _show_again(conversation: Conversation) -> None:
    Conversation.objects.filter(pk=conversation.pk).update(
        unread_count=F("unread_count") + 1, snoozed_until=None, done_at=None, done_reason=""
    )


def _answer(conversation: Conversation, *, at: datetime) -> None:
    """Queue the profile's text, if it has one and the agent would answer a message from there.

    It leaves under the present control: a person who takes over meanwhile cancels it.
    """
    profile = conversation.session.agent_profile
    text = profile.missed_call_text.strip()
    is_old = at < timezone.now() - timedelta(seconds=profile.max_answer_age_s)
    if not text or is_old or conversation.contact.is_group:
        return
    if conversation.control != Conversation.Control.AGENT or not conversation.is_answered:
        return
    try:
        with transaction.atomic():
            send_text(
                conversation=conversation,
                text=text,
                author=Message.Author.AGENT,
                control_epoch=conversation.control_epoch,
            )
    except AppError as exc:  # the session is not connected, the window is closed
        log.info("missed_call_not_answered", conversation=str(conversation.pk), code=exc.code)


@periodic(every_s=5)
def find_missed_calls() -> int:
    """End calls that rang for MAX_RINGING_TIME and of which nothing more was heard; return how many.

    Only where the bridge does not report that a caller gave up. They were missed, unless the bridge would not report
    that somebody picked them up either. The Cloud API reports the end of each call, and nothing when one is picked up:
    what rings there for long may be a conversation.
    """
    now = timezone.now()
    known_end = CallEvent.objects.filter(session=OuterRef("session"), provider_call_id=OuterRef("provider_call_id"))
    ringing = CallEvent.objects.filter(
        status=CallStatus.RINGING,
        recorded_at__range=(now - LOOKBACK, now - MAX_RINGING_TIME),
        session__bridge__kind__in=WITHOUT_END,
    )
    unended = ringing.exclude(Exists(known_end.exclude(status=CallStatus.RINGING))).order_by("recorded_at")
    return sum(_record_unended(call) for call in unended[:200])


@transaction.atomic
def _record_unended(call: CallEvent) -> bool:
    try:
        conversation = control.lock_conversation(call.conversation_id)
    except ConversationGone:
        return False
    statuses = CallEvent.objects.filter(session=call.session_id, provider_call_id=call.provider_call_id)
    message = Message.objects.filter(
        conversation=conversation,
        provider_message_id=_message_id(call.provider_call_id),
        direction=Message.Direction.INBOUND,
    ).first()
    if message is None or statuses.exclude(pk=call.pk).exists():
        return False  # we called, or its end came at this moment
    message.conversation = conversation
    if message.details["call"].get("may_be_accepted"):
        _record_unknown_end(message, at=call.at)
    else:
        _record_missed(message, at=call.at, was_reported=False)
    return True


def _message_id(call_id: str) -> str:
    return f"call:{call_id}"[:255]


def _add_event(conversation: Conversation, *, call_id: str, status: CallStatus, at: datetime) -> bool:
    """Record a status; return False if it is recorded already."""
    _, is_new = CallEvent.objects.get_or_create(
        session_id=conversation.session_id,
        provider_call_id=call_id,
        status=status.value,
        defaults={"conversation": conversation, "at": at},
    )
    return is_new


def _write_to_feed(message: Message, *, status: CallStatus) -> None:
    call = message.details["call"]
    data = {
        "session": str(message.session_id),
        "conversation": str(message.conversation_id),
        "call": call["id"],
        "status": status.value,
        "direction": message.direction,
        "is_video": call["is_video"],
        "duration_s": call.get("duration_s"),
    }
    Event.objects.create(
        type=CALL_CHANGED.name, session_id=message.session_id, conversation_id=message.conversation_id, data=data
    )


def _store_message(conversation: Conversation, event: CallChanged, *, sender: Contact | None) -> Message:
    """Return the message of the call, with its newest status."""
    now = timezone.now()
    written_at = min(event.at or now, now)
    call: dict[str, Any] = {"id": event.call_id, "status": event.status.value, "is_video": event.is_video}
    call |= {name: True for name in ("is_group", "is_offline") if getattr(event, name)}
    if not event.reports_acceptance:
        call["may_be_accepted"] = True
    if event.duration_s is not None:
        call["duration_s"] = event.duration_s
    values: dict[str, Any] = (
        {"direction": Message.Direction.OUTBOUND, "author": Message.Author.PHONE, "status": Message.Status.SENT}
        if event.outbound
        else {
            "direction": Message.Direction.INBOUND,
            "author": Message.Author.CONTACT,
            "status": Message.Status.HANDLED,
            "unanswered": Message.Unanswered.KIND,
            "sender": sender,
        }
    )
    message, is_new = Message.objects.get_or_create(
        conversation=conversation,
        provider_message_id=_message_id(event.call_id),
        defaults=values
        | {
            "session_id": conversation.session_id,
            "kind": Message.Kind.CALL,
            "details": {"call": call},
            "written_at": written_at,
            "said_at": written_at if event.is_offline else now,
        },
    )
    message.conversation = conversation
    if is_new:
        Conversation.objects.filter(pk=conversation.pk).update(
            last_message_at=Greatest("last_message_at", message.said_at)
        )
    else:
        _set_status(message, event.status, duration_s=event.duration_s)
    return message


def _set_status(message: Message, status: CallStatus, *, duration_s: int | None = None) -> None:
    call = message.details["call"]
    if ORDER.index(status) >= ORDER.index(CallStatus(call["status"])):
        call = call | {"status": status.value}
    if duration_s is not None:
        call = call | {"duration_s": duration_s}
    if call != message.details["call"]:
        message.details = message.details | {"call": call}
        message.save(update_fields=["details"])
