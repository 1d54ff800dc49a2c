"""What the history of a conversation shows is the same for the model, for commands and for the search."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from messaging.history.transcript import load_history, visible_messages
from messaging.models import Conversation, Message, Turn
from messaging.search.ranking import search


def _message(conversation: Conversation, **values: Any) -> Message:
    defaults = {"direction": "outbound", "author": "agent", "status": "sent", "text": "The price of tea."}
    return Message.objects.create(session=conversation.session, conversation=conversation, **defaults | values)


def _of_turn(conversation: Conversation, outcome: Turn.Outcome) -> Message:
    turn = Turn.objects.create(conversation=conversation, outcome=outcome, started_at=timezone.now())
    return _message(conversation, turn=turn)


MESSAGES: dict[str, tuple[Callable[[Conversation], Message], bool]] = {
    "sent": (_message, True),
    "queued": (lambda c: _message(c, status="queued"), True),
    "sending": (lambda c: _message(c, status="sending"), True),
    "delivered": (lambda c: _message(c, status="delivered"), True),
    "read": (lambda c: _message(c, status="read"), True),
    "unconfirmed": (lambda c: _message(c, status="unconfirmed"), True),
    "received": (lambda c: _message(c, direction="inbound", author="contact", status="received"), True),
    "handled": (lambda c: _message(c, direction="inbound", author="contact", status="handled"), True),
    "failed": (lambda c: _message(c, status="failed"), False),
    "cancelled": (lambda c: _message(c, status="cancelled"), False),
    "deleted by its author": (lambda c: _message(c, revoked_at=timezone.now()), False),
    **{
        f"of a turn that ended {outcome}": (lambda c, outcome=outcome: _of_turn(c, outcome), outcome != "command")
        for outcome in Turn.Outcome
    },
}


@pytest.mark.django_db
@pytest.mark.parametrize("which", MESSAGES)
def test_a_message_is_visible_to_the_model_to_commands_and_to_the_search_or_to_none(
    conversation: Conversation, which: str
) -> None:
    make, is_visible = MESSAGES[which]
    message = make(conversation)
    shown = {
        "model (load_history)": message.pk in {each.id for each in load_history(conversation)},
        "commands (visible_messages)": visible_messages(conversation).filter(pk=message.pk).exists(),
        "search (ranking)": message.pk in {hit.message.pk for hit in search(conversation=conversation, query="price")},
    }
    assert shown == dict.fromkeys(shown, is_visible)


@pytest.mark.django_db
def test_every_status_of_a_message_is_in_the_table() -> None:
    assert set(Message.Status.values) <= set(MESSAGES)
