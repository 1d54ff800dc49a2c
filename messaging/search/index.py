"""Makes new and changed messages findable, in the background and in batches: receiving one does not wait for it.

What is to be done is a row of UnindexedMessage, written by the database with the message itself. The engine's sweep
works through them; a search first does what is left of its own conversation, so that it misses nothing.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from messaging.history.content import contact_cards, location_of
from messaging.models import Message, UnindexedMessage
from messaging.search import embeddings
from messaging.search.words import forms_of, split_words
from whatsapp_agent.periodic import periodic

BATCH = 500
IN_PASSING = 200  # at each round of the engine: receiving and answering go before
MAX_WORDS = 2000  # of one message; what is longer is found by how it begins
MAX_TEXT_CHARS = 40_000  # characters of a message that are looked at

# Rows that someone else is indexing are left to them, except by a search, which waits for what it needs.
TAKE = """
DELETE FROM messaging_unindexedmessage WHERE message_id IN (
    SELECT message_id FROM messaging_unindexedmessage {where} ORDER BY message_id DESC LIMIT %(limit)s {lock})
RETURNING message_id
"""
TAKE_ANY = TAKE.format(where="", lock="FOR UPDATE SKIP LOCKED")
TAKE_CONVERSATION = TAKE.format(where="WHERE conversation_id = %(conversation)s", lock="FOR UPDATE")
PUT = """
INSERT INTO messaging_searchentry (message_id, conversation_id, said_at, word_count, terms)
SELECT message.id, message.conversation_id, message.said_at, made.word_count,
       array_to_tsvector(string_to_array(made.lexemes, ' '))
  FROM unnest(%s::uuid[], %s::int[], %s::text[]) made(message_id, word_count, lexemes)
  JOIN messaging_message message ON message.id = made.message_id
ON CONFLICT (message_id) DO UPDATE
   SET conversation_id = EXCLUDED.conversation_id, said_at = EXCLUDED.said_at, word_count = EXCLUDED.word_count,
       terms = EXCLUDED.terms
"""
NOTE_MOVE = """
INSERT INTO messaging_unindexedmessage (message_id, conversation_id)
SELECT id, %(to)s FROM messaging_message WHERE conversation_id = %(conversation)s
ON CONFLICT (message_id) DO UPDATE SET conversation_id = EXCLUDED.conversation_id
"""


@periodic(every_s=lambda: settings.AGENT_SWEEP_S, may_block=True)
def index_waiting(*, limit: int = IN_PASSING) -> int:
    """Index up to `limit` of the messages that wait for it, the newest first; returns how many there were."""
    with transaction.atomic():
        return _index(_take(TAKE_ANY, limit=limit))


def index_conversation(conversation_id: UUID, *, limit: int = 4 * BATCH) -> None:
    """Index what waits in one conversation: all of it, but for a flood of which the newest come first."""
    if UnindexedMessage.objects.filter(conversation_id=conversation_id).exists():
        with transaction.atomic():
            _index(_take(TAKE_CONVERSATION, limit=limit, conversation=conversation_id))


def note_move(conversation_id: UUID, *, to: UUID) -> None:
    """All that was said in one conversation is about to belong to another: let it be found there."""
    with connection.cursor() as cursor:
        cursor.execute(NOTE_MOVE, {"conversation": conversation_id, "to": to})


def index_again() -> Iterator[int]:
    """Index every message anew, newest first; yields how many are done, now and then."""
    done = 0
    before: UUID | None = None
    while True:
        rows = Message.objects.order_by("-id").values_list("id", flat=True)
        ids = list(rows.filter(id__lt=before)[:BATCH] if before else rows[:BATCH])
        if not ids:
            return
        with transaction.atomic():
            UnindexedMessage.objects.filter(message_id__in=ids).delete()
            _index(ids)
        done, before = done + len(ids), ids[-1]
        yield done


def _take(statement: str, **parameters: Any) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [row[0] for row in cursor.fetchall()]


def _index(ids: list[UUID]) -> int:
    """Write the entries of these messages. In the transaction that took them, so that none is lost on the way."""
    if not ids:
        return 0
    rows = Message.objects.filter(pk__in=ids).values_list("id", "conversation_id", "text", "details", "media__filename")
    words: dict[UUID, list[str]] = {}
    conversations: dict[UUID, UUID] = {}
    for message_id, conversation_id, *said in rows:
        words[message_id] = list(dict.fromkeys(split_words(searchable_text(*said), limit=MAX_WORDS)))
        conversations[message_id] = conversation_id
    forms = forms_of({word for each in words.values() for word in each})
    lexemes = [
        " ".join(
            {
                conversation_lexeme(conversations[message_id]),
                *(lexeme for word in each for lexeme in forms[word].lexemes),
            }
        )
        for message_id, each in words.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(PUT, [list(words), [len(each) for each in words.values()], lexemes])
    embeddings.note_indexed(list(words))
    return len(ids)


def searchable_text(text: str, details: dict[str, Any] | None, filename: str | None) -> str:
    """Everything of a message that has words: what was written, a place, people, the name of a file."""
    parts = [location_of(details), *contact_cards(details)]
    names = [part.get(key) for part in parts for key in ("name", "address", "phone")]
    return " \n".join([text[:MAX_TEXT_CHARS], filename or "", *(str(name) for name in names if name)])


def conversation_lexeme(conversation_id: UUID) -> str:
    """What stands in `terms` for the conversation, and keeps a look-up within it. No word has a # in it."""
    return f"#{conversation_id.hex}"
