"""Where bridge events enter: keep what came in, then ring for an answer."""

from collections.abc import Mapping

import structlog
from django.db import DataError, IntegrityError

from agent import engine
from agent.bridges.events import (
    BridgeEvent,
    Ignored,
    Malformed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    SessionChanged,
    StatusChanged,
)
from commands.parsing import read_command
from messaging import inbound
from messaging.models import Conversation
from sessions_app.models import Bridge
from sessions_app.services import adapter_for, record_session_change
from whatsapp_agent.errors import AppError, WebhookUnauthorized

log = structlog.get_logger(__name__)

TRIES = 3


class NotStored(AppError):
    status, code, detail = 503, "unavailable", "Not kept; send it again."


def process_webhook_request(*, bridge: Bridge, headers: Mapping[str, str], body: bytes) -> dict[str, int]:
    """Store every event of one webhook request; return how many were `kept`, `ignored` and `malformed`.

    One bad event does not lose the others. Raises WebhookUnauthorized and UnreadableWebhookRequest; NotStored or a
    database error when the bridge must send the request again.
    """
    adapter = adapter_for(bridge)
    if not adapter.is_authentic(headers=headers, body=body):
        raise WebhookUnauthorized()
    counts = {"kept": 0, "ignored": 0, "malformed": 0, "not_kept": 0}
    for event in adapter.parse_webhook(headers=headers, body=body):
        counts[_take_event(bridge=bridge, event=event)] += 1
    if counts.pop("not_kept"):
        raise NotStored()
    return counts


def _take_event(*, bridge: Bridge, event: BridgeEvent) -> str:
    match event:
        case Ignored():
            return "ignored"
        case Malformed(reason=reason):
            log.info("event_malformed", bridge=bridge.slug, reason=reason)
            return "malformed"
    for _ in range(TRIES):
        try:
            handle_event(bridge=bridge, event=event)
        except DataError as exc:  # odd beyond what the adapter caught; the next event may be fine
            log.warning("event_not_kept", bridge=bridge.slug, kind=type(event).__name__, error=type(exc).__name__)
            return "malformed"
        except (IntegrityError, Conversation.DoesNotExist):
            continue  # what it hangs on was merged or made at this very moment: look again
        return "kept"
    log.error("event_not_kept", bridge=bridge.slug, kind=type(event).__name__)
    return "not_kept"


def handle_event(*, bridge: Bridge, event: BridgeEvent) -> None:
    """Keep one event. It may come twice, late, or before what it speaks of."""
    match event:
        case MessageReceived(outbound=True) if not _is_own_command(bridge=bridge, event=event):
            inbound.receive_own_message(bridge=bridge, event=event)
        case MessageReceived():
            kept = inbound.receive_message(bridge=bridge, event=event)
            if kept.is_new and kept.due_at is not None:
                engine.wake(kept.conversation_id, kept.due_at)
        case StatusChanged():
            inbound.record_status(bridge=bridge, event=event)
        case MessageEdited():
            inbound.record_edit(bridge=bridge, event=event)
        case MessageRevoked():
            inbound.record_revocation(bridge=bridge, event=event)
        case SessionChanged():
            record_session_change(bridge=bridge, event=event)


def _is_own_command(*, bridge: Bridge, event: MessageReceived) -> bool:
    """Whether the owner typed a command on the phone, to nobody but the phone itself: it is answered like anyone's."""
    return read_command(event.text) is not None and inbound.is_note_to_self(bridge=bridge, event=event)
