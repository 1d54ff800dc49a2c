"""Messages of our own number: typed on the phone, or the echo of one that we sent."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agent.bridges.events import Kind, MessageRevoked
from messaging.inbound import receive_own_message
from messaging.models import Message
from messaging.receipts import record_revocation
from tests.conftest import message_event
from tests.support.messaging.messages import queued


def test_typing_on_the_phone_takes_the_conversation_over(says, bridge, conversation):
    says("Hello")
    receive_own_message(bridge=bridge, event=message_event("I am here", number=9, outbound=True))
    conversation.refresh_from_db()
    assert (conversation.control, conversation.control_reason) == ("human", "typed on the phone")
    assert conversation.due_at is None
    assert Message.objects.get(author="phone").text == "I am here"
    assert Message.objects.get(direction="inbound").unanswered == "person"


@pytest.mark.parametrize("changes", [{"is_history": True}, {"age": timedelta(hours=2)}])
def test_an_old_or_imported_message_of_our_phone_takes_nothing_over(bridge, conversation, changes):
    receive_own_message(bridge=bridge, event=message_event("old", outbound=True, **changes))
    conversation.refresh_from_db()
    assert conversation.control == "agent"
    assert Message.objects.get().author == "phone"


@pytest.mark.parametrize(("kind", "moves"), [(Kind.TEXT, True), (Kind.REACTION, False)])
def test_a_message_of_our_phone_moves_the_conversation_up_and_a_reaction_does_not(
    says, bridge, conversation, kind, moves
):
    says("Hello", sent_at=timezone.now() - timedelta(hours=1))
    conversation.refresh_from_db()
    asked_at = conversation.last_message_at
    receive_own_message(bridge=bridge, event=message_event("", number=9, outbound=True, kind=kind))
    conversation.refresh_from_db()
    assert (conversation.last_message_at > asked_at) is moves


@pytest.mark.parametrize(("status", "is_echo"), [("sending", True), ("unconfirmed", True), ("unconfirmed", False)])
def test_the_echo_of_a_send_settles_it_and_takes_nothing_over(bridge, conversation, status, is_echo):
    message = queued(conversation, status=status)
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True, is_echo=is_echo))
    message.refresh_from_db()
    conversation.refresh_from_db()
    assert (message.status, message.provider_message_id) == ("sent", "3EB00000000000000005")
    assert conversation.control == "agent"
    assert Message.objects.count() == 1


def test_an_echo_is_distinguished_from_the_same_text_at_another_time(bridge, conversation):
    unknown = queued(conversation, status="unconfirmed", sending_at=timezone.now() - timedelta(hours=3))
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True))
    unknown.refresh_from_db()
    conversation.refresh_from_db()
    assert (unknown.status, conversation.control) == ("unconfirmed", "human")


def test_an_echo_belongs_to_what_is_being_sent_rather_than_to_what_is_unconfirmed(bridge, conversation):
    before, now = queued(conversation, status="unconfirmed"), queued(conversation, status="sending")
    receive_own_message(bridge=bridge, event=message_event("Hi", number=5, outbound=True, is_echo=True))
    before.refresh_from_db()
    now.refresh_from_db()
    assert (before.status, now.status) == ("unconfirmed", "sent")


def test_a_history_that_holds_the_same_words_settles_no_send(bridge, conversation):
    unknown = queued(conversation, status="unconfirmed", sending_at=timezone.now())
    old = message_event("Hi", number=5, outbound=True, is_history=True, age=timedelta(days=90))
    receive_own_message(bridge=bridge, event=old)
    unknown.refresh_from_db()
    assert unknown.status == "unconfirmed"


def test_a_message_quotes_only_a_message_of_its_own_conversation(says, bridge):
    says("my secret", chat="5511977776666@s.whatsapp.net")
    says("what did I quote?", quoted_id="3EB00000000000000001")
    message = Message.objects.get(text="what did I quote?")
    assert (message.quoted, message.quoted_provider_id) == (None, "3EB00000000000000001")


def test_our_own_phone_quotes_only_a_message_of_its_own_conversation(says, bridge):
    says("my secret", chat="5511977776666@s.whatsapp.net")
    own = message_event("mine", number=7, outbound=True, quoted_id="3EB00000000000000001")
    assert receive_own_message(bridge=bridge, event=own).quoted is None


def test_a_message_revoked_before_it_was_answered_is_handled(says, bridge):
    says("Hello")
    record_revocation(bridge=bridge, event=MessageRevoked(session="sales", target_id="3EB00000000000000001"))
    message = Message.objects.get()
    assert (message.status, message.unanswered) == ("handled", "kind")
