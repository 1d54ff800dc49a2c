"""What the tests of the API begin with."""

import pytest
from django.utils import timezone

from messaging.models import Conversation, Message, Turn
from tests.conftest import as_user


@pytest.fixture
def client(member):
    return as_user(member)


@pytest.fixture
def failed_turn(says):
    received = says("Hello")
    turn = Turn.objects.create(
        conversation_id=received.conversation_id, outcome="failed", reason="timeout", started_at=timezone.now()
    )
    turn.tool_calls.create(name="search", status="done", arguments={"words": "x"})
    Message.objects.update(status="handled", turn=turn)
    Conversation.objects.update(due_at=None)
    return turn
