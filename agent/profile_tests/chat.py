"""A test chat with the draft of a profile: a conversation at the simulator, from which nothing leaves."""

import json
from dataclasses import replace
from uuid import uuid4

from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from agent import inbox
from agent.bridges.addresses import read_address
from messaging import control
from messaging.contacts.lookup import resolve_contact, resolve_conversation
from messaging.models import Conversation
from messaging.models.conversations import NO_ATTENTION
from sessions_app.drafts import ensure_draft
from sessions_app.models import AgentProfile, Bridge, WhatsAppSession
from sessions_app.services import start_session
from whatsapp_agent.errors import InvalidInput, SessionExists
from whatsapp_agent.text.sanitize import storable

MAX_TEXT_LENGTH = 4000
LID_DIGITS = 10**14  # addresses without a phone number, which belong to nobody


def open_chat(*, profile: AgentProfile, user: User) -> Conversation:
    """Return the user's conversation with the draft of a profile; the first time its session is created."""
    draft = ensure_draft(profile)
    session = _ensure_session(profile=profile, draft=draft, user=user)
    address = read_address(f"{LID_DIGITS + user.pk.int % LID_DIGITS}@lid")
    if address is None:
        raise InvalidInput
    named = replace(address, name=user.get_full_name() or user.get_username())
    contact = resolve_contact(session=session, address=named)
    return resolve_conversation(contact=contact, address=address.address)


def _ensure_session(*, profile: AgentProfile, draft: AgentProfile, user: User) -> WhatsAppSession:
    name = f"test-{profile.pk.hex[-12:]}"
    bridge = Bridge.objects.get(slug=Bridge.SIMULATOR)
    existing = WhatsAppSession.objects.filter(bridge=bridge, name=name, ended_at=None)
    if session := existing.first():
        return session
    try:
        session = start_session(name=name, bridge=bridge, agent_profile=draft, user=user)
    except SessionExists:  # the page reads the chat while the first message is sent
        return existing.get()
    WhatsAppSession.objects.filter(pk=session.pk).update(display_name=f"Test of {profile.name}"[:200])
    return session


def say(conversation: Conversation, text: str) -> None:
    """Write as a contact. A person's control ends: the draft is to answer. Raises InvalidInput."""
    text = storable(text).strip()
    if not text:
        raise InvalidInput(_("Write a message."), field="text")
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidInput(
            _("A message may have %(limit)s characters here.") % {"limit": MAX_TEXT_LENGTH},
            field="text",
        )
    if conversation.control != Conversation.Control.AGENT:
        control.release(conversation=conversation, reason="test chat")
    event = {
        "event": "message",
        "session": conversation.session.name,
        "id": uuid4().hex.upper(),
        "chat": conversation.address,
        "text": text,
    }
    inbox.process_webhook_request(bridge=conversation.session.bridge, headers={}, body=json.dumps(event).encode())


def start_over(conversation: Conversation) -> None:
    """Start over: earlier messages are shown neither on the page nor to the model."""
    rows = Conversation.objects.filter(pk=conversation.pk)
    rows.start_afresh(timezone.now())
    rows.update(**NO_ATTENTION)
