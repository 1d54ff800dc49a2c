"""`manage.py requeue`: failed turns and sends run again."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from messaging import control, leases
from messaging.models import Contact, Conversation, Message, Turn
from sessions_app.models import WhatsAppSession
from tests.support.messaging.turns import settle

pytestmark = pytest.mark.django_db


def requeue(*arguments: str) -> str:
    out = io.StringIO()
    call_command("requeue", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def failed_turn(conversation, says):
    says()
    return settle(
        leases.take(conversation.pk), conversation, outcome=Turn.Outcome.FAILED, reason="model_down", replies=[]
    )


def failed_message(conversation, **values):
    defaults = {"direction": "outbound", "author": "agent", "status": "failed", "text": "Hi", "error_code": "refused"}
    return Message.objects.create(session=conversation.session, conversation=conversation, **defaults | values)


def test_the_burst_of_a_failed_turn_is_due_again(conversation, failed_turn):
    assert "1 turns and 0 messages queued again" in requeue()
    conversation.refresh_from_db()
    assert conversation.due_at is not None
    assert Message.objects.get().status == "received"


def test_a_second_run_finds_nothing_left(conversation, failed_turn):
    requeue()
    assert "0 turns and 0 messages queued again" in requeue()


def test_a_dry_run_changes_nothing(conversation, failed_turn):
    failed_message(conversation)
    assert "1 turns and 1 messages would be queued again" in requeue("--dry-run")
    conversation.refresh_from_db()
    assert conversation.due_at is None
    assert Message.objects.filter(status="failed").exists()


def test_a_turn_in_a_conversation_that_a_person_controls_is_left_alone(conversation, failed_turn):
    control.take_over(conversation=conversation)
    assert "0 turns and 0 messages queued again, 1 left alone" in requeue()


def test_failed_sends_are_queued_again_in_their_order(conversation):
    first = failed_message(conversation, created_at=timezone.now() - timedelta(minutes=2))
    rest = failed_message(
        conversation,
        status="cancelled",
        error_code="earlier_part_failed",
        created_at=timezone.now() - timedelta(minutes=1),
    )
    requeue()
    queued = Message.objects.filter(status="queued").order_by("created_at").values_list("pk", flat=True)
    assert list(queued) == [first.pk, rest.pk]


def test_messages_that_a_takeover_cancelled_stay_cancelled(conversation):
    failed_message(conversation, status="cancelled", error_code="taken_over")
    assert "0 messages queued again" in requeue()


def test_unconfirmed_messages_are_sent_again_only_when_asked_for(conversation):
    message = failed_message(conversation, status="unconfirmed")
    requeue()
    message.refresh_from_db()
    assert message.status == "unconfirmed"
    requeue("--unconfirmed")
    message.refresh_from_db()
    assert message.status == "queued"


def test_only_what_failed_within_the_time_is_queued_again(conversation):
    old = failed_message(conversation, created_at=timezone.now() - timedelta(days=3))
    requeue()
    old.refresh_from_db()
    assert old.status == "failed"
    requeue("--since", "4d")
    old.refresh_from_db()
    assert old.status == "queued"


def test_only_what_failed_in_the_session_is_queued_again(conversation, session):
    other = WhatsAppSession.objects.create(
        bridge=session.bridge, name="other", status="connected", agent_profile=session.agent_profile
    )
    contact = Contact.objects.create(session=other)
    elsewhere = failed_message(Conversation.objects.create(session=other, contact=contact, address="1@lid"))
    mine = failed_message(conversation)
    requeue("--session", session.name)
    assert list(Message.objects.filter(status="queued")) == [mine]
    assert list(Message.objects.filter(status="failed")) == [elsewhere]


def test_only_sends_are_queued_again_when_asked_for(conversation, failed_turn):
    failed_message(conversation)
    items = json.loads(requeue("--only", "sends", "--json"))["items"]
    assert [item["kind"] for item in items] == ["message"]


@pytest.mark.parametrize("arguments", [("--session", "nobody"), ("--since", "soon"), ("--since", "2026-13-40")])
def test_what_cannot_be_meant_ends_the_command_with_an_error(db, arguments):
    with pytest.raises(CommandError):
        requeue(*arguments)
