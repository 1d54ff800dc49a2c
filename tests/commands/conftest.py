"""What tests of commands share: a conversation with some history."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from commands.models import CommandRun
from messaging.models import Conversation, Fact, Message
from sessions_app.models import WhatsAppSession


@dataclass(frozen=True)
class History:
    """A conversation with messages and a fact, and what commands have changed in it."""

    conversation: Conversation
    messages: list[Message]

    def current(self) -> Conversation:
        return Conversation.objects.select_related("session__agent_profile").get(pk=self.conversation.pk)

    def last_data(self) -> dict[str, Any]:
        """Return the data of the last successful run."""
        run = CommandRun.objects.filter(status="done", conversation=self.conversation).last()
        return run.data if run else {}

    def facts(self) -> list[str]:
        facts = Fact.objects.filter(contact=self.conversation.contact, forgotten_at=None)
        return sorted(facts.values_list("text", flat=True))


@pytest.fixture
def history(session, conversation) -> History:
    begin = timezone.now() - timedelta(hours=2)
    texts = [("inbound", "I like tea"), ("outbound", "So do we"), ("inbound", "I will bring the tea on Monday")]
    messages = [
        Message.objects.create(
            session=session,
            conversation=conversation,
            sender=conversation.contact if direction == "inbound" else None,
            direction=direction,
            author="contact" if direction == "inbound" else "agent",
            status="handled" if direction == "inbound" else "read",
            text=text,
            said_at=begin + timedelta(minutes=number),
        )
        for number, (direction, text) in enumerate(texts)
    ]
    Fact.objects.create(contact=conversation.contact, text="Ana is kind", proposed_by="staff")
    WhatsAppSession.objects.update(owner_phone="+5511977776666")
    return History(conversation=conversation, messages=messages)


@pytest.fixture
def operator(member: User) -> User:
    return member
