"""Why the agent said something: what it knew, what it could do, and how long it took."""

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from messaging.knowledge.entries import create_knowledge
from messaging.models import Conversation, Knowledge, KnowledgePart, Message, Turn
from tests.support.messaging.admin import LogIn, create_outbound, page_url


@pytest.fixture
def knowledge(conversation: Conversation) -> Knowledge:
    profile = conversation.session.agent_profile
    return create_knowledge(agent_profile=profile, title="Delivery <to> Rio", text="Within two days.")


@pytest.fixture
def answer(conversation: Conversation, knowledge: Knowledge) -> Message:
    """An answer that took 2.5 seconds, of which the model 1.2, and was given one part of the knowledge."""
    profile, now = conversation.session.agent_profile, timezone.now()
    profile.refresh_from_db()
    part = KnowledgePart.objects.get(knowledge=knowledge)
    turn = Turn.objects.create(
        conversation=conversation, agent_profile=profile, profile_version=profile.version, outcome="answered",
        model_ms=1200, started_at=now - timedelta(seconds=2.5), created_at=now, used={"knowledge": [part.pk, 10**9]},
    )  # fmt: skip
    return create_outbound(conversation, status="sent", turn=turn)


def test_the_inbox_shows_the_knowledge_with_its_source_the_tools_offered_and_the_whole_time(
    answer: Message, knowledge: Knowledge, staff_member: User, log_in: LogIn
) -> None:
    address: Any = reverse("inbox-why", args=[answer.conversation_id, answer.pk])
    page = log_in(staff_member).get(address).content.decode()
    assert "Delivery &lt;to&gt; Rio" in page
    assert ("Within two days." in page, page_url(knowledge) in page) == (True, True)
    assert ("<dd>1200 ms</dd>" in page, "<dd>2500 ms</dd>" in page) == (True, True)
    tools = answer.conversation.session.agent_profile.tools
    assert tools
    assert f"<dd>{', '.join(tools)}</dd>" in page


def test_the_page_of_a_turn_in_the_admin_shows_the_knowledge_and_the_whole_time(
    answer: Message, knowledge: Knowledge, staff_member: User, log_in: LogIn
) -> None:
    page = log_in(staff_member).get(page_url(answer.turn)).content.decode()
    assert ("Delivery &lt;to&gt; Rio" in page, page_url(knowledge) in page) == (True, True)
    assert ("Within two days." in page, "2500 ms" in page) == (True, True)
