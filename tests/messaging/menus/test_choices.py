"""The agent offers choices below its answer: as buttons where the bridge has them, else as numbered lines."""

from collections.abc import Iterator
from typing import Any

import pytest

from agent.sender import deliver
from agent.turns import turn as turns
from messaging import control
from messaging.models import Conversation, Message, ToolCall
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_cloud import NUMBER, FakeCloud

CHOICES = {"choices": "Morning; Afternoon"}
NUMBERED = "When shall we come?\n\n1. Morning\n2. Afternoon"


@pytest.fixture(autouse=True)
def tools(profile: AgentProfile, settings: Any) -> None:
    AgentProfile.objects.update(tools=["offer_choices"])
    settings.SEND_GAP_S = 0


@pytest.fixture
def simulator(session: Any) -> None:
    session.bridge.kind = "simulator"
    session.bridge.save()


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    with FakeCloud() as fake:
        fake.add_session(NUMBER, phone="5511999990000")
        yield fake


def move_to(cloud: FakeCloud) -> None:
    connect_default_bridge("cloud", cloud)
    WhatsAppSession.objects.update(name=NUMBER)
    Conversation.objects.update(address="5511988887777")


def answer(
    says: Any,
    model: Any,
    conversation: Conversation,
    text: str = "When shall we come?",
    cloud: FakeCloud | None = None,
    **call: Any,
) -> Any:
    """Take a turn in which the model offers choices, and return the messages that it queued."""
    model.call_tools(("offer_choices", call or CHOICES))
    model.say(text)
    says("Can you come?")
    if cloud is not None:
        move_to(cloud)
    turns.take_turn(conversation.pk)
    return list(Message.objects.filter(direction="outbound").order_by("created_at", "id"))


@pytest.mark.usefixtures("simulator")
def test_choices_are_the_buttons_of_the_answer(says: Any, model: Any, conversation: Conversation) -> None:
    (message,) = answer(says, model, conversation)
    assert (message.kind, message.author, message.text) == ("interactive", "agent", NUMBERED)
    assert message.details == {
        "menu": {"text": "When shall we come?", "buttons": ["Morning", "Afternoon"], "rows": [], "button": ""}
    }
    assert message.turn.tool_calls.get().name == "offer_choices"
    deliver(conversation.pk)
    assert Message.objects.get(pk=message.pk).status == "sent"


@pytest.mark.parametrize("kind", ["zapw", "waha", "evolution"])
def test_where_the_bridge_has_no_buttons_choices_are_lines_of_the_answer(
    says: Any, model: Any, conversation: Conversation, session: Any, kind: str
) -> None:
    session.bridge.kind = kind
    session.bridge.save()
    assert [(each.kind, each.text) for each in answer(says, model, conversation)] == [("text", NUMBERED)]


@pytest.mark.usefixtures("simulator")
def test_a_long_answer_has_its_choices_as_lines(says: Any, model: Any, conversation: Conversation) -> None:
    (message,) = answer(says, model, conversation, text="Long. " * 200 + "When?")
    assert message.kind == "text"
    assert message.text.endswith("When?\n\n1. Morning\n2. Afternoon")


@pytest.mark.usefixtures("simulator")
def test_choices_may_be_given_as_a_list_and_the_last_ones_count(
    says: Any, model: Any, conversation: Conversation
) -> None:
    model.call_tools(("offer_choices", {"choices": ["Red", "Blue"]}))
    (message,) = answer(says, model, conversation)
    assert message.details["menu"]["buttons"] == ["Morning", "Afternoon"]
    assert ToolCall.objects.filter(status="done").count() == 2


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize(
    "choices", ["One", "a; b; c; d", "Same; same", f"{'x' * 21}; b", "", " ; ", ["a", 1], {"a": "b"}, None]
)
def test_choices_that_cannot_be_shown_are_refused_and_the_answer_is_sent_without(
    says: Any, model: Any, conversation: Conversation, choices: Any
) -> None:
    (message,) = answer(says, model, conversation, choices=choices)
    assert (message.kind, message.text) == ("text", "When shall we come?")
    assert ToolCall.objects.get().status == "failed"


@pytest.mark.usefixtures("simulator")
def test_a_takeover_cancels_an_answer_with_choices(says: Any, model: Any, conversation: Conversation) -> None:
    (message,) = answer(says, model, conversation)
    control.take_over(conversation=conversation)
    assert Message.objects.get(pk=message.pk).status == "cancelled"


@pytest.mark.usefixtures("simulator")
def test_a_profile_without_the_tool_offers_no_choices(says: Any, model: Any, conversation: Conversation) -> None:
    AgentProfile.objects.update(tools=[])
    (message,) = answer(says, model, conversation)
    assert message.kind == "text"


def test_the_cloud_api_gets_the_answer_as_one_message_with_buttons(
    says: Any, model: Any, conversation: Conversation, cloud: FakeCloud
) -> None:
    answer(says, model, conversation, cloud=cloud)
    deliver(conversation.pk)
    (sent,) = cloud.sent
    assert sent["body"]["interactive"]["body"] == {"text": "When shall we come?"}
    titles = [each["reply"]["title"] for each in sent["body"]["interactive"]["action"]["buttons"]]
    assert titles == ["Morning", "Afternoon"]


def test_buttons_that_are_refused_are_sent_as_a_text(
    says: Any, model: Any, conversation: Conversation, cloud: FakeCloud
) -> None:
    answer(says, model, conversation, cloud=cloud)
    cloud.fail("invalid", times=1)
    deliver(conversation.pk)
    message = Message.objects.get(direction="outbound")
    assert (message.kind, message.status, message.text) == ("text", "sent", NUMBERED)
    assert cloud.sent[-1]["body"]["text"]["body"] == NUMBERED


@pytest.mark.parametrize("reason", ["payment", "window_closed"])
def test_buttons_that_are_refused_for_another_reason_than_their_form_are_not_tried_as_a_text(
    says: Any, model: Any, conversation: Conversation, cloud: FakeCloud, reason: str
) -> None:
    answer(says, model, conversation, cloud=cloud)
    cloud.fail(reason, times=1)
    deliver(conversation.pk)
    message = Message.objects.get(direction="outbound")
    assert (message.kind, message.status, message.error_code) == ("interactive", "failed", reason)
    assert cloud.sent == []


def test_a_person_who_sends_buttons_is_shown_that_they_were_refused(
    conversation: Conversation, cloud: FakeCloud, says: Any, model: Any
) -> None:
    (message,) = answer(says, model, conversation, cloud=cloud)
    Message.objects.filter(pk=message.pk).update(author="staff", turn=None)
    cloud.fail("invalid", times=1)
    deliver(conversation.pk)
    assert Message.objects.get(pk=message.pk).status == "failed"
