"""A person who has left traces in every table that can hold any."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.idempotency import IdempotentRequest
from agent.models import PushMessage, PushSubscription
from commands.models import CommandRun
from messaging.models import (
    CallEvent,
    Contact,
    ContactMerge,
    Conversation,
    Correction,
    EarlyChange,
    EarlyReceipt,
    Embedding,
    EmbeddingModel,
    Event,
    Fact,
    HeldMessage,
    MailedConversation,
    Media,
    Message,
    Note,
    Presence,
    Summary,
    ToolCall,
    Turn,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from messaging.search.index import index_waiting
from sessions_app.drafts import save_draft
from whatsapp_agent.storage.encryption import encrypt

# No text of the person stands anywhere else, so that whatever finds one of these has found a trace.
NAME = "Zuleika Quintanilha"
NUMBER = "5511977776666"
WORDS = "grandmother's pelargonium"
SECRET = f"My {WORDS} is ill"
AT = timezone.now() - timedelta(days=1)


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def person(session: Any, admin: Any) -> Contact:
    """A contact with a conversation and a place in a group, and rows of every kind."""
    contact = Contact.objects.create(session=session, phone=f"+{NUMBER}", name=NAME, bridge_name=NAME)
    contact.aliases.create(session=session, kind="phone", value=f"+{NUMBER}")
    contact.aliases.create(session=session, kind="jid", value=f"{NUMBER}@s.whatsapp.net")
    conversation = Conversation.objects.create(
        session=session, contact=contact, address=f"{NUMBER}@s.whatsapp.net", summary=SECRET, attention_note=SECRET,
        labels=[WORDS[:30]], control_reason=SECRET,
    )  # fmt: skip
    _fill(conversation, contact, admin)
    for chat, sender in (([f"+{NUMBER}"], []), (["1203@g.us"], [f"+{NUMBER}"])):
        EarlyChange.objects.create(
            session=session, provider_message_id="3EB0C", text=SECRET, at=AT, chat=chat, sender=sender
        )
    EarlyReceipt.objects.create(
        session=session, provider_message_id=f"true_{NUMBER}@c.us_3EB0A", status="delivered", at=AT
    )
    draft = save_draft(
        profile=session.agent_profile, instructions=f"Be brief. Whoever asks for +55 11 97777-6666: {NUMBER}"
    )
    Correction.objects.create(conversation=conversation, version=draft.versions.get(version=draft.version))
    group = Contact.objects.create(session=session, is_group=True, name="Gardeners")
    meeting = Conversation.objects.create(session=session, contact=group, address="1203@g.us", summary=SECRET)
    _fill(meeting, contact, admin, is_group=True)
    return contact


def _fill(conversation: Conversation, contact: Contact, admin: Any, *, is_group: bool = False) -> None:
    session, other = conversation.session, {"session": conversation.session, "conversation": conversation}
    turn = Turn.objects.create(conversation=conversation, outcome="answered", started_at=AT, created_at=AT)
    asked = Message.objects.create(
        **other, sender=contact, turn=turn, direction="inbound", author="contact", status="handled", text=SECRET,
        kind="image", details={"caption": SECRET}, said_at=AT, provider_message_id=f"false_1203_{NUMBER}@c.us",
        earlier_texts=[{"text": SECRET, "until": "2026-11-27T10:00:00Z"}],
    )  # fmt: skip
    Message.objects.create(
        **other, turn=turn, direction="outbound", author="agent", status="read", text=f"So your {WORDS} is ill",
        said_at=AT, quoted=asked, quoted_provider_id=f"false_1203_{NUMBER}@c.us",
    )  # fmt: skip
    media = Media.objects.create(
        message=asked, filename=f"{WORDS}.png", mime_type="image/png", transcript=SECRET, extract=SECRET, ref=NUMBER
    )
    media.file.save("a.png", ContentFile(SECRET.encode()))
    media.preview.save("b.png", ContentFile(SECRET.encode()))
    ToolCall.objects.create(turn=turn, name="search_messages", arguments={"q": WORDS}, result=SECRET, status="done")
    CommandRun.objects.create(
        conversation=conversation, turn=turn, contact=contact, name="summarize", surface="chat", caller="contact",
        arguments={"text": SECRET}, text=SECRET, data={"text": SECRET}, status="done",
    )  # fmt: skip
    Fact.objects.create(contact=conversation.contact, text=SECRET, proposed_by="contact", message=asked)
    Summary.objects.create(conversation=conversation, version=1, text=SECRET, until=AT)
    Note.objects.create(conversation=conversation, author=admin, text=f"{NAME}, +55 11 97777-6666, is worried")
    Presence.objects.create(conversation=conversation, user=admin, seen_at=AT)
    MailedConversation.objects.create(conversation=conversation, user=admin, last_message_at=AT)
    browser, _ = PushSubscription.objects.get_or_create(user=admin, endpoint="https://push.example.com/1")
    PushMessage.objects.create(
        subscription=browser, conversation=conversation, kind="waiting", next_try_at=AT, expires_at=AT
    )
    CallEvent.objects.create(
        **other, provider_call_id=f"{NUMBER}-{conversation.pk}" if not is_group else "call", status="missed", at=AT
    )
    name, _ = EmbeddingModel.objects.get_or_create(name="small", dimension=2)
    Embedding.objects.create(message=asked, conversation_id=conversation.pk, model=name, vector=[0.1, 0.2])
    index_waiting(limit=500)
    endpoint, _ = WebhookEndpoint.objects.get_or_create(
        owner=admin, url="https://example.com/", defaults={"secret": "whsec_x"}
    )
    event = Event.objects.create(
        type="message.received", session_id=session.pk, conversation_id=conversation.pk,
        data={"message": str(asked.pk) if is_group else WORDS},
    )  # fmt: skip
    delivery = WebhookDelivery.objects.create(endpoint=endpoint, event=event, type="message.received")
    WebhookAttempt.objects.create(delivery=delivery, at=AT, duration_ms=1, status_code=400, answer=SECRET[:300])
    if not is_group:
        stranger = Contact.objects.create(session=session, name="Nobody")
        for kept, merged in ((contact, stranger), (stranger, contact)):  # taken back, one in either direction
            ContactMerge.objects.create(
                session=session, contact=kept, merged_id=merged.pk, merged_name=NAME, merged_phone=f"+{NUMBER}"[:16],
                status="undone", reason="person", undo={"deleted": [{"text": SECRET}]},
            )  # fmt: skip
        HeldMessage.objects.create(conversation=conversation, event={"text": SECRET})
        IdempotentRequest.objects.create(
            caller="user", route="message-list", key="k", fingerprint="f", token=conversation.pk, claimed_at=AT,
            created_at=AT, status_code=201, location=f"/api/v1/messages/{asked.pk}/",
            answer=encrypt(f'{{"conversation": "{conversation.pk}", "text": "{SECRET}"}}'),
        )  # fmt: skip
        LogEntry.objects.create(
            user=admin, content_type=ContentType.objects.get_for_model(Contact), object_id=str(contact.pk),
            object_repr=NAME, action_flag=CHANGE, change_message=f"Changed {NUMBER}",
        )  # fmt: skip
    else:
        Message.objects.create(
            **other, direction="inbound", author="contact", status="handled", said_at=AT,
            text=f"Thank you {NAME}, I will call +{NUMBER}", details={"mentions": [f"{NUMBER}@s.whatsapp.net"]},
        )  # fmt: skip
