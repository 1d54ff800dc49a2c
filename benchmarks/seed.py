"""Conversations with a history, as they are after weeks of use."""

from datetime import timedelta

from django.db import connection
from django.utils import timezone

from benchmarks.fakes import phone
from messaging.models import Contact, ContactAlias, Conversation, Message
from sessions_app.models import AgentProfile, Bridge
from sessions_app.services import register_session

# The load writes as soon as it is answered, nearly the same each time: a machine, which the agent would stop answering.
NO_LOOP_LIMITS = {"loop_repeats": 0, "loop_fast_replies": 0, "loop_max_turns": 0}


def seed_history(conversations: int, *, messages: int) -> None:
    """Create conversations with a history, half of it ours, and turn the limits on loops off."""
    AgentProfile.objects.update(**NO_LOOP_LIMITS)
    session = register_session(bridge=Bridge.objects.get(slug=Bridge.DEFAULT), name="sales", phone="+5511999990000")
    contacts = Contact.objects.bulk_create(
        Contact(session=session, phone=f"+{phone(number)}") for number in range(conversations)
    )
    ContactAlias.objects.bulk_create(
        ContactAlias(session=session, contact=contact, kind=ContactAlias.Kind.PHONE, value=contact.phone)
        for contact in contacts
    )
    talks = Conversation.objects.bulk_create(
        Conversation(session=session, contact=contact, address=f"{contact.phone[1:]}@s.whatsapp.net")
        for contact in contacts
    )
    began = timezone.now() - timedelta(days=1)
    Message.objects.bulk_create(
        (
            Message(
                session=session,
                conversation=talk,
                direction=Message.Direction.OUTBOUND if position % 2 else Message.Direction.INBOUND,
                author=Message.Author.AGENT if position % 2 else Message.Author.CONTACT,
                status=Message.Status.SENT if position % 2 else Message.Status.HANDLED,
                text=f"Message {position} of a talk about opening hours, prices and what is in stock this week.",
                provider_message_id=f"3EB0PAST{talk.pk.hex[-8:]}{position:04d}{talk.pk.hex[:8]}",
                said_at=began + timedelta(minutes=position),
                created_at=began + timedelta(minutes=position),
            )
            for talk in talks
            for position in range(messages)
        ),
        batch_size=2000,
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # what autovacuum would have done by then
