"""Queue outbound messages; the engine sends them."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Case, Exists, Max, OuterRef, Q, When
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.models import User
from agent.bridges import ADAPTERS
from agent.bridges.base import BridgeAdapter, Card, MessageRef, Place
from agent.bridges.capabilities import Capability
from agent.bridges.events import AliasKind, Kind
from agent.bridges.exchange import BridgeError
from messaging import control
from messaging.contacts.lookup import find_contact_by_phone, resolve_contact, resolve_conversation
from messaging.media.files import NewFile, save_file
from messaging.models import ContactAlias, Conversation, Media, Message
from messaging.models.conversations import NO_ATTENTION
from sessions_app.bridges import adapter_for, call_bridge
from sessions_app.models import WhatsAppSession
from whatsapp_agent import postgres, wakeups
from whatsapp_agent.errors import (
    Conflict,
    InvalidInput,
    NotOnWhatsApp,
    NotSupportedByBridge,
    SessionNotConnected,
    WindowClosed,
)
from whatsapp_agent.text.phones import parse_phone
from whatsapp_agent.text.split import split_text
from whatsapp_agent.text.stored import translate_stored

log = structlog.get_logger(__name__)

KINDS_OF_THEIR_OWN = {Kind.VOICE: Capability.SEND_VOICE, Kind.STICKER: Capability.SEND_STICKER}
WITHOUT_CAPTION = frozenset({Kind.AUDIO, Kind.VOICE, Kind.STICKER})
MAX_CLOCK_DIFFERENCE = timedelta(hours=1)  # by which a sender's clock may be ahead of ours


def parse_recipient(text: str, *, session: WhatsAppSession) -> str:
    """Return E.164 of the phone to write to: any valid one, and any that the session knows. Raises InvalidInput."""
    try:
        return parse_phone(text)
    except InvalidInput:
        phone = "+" + text.strip().removeprefix("+")
        if not ContactAlias.objects.filter(session=session, kind=AliasKind.PHONE, value=phone).exists():
            raise
        return phone


def find_recipient_phone(text: str, *, session: WhatsAppSession) -> str:
    """Return E.164 of the phone to write to, as WhatsApp spells it; of a new one the bridge is asked, if it can say.

    Not in a transaction: the bridge may be slow. One that fails does not decide; the send will show. Raises
    InvalidInput and NotOnWhatsApp.
    """
    phone = parse_recipient(text, session=session)
    adapter = adapter_for(session.bridge)
    is_connected = session.ended_at is None and session.status == WhatsAppSession.Status.CONNECTED
    if Capability.CHECK_NUMBER not in adapter.capabilities or not is_connected:
        return phone
    if find_contact_by_phone(session=session, phone=phone) is not None:
        return phone
    postgres.release()
    try:
        number = call_bridge(session.bridge, adapter.check_number(session=session.name, phone=phone))
    except BridgeError as exc:
        log.info("number_not_checked", session=str(session.pk), code=exc.code)
        return phone
    if not number.exists:
        raise NotOnWhatsApp()
    return number.phone or phone


def conversation_by_phone(*, session: WhatsAppSession, phone: str) -> Conversation:
    """Return the conversation with a phone (E.164); create it if there is none.

    An address the bridge gave us beats one somebody typed: Brazilian, Mexican and Argentine mobile numbers exist in
    two spellings.
    """
    if (contact := find_contact_by_phone(session=session, phone=phone)) is not None:
        existing = Conversation.objects.filter(contact=contact).first()
        if existing is not None:
            return existing
        phone = contact.phone or phone
    address = adapter_for(session.bridge).address_of_phone(phone)
    contact = resolve_contact(session=session, address=address)
    return resolve_conversation(contact=contact, address=address.address)


def split_for(conversation: Conversation, text: str) -> list[str]:
    """Return the parts of a text, each no longer than the conversation's bridge sends as one message."""
    return split_text(text, limit=adapter_for(conversation.session.bridge).max_text_length)


def send_text(
    *,
    conversation: Conversation,
    text: str,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    quoted: Message | None = None,
    message_id: UUID | None = None,
    control_epoch: int | None = None,
) -> Message:
    """Queue a text. A message of staff takes the conversation over.

    `message_id`: given by the caller, so that a repeated request raises IntegrityError instead of sending twice.
    `control_epoch`: of the conversation, for what the agent says: a takeover cancels it.
    Raises SessionNotConnected, NotSupportedByBridge, InvalidInput or ConversationGone, and then queues nothing.
    """
    adapter = adapter_for(conversation.session.bridge)
    check_sendable(conversation=conversation)
    if not text.strip():
        raise InvalidInput(_("The text is empty."), field="text")
    check_length(text, most=adapter.max_text_length)
    return queue_message(
        conversation=conversation,
        author=author,
        by=by,
        quoted=quoted,
        message_id=message_id,
        text=text,
        control_epoch=control_epoch,
    )


def send_media(
    *,
    conversation: Conversation,
    file: NewFile,
    caption: str = "",
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    quoted: Message | None = None,
    message_id: UUID | None = None,
    control_epoch: int | None = None,
) -> Message:
    """Queue a file. `message_id`, `control_epoch` and errors are as of `send_text`."""
    adapter = adapter_for(conversation.session.bridge)
    check_sendable(conversation=conversation)
    if (capability := KINDS_OF_THEIR_OWN.get(file.kind)) and capability not in adapter.capabilities:
        raise NotSupportedByBridge(
            _("The bridge of this number cannot send files as %(kind)s.") % {"kind": file.kind.value}
        )
    denial_reason = adapter.file_denial_reason(
        kind=file.kind, mime_type=file.mime_type, size_bytes=file.size_bytes, has_url=bool(settings.PUBLIC_URL)
    )
    if denial_reason:
        raise NotSupportedByBridge(translate_stored(denial_reason))
    if caption.strip() and file.kind in WITHOUT_CAPTION:
        raise InvalidInput(_("Audio and stickers have no caption: send the text by itself."), field="text")
    check_length(caption, most=adapter.max_caption_length)
    with transaction.atomic():
        message = queue_message(
            conversation=conversation,
            author=author,
            by=by,
            quoted=quoted,
            message_id=message_id,
            text=caption.strip(),
            kind=file.kind.value,
            control_epoch=control_epoch,
        )
        attach_file(message, file)
    return message


def attach_file(message: Message, file: NewFile) -> None:
    media = Media(
        message=message,
        mime_type=file.mime_type,
        filename=file.filename,
        size_bytes=file.size_bytes,
        downloadable=True,
    )
    if file.stored_as:
        media.file.name = file.stored_as
        media.save()
    else:
        save_file(media, name=file.filename, content=file.content)


def send_location(
    *,
    conversation: Conversation,
    place: Place,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    quoted: Message | None = None,
    message_id: UUID | None = None,
) -> Message:
    """Queue a place. Raises what `send_text` raises."""
    check_sendable(conversation=conversation)
    _check_capability(conversation, Capability.SEND_LOCATION, _("The bridge of this number cannot send locations."))
    details = {"location": asdict(place)}
    return queue_message(
        conversation=conversation,
        author=author,
        by=by,
        quoted=quoted,
        message_id=message_id,
        kind=Kind.LOCATION.value,
        details=details,
    )


def send_contact(
    *,
    conversation: Conversation,
    card: Card,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    quoted: Message | None = None,
    message_id: UUID | None = None,
) -> Message:
    """Queue a contact card. Raises what `send_text` raises."""
    check_sendable(conversation=conversation)
    _check_capability(conversation, Capability.SEND_CONTACT, _("The bridge of this number cannot send contacts."))
    details = {"contacts": [asdict(card)]}
    return queue_message(
        conversation=conversation,
        author=author,
        by=by,
        quoted=quoted,
        message_id=message_id,
        kind=Kind.CONTACT.value,
        details=details,
    )


@transaction.atomic
def send_reaction(
    *,
    conversation: Conversation,
    target: Message,
    emoji: str,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    message_id: UUID | None = None,
) -> Message:
    """Queue a reaction to a message of the conversation; an empty `emoji` takes the one before back.

    Like a reaction on the phone, it takes nothing over, answers nothing, and leaves the conversation where it is in the
    list. Raises what `send_text` raises, and InvalidInput where the message cannot be reacted to.
    """
    check_sendable(conversation=conversation)
    _check_capability(conversation, Capability.REACT, _("The bridge of this number cannot react to messages."))
    max_age = adapter_for(conversation.session.bridge).max_reaction_age
    if not target.provider_message_id or target.kind in {Message.Kind.REACTION, Message.Kind.CALL}:
        raise InvalidInput(_("WhatsApp knows no message there that can be reacted to."), field="reaction")
    if target.revoked_at is not None:
        raise InvalidInput(_("The message was deleted."), field="reaction")
    if max_age is not None and target.said_at < timezone.now() - max_age:
        raise InvalidInput(
            _("The message is older than %(days)s days: the platform takes no reaction.") % {"days": max_age.days},
            field="reaction",
        )
    _take_chat_back(conversation)
    return _insert_queued(
        conversation=conversation,
        author=author,
        sent_by=by,
        kind=Kind.REACTION.value,
        details={"emoji": emoji or None, "target_id": target.provider_message_id},
        **({"pk": message_id} if message_id is not None else {}),
    )


def may_react(message: Message, *, adapter: BridgeAdapter) -> bool:
    """Return whether the page offers to react to a message; `send_reaction` says why not."""
    max_age = adapter.max_reaction_age
    return (
        Capability.REACT in adapter.capabilities
        and bool(message.provider_message_id)
        and message.kind not in {Message.Kind.REACTION, Message.Kind.CALL}
        and message.revoked_at is None
        and (max_age is None or message.said_at > timezone.now() - max_age)
    )


def reference_to(message: Message, *, adapter: BridgeAdapter, is_group: bool) -> MessageRef:
    """Return how the bridge finds a message. In a group the writer's address is named beside it."""
    sender = ""
    if is_group and message.sender and message.sender.phone:
        sender = adapter.person_address(message.sender.phone.removeprefix("+"))
    return MessageRef(
        message.provider_message_id or "",
        is_ours=message.direction == Message.Direction.OUTBOUND,
        full_id=message.details.get("full_id", ""),
        sender=sender,
        text=message.text,
    )


@transaction.atomic
def queue_message(
    *,
    conversation: Conversation,
    author: Message.Author,
    by: User | None,
    quoted: Message | None,
    message_id: UUID | None = None,
    **values: Any,
) -> Message:
    """Insert a queued message; the caller has checked that it can be sent. Staff who wrote it take over."""
    if quoted is not None:
        _check_capability(conversation, Capability.QUOTE, _("The bridge of this number cannot reply to a message."))
        values |= {"quoted": quoted, "quoted_provider_id": quoted.provider_message_id or ""}
    if message_id is not None:
        values["pk"] = message_id
    _take_chat_back(conversation)
    if author == Message.Author.STAFF:
        control.record_human_reply(conversation=conversation, by=by, reason=gettext_noop("a staff member wrote"))
    message = _insert_queued(conversation=conversation, author=author, sent_by=by, **values)
    by_itself = author in {Message.Author.SYSTEM, Message.Author.AGENT}
    seen: dict[str, Any] = {} if by_itself else {"unread_count": 0} | NO_ATTENTION
    Conversation.objects.filter(pk=conversation.pk).update(last_message_at=message.created_at, **seen)
    return message


def _take_chat_back(conversation: Conversation) -> None:
    """Lock the conversation. What we write takes the chat back from another program."""
    if control.lock_conversation(conversation.pk).external_controller:
        control.record_external_controller(conversation_id=conversation.pk, name="")


def _insert_queued(*, conversation: Conversation, **values: Any) -> Message:
    message = Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction=Message.Direction.OUTBOUND,
        status=Message.Status.QUEUED,
        **values,
    )
    wakeups.notify(conversation.pk, session_id=conversation.session_id)
    return message


def check_length(text: str, *, most: int) -> None:
    if len(text.encode("utf-16-le")) // 2 > most:
        raise InvalidInput(_("The text is longer than %(limit)s characters.") % {"limit": most}, field="text")


def _check_capability(conversation: Conversation, capability: Capability, refusal: str) -> None:
    if capability not in adapter_for(conversation.session.bridge).capabilities:
        raise NotSupportedByBridge(refusal)


def check_sendable(*, conversation: Conversation) -> None:
    """Raises SessionNotConnected, NotSupportedByBridge or WindowClosed when nothing can be sent here now."""
    session = conversation.session
    if session.ended_at is not None or session.status != WhatsAppSession.Status.CONNECTED:
        raise SessionNotConnected()
    check_reachable(conversation=conversation)
    if not is_window_open(conversation.pk, reply_window=adapter_for(session.bridge).reply_window):
        raise WindowClosed()


def is_window_open(conversation_id: UUID, *, reply_window: timedelta | None) -> bool:
    """Return whether the platform still delivers what is sent here: the contact wrote within its reply window."""
    return reply_window is None or window_ends_at(conversation_id, reply_window=reply_window) is not None


def window_ends_at(conversation_id: UUID, *, reply_window: timedelta) -> datetime | None:
    """Return until when the platform delivers what is sent here; None if it does not any more."""
    inbound = Message.objects.filter(conversation=conversation_id, direction=Message.Direction.INBOUND)
    last = inbound.filter(written_at__gt=timezone.now() - reply_window).aggregate(at=Max("written_at"))["at"]
    return last + reply_window if last else None


def within_window() -> Q:
    """Return the condition of conversations in which a platform with a reply window delivers now: `window_ends_at` says
    the same of one. It reads no more messages than have arrived since the window began."""
    condition = Q(pk__in=[])
    for kind, adapter in ADAPTERS.items():
        if (reply_window := adapter.reply_window) is None:
            continue
        recent = Message.objects.filter(
            conversation=OuterRef("pk"),
            direction=Message.Direction.INBOUND,
            written_at__gt=Now() - reply_window,
            said_at__gt=Now() - reply_window - MAX_CLOCK_DIFFERENCE,
        )
        condition |= Q(Exists(recent), session__bridge__kind=kind)
    return condition


def check_reachable(*, conversation: Conversation) -> None:
    """Raises NotSupportedByBridge when the bridge cannot write to this contact."""
    why = adapter_for(conversation.session.bridge).unreachable_reason(
        address=conversation.address, is_group=conversation.contact.is_group
    )
    if why:
        raise NotSupportedByBridge(translate_stored(why))


SENDABLE_AGAIN = [Message.Status.FAILED, Message.Status.UNCONFIRMED, Message.Status.CANCELLED]


@transaction.atomic
def send_again(*, message: Message) -> Message:
    """Queue a failed, cancelled or unconfirmed message again. A person decided so: control does not cancel it.

    Raises Conflict when it is on its way or has arrived.
    """
    changed = Message.objects.filter(
        pk=message.pk, direction=Message.Direction.OUTBOUND, status__in=SENDABLE_AGAIN
    ).update(
        status=Message.Status.QUEUED,
        control_epoch=None,
        tries=0,
        next_try_at=None,
        error_code="",
        error="",
        created_at=timezone.now(),
        provider_message_id=None,
        unconfirmed_at=Case(When(status=Message.Status.UNCONFIRMED, then="sending_at"), default="unconfirmed_at"),
    )
    if not changed:
        raise Conflict(_("Only a message that failed, was cancelled or is unconfirmed can be sent again."))
    wakeups.notify(message.conversation_id, session_id=message.session_id)
    message.refresh_from_db()
    return message


def mark_read(*, conversation: Conversation) -> None:
    """Mark the conversation as read by staff."""
    Conversation.objects.filter(pk=conversation.pk).update(unread_count=0)
