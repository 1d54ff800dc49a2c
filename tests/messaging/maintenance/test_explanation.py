"""`manage.py why`: which rule answered, delayed or ignored a message."""

import io
import json
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from messaging import control, leases
from messaging.models import Conversation, Message, Turn
from tests.support.messaging.turns import settle

pytestmark = pytest.mark.django_db


def why(message_id: object) -> str:
    out = io.StringIO()
    call_command("why", str(message_id), stdout=out)
    return out.getvalue()


def test_a_stale_message_is_explained_by_its_age(conversation, says):
    received = says("Hello there", age=timedelta(hours=2))
    printed = why(received.message_id)
    assert "older than 600 seconds" in printed
    assert "Hello there" not in printed


def test_a_message_is_found_by_the_id_of_the_bridge(conversation, says):
    received = says(age=timedelta(hours=2))
    message = Message.objects.get(pk=received.message_id)
    assert str(message.pk) in why(message.provider_message_id)


def test_a_message_of_a_blocked_contact_is_explained_by_the_policy(conversation, says):
    conversation.contact.is_blocked = True
    conversation.contact.save()
    assert "the number's rule (everyone is answered)" in why(says().message_id)


def test_a_waiting_message_is_explained_by_the_person_in_control(conversation, says):
    received = says()
    control.take_over(conversation=conversation)
    assert "control of the conversation is human" in why(received.message_id)


def test_a_message_that_is_due_for_long_is_explained_by_missing_workers(conversation, says):
    received = says()
    Conversation.objects.update(due_at=timezone.now() - timedelta(seconds=90))
    assert "tell who runs the server" in why(received.message_id)


def test_a_sent_message_is_explained_by_its_times(conversation):
    sent_at = timezone.now().replace(year=2026, month=11, day=27, hour=9, minute=5, second=3)
    row = Message.objects.create(
        session=conversation.session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        status="delivered",
        sent_at=sent_at,
        delivered_at=sent_at + timedelta(seconds=2),
    )
    assert "- Sent at 2026-11-27 09:05:03 UTC, delivered at 2026-11-27 09:05:05 UTC.\n" in why(row.pk)


def test_an_answered_message_is_shown_with_its_turn_and_reply(conversation, says):
    received = says()
    turn = settle(leases.take(conversation.pk), conversation)
    printed = why(received.message_id)
    reply = Message.objects.get(direction="outbound")
    assert f"turn {turn.pk}: answered" in printed
    assert f"reply {reply.pk}: queued" in printed


def test_a_failed_turn_is_shown_with_its_reason(conversation, says):
    received = says()
    settle(leases.take(conversation.pk), conversation, outcome=Turn.Outcome.FAILED, reason="model_down", replies=[])
    assert "The agent could not answer: model_down." in why(received.message_id)


def test_a_queued_reply_is_explained_by_a_session_that_is_not_connected(conversation, session):
    session.status = "disconnected"
    session.save()
    message = Message.objects.create(
        session=session, conversation=conversation, direction="outbound", author="staff", status="queued", text="Hi"
    )
    assert "It waits: the number is disconnected." in why(message.pk)


@pytest.mark.parametrize("status", Message.Status.values)
def test_every_status_of_an_outbound_message_is_explained(conversation, session, status):
    message = Message.objects.create(
        session=session,
        conversation=conversation,
        direction="outbound",
        author="agent",
        status=status,
        sending_at=timezone.now(),
        sent_at=timezone.now(),
    )
    out = io.StringIO()
    call_command("why", str(message.pk), "--json", stdout=out)
    (found,) = json.loads(out.getvalue())
    assert found["status"] == status
    assert found["reasons"]


@pytest.mark.parametrize("reason", Message.Unanswered.values)
def test_every_reason_for_not_answering_is_explained(conversation, session, reason):
    message = Message.objects.create(
        session=session,
        conversation=conversation,
        direction="inbound",
        author="contact",
        status="handled",
        unanswered=reason,
    )
    assert "  - " in why(message.pk)


def test_an_unknown_message_ends_the_command_with_an_error():
    with pytest.raises(CommandError, match="no message with this id"):
        why("nonsense")


def test_no_explanation_names_a_setting_or_a_command(conversation, says):
    received = says()
    printed = []
    for due_at in (None, timezone.now() + timedelta(minutes=1), timezone.now() - timedelta(minutes=1)):
        Conversation.objects.update(due_at=due_at)
        printed.append(why(received.message_id))
    Conversation.objects.update(lease_expires_at=timezone.now() + timedelta(minutes=1))
    printed.append(why(received.message_id))
    for reason in Message.Unanswered.values:
        Message.objects.filter(pk=received.message_id).update(unanswered=reason, status="handled")
        printed.append(why(received.message_id))
    reasons = [line for text in printed for line in text.splitlines() if line.startswith("  - ")]
    assert len(reasons) >= len(printed)
    assert [line for line in reasons if re.search(r"[a-z]_[a-z]|manage\.py|\b(lease|worker|engine|turn)\b", line)] == []
