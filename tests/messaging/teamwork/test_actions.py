"""How staff share conversations: assignment, labels, notes, snooze, done, and what opens a conversation again."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from messaging import teamwork
from messaging.control import ConversationGone
from messaging.models import Conversation, Note
from tests.conftest import message_event
from whatsapp_agent.errors import InvalidInput

SOON = timedelta(hours=1)


def put_aside(conversation: Conversation) -> None:
    now = timezone.now()
    Conversation.objects.filter(pk=conversation.pk).update(snoozed_until=now + SOON, done_at=now, done_reason="solved")


def state(conversation: Conversation) -> tuple[bool, bool, str]:
    conversation.refresh_from_db()
    return conversation.snoozed_until is None, conversation.done_at is None, conversation.done_reason


def test_the_next_message_opens_a_done_and_snoozed_conversation(
    conversation: Conversation, says: Callable[..., Any]
) -> None:
    put_aside(conversation)
    says("One more thing")
    assert state(conversation) == (True, True, "")


@pytest.mark.parametrize("changes", [{"is_history": True}, {"kind": message_event().kind.REACTION}])
def test_imported_history_and_reactions_leave_a_conversation_done(
    conversation: Conversation, says: Callable[..., Any], changes: dict[str, Any]
) -> None:
    put_aside(conversation)
    says("Thanks", **changes)
    assert state(conversation) == (False, False, "solved")


def test_finishing_ends_what_asked_for_a_person(conversation: Conversation) -> None:
    Conversation.objects.update(needs_attention=True, attention_reason="handoff", unread_count=3)
    teamwork.finish(conversation=conversation, reason="solved")
    conversation.refresh_from_db()
    assert (conversation.needs_attention, conversation.unread_count, conversation.done_reason) == (False, 0, "solved")


def test_a_snooze_ends_when_its_time_has_come(conversation: Conversation) -> None:
    teamwork.snooze(conversation=conversation, until=timezone.now() + SOON)
    assert teamwork.reopen_snoozed() == 0
    Conversation.objects.update(snoozed_until=timezone.now() - SOON)
    assert (teamwork.reopen_snoozed(), state(conversation)[0]) == (1, True)


def test_a_conversation_is_not_snoozed_into_the_past(conversation: Conversation) -> None:
    with pytest.raises(InvalidInput, match="in the future"):
        teamwork.snooze(conversation=conversation, until=timezone.now() - SOON)


def test_a_member_who_operates_is_assigned(conversation: Conversation, member: User) -> None:
    teamwork.assign(conversation=conversation, to=member)
    conversation.refresh_from_db()
    assert conversation.assigned_to == member


def test_someone_who_does_not_see_the_session_is_not_assigned(conversation: Conversation, stranger: User) -> None:
    with pytest.raises(InvalidInput, match="may not answer"):
        teamwork.assign(conversation=conversation, to=stranger)


def test_labels_are_stored_once_and_in_order(conversation: Conversation) -> None:
    teamwork.set_labels(conversation=conversation, labels=["vip", " order ", "vip", ""])
    conversation.refresh_from_db()
    assert conversation.labels == ["vip", "order"]


@pytest.mark.parametrize("label", ["x" * 41, "two\nlines", "turned \u202e around"])
def test_a_label_that_is_no_short_line_is_refused(conversation: Conversation, label: str) -> None:
    with pytest.raises(InvalidInput):
        teamwork.set_labels(conversation=conversation, labels=[label])


def test_a_note_of_broken_unicode_is_stored_readable(conversation: Conversation, member: User) -> None:
    teamwork.add_note(conversation=conversation, by=member, text=" a\x00b\ud800 ")
    assert Note.objects.get().text == "a\ufffdb\ufffd"


@pytest.mark.parametrize("text", ["", " \n", "x" * 4001])
def test_an_empty_or_endless_note_is_refused(conversation: Conversation, member: User, text: str) -> None:
    with pytest.raises(InvalidInput):
        teamwork.add_note(conversation=conversation, by=member, text=text)


def test_a_conversation_merged_meanwhile_is_reported(conversation: Conversation) -> None:
    gone = Conversation.objects.get()
    conversation.delete()
    with pytest.raises(ConversationGone):
        teamwork.finish(conversation=gone)
