"""`manage.py chat`: the same way as every message, from a pipe or a keyboard."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agent import engine
from messaging import control
from messaging.models import Contact, Conversation, Message
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def answers_at_once(bridges: None) -> Iterator[None]:
    AgentProfile.objects.update(debounce_s=0, debounce_max_s=0)
    yield
    engine.stop(timeout_s=5)


@pytest.fixture
def no_model(settings: Any) -> None:
    """A model at an address where nobody listens, asked once."""
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY, settings.AGENT_MAX_TRIES = "http://127.0.0.1:9/v1", "key", 1


def _pipe(monkeypatch: pytest.MonkeyPatch, text: str, **options: Any) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    out = io.StringIO()
    call_command("chat", stdout=out, stderr=io.StringIO(), **({"timeout": 20.0} | options))
    return out.getvalue()


def _conversation() -> Conversation:
    """The one the command would speak in."""
    bridge = Bridge.objects.get(slug="simulator")
    session = WhatsAppSession.objects.create(
        bridge=bridge, name="terminal", status="connected", agent_profile=AgentProfile.objects.get()
    )
    contact = Contact.objects.create(session=session, phone="+15550100001")
    contact.aliases.create(session=session, kind="phone", value="+15550100001")
    return Conversation.objects.create(session=session, contact=contact, address="15550100001@s.whatsapp.net")


def test_a_line_from_a_pipe_is_answered(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    out = _pipe(monkeypatch, "hello from the pipe\n")
    assert out.startswith("agent> ")
    assert "hello from the pipe" in out


def test_what_arrived_is_marked_read(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _pipe(monkeypatch, "hello\n")
    assert Message.objects.get(direction="outbound").status == "read"


def test_lines_are_answered_one_after_the_other(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _pipe(monkeypatch, "first\n\n   \nsecond")
    said = Message.objects.order_by("said_at", "id").values_list("direction", flat=True)
    assert list(said) == ["inbound", "outbound", "inbound", "outbound"]


def test_quit_ends_it(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _pipe(monkeypatch, "/quit\nnever said\n")
    assert not Message.objects.exists()


def test_nothing_to_say_is_no_failure(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _pipe(monkeypatch, "") == ""


def test_earlier_answers_are_not_printed_again(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _pipe(monkeypatch, "first\n")
    assert _pipe(monkeypatch, "second\n").count("agent> ") == 1


def test_name_and_phone_say_who_writes(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _pipe(monkeypatch, "hello\n", name="Ana", phone="+55 11 98888-7777")
    contact = Contact.objects.get()
    assert (contact.name, contact.phone) == ("Ana", "+5511988887777")


@pytest.mark.parametrize("phone", ["", "hello", "12"])
def test_a_phone_that_is_none_is_refused(answers_at_once: None, monkeypatch: pytest.MonkeyPatch, phone: str) -> None:
    with pytest.raises(CommandError, match="phone number"):
        _pipe(monkeypatch, "hello\n", phone=phone)
    assert not Message.objects.exists()


def test_a_turn_that_failed_is_reported_and_is_a_failure(
    answers_at_once: None, no_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    out = io.StringIO()
    with pytest.raises(CommandError, match="not answered"):
        call_command("chat", stdout=out, stderr=io.StringIO(), timeout=30.0)
    assert "(turn failed: " in out.getvalue()


def test_a_conversation_under_human_control_is_reported(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    control.take_over(conversation=_conversation(), reason="Mia is at it")
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    out = io.StringIO()
    with pytest.raises(CommandError, match="not answered"):
        call_command("chat", stdout=out, stderr=io.StringIO(), timeout=20.0)
    assert "a person has taken over: Mia is at it" in out.getvalue()


def test_asking_for_a_person_is_answered_and_what_is_written_then_is_not(
    answers_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "agent> I have asked a person" in _pipe(monkeypatch, "/human my bicycle broke\n")
    with pytest.raises(CommandError, match="not answered"):
        _pipe(monkeypatch, "hello?\n")


def test_a_contact_who_is_not_answered_sees_the_reason(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    Contact.objects.filter(pk=_conversation().contact_id).update(is_blocked=True)
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    out = io.StringIO()
    with pytest.raises(CommandError, match="not answered"):
        call_command("chat", stdout=out, stderr=io.StringIO(), timeout=20.0)
    assert "this contact is not answered" in out.getvalue()


def test_without_an_answer_in_time_it_fails(answers_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    AgentProfile.objects.update(debounce_s=60, debounce_max_s=60)
    with pytest.raises(CommandError, match="No answer within"):
        _pipe(monkeypatch, "hello\n", timeout=0.3)
