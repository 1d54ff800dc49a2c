"""What the contact sees while the agent works: that it was read, and that somebody is typing."""

import time
from collections.abc import Iterator

import pytest

from agent.turns import model_run, presence
from agent.turns import turn as turns
from messaging import control
from messaging.models import Turn
from sessions_app.models import AgentProfile, Bridge
from tests.support.bridges.connected import connect_default_bridge
from tests.support.bridges.fake_waha import FakeWaha


@pytest.fixture
def waha() -> Iterator[FakeWaha]:
    with FakeWaha() as server:
        server.add_session("sales", phone="5511999990000")
        yield server


@pytest.fixture
def bridge(bridges, waha) -> Bridge:
    return connect_default_bridge("waha", waha)


def calls(waha: FakeWaha, count: int) -> list[str]:
    """Wait for so many calls; return the paths of all."""
    give_up_at = time.monotonic() + 60
    while len(waha.requests) < count and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return [request.path for request in waha.requests]


def test_typing_is_shown_while_the_model_works(says, conversation, waha, model):
    says("Hello")

    turns.take_turn(conversation.pk)

    assert calls(waha, 1) == ["/api/startTyping"]
    assert waha.requests[0].json() == {"session": "sales", "chatId": "5511988887777@c.us"}


def test_a_message_is_marked_as_read_if_the_profile_is_set_to(says, conversation, waha, model):
    AgentProfile.objects.update(marks_read=True, shows_typing=False)
    says("Hello")
    says("Are you there?")

    turns.take_turn(conversation.pk)

    assert calls(waha, 1) == ["/api/sendSeen"]
    assert waha.requests[0].json()["messageIds"][0].endswith("00000000000000002")


def test_nothing_is_shown_if_the_profile_turns_it_off(says, conversation, waha, model):
    AgentProfile.objects.update(marks_read=False, shows_typing=False)
    says("Hello")

    turns.take_turn(conversation.pk)

    time.sleep(0.2)
    assert not waha.requests


def test_a_command_shows_no_typing(says, conversation, waha, model):
    says("/help")

    turns.take_turn(conversation.pk)

    time.sleep(0.2)
    assert not waha.requests


def test_a_bridge_that_hangs_does_not_hold_up_the_answer(says, conversation, waha, model):
    waha.fail("hang", call="seen")
    says("Hello")
    started = time.monotonic()

    turns.take_turn(conversation.pk)

    assert time.monotonic() - started < 20  # the bridge hangs for a minute
    assert Turn.objects.get().outcome == "answered"


def test_a_bridge_that_refuses_changes_nothing(says, conversation, waha, model):
    waha.fail("error_500", call="seen")
    says("Hello")

    turns.take_turn(conversation.pk)

    assert calls(waha, 1) == ["/api/startTyping"]
    assert Turn.objects.get().outcome == "answered"


def test_typing_is_shown_though_the_bridge_cannot_mark_as_read(says, conversation, waha, model):
    AgentProfile.objects.update(marks_read=True, shows_typing=True)
    waha.fail("error_500", call="seen", times=1)
    says("Hello")

    turns.take_turn(conversation.pk)

    assert calls(waha, 2) == ["/api/sendSeen", "/api/startTyping"]


def test_a_bridge_that_cannot_show_it_is_not_asked(says, conversation, bridge, waha, model):
    bridge.kind = "zapw"
    bridge.save()
    says("Hello")

    turns.take_turn(conversation.pk)

    time.sleep(0.2)
    assert not waha.requests


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Seconds that pass for what repeats typing."""
    passed = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr(presence.time, "monotonic", lambda: monotonic() + passed[0])
    return passed


def during_the_model(monkeypatch, act) -> None:
    asked = model_run.ask

    def interrupted(asking):
        answer = asked(asking)
        act()
        return answer

    monkeypatch.setattr(model_run, "ask", interrupted)


def test_typing_is_shown_again_while_the_model_works_for_long(says, conversation, waha, model, monkeypatch, clock):
    def wait() -> None:
        calls(waha, 1)
        presence.repeat_typing()
        clock[0] += 8
        presence.repeat_typing()
        calls(waha, 2)

    during_the_model(monkeypatch, wait)
    says("Hello")
    turns.take_turn(conversation.pk)
    presence.repeat_typing()
    assert calls(waha, 2) == ["/api/startTyping", "/api/startTyping"]


def test_typing_ends_when_a_person_takes_over(says, conversation, waha, model, monkeypatch):
    def take_over() -> None:
        calls(waha, 1)
        control.take_over(conversation=conversation)
        presence.repeat_typing()
        calls(waha, 2)

    during_the_model(monkeypatch, take_over)
    says("Hello")
    turns.take_turn(conversation.pk)
    assert calls(waha, 2) == ["/api/startTyping", "/api/stopTyping"]


def test_typing_ends_when_no_answer_follows(says, conversation, waha, model):
    model.fail("error_500", times=1)
    says("Hello")
    turns.take_turn(conversation.pk)
    assert sorted(calls(waha, 2)) == ["/api/startTyping", "/api/stopTyping"]
