"""Event types, their documentation and the triggers that write them."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import commands.triggers
import messaging.events.triggers
import messaging.search.triggers
from accounts.models import User
from commands.models import CommandRun
from messaging.events.types import EVENT_TYPES, as_markdown
from messaging.models import Conversation, Event, Note
from whatsapp_agent.postgres.triggers import TriggerFunction

EVENTS_PAGE = Path(__file__).resolve().parents[3] / "docs" / "events.md"
DECLARED = [
    *messaging.events.triggers.TRIGGERS,
    *messaging.search.triggers.TRIGGERS,
    *commands.triggers.TRIGGERS,
]
INSTALLED_FUNCTIONS = """
SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype
"""
DEFINITION = """
SELECT pg_get_functiondef(function.oid), trigger.tgname, pg_get_triggerdef(trigger.oid)
  FROM pg_proc function JOIN pg_trigger trigger ON trigger.tgfoid = function.oid
 WHERE function.proname = %s ORDER BY trigger.tgname
"""


def _definition(name: str) -> list[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(DEFINITION, [name])
        return cursor.fetchall()


@pytest.mark.django_db
@pytest.mark.parametrize("function", DECLARED, ids=lambda function: function.name)
def test_a_declared_trigger_is_the_one_in_the_database(function: TriggerFunction) -> None:
    installed = _definition(function.name)
    with connection.cursor() as cursor:
        cursor.execute(function.sql)
    assert installed
    assert _definition(function.name) == installed


@pytest.mark.django_db
def test_every_trigger_of_the_database_is_declared() -> None:
    with connection.cursor() as cursor:
        cursor.execute(INSTALLED_FUNCTIONS)
        installed = {name for (name,) in cursor.fetchall()}
    assert installed == {function.name for function in DECLARED}


def test_the_events_page_documents_every_type_as_it_is_declared() -> None:
    assert EVENTS_PAGE.read_text().endswith("## Event types\n\n" + as_markdown()), "Run make docs."


def _written_by_triggers() -> dict[str, list[str]]:
    return {event.type: sorted(event.data) for event in Event.objects.all()}


@pytest.mark.django_db
def test_events_have_the_fields_that_their_types_declare(conversation: Conversation, says: Any, admin: User) -> None:
    says("Hello")
    Conversation.objects.update(control="human")
    Conversation.objects.update(needs_attention=True, attention_reason="loop")
    Conversation.objects.update(assigned_to=admin, labels=["vip"], done_at=conversation.created_at)
    Note.objects.create(conversation=conversation, author=admin, text="Call back")
    Note.objects.update(is_shown_to_model=True)
    conversation.session.status = "disconnected"
    conversation.session.save()
    conversation.turns.create(outcome="answered", started_at=conversation.created_at)
    CommandRun.objects.create(conversation=conversation, name="help", surface="api", caller="staff", status="done")
    message = conversation.messages.create(
        session=conversation.session, direction="outbound", author="agent", status="queued", text="Hi."
    )
    for status in ("sent", "delivered", "read", "failed", "unconfirmed", "cancelled"):
        message.status = status
        message.save()
    conversation.messages.update(edited_at=conversation.created_at, revoked_at=conversation.created_at)
    declared = {
        each.name: sorted(each.payload)
        for each in EVENT_TYPES
        if not each.name.startswith(("endpoint.", "call.", "alert.", "contact."))
    }
    assert _written_by_triggers() == declared
