"""Each effect of the model's tools happens once: after a crash, a restart, a takeover or a newer message."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from agent.turns import model_run
from agent.turns import turn as turns
from commands.models import CommandRun
from messaging import control, leases
from messaging.models import Conversation, Fact, Message, ToolCall, Turn
from messaging.outbox import claim_next_message
from sessions_app.models import AgentProfile
from tests.support.openai_tools import tool_results

pytestmark = pytest.mark.usefixtures("profile")

LIKES_TEA = ("remember", {"fact": "Ana likes tea"})


def tool_names(*names: str) -> None:
    AgentProfile.objects.update(tools=list(names))


def reply() -> str:
    return Message.objects.filter(direction="outbound").latest("created_at").text


def die_before_settling(monkeypatch, conversation: Conversation) -> None:
    """Take a turn in a process that is killed after the model and the tools, before anything is settled."""
    settle = turns.leases.complete_turn

    def killed(*args, **kwargs):
        raise SystemExit

    monkeypatch.setattr(turns.leases, "complete_turn", killed)
    with pytest.raises(SystemExit):
        turns.take_turn(conversation.pk)
    monkeypatch.setattr(turns.leases, "complete_turn", settle)
    Conversation.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_a_fact_is_remembered_once_if_the_turn_starts_again(says, conversation, model, api, monkeypatch):
    says("I like tea")
    model.call_tools(LIKES_TEA)
    model.say("Noted!")
    die_before_settling(monkeypatch, conversation)
    assert Fact.objects.count() == 1
    Fact.objects.update(forgotten_at=timezone.now())  # so that the same words would be new
    model.call_tools(LIKES_TEA)
    model.say("Noted again!")
    turns.take_turn(conversation.pk)
    assert Fact.objects.count() == CommandRun.objects.count() == Turn.objects.count() == 1
    assert reply() == "Noted again!"
    assert CommandRun.objects.get().turn == Turn.objects.get()
    assert ToolCall.objects.get().status == "done"


def test_a_call_with_other_arguments_in_a_restarted_turn_takes_effect_once(says, conversation, model, api, monkeypatch):
    says("I like tea")
    model.call_tools(LIKES_TEA)
    model.say("Noted!")
    die_before_settling(monkeypatch, conversation)
    model.call_tools(("remember", {"fact": "The contact is fond of tea"}))
    model.say("Noted again!")
    turns.take_turn(conversation.pk)
    assert Fact.objects.get().text == "Ana likes tea"
    assert tool_results(model)[0]["fact"]["text"] == "Ana likes tea"
    assert CommandRun.objects.get().turn == Turn.objects.get()


def test_several_effects_happen_once_each_whatever_their_order_after_a_restart(says, conversation, model, monkeypatch):
    says("I like tea and cake")
    model.call_tools(LIKES_TEA, ("remember", {"fact": "Ana likes cake"}))
    model.say("Noted!")
    die_before_settling(monkeypatch, conversation)
    model.call_tools(("remember", {"fact": "Cake, too"}), LIKES_TEA)
    model.say("Noted again!")
    turns.take_turn(conversation.pk)
    assert {fact.text for fact in Fact.objects.all()} == {"Ana likes tea", "Ana likes cake"}


def test_a_call_from_before_a_crash_is_shown_to_the_model_and_recorded(says, conversation, model, api, monkeypatch):
    says("I like tea")
    model.call_tools(LIKES_TEA)
    model.say("Noted!")
    die_before_settling(monkeypatch, conversation)
    model.say("I know.")
    turns.take_turn(conversation.pk)
    assert "do not repeat:\\n- remember" in json.dumps(model.requests[-1].body)
    turn = Turn.objects.get()
    call = turn.tool_calls.get()
    assert (call.name, call.arguments, call.status) == ("remember", {"fact": "Ana likes tea"}, "done")
    assert CommandRun.objects.get().turn == turn


def test_a_call_that_failed_before_a_crash_is_not_shown_as_done(says, conversation, model, monkeypatch):
    says("I like tea")
    model.call_tools(("remember", {"fact": "Ana likes tea", "corrects": "nothing like it"}))
    model.say("Noted!")
    die_before_settling(monkeypatch, conversation)
    turns.take_turn(conversation.pk)
    assert "Done already" not in str(model.requests[-1].body)
    assert ToolCall.objects.get().status == "failed"


def test_a_call_of_a_failed_turn_is_recorded_and_not_repeated_when_staff_run_the_turn_again(
    says, conversation, model, monkeypatch
):
    says("I like tea")
    asked = model_run.ask

    def failing(prompt):
        if model.requests:
            model.fail("refusal", times=1)
        return asked(prompt)

    monkeypatch.setattr(model_run, "ask", failing)
    model.call_tools(LIKES_TEA)
    turns.take_turn(conversation.pk)
    failed = Turn.objects.get()
    assert (failed.outcome, failed.tool_calls.get().name) == ("failed", "remember")
    assert CommandRun.objects.get().turn == failed
    monkeypatch.setattr(model_run, "ask", asked)
    leases.answer_again(turn=failed)
    model.call_tools(("remember", {"fact": "The contact is fond of tea"}))
    model.say("Noted!")
    turns.take_turn(conversation.pk)
    assert Turn.objects.latest("created_at").outcome == "answered"
    assert Fact.objects.count() == CommandRun.objects.count() == 1


def interrupt_second_call(monkeypatch, model, act):
    """Something happens when the model has been asked once and is about to be asked again."""
    asked = model_run.ask

    def interrupted(prompt):
        if len(model.requests) == 1:
            act()
        return asked(prompt)

    monkeypatch.setattr(model_run, "ask", interrupted)


def test_a_message_that_arrives_meanwhile_may_have_an_effect_of_its_own(says, conversation, model, monkeypatch):
    model.call_tools(LIKES_TEA)
    model.say("Noted!")
    model.call_tools(("remember", {"fact": "Ana likes coffee"}))
    model.say("Noted, both!")
    says("I like tea")
    interrupt_second_call(monkeypatch, model, lambda: says("and coffee"))
    turns.take_turn(conversation.pk)
    assert {fact.text for fact in Fact.objects.all()} == {"Ana likes tea", "Ana likes coffee"}
    assert [call.name for call in Turn.objects.get().tool_calls.all()] == ["remember", "remember"]


def test_two_handoffs_in_one_turn_take_effect_once(says, conversation, model):
    model.call_tools(("hand_off", {"reason": "angry"}), ("hand_off", {"reason": "very angry"}))
    model.say("A colleague will write to you.")
    says("A person, now!")
    turns.take_turn(conversation.pk)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.control_epoch) == ("human", 1)
    assert conversation.attention_note.startswith("very angry")
    assert CommandRun.objects.count() == 1


def test_the_same_call_in_a_later_burst_takes_effect_again(says, conversation, model):
    for _ in range(2):
        model.call_tools(LIKES_TEA)
        model.say("Noted!")
        says("I like tea")
        turns.take_turn(conversation.pk)
        Fact.objects.update(forgotten_at=timezone.now())
    assert Fact.objects.count() == 2


def test_a_handoff_happens_once_if_the_turn_starts_again(says, conversation, model, api, monkeypatch):
    hand_off = ("hand_off", {"reason": "wants money back", "summary": "Bought a bicycle.\nIt broke."})
    says("I want my money back")
    model.call_tools(hand_off)
    model.say("A colleague will write to you.")
    die_before_settling(monkeypatch, conversation)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.control_epoch) == ("agent", 0)
    model.call_tools(hand_off)
    model.say("A colleague will write to you.")
    turns.take_turn(conversation.pk)
    conversation.refresh_from_db()
    assert (conversation.control, conversation.control_epoch, conversation.needs_attention) == ("human", 1, True)
    assert conversation.attention_note == "wants money back\nBought a bicycle. It broke."
    assert CommandRun.objects.get().status == "done"
    assert reply() == "A colleague will write to you."
    assert claim_next_message(conversation.pk) is not None


def test_a_handoff_takes_effect_although_the_model_fails_afterwards(says, conversation, model, monkeypatch):
    model.call_tools(("hand_off", {"reason": "angry"}))
    says("A person, now!")
    asked = model_run.ask

    def failing(prompt):
        if model.requests:
            model.fail("error_500")
        return asked(prompt)

    monkeypatch.setattr(model_run, "ask", failing)
    turns.take_turn(conversation.pk)
    conversation.refresh_from_db()
    assert conversation.control == "human"
    assert "person" in reply()


def test_a_takeover_between_two_steps_stops_the_turn_and_its_tools(says, conversation, model, api, monkeypatch):
    model.call_tools(LIKES_TEA)
    says("I like tea")
    asked = model_run.ask

    def interrupted(prompt):
        answer = asked(prompt)
        control.take_over(conversation=conversation)
        return answer

    monkeypatch.setattr(model_run, "ask", interrupted)
    assert turns.take_turn(conversation.pk) is None
    assert len(model.requests) == 1
    assert not Fact.objects.exists()
    assert not Turn.objects.exists()
    assert not Message.objects.filter(direction="outbound").exists()


def test_a_takeover_during_a_tool_stops_the_next_one(says, conversation, model, odd_tools):
    tool_names("calling", "remember")
    model.call_tools(("calling", {}), LIKES_TEA)
    says("I like tea")
    assert turns.take_turn(conversation.pk) is None
    assert not Fact.objects.exists()
    assert not Message.objects.filter(direction="outbound").exists()


def test_the_tools_of_a_stale_draft_are_not_repeated(says, conversation, model, monkeypatch):
    model.call_tools(LIKES_TEA)
    model.say("Noted!")
    model.call_tools(LIKES_TEA)
    model.say("Noted, both!")
    says("I like tea")
    interrupt_second_call(monkeypatch, model, lambda: says("and coffee"))
    turns.take_turn(conversation.pk)
    assert Fact.objects.count() == CommandRun.objects.count() == 1
    assert reply() == "Noted, both!"
