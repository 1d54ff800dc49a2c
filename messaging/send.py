"""What we decide to say: queued here, delivered by the engine."""

import phonenumbers
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from agent.bridges.base import Capability
from messaging import control
from messaging.contacts import contact_for, conversation_with, known_by_phone
from messaging.models import Conversation, Message
from sessions_app.models import WhatsAppSession
from sessions_app.services import adapter_for
from whatsapp_agent import doorbell
from whatsapp_agent.errors import Conflict, InvalidInput, NotSupportedByBridge, SessionNotConnected


def parse_phone(text: str) -> str:
    """E.164 of a phone somebody typed, with its country code. Raises InvalidInput."""
    try:
        number = phonenumbers.parse(text if text.strip().startswith("+") else f"+{text.strip()}")
    except phonenumbers.NumberParseException as exc:
        raise InvalidInput(
            "This is no phone number. Write it with its country code, like +5511988887777.", field="to"
        ) from exc
    if not phonenumbers.is_possible_number(number):
        raise InvalidInput("This phone number has too many or too few digits for its country.", field="to")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def conversation_by_phone(*, session: WhatsAppSession, phone: str) -> Conversation:
    """The conversation with a phone (E.164), made when there is none yet.

    An address the bridge gave us beats one somebody typed: Brazilian, Mexican and Argentine mobile numbers exist in
    two spellings.
    """
    if (contact := known_by_phone(session=session, phone=phone)) is not None:
        existing = Conversation.objects.filter(contact=contact).first()
        if existing is not None:
            return existing
    address = adapter_for(session.bridge).address_of_phone(phone)
    contact = contact_for(session=session, address=address)
    return conversation_with(contact=contact, address=address.address)


@transaction.atomic
def send_text(
    *,
    conversation: Conversation,
    text: str,
    author: Message.Author = Message.Author.STAFF,
    by: User | None = None,
    quoted: Message | None = None,
) -> Message:
    """Queue a text. Words of a person take the conversation over.

    Raises SessionNotConnected, NotSupportedByBridge or InvalidInput, and then queues nothing.
    """
    session = conversation.session
    adapter = adapter_for(session.bridge)
    check_sendable(conversation=conversation)
    if not text.strip():
        raise InvalidInput("The text is empty.", field="text")
    if len(text.encode("utf-16-le")) // 2 > adapter.max_text_length:
        raise InvalidInput(f"The text is longer than {adapter.max_text_length} characters.", field="text")
    if quoted is not None and Capability.QUOTE not in adapter.capabilities:
        raise NotSupportedByBridge("The bridge of this session cannot reply to a message.")
    Conversation.objects.select_for_update().get(pk=conversation.pk)
    if author == Message.Author.STAFF:
        control.person_wrote(conversation=conversation, by=by, reason="a staff member wrote")
    message = Message.objects.create(
        session=session,
        conversation=conversation,
        sent_by=by,
        direction=Message.Direction.OUTBOUND,
        author=author,
        status=Message.Status.QUEUED,
        text=text,
        quoted=quoted,
        quoted_provider_id=(quoted.provider_message_id or "") if quoted else "",
    )
    seen = {} if author == Message.Author.SYSTEM else {"unread_count": 0, "needs_attention": False}
    Conversation.objects.filter(pk=conversation.pk).update(last_message_at=message.created_at, **seen)
    doorbell.ring(conversation.pk)
    return message


def check_sendable(*, conversation: Conversation) -> None:
    """Raises SessionNotConnected or NotSupportedByBridge when nothing can be sent here now."""
    session = conversation.session
    if session.ended_at is not None or session.status != WhatsAppSession.Status.CONNECTED:
        raise SessionNotConnected()
    check_reachable(conversation=conversation)


def check_reachable(*, conversation: Conversation) -> None:
    """Raises NotSupportedByBridge when the bridge cannot write to this contact."""
    why = adapter_for(conversation.session.bridge).why_unreachable(
        address=conversation.address, is_group=conversation.contact.is_group
    )
    if why:
        raise NotSupportedByBridge(why)


SENDABLE_AGAIN = [Message.Status.FAILED, Message.Status.UNCONFIRMED, Message.Status.CANCELLED]


@transaction.atomic
def send_again(*, message: Message) -> Message:
    """Queue once more what failed, was cancelled, or may not have gone; a person decided so, and no control stops it.

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
    )
    if not changed:
        raise Conflict("Only a message that failed, was cancelled or is unconfirmed can be sent again.")
    doorbell.ring(message.conversation_id)
    message.refresh_from_db()
    return message


def mark_read(*, conversation: Conversation) -> None:
    """Staff have seen what was said here."""
    Conversation.objects.filter(pk=conversation.pk).update(unread_count=0)
