"""To which address of a contact a conversation is written: the one that the contact wrote from last."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agent.bridges.events import AliasKind, ChatAddress
from messaging.contacts.lookup import record_changed_id
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


def by_id(value: str) -> ChatAddress:
    return ChatAddress(value, AliasKind.BSUID)


@pytest.fixture
def renamed(bridge: Any, session: Any) -> Conversation:
    """A conversation whose contact got another id ten minutes ago and has not written since."""
    receive_message(bridge=bridge, event=message_event("First", number=1, chat=by_id("BR.1"), age=timedelta(hours=1)))
    changed_at = timezone.now() - timedelta(minutes=10)
    record_changed_id(session=session, old=by_id("BR.1"), new=by_id("BR.2"), at=changed_at)
    conversation = Conversation.objects.get()
    assert conversation.address == "BR.2"
    return conversation


@pytest.mark.parametrize("is_ours", [False, True])
def test_what_comes_late_does_not_move_back_to_an_id_that_the_contact_has_no_more(
    bridge: Any, renamed: Conversation, is_ours: bool
) -> None:
    event = message_event("Late", number=2, chat=by_id("BR.1"), age=timedelta(minutes=30), outbound=is_ours)
    (receive_own_message if is_ours else receive_message)(bridge=bridge, event=event)
    assert renamed.messages.filter(text="Late").exists()
    assert address_of(renamed) == "BR.2"


def test_an_older_change_of_the_id_that_comes_late_does_not_undo_the_newer(session: Any, renamed: Conversation) -> None:
    before = timezone.now() - timedelta(minutes=20)
    record_changed_id(session=session, old=by_id("BR.1"), new=by_id("BR.0"), at=before)
    assert address_of(renamed) == "BR.2"
    record_changed_id(session=session, old=by_id("BR.2"), new=by_id("BR.3"), at=timezone.now())
    assert address_of(renamed) == "BR.3"


def test_a_message_that_was_written_since_the_id_changed_moves_the_conversation(
    bridge: Any, renamed: Conversation
) -> None:
    receive_message(bridge=bridge, event=message_event("Now", number=2, chat=by_id("BR.1")))
    assert address_of(renamed) == "BR.1"
