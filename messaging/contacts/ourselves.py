"""Our own number among the addresses of events: by phone, by its hidden address, or mixed up with a customer's."""

from dataclasses import replace

from agent.bridges.addresses import is_own, separate_from_us
from agent.bridges.events import ChatAddress, MessageReceived
from messaging.contacts.recycled import without_former_phone
from sessions_app.models import WhatsAppSession


def record_own_lid(session: WhatsAppSession, event: MessageReceived) -> None:
    """Store our own hidden address, if the event names another one than before."""
    if event.own_lid and event.own_lid != session.lid:
        WhatsAppSession.objects.filter(pk=session.pk).update(lid=event.own_lid)
        session.lid = event.own_lid


def is_own_chat(event: MessageReceived, *, session: WhatsAppSession) -> bool:
    """Return whether this is the chat of our number with itself."""
    return is_own(event.chat, phone=session.phone, lid=event.own_lid or session.lid)


def with_known_phones(event: MessageReceived, *, session: WhatsAppSession) -> MessageReceived:
    """Return the event without phones that are not of these people (any more), and with ours in our own chat."""
    chat = _known(event.chat, session=session)
    if event.outbound and session.phone and not chat.phone and is_own_chat(event, session=session):
        chat = replace(chat, phone=session.phone)
    return replace(event, chat=chat, sender=_known(event.sender, session=session) if chat.is_group else event.sender)


def _known(address: ChatAddress, *, session: WhatsAppSession) -> ChatAddress:
    address = without_former_phone(session=session, address=address)
    return separate_from_us(address, own_phone=session.phone, own_lid=session.lid)
