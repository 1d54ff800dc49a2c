"""To which address of a contact a conversation is written: the one that the contact wrote from last."""

from datetime import timedelta
from typing import Any

import pytest

from agent.bridges.events import AliasKind, ChatAddress
from messaging.inbound import receive_message, receive_own_message
from messaging.models import Contact, Conversation
from tests.conftest import CUSTOMER, message_event

LID = "281474976710655@lid"
HIDDEN = ChatAddress(LID, AliasKind.LID)
BOTH = ChatAddress(LID, AliasKind.LID, phone="+5511988887777")


@pytest.fixture
def moved(bridge: Any, session: Any) -> Conversation:
    """A conversation whose contact wrote from a hidden number an hour ago, and from their phone a minute ago."""
    receive_message(bridge=bridge, event=message_event("First", number=1, chat=BOTH, age=timedelta(hours=1)))
    receive_message(bridge=bridge, event=message_event("Now", number=2, age=timedelta(minutes=1)))
    conversation = Conversation.objects.get()
    assert conversation.address == CUSTOMER
    return conversation


def address_of(conversation: Conversation) -> str:
    conversation.refresh_from_db()
    return conversation.address


def test_a_message_that_comes_late_does_not_move_the_conversation_back(bridge: Any, moved: Conversation) -> None:
    event = message_event("Late", number=3, chat=HIDDEN, age=timedelta(minutes=30))
    assert receive_message(bridge=bridge, event=event).is_new
    assert not receive_message(bridge=bridge, event=event).is_new  # delivered twice
    assert address_of(moved) == CUSTOMER
    assert moved.messages.get(text="Late").address == LID
    assert (Contact.objects.count(), moved.messages.count()) == (1, 3)


def test_a_newer_message_moves_the_conversation_to_where_it_came_from(bridge: Any, moved: Conversation) -> None:
    receive_message(bridge=bridge, event=message_event("Newer", number=3, chat=HIDDEN))
    assert address_of(moved) == LID


def test_history_does_not_move_the_conversation(bridge: Any, moved: Conversation) -> None:
    event = message_event("Old", number=3, chat=HIDDEN, age=timedelta(days=3), is_history=True)
    receive_message(bridge=bridge, event=event)
    assert address_of(moved) == CUSTOMER


def test_what_the_owner_typed_long_ago_does_not_move_the_conversation(bridge: Any, moved: Conversation) -> None:
    event = message_event("Typed", number=3, chat=HIDDEN, age=timedelta(minutes=30), outbound=True)
    receive_own_message(bridge=bridge, event=event)
    assert address_of(moved) == CUSTOMER
