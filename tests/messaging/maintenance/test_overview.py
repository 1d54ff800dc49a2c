"""`manage.py stats`: figures of the installation."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from messaging import leases
from messaging.models import Conversation, Message
from sessions_app.models import AgentProfile, WhatsAppSession
from tests.support.messaging.turns import settle

pytestmark = pytest.mark.django_db


def stats(*arguments: str) -> dict:
    out = io.StringIO()
    call_command("stats", "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def test_messages_and_turns_are_counted_by_what_became_of_them(conversation, says):
    says()
    settle(leases.take(conversation.pk), conversation, model="gpt-test", prompt_tokens=7, completion_tokens=3)
    data = stats()
    assert data["messages"]["inbound"] == {"handled": 1}
    assert data["messages"]["outbound"] == {"queued": 1}
    assert data["turns"] == {"answered": 1}
    assert data["models"] == [
        {"model": "gpt-test", "turns": 1, "prompt_tokens": 7, "cached_tokens": 0, "completion_tokens": 3}
    ]
    assert data["waiting"]["queued_messages"] == 1


def test_the_age_of_the_oldest_due_conversation_is_shown(conversation, says):
    says()
    Conversation.objects.update(due_at=timezone.now() - timedelta(seconds=100))
    waiting = stats()["waiting"]
    assert waiting["due_conversations"] == 1
    assert 100 <= waiting["oldest_due_s"] < 160


def test_what_is_older_than_asked_for_is_not_counted(conversation, says):
    says()
    Message.objects.update(said_at=timezone.now() - timedelta(days=2))
    assert stats()["messages"]["inbound"] == {}
    assert stats("--since", "3d")["messages"]["inbound"] == {"received": 1}


def test_test_chats_of_a_draft_are_not_among_the_conversations(conversation, says, session):
    says()
    profile = AgentProfile.objects.create(name="Draft", draft_of=session.agent_profile)
    WhatsAppSession.objects.update(agent_profile=profile)
    assert stats()["conversations"]["total"] == 0
    assert stats("--session", session.name)["conversations"]["total"] == 1


def test_the_figures_of_one_session_leave_out_the_others(conversation, says, session):
    says()
    WhatsAppSession.objects.create(bridge=session.bridge, name="other", agent_profile=session.agent_profile)
    data = stats("--session", "other")
    assert data["messages"]["inbound"] == {}
    assert data["conversations"]["total"] == 0
    assert data["sessions"] == {"initializing": 1}


def test_the_summary_for_people_names_what_waits(conversation, says):
    says()
    out = io.StringIO()
    call_command("stats", stdout=out)
    assert "1 to be answered" not in out.getvalue().split("Waiting")[0]
    assert "1 received" in out.getvalue()
