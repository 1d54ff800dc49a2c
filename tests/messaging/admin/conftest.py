"""What the tests of the admin pages begin with."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from messaging.models import (
    Conversation,
    Fact,
    Media,
    Message,
    ToolCall,
    Turn,
)
from sessions_app.models import Membership, WhatsAppSession
from tests.support.messaging.admin import create_outbound


@pytest.fixture
def example(conversation: Conversation, says: Callable[..., Any]) -> dict[str, Any]:
    """A question with a document, its answer, and a turn that failed: one row of each model."""
    received = says("Where is my order?")
    question = Message.objects.get(pk=received.message_id)
    turn = Turn.objects.create(
        conversation=conversation, outcome="failed", reason="timeout: no answer", started_at=timezone.now(),
        used={"messages": [str(question.pk)]},
    )  # fmt: skip
    Message.objects.filter(pk=question.pk).update(status="handled", turn=turn)
    ToolCall.objects.create(turn=turn, name="search", arguments={"query": "order"}, status="done")
    answer = create_outbound(conversation, text="It is on its way.", status="sent", turn=turn)
    media = Media.objects.create(message=question, filename="order.pdf", ref="https://bridge/secret-ref")
    return {
        "contact": conversation.contact,
        "conversation": conversation,
        "message": answer,
        "media": media,
        "turn": turn,
        "fact": Fact.objects.create(contact=conversation.contact, text="Likes tea.", proposed_by="model"),
        "question": question,
    }


@pytest.fixture
def viewer(session: WhatsAppSession, staff_viewer: User) -> User:
    """A staff user who may see the session, and no more."""
    Membership.objects.create(session=session, user=staff_viewer)
    return staff_viewer
