"""Receiving messages: stored once, in their conversation, and due only when they should be answered."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent.bridges.addresses import read_address
from agent.bridges.events import (
    AliasKind,
    ChatAddress,
    Kind,
    MediaRef,
)
from messaging import control
from messaging.inbound import receive_message
from messaging.models import Contact, Conversation, Message
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.conftest import CUSTOMER, message_event


def jid(number: int) -> str:
    """Return the address of a person in Brazil, whose phone has two spellings."""
    return f"55119888800{number:02}@s.whatsapp.net"


def test_a_message_is_stored_with_its_session_contact_and_conversation(bridge, profile):
    received = receive_message(bridge=bridge, event=message_event("Good morning"))
    message = Message.objects.get()
    assert (message.pk, message.text, message.status, message.author) == (
        received.message_id,
        "Good morning",
        "received",
        "contact",
    )
    assert message.session.name == "sales"
    assert message.conversation.contact.phone == "+5511988887777"
    assert message.conversation.address == CUSTOMER
    assert message.conversation.unread_count == 1


def test_a_message_of_an_unknown_session_registers_it_as_connected(bridge, profile):
    receive_message(bridge=bridge, event=message_event(session="new", own_phone="+5511999990000"))
    session = WhatsAppSession.objects.get()
    assert (session.name, session.status, session.phone) == ("new", "connected", "+5511999990000")


def test_a_message_delivered_twice_is_stored_and_counted_once(says, bridge):
    first = says("Hello")
    again = receive_message(bridge=bridge, event=message_event("Hello", number=1))
    assert (first.is_new, again.is_new) == (True, False)
    assert Message.objects.count() == 1
    assert Conversation.objects.get().unread_count == 1
    assert Conversation.objects.get().inbound_count == 1


@pytest.mark.django_db(transaction=True)
def test_a_new_contacts_message_that_arrives_many_times_at_once_is_stored_once(bridge, profile):
    start = threading.Barrier(8)
    outcomes: list[bool] = []

    def deliver() -> None:
        start.wait()
        try:
            outcomes.append(receive_message(bridge=bridge, event=message_event("Hello")).is_new)
        finally:
            connection.close()

    threads = [threading.Thread(target=deliver) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]
    assert (Message.objects.count(), Contact.objects.count(), Conversation.objects.count()) == (1, 1, 1)


def test_receiving_a_text_of_a_known_contact_takes_one_query(says):
    says("Hello")
    with CaptureQueriesContext(connection) as queries:
        says("Again")
    assert len(queries) == 1


@pytest.mark.django_db(transaction=True)
def test_receiving_the_first_text_of_a_person_takes_two_queries(says):
    says("Hello", chat=jid(1))
    with CaptureQueriesContext(connection) as queries:
        says("Hello", chat=jid(2))
    assert len(queries) == 2


def test_a_message_is_due_after_the_debounce_and_never_later_than_the_burst_may_last(says, profile):
    AgentProfile.objects.update(debounce_s=2, debounce_max_s=3)
    before = timezone.now()
    says("one")
    Conversation.objects.update(burst_started_at=before - timedelta(seconds=2.5))
    due_at = says("two").due_at
    assert before + timedelta(seconds=0.4) < due_at < before + timedelta(seconds=1.9)


@pytest.mark.parametrize(
    ("text", "at_most_s"), [("/help", 0.2), ("#help", 0.2), ("Are you open?", 0.9), ("مفتوح؟", 0.9)]
)
def test_commands_and_questions_are_answered_sooner(says, text, at_most_s):
    AgentProfile.objects.update(debounce_s=5, debounce_max_s=8)
    assert says(text).due_at <= timezone.now() + timedelta(seconds=at_most_s)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"age": timedelta(minutes=11)}, "stale"),
        ({"is_history": True}, "history"),
        ({"kind": Kind.REACTION}, "kind"),
        ({"answerable": False, "kind": Kind.UNKNOWN}, "kind"),
        ({"chat": "120363041234567890@g.us", "sender": CUSTOMER}, "group"),
    ],
)
def test_a_message_that_should_not_be_answered_is_stored_and_not_due(says, changes, why):
    received = says("Hello", **changes)
    assert received.due_at is None
    message = Message.objects.get()
    assert (message.status, message.unanswered) == ("handled", why)
    assert message.conversation.due_at is None


def test_a_message_of_a_blocked_contact_is_stored_and_not_answered(says, conversation):
    Contact.objects.update(is_blocked=True)
    assert says("Hello").due_at is None
    assert Message.objects.get().unanswered == "policy"


def test_only_listed_contacts_are_answered_where_the_session_requires_it(says, session, conversation):
    WhatsAppSession.objects.update(access_policy="listed")
    assert says("Hello").due_at is None
    Contact.objects.update(is_allowed=True)
    assert says("Hello again").due_at is not None


def test_a_group_is_answered_when_its_policy_allows_it(says, profile):
    WhatsAppSession.objects.update(group_policy="all")
    received = says("Hello all", chat="120363041234567890@g.us", sender=CUSTOMER)
    message = Message.objects.get()
    assert received.due_at is not None
    assert message.conversation.contact.is_group
    assert message.sender.phone == "+5511988887777"


def test_a_message_from_the_future_gets_the_time_of_its_arrival(says):
    says("Hello", sent_at=timezone.now() + timedelta(days=400))
    assert Message.objects.get().said_at <= timezone.now()


def test_media_is_stored_with_its_type_name_and_size(says):
    says("Look", kind=Kind.DOCUMENT, media=MediaRef(filename="receipt.pdf"))
    message = Message.objects.get()
    assert (message.kind, message.media.filename, message.media.downloadable) == ("document", "receipt.pdf", False)


def test_contacts_known_by_phone_and_by_lid_are_merged_when_the_bridge_names_both(says):
    lid = ChatAddress("99887766@lid", AliasKind.LID, name="Ana")
    says("by phone")
    says("by hidden number", chat=lid, sender=lid)
    assert Contact.objects.count() == 2
    both = ChatAddress("99887766@lid", AliasKind.LID, name="Ana", alternates=(read_address(CUSTOMER),))
    says("by both", chat=both, sender=both)
    conversation = Conversation.objects.get()
    assert Contact.objects.count() == 1
    assert conversation.messages.count() == 3
    assert conversation.inbound_count == 3
    assert conversation.contact.phone == "+5511988887777"
    assert conversation.address == "99887766@lid"


def test_a_phone_in_two_spellings_of_the_bridge_is_one_contact(says):
    twice = ChatAddress(
        CUSTOMER, AliasKind.PHONE, phone="+5511988887777", alternates=(read_address("5511988887777@c.us"),)
    )
    says("Hello", chat=twice, sender=twice)
    assert Contact.objects.get().aliases.count() == 1


def test_a_message_while_a_person_has_control_is_stored_unanswered_and_not_due(says, conversation):
    control.take_over(conversation=conversation)
    assert says("Hello").due_at is None
    assert Message.objects.get().status == "received"


def test_a_message_that_just_came_proves_the_link(says, session):
    WhatsAppSession.objects.update(status="disconnected", status_changed_at=timezone.now() - timedelta(minutes=1))
    says("Hello")
    session.refresh_from_db()
    assert session.status == "connected"


def test_a_message_of_long_ago_proves_no_link(says, session):
    WhatsAppSession.objects.update(status="disconnected", status_changed_at=timezone.now() - timedelta(days=1))
    says("Hello", age=timedelta(minutes=5))
    session.refresh_from_db()
    assert session.status == "disconnected"
