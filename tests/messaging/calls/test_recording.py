"""Calls: shown among the messages in words, and a missed one answered by the profile's text, once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from agent.bridges.addresses import read_address
from agent.bridges.events import CallChanged, CallStatus
from agent.turns import turn as turns
from messaging import control
from messaging.calls.recording import MAX_RINGING_TIME, find_missed_calls, record_call
from messaging.history.timeline import describe_content
from messaging.models import CallEvent, Contact, Conversation, Event, Message
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.conftest import CUSTOMER
from tests.support.fake_openai import own_words

TEXT = "Sorry, nobody can take calls here. Please write."
Call = Callable[..., None]


@pytest.fixture
def call(bridge, conversation) -> Call:
    """Let the contact call: `call("ringing")`, one call unless `call_id` says otherwise."""
    AgentProfile.objects.update(missed_call_text=TEXT)
    bridge.kind = "waha"  # zapw reports no calls and cannot be told from one that does
    bridge.save()
    person = read_address(CUSTOMER)

    def happen(status: str, *, call_id: str = "A1", **changes: Any) -> None:
        values = {"chat": person, "sender": person, "at": timezone.now()} | changes
        record_call(bridge=bridge, event=CallChanged("sales", call_id, CallStatus(status), **values))

    return happen


def sent_texts() -> list[str]:
    return list(Message.objects.filter(direction="outbound").values_list("text", flat=True))


def test_a_missed_call_is_answered_by_the_text_of_the_profile(call):
    call("ringing")
    call("missed")
    assert sent_texts() == [TEXT]


def test_a_call_that_is_reported_as_missed_again_and_again_is_answered_once(call):
    call("missed")
    call("missed")
    call("ended")
    call("ringing")
    assert sent_texts() == [TEXT]


def test_each_call_is_answered(call):
    call("missed", call_id="A1")
    call("missed", call_id="A2")
    assert sent_texts() == [TEXT, TEXT]


def test_a_call_that_ends_without_being_picked_up_is_missed(call):
    call("ringing")
    call("ended")
    assert sent_texts() == [TEXT]
    assert set(Event.objects.filter(type="call.changed").values_list("data__status", flat=True)) == {
        "ringing",
        "ended",
        "missed",
    }


@pytest.mark.parametrize("pick_up", ["accepted", "rejected"])
@pytest.mark.parametrize("end", ["ended", "missed"])
def test_a_call_that_was_picked_up_or_declined_is_not_answered(call, pick_up, end):
    call("ringing")
    call(pick_up)
    call(end)
    assert sent_texts() == []


def test_a_call_with_a_duration_was_picked_up(call):
    call("ended", duration_s=0)
    assert sent_texts() == []


def test_a_call_that_rings_for_a_minute_without_an_end_is_missed(call):
    call("ringing")
    assert find_missed_calls() == 0
    CallEvent.objects.update(recorded_at=timezone.now() - MAX_RINGING_TIME - timedelta(seconds=1))
    assert find_missed_calls() == 1
    assert find_missed_calls() == 0
    assert sent_texts() == [TEXT]


def test_a_call_that_the_bridge_would_not_report_as_picked_up_ends_without_a_text(call, conversation):
    call("ringing", reports_acceptance=False)
    CallEvent.objects.update(recorded_at=timezone.now() - MAX_RINGING_TIME - timedelta(seconds=1))
    assert find_missed_calls() == 1
    assert find_missed_calls() == 0
    assert sent_texts() == []
    assert Message.objects.get().details["call"]["status"] == "ended"
    conversation.refresh_from_db()
    assert conversation.unread_count == 1


@pytest.mark.parametrize("kind", ["cloud", "evolution"])
def test_a_long_call_is_not_missed_where_the_bridge_reports_the_end_of_each(call, bridge, kind):
    bridge.kind = kind
    bridge.save()
    call("ringing")
    CallEvent.objects.update(recorded_at=timezone.now() - MAX_RINGING_TIME - timedelta(seconds=1))
    assert find_missed_calls() == 0
    call("ended", duration_s=185)
    assert sent_texts() == []
    assert Message.objects.get().details["call"]["status"] == "ended"


def test_the_end_of_a_call_already_taken_for_missed_sends_nothing_more(call):
    call("ringing")
    CallEvent.objects.update(recorded_at=timezone.now() - MAX_RINGING_TIME - timedelta(seconds=1))
    find_missed_calls()
    call("ended")
    call("missed")
    assert sent_texts() == [TEXT]


def test_a_call_of_ours_is_not_answered(call):
    call("ringing", outbound=True)
    CallEvent.objects.update(recorded_at=timezone.now() - MAX_RINGING_TIME - timedelta(seconds=1))
    assert find_missed_calls() == 0
    call("ended", outbound=True)
    assert sent_texts() == [""]  # the call itself, made on the phone


def test_a_profile_without_a_text_sends_nothing(call):
    AgentProfile.objects.update(missed_call_text="")
    call("missed")
    assert sent_texts() == []


@pytest.mark.parametrize("take", [control.take_over, control.mute])
def test_nothing_is_sent_where_the_agent_does_not_have_control(call, conversation, take):
    take(conversation=conversation)
    call("missed")
    assert sent_texts() == []


def test_a_person_who_takes_over_cancels_the_text(call, conversation):
    call("missed")
    control.take_over(conversation=conversation)
    assert Message.objects.get(direction="outbound").status == "cancelled"


@pytest.mark.parametrize("changes", [{"is_group": True}, {"is_offline": True}])
def test_calls_of_groups_and_of_the_past_are_not_answered(call, changes):
    call("missed", **changes)
    assert sent_texts() == []


def test_an_old_call_is_not_answered(call):
    call("missed", at=timezone.now() - timedelta(hours=3))
    assert sent_texts() == []


def test_a_contact_who_is_not_answered_gets_no_text_either(call):
    Contact.objects.update(is_blocked=True)
    call("missed")
    assert sent_texts() == []


def test_a_session_that_is_not_connected_loses_nothing_but_the_text(call):
    WhatsAppSession.objects.update(status="disconnected")
    call("missed")
    assert sent_texts() == []
    assert Message.objects.get().kind == "call"


def test_a_missed_call_is_unread_and_opens_the_conversation_again(call, conversation):
    Conversation.objects.update(done_at=timezone.now())
    call("missed")
    conversation.refresh_from_db()
    assert (conversation.unread_count, conversation.done_at) == (1, None)


def test_no_turn_follows_from_a_call(call, conversation):
    call("missed")
    conversation.refresh_from_db()
    assert conversation.due_at is None


SHOWN = [
    (["ringing", "missed"], {}, "missed voice call"),
    (["ringing", "missed"], {"is_video": True}, "missed video call"),
    (["ringing", "rejected"], {}, "declined voice call"),
    (["ringing", "accepted", "ended"], {}, "voice call"),
    (["ended", "accepted", "ringing"], {"duration_s": 185}, "voice call, 3 min"),
]


@pytest.mark.parametrize(("statuses", "changes", "words"), SHOWN)
def test_a_call_is_one_message_in_words_for_the_model_and_for_staff(
    call, says, conversation, model, statuses, changes, words
):
    for status in statuses:
        call(status, **changes)
    says("I tried to reach you")
    turns.take_turn(conversation.pk)
    prompt = model.requests[-1].body["messages"]
    lines = "\n".join(own_words(message["content"]) for message in prompt if message["role"] == "user")
    assert f"[{words}]" in lines
    assert lines.count("call") == 1
    shown = describe_content(Message.objects.get(kind="call"))
    assert shown.lower() == words


@pytest.mark.django_db(transaction=True)
def test_two_reports_at_once_send_one_text(call):
    def report(status: str) -> None:
        try:
            call(status)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(report, ["missed", "ended", "missed", "ended"]))
    assert sent_texts() == [TEXT]
