"""An outage of the model: the contact reads the fallback text once, staff is asked to look, the answer follows."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agent.turns import model_run
from agent.turns import turn as turns
from messaging import control, leases
from messaging.models import Conversation, Event, Message, Turn
from sessions_app.models import DEFAULT_FALLBACK_TEXT, AgentProfile

pytestmark = pytest.mark.usefixtures("profile")

FALLBACK = "Back soon."
OPERATOR_FAILURES = ["unauthorized", "forbidden", "not_found", "no_quota"]


@pytest.fixture
def fallback(profile):
    AgentProfile.objects.update(fallback_text=FALLBACK)


def replies() -> list[str]:
    messages = Message.objects.filter(direction="outbound").order_by("created_at", "id")
    return list(messages.values_list("text", flat=True))


def take_turn_now(conversation: Conversation):
    """Take the turn without waiting for its pause to end."""
    Conversation.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    return turns.take_turn(conversation.pk)


# --- the model fails ---


def test_after_the_last_try_the_turn_is_a_failed_one_that_staff_can_see(says, conversation, model, settings):
    settings.AGENT_MAX_TRIES = 2
    model.fail("error_500")
    says("one")
    turns.take_turn(conversation.pk)
    Conversation.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert turns.take_turn(conversation.pk) is None
    turn = Turn.objects.get()
    conversation.refresh_from_db()
    assert (turn.outcome, conversation.needs_attention, conversation.due_at) == ("failed", True, None)
    assert turn.reason.startswith("server_error")
    assert replies() == [DEFAULT_FALLBACK_TEXT]


def test_a_failed_turn_sends_nothing_if_the_profile_has_no_fallback_text(says, conversation, model, settings):
    settings.AGENT_MAX_TRIES = 1
    AgentProfile.objects.update(fallback_text="")
    model.fail("error_500")
    says("one")
    turns.take_turn(conversation.pk)
    assert Turn.objects.get().outcome == "failed"
    assert replies() == []


def test_the_fallback_is_sent_once_although_turn_after_turn_fails(says, conversation, model, settings, fallback):
    settings.AGENT_MAX_TRIES = 1
    model.fail("error_500")
    for text in ("one", "two"):
        says(text)
        turns.take_turn(conversation.pk)
    assert replies() == [FALLBACK]
    assert Turn.objects.filter(outcome="failed").count() == 2


# --- the model refuses its key, its name or the account ---


@pytest.mark.parametrize("outcome", OPERATOR_FAILURES)
def test_a_contact_reads_the_fallback_at_once_and_the_answer_when_the_model_is_right_again(
    says, conversation, model, settings, fallback, outcome
):
    model.fail(outcome)
    says("one")
    for _ in range(settings.AGENT_MAX_TRIES + 2):
        assert take_turn_now(conversation) is not None
        assert replies() == [FALLBACK]
        conversation.refresh_from_db()
        assert (conversation.needs_attention, conversation.attention_reason) == (True, "model_refuses")
        assert "refuses" in conversation.attention_note
    assert not Turn.objects.exists()
    model.heal()
    take_turn_now(conversation)
    assert replies() == [FALLBACK, "You said: one"]
    conversation.refresh_from_db()
    assert (conversation.needs_attention, conversation.attention_reason, conversation.attention_note) == (False, "", "")


@pytest.mark.parametrize("outcome", OPERATOR_FAILURES)
def test_a_model_that_refuses_its_key_is_asked_for_an_hour_with_growing_pauses(
    says, conversation, model, fallback, outcome
):
    model.fail(outcome)
    says("one")
    turns.take_turn(conversation.pk)
    pauses = []
    for minutes in (1, 4, 59):
        now = timezone.now()
        Conversation.objects.update(due_at=now, burst_started_at=now - timedelta(minutes=minutes))
        pauses.append((turns.take_turn(conversation.pk) - now).total_seconds())
    assert 40 < pauses[0] < 80 < pauses[1] < 300
    assert pauses[2] < 80
    Conversation.objects.update(due_at=timezone.now(), burst_started_at=timezone.now() - timedelta(minutes=61))
    assert turns.take_turn(conversation.pk) is None
    assert Turn.objects.get().outcome == "failed"
    assert replies() == [FALLBACK]


def test_the_event_of_an_outage_is_written_at_once_and_once(says, conversation, model, fallback):
    model.fail("unauthorized")
    says("one")
    for _ in range(3):
        take_turn_now(conversation)
    events = Event.objects.filter(type="conversation.needs_attention", conversation_id=conversation.pk)
    assert list(events.values_list("data", flat=True)) == [{"reason": "model_refuses"}]
    assert not Turn.objects.exists()


def test_two_messages_in_an_outage_get_one_fallback_and_one_answer(says, conversation, model, fallback):
    model.fail("no_quota")
    for text in ("one", "two"):
        says(text)
        take_turn_now(conversation)
    assert replies() == [FALLBACK]
    model.heal()
    take_turn_now(conversation)
    assert replies() == [FALLBACK, "You said: one\ntwo"]
    assert Turn.objects.get().messages.filter(direction="inbound").count() == 2


def test_the_fallback_stands_before_the_question_in_the_prompt_of_the_answer(says, conversation, model, fallback):
    model.fail("unauthorized", times=1)
    says("one")
    for _ in range(2):
        take_turn_now(conversation)
    messages = model.requests[-1].body["messages"]
    assert messages[-1]["role"] == "user"
    assert "one" in messages[-1]["content"]


def test_a_command_in_an_outage_is_answered_and_does_not_repeat_the_fallback(says, conversation, model, fallback):
    model.fail("unauthorized")
    says("one")
    take_turn_now(conversation)
    says("/help")
    for _ in range(3):
        take_turn_now(conversation)
    assert replies().count(FALLBACK) == 1
    assert len(replies()) == 2


def test_a_fallback_that_staff_edit_in_an_outage_is_not_sent_again(says, conversation, model, fallback):
    model.fail("unauthorized")
    says("one")
    take_turn_now(conversation)
    AgentProfile.objects.update(fallback_text="Back tomorrow.")
    take_turn_now(conversation)
    assert replies() == [FALLBACK]


def test_the_fallback_is_sent_again_in_the_next_outage(says, conversation, model, fallback):
    for text in ("one", "two"):
        model.fail("unauthorized", times=1)
        says(text)
        for _ in range(2):
            take_turn_now(conversation)
    assert replies() == [FALLBACK, "You said: one", FALLBACK, "You said: two"]


def test_nothing_is_sent_to_a_conversation_that_a_person_took_meanwhile(
    says, conversation, model, fallback, monkeypatch
):
    ask = model_run.ask

    def take_over_and_ask(prompt):
        control.take_over(conversation=conversation)
        return ask(prompt)

    monkeypatch.setattr(model_run, "ask", take_over_and_ask)
    model.fail("unauthorized")
    says("one")
    assert turns.take_turn(conversation.pk) is None
    conversation.refresh_from_db()
    assert (replies(), conversation.needs_attention, conversation.due_at) == ([], False, None)


def test_a_fallback_that_a_takeover_cancelled_is_sent_after_the_release(says, conversation, model, fallback):
    model.fail("unauthorized")
    says("one")
    take_turn_now(conversation)
    control.take_over(conversation=conversation)
    control.release(conversation=conversation)
    take_turn_now(conversation)
    assert list(Message.objects.filter(text=FALLBACK).order_by("created_at").values_list("status", flat=True)) == [
        "cancelled",
        "queued",
    ]


def test_a_process_that_dies_while_it_gives_the_lease_back_has_sent_nothing(
    says, conversation, model, fallback, monkeypatch
):
    def die(*_args, **_kwargs):
        raise SystemExit

    model.fail("unauthorized")
    says("one")
    with monkeypatch.context() as dying:
        dying.setattr(leases, "postpone", die)
        with pytest.raises(SystemExit):
            turns.take_turn(conversation.pk)
    conversation.refresh_from_db()
    assert (replies(), conversation.needs_attention) == ([], False)
    Conversation.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    take_turn_now(conversation)
    assert replies() == [FALLBACK]


def test_a_profile_without_a_fallback_text_sends_none_in_an_outage(says, conversation, model):
    AgentProfile.objects.update(fallback_text="")
    model.fail("unauthorized")
    says("one")
    assert take_turn_now(conversation) is not None
    conversation.refresh_from_db()
    assert (replies(), conversation.needs_attention) == ([], True)


def test_attention_that_others_asked_for_stays_after_an_outage(says, conversation, model, fallback):
    Conversation.objects.update(needs_attention=True, attention_note="Ana is angry.")
    model.fail("unauthorized", times=1)
    says("one")
    for _ in range(2):
        take_turn_now(conversation)
    conversation.refresh_from_db()
    assert replies() == [FALLBACK, "You said: one"]
    assert (conversation.needs_attention, conversation.attention_note) == (True, "Ana is angry.")
