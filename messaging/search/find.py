"""Find messages across conversations, for searches in lists: by words, by contact, by id."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from messaging.models import Conversation, Message
from messaging.search.people import contact_matches
from messaging.search.ranking import all_words_query

MAX_FOUND_MESSAGES = 1000
MAX_CONVERSATIONS = 200
MIN_PHONE_DIGITS = 6

# Each part has an index of its own; one condition with OR between them would read every message there is.
FIND = """
SELECT entry.message_id FROM messaging_searchentry entry
  JOIN messaging_message message ON message.id = entry.message_id
 WHERE entry.terms @@ %(terms)s::tsquery AND (%(all)s OR message.session_id = ANY(%(sessions)s::uuid[]))
 ORDER BY entry.said_at DESC LIMIT %(limit)s
"""


def matching_messages(text: str, *, sessions: Collection[UUID] | None) -> Q:
    """Return a condition for messages: with all of the words, of a contact with this name or phone, or with this id.

    Bounded: the latest messages and conversations of many. `sessions` None looks in all.
    """
    ids = set(messages_with(text, sessions=sessions))
    return Q(pk__in=ids) | Q(conversation_id__in=matching_conversations(text, sessions=sessions))


def messages_with(text: str, *, sessions: Collection[UUID] | None) -> list[UUID]:
    """Return the latest messages with all of the words, or with that id. `sessions` None looks in all."""
    return [*_by_words(text, sessions), *_by_id(text, sessions)]


def _by_words(text: str, sessions: Collection[UUID] | None) -> list[UUID]:
    terms = all_words_query(text)
    if not terms:
        return []
    parameters: dict[str, Any] = {
        "terms": terms,
        "all": sessions is None,
        "sessions": list(sessions or ()),
        "limit": MAX_FOUND_MESSAGES,
    }
    with connection.cursor() as cursor:
        cursor.execute(FIND, parameters)
        return [row[0] for row in cursor.fetchall()]


def _by_id(text: str, sessions: Collection[UUID] | None) -> list[UUID]:
    rows = Message.objects.filter(provider_message_id=text)
    rows = rows if sessions is None else rows.filter(session_id__in=sessions)
    found = list(rows.values_list("pk", flat=True)[:MAX_FOUND_MESSAGES])
    try:
        return [*found, UUID(text)]
    except ValueError:
        return found


def matching_conversations(text: str, *, sessions: Collection[UUID] | None) -> list[UUID]:
    """Return the latest conversations with contacts of this name or phone."""
    rows = Conversation.objects.filter(contact_matches(text, path="contact__", min_digits=MIN_PHONE_DIGITS))
    rows = rows if sessions is None else rows.filter(session_id__in=sessions)
    return list(rows.order_by("-last_message_at").values_list("pk", flat=True)[:MAX_CONVERSATIONS])
