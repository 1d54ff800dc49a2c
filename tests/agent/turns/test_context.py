"""A model whose context is too small: what does not fit is found out once, and left out from then on."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agent import llm
from agent.llm import capabilities
from agent.turns import turn as turns
from messaging.models import Conversation, Message, Turn
from sessions_app.models import AgentProfile, ModelLimit

pytestmark = pytest.mark.usefixtures("profile")


@pytest.fixture
def small(model, conversation):
    """A model whose context holds about half of a history of 40 messages."""
    AgentProfile.objects.update(tools=[], instructions="Sell.")
    add_history(conversation, 40)
    model.max_body_chars = 6500
    return model


def add_history(conversation: Conversation, count: int) -> None:
    """Messages of the contact that were handled, a second apart, an hour ago."""
    begin = timezone.now() - timedelta(hours=1)
    for number in range(count):
        Message.objects.create(
            session=conversation.session, conversation=conversation, sender=conversation.contact, direction="inbound",
            text=f"old message {number} " + "bla " * 60, author="contact", status="handled",
            said_at=begin + timedelta(seconds=number),
        )  # fmt: skip


def replies() -> int:
    return Message.objects.filter(direction="outbound").count()


def text_of(request) -> str:
    return str(request.body.get("messages") or request.body["input"])


def test_the_next_turn_begins_with_the_history_that_fits(says, conversation, small, api):
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert len(small.requests) > 1
    small.forget()
    says("Are you there?")
    turns.take_turn(conversation.pk)
    assert len(small.requests) == 1
    assert "old message 39" in text_of(small.requests[0])
    assert replies() == 2


def test_another_process_begins_with_the_history_that_fits(says, conversation, small):
    says("Hello?")
    turns.take_turn(conversation.pk)
    small.forget()
    capabilities.clear_cache()
    says("Are you there?")
    turns.take_turn(conversation.pk)
    assert len(small.requests) == 1
    [limit] = llm.describe_limits(small.requests[0].body["model"])
    assert limit.startswith("takes no prompt of more than about")


@pytest.mark.parametrize("text", ["/summarize", "/summarize 30"])
def test_a_command_begins_with_the_history_that_fits(says, conversation, small, api, text):
    small.reply = "They talked."
    for _ in range(2):
        small.forget()
        says(text)
        turns.take_turn(conversation.pk)
    assert len(small.requests) == 1
    assert "old message 39" in text_of(small.requests[0])
    assert replies() == 2


def test_a_summary_is_made_of_parts_that_fit(says, conversation, small):
    AgentProfile.objects.update(history_tokens=1000)
    small.reply, small.max_body_chars = "They talked.", 4000
    says("/summarize")
    turns.take_turn(conversation.pk)
    says("Hello?")
    small.forget()
    turns.take_turn(conversation.pk)
    summaries = [request for request in small.requests if "running summary" in text_of(request)]
    assert len(summaries) > 1
    assert all(len(text_of(request)) < 4000 for request in small.requests)


def test_a_context_that_was_enlarged_is_used_again_after_it_took_a_longer_prompt(says, conversation, model):
    AgentProfile.objects.update(tools=[], instructions="Sell.")
    model.fail("too_long", times=1)
    add_history(conversation, 1)
    says("Hello?")
    turns.take_turn(conversation.pk)
    ModelLimit.objects.update(value=10)  # fewer than any prompt has
    capabilities.clear_cache()
    says("Are you there?")
    turns.take_turn(conversation.pk)
    model.forget()
    says("Hello again?")
    turns.take_turn(conversation.pk)
    assert "old message 0" in text_of(model.requests[0])
    assert llm.describe_limits(model.requests[0].body["model"]) == []


def test_a_prompt_that_fails_for_another_reason_makes_no_context_small(says, conversation, model):
    add_history(conversation, 10)
    model.fail("too_long")
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert Turn.objects.get().outcome == "failed"
    assert not ModelLimit.objects.exists()


@pytest.mark.parametrize("status", [400, 500])
def test_a_request_that_fails_for_an_unknown_reason_is_repeated_with_the_burst_alone(
    says, conversation, model, api, settings, status
):
    settings.AGENT_MAX_TRIES = 1
    AgentProfile.objects.update(tools=[])
    add_history(conversation, 3)
    model.answer({"error": {"message": "Nope."}}, status=status)
    says("Hello?")
    turns.take_turn(conversation.pk)
    assert Turn.objects.get().outcome == "answered"
    assert "old message" not in text_of(model.requests[-1])
    assert not ModelLimit.objects.exists()
