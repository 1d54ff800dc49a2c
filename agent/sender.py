"""Send queued messages through the bridge, in order, each at most once."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError
from structlog.contextvars import bound_contextvars

from agent.bridges.base import NOT_SUPPORTED, BridgeAdapter, Card, Menu, MessageRef, OutgoingFile, Place, Poll, Sent
from agent.bridges.events import Kind, Link, SessionChanged
from agent.bridges.exchange import TOO_LARGE, BridgeError, NotSent, PaymentNeeded, Refused, Steps
from agent.bridges.templates import Template
from agent.monitoring.instruments import SEND_SECONDS, SENDS
from messaging import outbox
from messaging.media.files import outgoing
from messaging.models import Media, Message
from messaging.outbound import is_window_open, reference_to
from messaging.outbox import Claimed, Paced
from messaging.receipts import PAYMENT_CODE
from messaging.whatsapp_templates.service import FILE_HEADERS
from sessions_app.bridges import adapter_for, bridge_cache, call_bridge
from sessions_app.models import Bridge
from sessions_app.services import NOT_CONNECTED, record_key_refused, record_session_change
from whatsapp_agent import postgres
from whatsapp_agent.errors import WindowClosed
from whatsapp_agent.telemetry import tracing

log = structlog.get_logger(__name__)

KINDS_WITHOUT_FILE = frozenset(
    {Kind.TEXT.value, Kind.LOCATION.value, Kind.CONTACT.value, Kind.REACTION.value, Kind.INTERACTIVE.value}
)
# What a bridge says of a message, or a session, that it does not know, or of a parameter: it may mean the quoted one.
QUOTE_REFUSED = frozenset({"invalid", "not_found", "refused"})
# What is said of a content that cannot be sent in this form, not of the recipient, the account or the time.
FORM_REFUSED = frozenset({"invalid", "not_supported", TOO_LARGE})
RECORD_RETRY_PAUSES_S = (0.2, 1.0, 3.0, 6.0, 10.0)
Result = TypeVar("Result")


def deliver(conversation_id: UUID) -> datetime | None:
    """Send the messages of one conversation that may leave now.

    Returns when the next one may leave, None when none waits for a time.
    """
    while claimed := outbox.claim_next_message(conversation_id):
        if isinstance(claimed, Paced):
            return claimed.until
        bridge = bridge_cache.get(claimed.bridge_id, claimed.bridge_version)
        with bound_contextvars(
            conversation=str(conversation_id), message=str(claimed.message_id), turn=str(claimed.turn_id or "")
        ):
            more = _send(claimed, conversation_id=conversation_id, bridge=bridge)
        if not more:
            return None
        if (at := outbox.pause_after_send(conversation_id)) is not None:
            return at
    return None


def _send(claimed: Claimed, *, conversation_id: UUID, bridge: Bridge) -> bool:
    """Send one message and record the result; return whether the next one may follow."""
    started = time.monotonic()

    def count(result: str) -> None:
        SENDS.add(bridge.kind, result)
        SEND_SECONDS.observe(time.monotonic() - started, bridge.kind)

    try:
        with _trace(claimed, conversation_id=conversation_id, bridge=bridge):
            sent = _call(claimed, conversation_id=conversation_id, bridge=bridge)
    except NotSent as exc:
        count("not_sent")
        _record(partial(outbox.mark_not_sent, claimed, code=exc.code, error=str(exc), retry_after_s=exc.retry_after_s))
        if exc.code == "not_connected":
            event = SessionChanged(session=claimed.session_name, status=Link.DISCONNECTED, code=NOT_CONNECTED)
            record_session_change(bridge=bridge, event=event)
        elif exc.code == "unauthorized":
            record_key_refused(bridge)
        log.warning("message_not_sent", message=str(claimed.message_id), code=exc.code, tries=claimed.tries)
        return False
    except Refused as exc:
        is_quote_in_doubt = claimed.quoted_id and exc.code in QUOTE_REFUSED and not isinstance(exc, PaymentNeeded)
        if is_quote_in_doubt and _record(partial(outbox.send_without_quote, claimed)):
            log.warning("quote_refused", message=str(claimed.message_id), code=exc.code)
            return True  # the same message is next
        is_form_refused = claimed.kind in {Kind.VOICE, Kind.INTERACTIVE} and exc.code in FORM_REFUSED
        if is_form_refused and _record(partial(outbox.write_instead, claimed)):
            log.warning("written_instead", message=str(claimed.message_id), code=exc.code)
            return True  # its words are next
        count("failed")
        code = PAYMENT_CODE if isinstance(exc, PaymentNeeded) else exc.code
        _record(partial(outbox.mark_failed, claimed, code=code, error=str(exc)))
        log.warning("message_refused", message=str(claimed.message_id), code=exc.code)
        return True
    except BridgeError as exc:  # Unconfirmed, or a failure of a kind that says less
        count("unconfirmed")
        _record(partial(outbox.mark_unconfirmed, claimed, code=exc.code, error=str(exc)))
        log.warning("message_unconfirmed", message=str(claimed.message_id), code=exc.code)
        return True
    count("sent")
    provider_message_id = sent.provider_message_id or None
    return _record(partial(outbox.mark_sent, claimed, provider_message_id=provider_message_id, at=sent.at))


def _trace(claimed: Claimed, *, conversation_id: UUID, bridge: Bridge) -> AbstractContextManager[Any]:
    """Continue the trace of the message that this one answers, which costs a query; without a turn, begin one."""
    own, parent = claimed.message_id, None
    trace: UUID | None = own
    if claimed.turn_id is not None and tracing.is_on():
        burst = Message.objects.filter(turn_id=claimed.turn_id, direction=Message.Direction.INBOUND)
        with suppress(OperationalError, InterfaceError):  # the message is claimed: it leaves without its trace
            if (trace := burst.order_by("said_at", "id").values_list("pk", flat=True).first()) is not None:
                parent = claimed.turn_id
    return tracing.part(
        "send",
        trace=trace or own,
        own=own,
        parent=parent,
        bridge=bridge.kind,
        conversation=conversation_id,
        message=claimed.message_id,
    )


def _call(claimed: Claimed, *, conversation_id: UUID, bridge: Bridge) -> Sent:
    """Call the bridge. Raises NotSent, Refused or another BridgeError."""
    try:
        steps = _prepare(claimed, conversation_id=conversation_id, adapter=adapter_for(bridge))
        postgres.release()
    except (OperationalError, InterfaceError) as exc:  # the message is claimed, and the bridge has not been asked
        raise NotSent("The database could not be read.", code="database_unreachable") from exc
    try:
        return call_bridge(bridge, steps)
    except FileNotFoundError as exc:
        raise Refused("The file is no longer stored.", code="file_gone") from exc


def _prepare(claimed: Claimed, *, conversation_id: UUID, adapter: BridgeAdapter) -> Steps[Sent]:
    """Return what to request of the bridge. Raises Refused if it could not be delivered."""
    denial_reason = adapter.unreachable_reason(address=claimed.address, is_group=claimed.is_group)
    if denial_reason:
        raise Refused(denial_reason, code=NOT_SUPPORTED)
    is_template = claimed.kind == Kind.TEXT and "template" in json.loads(claimed.details_json)
    if not is_template and not is_window_open(conversation_id, reply_window=adapter.reply_window):
        raise Refused(str(WindowClosed.detail), code=WindowClosed.code)
    try:
        return _steps(claimed, adapter=adapter)
    except FileNotFoundError as exc:
        raise Refused("The file is no longer stored.", code="file_gone") from exc


def _steps(claimed: Claimed, *, adapter: BridgeAdapter) -> Steps[Sent]:
    """Return what to request of the bridge, each kind by its own endpoint. Raises Refused."""
    to: dict[str, Any] = {
        "session": claimed.session_name,
        "address": claimed.address,
        "quoted": _quoted(claimed) if claimed.quoted_id else None,
    }
    if claimed.kind not in KINDS_WITHOUT_FILE:
        return _steps_with_file(claimed, adapter=adapter, to=to)
    details = json.loads(claimed.details_json)
    if claimed.kind == Kind.TEXT and (template := details.get("template")):
        file = _file_of(claimed) if template.get("header") in FILE_HEADERS else None
        return adapter.send_template(
            session=claimed.session_name, address=claimed.address, template=Template(**template), file=file
        )
    if claimed.kind == Kind.TEXT:
        return adapter.send_text(text=claimed.text, **to)
    if claimed.kind == Kind.REACTION:
        return _reaction(claimed, adapter=adapter, details=details)
    if claimed.kind == Kind.INTERACTIVE:
        if poll := details.get("poll"):
            return adapter.send_poll(poll=Poll(**poll), **to)
        return adapter.send_menu(menu=Menu(**details["menu"]), **to)
    if claimed.kind == Kind.LOCATION:
        return adapter.send_location(place=Place(**details["location"]), **to)
    return adapter.send_contact(card=Card(**details["contacts"][0]), **to)


def _reaction(claimed: Claimed, *, adapter: BridgeAdapter, details: dict[str, Any]) -> Steps[Sent]:
    same_chat = Message.objects.filter(conversation__messages=claimed.message_id).select_related("sender")
    target = same_chat.filter(provider_message_id=details["target_id"]).first()
    if target is None:
        raise Refused("The message that it is for is no longer stored.", code="not_found")
    ref = reference_to(target, adapter=adapter, is_group=claimed.is_group)
    return adapter.send_reaction(
        session=claimed.session_name, address=claimed.address, target=ref, emoji=details["emoji"] or ""
    )


def _quoted(claimed: Claimed) -> MessageRef:
    """Return the quoted message, with what some bridges ask for beside its id."""
    message = Message.objects.filter(replies=claimed.message_id).first()
    if message is None:
        return MessageRef(claimed.quoted_id)
    is_ours = message.direction == Message.Direction.OUTBOUND
    full_id = message.details.get("full_id", "")
    return MessageRef(claimed.quoted_id, is_ours=is_ours, full_id=full_id, text=message.text)


def _steps_with_file(claimed: Claimed, *, adapter: BridgeAdapter, to: dict[str, Any]) -> Steps[Sent]:
    return adapter.send_media(file=_file_of(claimed), caption=claimed.text, **to)


def _file_of(claimed: Claimed) -> OutgoingFile:
    media = Media.objects.select_related("message").filter(message=claimed.message_id).exclude(file="").first()
    if media is None:
        raise Refused("There is no file to send.", code="file_gone")
    return outgoing(media)


def _record(record: Callable[[], Result]) -> Result:
    """Record a result, retrying while the database is away: the bridge must not be called again."""
    for pause_s in RECORD_RETRY_PAUSES_S:
        try:
            return record()
        except (OperationalError, InterfaceError) as exc:
            log.warning("send_result_not_stored", error=type(exc).__name__)
            postgres.release()
            time.sleep(pause_s)
    return record()
