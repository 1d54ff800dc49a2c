"""Tool calls that a model writes as text: run if the tool is offered, never sent."""

import pytest

from agent.turns import turn as turns
from messaging.models import Fact, Message, ToolCall, Turn
from sessions_app.models import DEFAULT_FALLBACK_TEXT, AgentProfile

pytestmark = pytest.mark.usefixtures("profile")

UNKNOWN = [
    '<tool_call>{"name": "book_table", "arguments": {"at": "8pm"}}</tool_call>',
    '```json\n{"name": "book_table", "arguments": {"at": "8pm"}}\n```',
    '[TOOL_CALLS][{"name": "book_table", "arguments": {"at": "8pm"}}]',
    '<tool_call>\n{"name": "book_table", "arguments": {"at": ',
]


def replies() -> list[str]:
    messages = Message.objects.filter(direction="outbound").order_by("created_at", "id")
    return list(messages.values_list("text", flat=True))


@pytest.mark.parametrize("written", UNKNOWN)
def test_a_written_call_of_a_tool_that_is_not_offered_is_asked_for_differently(says, conversation, model, api, written):
    AgentProfile.objects.update(tools=["remember"])
    model.say(written, "We are full tonight.")
    says("A table at 8?")
    turns.take_turn(conversation.pk)
    assert replies() == ["We are full tonight."]
    assert len(model.requests) == 2


@pytest.mark.parametrize("written", UNKNOWN)
def test_a_written_call_is_never_sent(says, conversation, model, settings, written):
    settings.AGENT_MAX_TRIES = 1
    AgentProfile.objects.update(tools=["remember"])
    model.reply = written
    says("A table at 8?")
    turns.take_turn(conversation.pk)
    assert replies() == [DEFAULT_FALLBACK_TEXT]
    assert Turn.objects.get().outcome == "failed"
    assert len(model.requests) == 2


def test_the_text_around_a_written_call_is_the_answer_if_the_model_repeats_the_call(says, conversation, model):
    model.reply = f"One moment, please.\n{UNKNOWN[0]}"
    says("A table at 8?")
    turns.take_turn(conversation.pk)
    assert replies() == ["One moment, please."]
    assert len(model.requests) == 2


def test_a_written_call_of_an_offered_tool_is_run(says, conversation, model, api):
    AgentProfile.objects.update(tools=["remember"])
    model.say('<tool_call>{"name": "remember", "arguments": {"fact": "Ana likes tea"}}</tool_call>', "Noted!")
    says("I like tea")
    turns.take_turn(conversation.pk)
    assert replies() == ["Noted!"]
    assert Fact.objects.get().text == "Ana likes tea"
    assert ToolCall.objects.get().status == "done"


@pytest.mark.parametrize("written", [UNKNOWN[0], UNKNOWN[2]])
def test_a_command_never_shows_a_written_call(says, conversation, model, written):
    Message.objects.create(
        session=conversation.session, conversation=conversation, sender=conversation.contact, text="On Monday",
        direction="inbound", author="contact", status="handled",
    )  # fmt: skip
    model.say(written, "They meet on Monday.")
    says("/summarize")
    turns.take_turn(conversation.pk)
    assert replies() == ["They meet on Monday."]
