"""What is typed on the linked phone: a person has control at once, for the profile's time, and gives it back."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agent import inbox
from agent.turns import model_run
from agent.turns import turn as turns
from messaging import control
from messaging.models import Conversation, Message
from messaging.outbox import claim_next_message
from sessions_app.models import AgentProfile
from tests.conftest import as_user, message_event

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("profile")]


@pytest.fixture
def types(session: Any, conversation: Conversation) -> Any:
    """Type on the phone, in the chat of the contact."""
    count = 100

    def types(text: str, **changes: Any) -> None:
        nonlocal count
        count += 1
        event = message_event(text, number=count, chat=conversation.address, outbound=True, **changes)
        inbox.handle_event(bridge=session.bridge, event=event)

    return types


def now(conversation: Conversation) -> Conversation:
    return Conversation.objects.get(pk=conversation.pk)


def replies() -> list[str]:
    return list(Message.objects.filter(author="agent").exclude(status="cancelled").values_list("text", flat=True))


def test_typing_takes_control_for_the_time_of_the_profile(says: Any, conversation: Conversation, types: Any):
    AgentProfile.objects.update(takeover_s=600)
    says("Hello")
    types("I am here")

    row = now(conversation)
    assert (row.control, row.control_reason) == ("human", "typed on the phone")
    assert row.control_until is not None
    assert abs(row.control_until - timezone.now() - timedelta(seconds=600)) < timedelta(seconds=60)
    assert Message.objects.get(text="I am here").author == "phone"


def test_typing_again_prolongs_control(conversation: Conversation, types: Any):
    types("I am here")
    Conversation.objects.update(control_until=timezone.now() + timedelta(seconds=5))
    types("one moment")

    until = now(conversation).control_until
    assert until is not None
    assert until > timezone.now() + timedelta(minutes=30)


def test_typing_while_the_model_works_drops_the_reply(
    says: Any, conversation: Conversation, types: Any, model: Any, monkeypatch: Any
):
    asked = model_run.ask

    def interrupted(asking: Any) -> Any:
        answer = asked(asking)
        types("I am here")
        return answer

    monkeypatch.setattr(model_run, "ask", interrupted)
    says("Hello")
    turns.take_turn(conversation.pk)

    assert replies() == []
    assert claim_next_message(conversation.pk) is None


def test_the_customers_next_message_does_not_end_control(says: Any, conversation: Conversation, types: Any, model: Any):
    says("Hello")
    types("I am here")
    says("Thanks")
    turns.take_turn(conversation.pk)

    assert now(conversation).control == "human"
    assert len(model.requests) == 0


def test_what_was_typed_is_part_of_what_the_agent_knows_later(
    says: Any, conversation: Conversation, types: Any, model: Any
):
    says("When do you open?")
    types("At nine, as my aunt does")
    control.release(conversation=now(conversation))
    says("And when do you close?")
    turns.take_turn(conversation.pk)

    assert "At nine, as my aunt does" in str(model.requests[-1].body["messages"])


def test_control_returns_by_time(conversation: Conversation, types: Any):
    types("I am here")
    Conversation.objects.update(control_until=timezone.now() - timedelta(seconds=1))
    control.release_expired()

    assert now(conversation).control == "agent"


@pytest.mark.parametrize("text", ["/bot on", "/Bot ON ", "#bot on"])
def test_bot_on_typed_to_the_contact_gives_control_back_and_what_is_fresh_is_answered(
    says: Any, conversation: Conversation, types: Any, model: Any, text: str
):
    types("I am here")
    says("Are you open?")
    types(text)
    turns.take_turn(conversation.pk)

    assert now(conversation).control == "agent"
    assert len(replies()) == 1


def test_bot_off_typed_to_the_contact_mutes(says: Any, conversation: Conversation, types: Any, model: Any):
    types("/bot off")
    says("Are you open?")
    turns.take_turn(conversation.pk)

    row = now(conversation)
    assert (row.control, row.control_until) == ("muted", None)
    assert len(model.requests) == 0


@pytest.mark.parametrize(
    "changes", [{"is_history": True}, {"age": timedelta(hours=2)}, {"is_echo": True}], ids=["history", "old", "an echo"]
)
def test_bot_off_of_the_past_or_of_another_program_changes_nothing(
    conversation: Conversation, types: Any, changes: dict[str, Any]
):
    types("/bot off", **changes)

    assert now(conversation).control == "agent"


@pytest.mark.parametrize("text", ["is the /bot on?", "/bot on please", "/bottle on", "bot on"])
def test_a_text_that_is_not_the_switch_alone_takes_over(conversation: Conversation, types: Any, text: str):
    types(text)

    assert now(conversation).control == "human"


def test_bot_in_the_owners_own_chat_switches_by_the_contacts_name(session: Any, conversation: Conversation, says: Any):
    own_chat = {"chat": "5511999990000@s.whatsapp.net", "outbound": True}
    for number, (text, expected) in enumerate(
        [("/bot @Ana off", "muted"), ("/bot @Ana on", "agent"), ("/bot @Ana", "agent")]
    ):
        event = message_event(text, number=200 + number, **own_chat)
        inbox.handle_event(bridge=session.bridge, event=event)
        place = Conversation.objects.exclude(pk=conversation.pk).get()
        while turns.take_turn(place.pk) is not None:
            pass
        assert now(conversation).control == expected


def test_a_contact_cannot_switch_the_agent(says: Any, conversation: Conversation, model: Any):
    says("/bot off")
    turns.take_turn(conversation.pk)

    assert now(conversation).control == "agent"


def test_control_is_given_back_by_the_api(conversation: Conversation, types: Any, member: Any):
    types("I am here")

    answer = as_user(member).post(f"/api/v1/conversations/{conversation.pk}/release/", {}, format="json")

    assert (answer.status_code, answer.json()["control"]) == (200, "agent")
