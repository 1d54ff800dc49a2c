"""Store the events of a webhook request, then wake the engine to answer."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import structlog
from django.db import DataError, IntegrityError
from django.utils import timezone

from agent.bridges.base import WebhookRequest
from agent.bridges.events import (
    BridgeEvent,
    CallChanged,
    ContactIdChanged,
    GroupChanged,
    HandoverChanged,
    HistorySynced,
    Ignored,
    Malformed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    PlatformError,
    SessionChanged,
    StatusChanged,
)
from agent.monitoring.instruments import BRIDGE_EVENTS
from agent.turns.presence import react
from commands.parsing import read_command
from messaging import inbound, receipts
from messaging.calls.recording import record_call
from messaging.contacts.locks import ContactGone
from messaging.contacts.lookup import record_changed_id
from messaging.control import ConversationGone, record_handover
from messaging.inbound import ReceiveResult
from messaging.models import Conversation
from sessions_app.bridge_clocks import BridgeClock, observe, on_our_clock
from sessions_app.bridges import adapter_for, ensure_unchanged
from sessions_app.models import Bridge
from sessions_app.services import NumberMoved, record_session_change, register_session
from whatsapp_agent import wakeups
from whatsapp_agent.errors import AppError, WebhookUnauthorized
from whatsapp_agent.telemetry import tracing

log = structlog.get_logger(__name__)

MAX_TRIES = 3


class NotStored(AppError):
    status, code, detail = 503, "unavailable", "The events could not be stored. Send the request again."


def process_webhook_request(
    *, bridge: Bridge, headers: Mapping[str, str], body: bytes, query: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Store every event of one webhook request; return how many were `kept`, `ignored` and `malformed`.

    One bad event does not lose the others. Raises WebhookUnauthorized and UnreadableWebhookRequest; BridgeChanged if
    the remembered `bridge` has changed, perhaps with some events stored; NotStored or a database error when the bridge
    must send the request again.
    """
    adapter = adapter_for(bridge)
    request = WebhookRequest(body=body, headers=headers, query=query or {})
    if not adapter.is_authentic(request):
        raise WebhookUnauthorized()
    counts = {"kept": 0, "ignored": 0, "malformed": 0, "not_kept": 0}
    events = adapter.parse_webhook(request)
    if not all(isinstance(event, MessageReceived) and not event.outbound for event in events):
        ensure_unchanged(bridge)  # inbound messages do it themselves
    for event in events:
        result = _store_event(bridge=bridge, event=_on_our_clock(bridge=bridge, event=event))
        BRIDGE_EVENTS.add(type(event).__name__, result)
        counts[result] += 1
    if counts.pop("not_kept"):
        raise NotStored()
    return counts


def store_missed(*, bridge: Bridge, events: Iterable[MessageReceived | MessageEdited | MessageRevoked]) -> Counter[str]:
    """Store messages, or changes of some, that the bridge was asked for, with times on our clock; return how many were
    `kept`, and how many `not_kept`: they have to be asked for again."""
    return Counter(_store_event(bridge=bridge, event=event) for event in events)


def _on_our_clock(*, bridge: Bridge, event: BridgeEvent) -> BridgeEvent:
    """Observe the times of an event and return it with its times on our clock; None where they are implausible."""
    match event:
        case MessageReceived():
            observe(bridge, BridgeClock.EVENTS, event.posted_at)
            if not event.is_history:
                observe(bridge, BridgeClock.MESSAGES, event.sent_at)
            sent_at = on_our_clock(bridge, BridgeClock.MESSAGES, event.sent_at)
            return replace(event, sent_at=sent_at or on_our_clock(bridge, BridgeClock.EVENTS, event.posted_at))
        case CallChanged() | MessageEdited():
            return replace(event, at=on_our_clock(bridge, BridgeClock.MESSAGES, event.at))
        case StatusChanged() | SessionChanged():
            observe(bridge, BridgeClock.EVENTS, event.at)
            return replace(event, at=on_our_clock(bridge, BridgeClock.EVENTS, event.at))
    return event


def _store_event(*, bridge: Bridge, event: BridgeEvent) -> str:
    match event:
        case Ignored(is_of_account=is_of_account, reason=reason):
            if is_of_account:
                log.warning("account_changed", bridge=bridge.slug, reason=reason)
                Bridge.objects.filter(pk=bridge.pk).update(synced_at=None)
            return "ignored"
        case Malformed(reason=reason):
            log.info("event_malformed", bridge=bridge.slug, reason=reason)
            return "malformed"
        case HistorySynced(messages=messages, changes=changes):
            results = {
                _store_event(bridge=bridge, event=_on_our_clock(bridge=bridge, event=each))
                for each in (*changes, *messages)
            }
            return "not_kept" if "not_kept" in results else "kept"
        case GroupChanged():
            log.info("event_not_needed", bridge=bridge.slug, kind=type(event).__name__)
            return "ignored"
        case PlatformError(code=code):
            number = bridge.sessions.filter(name=event.session).values_list("pk", flat=True).first()
            log.warning("platform_error", bridge=bridge.slug, session=str(number), code=code)
            return "ignored"
    for _ in range(MAX_TRIES):
        try:
            handle_event(bridge=bridge, event=event)
        except DataError as exc:  # the adapter let a bad value through; the next event may be fine
            log.warning("event_not_stored", bridge=bridge.slug, kind=type(event).__name__, error=type(exc).__name__)
            return "malformed"
        except NumberMoved:
            log.warning("event_of_moved_number", bridge=bridge.slug, kind=type(event).__name__)
            return "ignored"
        except (IntegrityError, Conversation.DoesNotExist, ContactGone, ConversationGone):
            continue  # a contact or conversation was created or merged meanwhile
        return "kept"
    log.error("event_not_stored", bridge=bridge.slug, kind=type(event).__name__)
    return "not_kept"


def handle_event(*, bridge: Bridge, event: BridgeEvent) -> None:
    """Store one event. It may come twice, late, or before the message it refers to."""
    match event:
        case MessageReceived(outbound=True) if not _is_own_command(bridge=bridge, event=event):
            inbound.receive_own_message(bridge=bridge, event=event)
        case MessageReceived():
            started_at = timezone.now()
            if event.outbound:  # our own command: adapters take nothing of our own for answerable
                event = replace(event, answerable=True)
            result = inbound.receive_message(bridge=bridge, event=event)
            if result.is_new:
                _trace(result, bridge=bridge, started_at=started_at)
            if result.reaction:
                react(bridge, event, emoji=result.reaction)
            if result.is_new and result.due_at is not None:
                wakeups.notify(result.conversation_id, session_id=result.session_id, due_at=result.due_at)
        case StatusChanged():
            receipts.record_status(bridge=bridge, event=event)
        case MessageEdited():
            receipts.record_edit(bridge=bridge, event=event)
        case MessageRevoked():
            receipts.record_revocation(bridge=bridge, event=event)
        case SessionChanged():
            record_session_change(bridge=bridge, event=event)
        case CallChanged():
            record_call(bridge=bridge, event=event)
        case HandoverChanged():
            record_handover(bridge=bridge, event=event)
        case ContactIdChanged(old=old, new=new):
            session = register_session(bridge=bridge, name=event.session)
            record_changed_id(session=session, old=old, new=new, at=event.at)


def _trace(result: ReceiveResult, *, bridge: Bridge, started_at: datetime) -> None:
    """Begin the trace of a message, whose id it has."""
    with tracing.part(
        "receive",
        trace=result.message_id,
        own=result.message_id,
        started_at=started_at,
        bridge=bridge.kind,
        conversation=result.conversation_id,
    ):
        pass


def _is_own_command(*, bridge: Bridge, event: MessageReceived) -> bool:
    """Return whether the owner typed a command into their own chat; it is answered like an inbound one."""
    return read_command(event.text) is not None and inbound.is_note_to_self(bridge=bridge, event=event)
