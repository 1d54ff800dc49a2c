"""Search of the inbox: messages with these words, and contacts by name or phone."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Left

from accounts.models import User
from messaging.models import Message
from messaging.search.find import matching_conversations, messages_with
from sessions_app.models import WhatsAppSession
from whatsapp_agent.text.truncate import truncate
from whatsapp_agent.text.whatsapp_html import without_markup

MAX_FOUND = 1000  # messages, newest first
MAX_READ_CHARS = 4000  # of a message
BEFORE_CHARS = 30  # shown before the word that was found
EXCERPT_CHARS = 160


def find(text: str, user: User) -> tuple[dict[UUID, UUID], list[UUID]]:
    """Return the latest message with these words by conversation, and those whose contact matches."""
    sessions = None if user.sees_everything else list(_visible_session_ids(user))
    messages = Message.objects.filter(pk__in=messages_with(text, sessions=sessions), revoked_at=None).visible_to(user)
    newest = messages.order_by("-said_at", "-id").values_list("conversation_id", "pk")[:MAX_FOUND]
    hits: dict[UUID, UUID] = {}
    for conversation_id, message_id in newest:
        hits.setdefault(conversation_id, message_id)
    return hits, list(dict.fromkeys([*hits, *matching_conversations(text, sessions=sessions)]))


def texts_of(message_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return the beginning of each message that has a text."""
    wanted = list(message_ids)
    rows = Message.objects.filter(pk__in=wanted).values_list("pk", Left("text", MAX_READ_CHARS)) if wanted else ()
    return {pk: text for pk, text in rows if text.strip()}


def around(text: str, search: str) -> str:
    """Return the part of a text around the first of the words that were looked for."""
    flat = " ".join(without_markup(text).split())
    places = [flat.casefold().find(word.casefold()) for word in search.split()]
    start = max(min((place for place in places if place >= 0), default=0) - BEFORE_CHARS, 0)
    return ("… " if start else "") + truncate(flat[start:], EXCERPT_CHARS)


def _visible_session_ids(user: User) -> QuerySet:
    return WhatsAppSession.objects.visible_to(user).values_list("pk", flat=True)
