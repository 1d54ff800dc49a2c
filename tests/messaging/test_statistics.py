"""Plans of the statements of every message: right on a new installation, while it grows, and when it is large."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from messaging import leases, loops, outbox
from messaging.history.conversation import load_conversation
from messaging.history.transcript import load_history
from messaging.maintenance import statistics
from messaging.models import Contact, ContactAlias, Conversation, Message
from sessions_app.bridges import bridge_of_slug
from tests.support.background import becomes_true
from tests.support.messaging.turns import settle
from whatsapp_agent.postgres.base import close_idle

pytestmark = pytest.mark.django_db(transaction=True)
GROWING = (
    "messaging_message",
    "messaging_conversation",
    "messaging_contact",
    "messaging_contactalias",
    "messaging_turn",
)


@pytest.fixture(autouse=True)
def new_connection() -> None:
    """Begin on a connection that has planned nothing yet."""
    connection.close()
    close_idle()


def take_a_turn(conversation, says) -> None:
    """Run every statement that a message costs, so that this connection has planned it."""
    says("Hello", chat=conversation.address)
    assert bridge_of_slug("default") is not None
    lease = leases.take(conversation.pk)
    loops.find_loop(conversation_id=conversation.pk, epoch=0)
    load_history(load_conversation(conversation.pk))
    assert settle(lease, conversation, even_if_stale=True) is not None
    claimed = outbox.claim_next_message(conversation.pk)
    outbox.mark_sent(claimed, provider_message_id=f"OUT{claimed.message_id.hex}", at=None)


def tables_read_whole() -> set[str]:
    """Return the growing tables that the plans of this connection's prepared statements read from end to end."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, array_length(parameter_types, 1) FROM pg_prepared_statements WHERE name LIKE 'agent%%'"
        )
        statements = cursor.fetchall()
        assert len(statements) >= 8
        plans = []
        for name, parameters in statements:
            cursor.execute(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * parameters)})")
            plans += [row[0] for row in cursor.fetchall()]
    return {table for table in GROWING for line in plans if f"Seq Scan on {table} " in line}


def add_conversations(session, count: int) -> list[Conversation]:
    """Store conversations with a message each."""
    now = timezone.now()
    contacts = Contact.objects.bulk_create(
        Contact(session=session, phone=f"+55119{number:08}") for number in range(10_000_000, 10_000_000 + count)
    )
    ContactAlias.objects.bulk_create(
        ContactAlias(contact=each, session=session, kind="phone", value=each.phone[1:]) for each in contacts
    )
    conversations = Conversation.objects.bulk_create(
        Conversation(session=session, contact=each, address=f"{each.phone[1:]}@s.whatsapp.net") for each in contacts
    )
    Message.objects.bulk_create(
        Message(
            session=session,
            conversation=each,
            direction="inbound",
            author="contact",
            status="handled",
            provider_message_id=f"3EB1{each.pk.hex}",
            said_at=now - timedelta(seconds=number),
        )
        for number, each in enumerate(conversations)
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
    return conversations


def analyzed_rows(tables: set[str]) -> dict[str, float]:
    """Analyze what has grown; return the rows that were counted then, or by autovacuum in the middle of it."""
    statistics.analyze_grown_tables()
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname, reltuples FROM pg_class WHERE relname = ANY(%s)", [sorted(tables)])
        return dict(cursor.fetchall())


def test_plans_are_right_before_there_are_statistics(says, conversation, session):
    type(session).objects.update(status="connected")
    take_a_turn(conversation, says)
    assert tables_read_whole() == set()


def test_plans_follow_a_database_that_grows_from_a_few_rows_to_many(says, conversation, session):
    type(session).objects.update(status="connected")
    add_conversations(session, 150)
    statistics.analyze_grown_tables()
    take_a_turn(conversation, says)

    Conversation.objects.exclude(pk=conversation.pk).delete()
    Contact.objects.exclude(pk=conversation.contact_id).delete()
    add_conversations(session, 3000)
    grown = {"messaging_message", "messaging_conversation", "messaging_contact", "messaging_contactalias"}
    assert becomes_true(lambda: min(analyzed_rows(grown).values()) > 1000)
    take_a_turn(conversation, says)
    assert tables_read_whole() & grown == set()  # the table of two turns may be read as a whole


def test_a_table_that_has_not_grown_is_not_analyzed_again(session):
    add_conversations(session, 200)
    assert becomes_true(lambda: analyzed_rows({"messaging_message"})["messaging_message"] > 100)
    assert "messaging_message" not in statistics.analyze_grown_tables()
