"""Times in replies and prompts are in the time zone of the session."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from agent.turns.turn import take_turn
from commands.models import CommandRun
from commands.registry import By, Caller, get
from commands.run import run
from messaging import control
from messaging.inbound import receive_message
from messaging.models import Contact, Conversation, Fact, Message
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.conftest import as_user, message_event

pytestmark = pytest.mark.usefixtures("profile")

SAID_AT = datetime(2026, 3, 1, 1, 30, tzinfo=UTC)
# Half an hour beside the full hour, and the day before.
DAYS = {"Asia/Kolkata": "2026-03-01", "America/Sao_Paulo": "2026-02-28"}
TIMES = {"Asia/Kolkata": "2026-03-01 07:00", "America/Sao_Paulo": "2026-02-28 22:30"}
HOURS = {"Asia/Kolkata": 7, "America/Sao_Paulo": 22}
ISO_TIMES = {"Asia/Kolkata": "2026-03-01T07:00:00+05:30", "America/Sao_Paulo": "2026-02-28T22:30:00-03:00"}


@pytest.fixture(params=TIMES)
def zone(request: Any) -> str:
    return request.param


@pytest.fixture
def conversations(bridge: Any, profile: AgentProfile) -> dict[str, Conversation]:
    """Two sessions in different time zones, with the same message at the same instant."""
    found = {}
    for name in TIMES:
        session = WhatsAppSession.objects.create(
            bridge=bridge, name=name, status="connected", agent_profile=profile, time_zone=name
        )
        contact = Contact.objects.create(session=session, phone="+5511988887777", name="Ana")
        contact.aliases.create(session=session, kind="phone", value="+5511988887777")
        found[name] = Conversation.objects.create(
            session=session, contact=contact, address="5511988887777@s.whatsapp.net"
        )
        Message.objects.create(
            session=session, conversation=found[name], sender=contact, direction="inbound", author="contact",
            status="handled", text="The frame number of my bicycle is ZX-81", said_at=SAID_AT,
        )  # fmt: skip
    return found


def run_command(name: str, conversation: Conversation, *, by: By = By.STAFF, **arguments: Any) -> CommandRun:
    done = run(
        get(name),
        arguments=arguments,
        caller=Caller(by=by, contact=conversation.contact if by == By.MODEL else None),
        conversation=Conversation.objects.get(pk=conversation.pk),
        surface=CommandRun.Surface.TOOL if by == By.MODEL else CommandRun.Surface.API,
    )
    assert done.status == "done"
    return done


def answer(zone: str, text: str) -> str:
    """Let the contact of the session in this zone write, and return the reply."""
    bridge = WhatsAppSession.objects.get(name=zone).bridge
    kept = receive_message(bridge=bridge, event=message_event(text, session=zone))
    take_turn(kept.conversation_id)
    return Message.objects.get(conversation=kept.conversation_id, direction="outbound").text


def test_search_results_show_the_time_of_the_session(conversations, zone):
    assert answer(zone, "/search bicycle").startswith(f"• {TIMES[zone]} contact: The frame number")
    (result,) = run_command("search", conversations[zone], words="bicycle").data["results"]
    assert result["said"].startswith(f"{TIMES[zone]} contact: ")


def test_statistics_show_the_times_of_the_session(conversations, zone):
    assert answer(zone, "/stats").endswith(
        f"First: {TIMES[zone]} {zone}. Last: {TIMES[zone]} {zone}.\nBusiest hour: {HOURS[zone]}:00 {zone}."
    )


def test_the_busiest_hour_in_utc_does_not_depend_on_a_time_zone(conversations, zone, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    data = run_command("stats", conversations[zone]).data
    assert (data["busiest_hour_utc"], data["busiest_hour"], data["time_zone"]) == (1, HOURS[zone], zone)


def test_a_task_shows_the_day_of_the_session(conversations, zone, model):
    model.say('{"tasks": [{"what": "send the frame", "messages": [1]}]}')
    assert answer(zone, "/tasks").endswith(f"({DAYS[zone]})")


@pytest.mark.parametrize("command", ["summarize", "tasks", "draft"])
def test_the_model_is_given_numbered_messages_with_the_times_of_the_session(conversations, zone, model, command):
    model.say('{"tasks": []}')
    run_command(command, conversations[zone])
    assert f"[1] {TIMES[zone]} Ana: The frame number" in model.requests[-1].body["messages"][-1]["content"]


def test_the_status_shows_until_when_a_person_answers_in_the_time_of_the_session(conversations, zone):
    control.take_over(conversation=conversations[zone], until=SAID_AT)
    assert f"Until {TIMES[zone]} {zone}." in run_command("status", conversations[zone]).text


def test_the_status_shows_since_when_the_past_is_not_used_in_the_time_of_the_session(conversations, zone):
    Conversation.objects.update(context_from=SAID_AT)
    assert f"Messages before {TIMES[zone]} {zone} are" in answer(zone, "/status")


def test_a_pause_ends_at_a_time_of_the_session(conversations, zone):
    done = run_command("pause", conversations[zone], minutes=30)
    until = Conversation.objects.get(pk=conversations[zone].pk).control_until.astimezone(ZoneInfo(zone))
    assert done.text == f"The assistant is silent with Ana until {until:%Y-%m-%d %H:%M} {zone}."


def test_a_memory_in_the_prompt_has_the_day_of_the_session(conversations, zone, model):
    AgentProfile.objects.update(history_tokens=1000)
    conversation = conversations[zone]
    for number in range(60):
        Message.objects.create(
            session=conversation.session, conversation=conversation, sender=conversation.contact, status="handled",
            direction="inbound", author="contact", text=f"message {number} of a conversation about boats and trains",
            said_at=timezone.now() - timedelta(minutes=90 - number),
        )  # fmt: skip
    answer(zone, "Which frame number has my bicycle?")
    notes = model.requests[-1].body["messages"][-1]["content"].partition("<notes>")[2]
    assert f"- {DAYS[zone]} contact: The frame number of my bicycle is ZX-81" in notes


@pytest.mark.parametrize("by", [By.STAFF, By.MODEL])
def test_data_has_utc_for_programs_and_the_time_of_the_session_for_the_model(conversations, zone, model, by):
    expected = ISO_TIMES[zone] if by == By.MODEL else "2026-03-01T01:30:00+00:00"
    conversation = conversations[zone]
    Fact.objects.create(contact=conversation.contact, text="Ana cycles", proposed_by="staff", created_at=SAID_AT)
    model.say("• A bicycle [1]")
    summary = run_command("summarize", conversation, by=by).data
    stats = run_command("stats", conversation, by=by).data
    (fact,) = run_command("facts", conversation, by=by).data["facts"]
    times = [summary["from"], summary["to"], stats["first_at"], stats["last_at"], fact["created_at"]]
    assert times == [expected] * 5


def test_the_api_shows_the_time_of_the_session_in_the_text_and_utc_in_the_data(conversations, zone, admin):
    body = {"conversation": str(conversations[zone].pk)}
    shown = as_user(admin).post("/api/v1/commands/stats/", body, format="json").json()
    assert f"First: {TIMES[zone]} {zone}." in shown["text"]
    assert (shown["data"]["first_at"], shown["data"]["busiest_hour_utc"]) == ("2026-03-01T01:30:00+00:00", 1)


def test_a_session_without_a_zone_has_the_one_of_the_settings(conversations, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    WhatsAppSession.objects.filter(name="Asia/Kolkata").update(time_zone="")
    assert answer("Asia/Kolkata", "/search bicycle").startswith("• 2026-03-01 02:30 contact: The frame number")


def test_a_control_that_ends_with_the_calendar_is_shown(conversations, zone):
    control.mute(conversation=conversations[zone], until=datetime.max.replace(tzinfo=UTC))
    assert "Until 9999-12-31 " in run_command("status", conversations[zone]).text
