"""Edit and delete, for everyone, what we sent. Staff and API clients see at once what became of it.

What is still queued is changed here alone, and the bridge is given only the last text: it leaves with that, or not at
all. For the rest the bridge is asked without a transaction; meanwhile `changing_until` keeps others from changing the
same message. If no clear answer comes, it may have been done: doing it again is safe, and the bridge's own event
settles it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from agent.bridges.base import BridgeAdapter
from agent.bridges.capabilities import Capability
from agent.bridges.exchange import BridgeError, NotSent, Refused, Steps
from messaging import control
from messaging.models import Message
from messaging.models.messages import MessageQuerySet
from messaging.outbound import check_length, reference_to
from messaging.receipts import apply_edit, apply_revocation
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import WhatsAppSession
from whatsapp_agent import postgres
from whatsapp_agent.errors import BridgeFailed, Conflict, InvalidInput, NotSupportedByBridge, SessionNotConnected
from whatsapp_agent.text.stored import translate_stored

log = structlog.get_logger(__name__)

ARRIVED = (Message.Status.SENT, Message.Status.DELIVERED, Message.Status.READ)
NEITHER = (Message.Kind.REACTION, Message.Kind.CALL)


def version_of(message: Message) -> str:
    """Return what tells whether the text of a message has been edited since it was read."""
    return hashlib.sha256(message.text.encode(errors="replace")).hexdigest()[:16]


def edit(message: Message, *, text: str, seen: str | None = None) -> Message:
    """Change a text that is queued, or that we sent, at WhatsApp and here; the text before stays visible to staff.

    An edit that came after the message was loaded is never overwritten, nor one that came after its `seen` version.
    Raises InvalidInput, NotSupportedByBridge, SessionNotConnected, BridgeFailed, or Conflict if the message cannot be
    edited (any more).
    """
    adapter = adapter_for(message.session.bridge)
    if not text.strip():
        raise InvalidInput(_("The text is empty."), field="text")
    check_length(text, most=adapter.max_text_length)
    if not _is_queued(message):
        _check_changeable(message, adapter=adapter, capability=Capability.EDIT)
    if message.kind != Message.Kind.TEXT or "template" in message.details:
        raise Conflict(_("Only a text can be edited."))
    if text == message.text:
        return message
    if seen is not None and seen != version_of(message):
        raise _changed_meanwhile()
    if _is_queued(message):
        return _edit_queued(message, text=text)
    _check_age(message, max_age=adapter.max_edit_age, refusal=_("WhatsApp lets a message be edited for 15 minutes."))
    with _changing(message, edited_at=message.edited_at):
        _call(message, adapter.edit_text(**_where(message, adapter), text=text))
        apply_edit([message.pk], text=text)
    log.info("message_edited", message=str(message.pk))
    message.refresh_from_db()
    return message


def revoke(message: Message) -> Message:
    """Delete a message that we sent for everyone, or cancel a queued one. It stays stored; the model is not shown it.

    One that is queued again although an earlier try may have arrived becomes unconfirmed, as it was before.
    Raises what `edit` raises, but for the text.
    """
    if message.revoked_at is not None:
        return message
    if _is_queued(message):
        return _cancel_queued(message)
    adapter = adapter_for(message.session.bridge)
    _check_changeable(message, adapter=adapter, capability=Capability.REVOKE)
    refusal = _("WhatsApp lets a message be deleted for everyone for two and a half days.")
    _check_age(message, max_age=adapter.max_revoke_age, refusal=refusal)
    with _changing(message):
        _call(message, adapter.revoke(**_where(message, adapter)))
        apply_revocation([message.pk])
    log.info("message_revoked", message=str(message.pk))
    message.refresh_from_db()
    return message


def is_changeable(message: Message, *, adapter: BridgeAdapter, capability: Capability) -> bool:
    """Return whether the page offers it; `edit` and `revoke` say why not."""
    max_age = adapter.max_edit_age if capability == Capability.EDIT else adapter.max_revoke_age
    is_right_kind = message.kind == Message.Kind.TEXT and "template" not in message.details
    is_queued = _is_queued(message) and (capability == Capability.REVOKE or message.unconfirmed_at is None)
    is_allowed = is_queued or (
        capability in adapter.capabilities
        and _has_arrived(message)
        and message.revoked_at is None
        and _sent_at(message) > timezone.now() - max_age
    )
    return is_allowed and (is_right_kind or capability == Capability.REVOKE)


def _is_queued(message: Message) -> bool:
    return message.status == Message.Status.QUEUED


@transaction.atomic
def _edit_queued(message: Message, *, text: str) -> Message:
    """Change a text that has not left. One that may have arrived is refused: its echo would not be recognized."""
    if message.unconfirmed_at is not None:
        raise Conflict(_("An earlier try may have arrived: the message can be edited once it has been sent."))
    control.lock_conversation(message.conversation_id)
    if not list(_still_queued(message).select_for_update(no_key=True).values_list("pk")):
        raise _left_meanwhile()
    apply_edit([message.pk], text=text)
    log.info("queued_message_changed", message=str(message.pk))
    message.refresh_from_db()
    return message


def _cancel_queued(message: Message) -> Message:
    values: dict[str, Any] = {
        "status": Message.Status.CANCELLED,
        "error": gettext_noop("It was deleted before it was sent."),
    }
    if message.unconfirmed_at is not None:
        values = {
            "status": Message.Status.UNCONFIRMED,
            "sending_at": message.unconfirmed_at,
            "unconfirmed_at": None,
            "error": gettext_noop("It was deleted before it was sent again; an earlier try may have arrived."),
        }
    if not _still_queued(message).update(error_code="deleted", **values):
        raise _left_meanwhile()
    log.info("queued_message_changed", message=str(message.pk))
    message.refresh_from_db()
    return message


def _still_queued(message: Message) -> MessageQuerySet:
    """Return the message, unless it has been claimed for sending, or was edited or tried, after it was loaded."""
    return Message.objects.filter(
        pk=message.pk, status=Message.Status.QUEUED, text=message.text, unconfirmed_at=message.unconfirmed_at
    )


def _left_meanwhile() -> Conflict:
    return Conflict(_("The message has just left, or somebody else has changed it. Look, then try again."))


def _has_arrived(message: Message) -> bool:
    is_ours = message.direction == Message.Direction.OUTBOUND and message.kind not in NEITHER
    return is_ours and message.status in ARRIVED and bool(message.provider_message_id)


def _check_changeable(message: Message, *, adapter: BridgeAdapter, capability: Capability) -> None:
    if capability not in adapter.capabilities:
        raise NotSupportedByBridge(_("The bridge of this number can neither edit nor delete messages."))
    if not _has_arrived(message):
        raise Conflict(_("Only a message that we have sent can be changed."))
    if message.revoked_at is not None:
        raise Conflict(_("The message was deleted."))
    session = message.session
    if session.ended_at is not None or session.status != WhatsAppSession.Status.CONNECTED:
        raise SessionNotConnected()


def _sent_at(message: Message) -> datetime:
    return message.sent_at or message.created_at


def _check_age(message: Message, *, max_age: timedelta, refusal: str) -> None:
    if _sent_at(message) < timezone.now() - max_age:
        raise Conflict(refusal)


def _where(message: Message, adapter: BridgeAdapter) -> dict[str, Any]:
    conversation = message.conversation
    ref = reference_to(message, adapter=adapter, is_group=conversation.contact.is_group)
    return {"session": message.session.name, "address": conversation.address, "message": ref}


def _changed_meanwhile() -> Conflict:
    return Conflict(_("Someone else is changing this message, or has just changed it. Look, then try again."))


@contextmanager
def _changing(message: Message, **unchanged: Any) -> Iterator[None]:
    """Let nobody else change the message meanwhile. Raises Conflict if somebody does already, or if a column is not
    `unchanged` any more.

    A process that dies leaves it locked for as long as the bridge may take.
    """
    until = Now() + timedelta(seconds=settings.BRIDGE_TIMEOUT_S + 5)
    row = Message.objects.filter(pk=message.pk)
    is_free = Q(changing_until=None) | Q(changing_until__lt=Now())
    if not row.filter(is_free, revoked_at=None, **unchanged).update(changing_until=until):
        raise _changed_meanwhile()
    ours = row.values_list("changing_until", flat=True).first()
    try:
        yield
    finally:
        row.filter(changing_until=ours).update(changing_until=None)  # it may have ended, and be somebody else's now


def _call(message: Message, steps: Steps[None]) -> None:
    postgres.release()
    try:
        call_bridge(message.session.bridge, steps)
    except (NotSent, Refused) as exc:
        raise BridgeFailed(translate_stored(str(exc))) from exc
    except BridgeError as exc:
        log.warning("message_change_unconfirmed", message=str(message.pk), code=exc.code)
        raise BridgeFailed(_("No clear answer came from the bridge: it may have been done. Try again.")) from exc
