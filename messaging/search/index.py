"""Index new and changed messages for the search, in the background and in batches.

A trigger (`messaging.search.triggers`) lists each of them in UnindexedMessage. The engine's sweep works through the
list; a search first indexes what is left of its own conversation, so that it misses nothing.
"""

from collections.abc import Iterator, Sequence
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
SWEEP_BATCH = 200  # at each sweep of the engine: receiving and answering come first
MAX_WORDS = 2000  # of one message; a longer one is found by its beginning
MAX_TEXT_CHARS = 40_000  # of one message; the rest is not indexed
CONTENT = ("text", "details", "media__filename", "media__transcript", "media__extract")

# A message before its row of the list, as whoever deletes messages locks them. A message that is being deleted at this
# moment is left to that. The sweep skips rows that another process is indexing; a search waits for those of its
# conversation.
TAKE_WAITING = """
DELETE FROM messaging_unindexedmessage WHERE message_id IN (
    SELECT waiting.message_id
      FROM messaging_unindexedmessage waiting JOIN messaging_message message ON message.id = waiting.message_id
     {where} ORDER BY waiting.message_id DESC LIMIT %(limit)s
       FOR KEY SHARE OF message SKIP LOCKED FOR UPDATE OF waiting {or_else})
RETURNING message_id
"""
TAKE_WAITING_OF_ALL = TAKE_WAITING.format(where="", or_else="SKIP LOCKED")
TAKE_WAITING_OF_CONVERSATION = TAKE_WAITING.format(where="WHERE waiting.conversation_id = %(conversation)s", or_else="")
DELETE_WITHOUT_MESSAGE = """
DELETE FROM messaging_unindexedmessage WHERE message_id IN (
    SELECT message_id FROM messaging_unindexedmessage waiting
     WHERE NOT EXISTS (SELECT FROM messaging_message message WHERE message.id = waiting.message_id)
     LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING message_id
"""
LOCK_MESSAGES = "SELECT id FROM messaging_message WHERE id = ANY(%s::uuid[]) ORDER BY id DESC FOR KEY SHARE"
UPSERT_ENTRIES = """
INSERT INTO messaging_searchentry (message_id, conversation_id, said_at, word_count, terms)
SELECT message.id, message.conversation_id, message.said_at, new.word_count,
       array_to_tsvector(string_to_array(new.lexemes, ' '))
  FROM unnest(%s::uuid[], %s::int[], %s::text[]) new(message_id, word_count, lexemes)
  JOIN messaging_message message ON message.id = new.message_id
 ORDER BY message.id DESC
ON CONFLICT (message_id) DO UPDATE
   SET conversation_id = EXCLUDED.conversation_id, said_at = EXCLUDED.said_at, word_count = EXCLUDED.word_count,
       terms = EXCLUDED.terms
"""
MOVE_TO_CONVERSATION = """
INSERT INTO messaging_unindexedmessage (message_id, conversation_id)
SELECT id, %(conversation)s FROM unnest(%(ids)s::uuid[]) AS id ORDER BY id DESC
ON CONFLICT (message_id) DO UPDATE SET conversation_id = EXCLUDED.conversation_id
"""


@periodic(every_s=lambda: settings.AGENT_SWEEP_S, may_block=True)
def index_waiting(*, limit: int = SWEEP_BATCH) -> int:
    """Index up to `limit` waiting messages, newest first; return how many, with those that are gone."""
    with transaction.atomic():
        count = _index(_take(TAKE_WAITING_OF_ALL, limit=limit))
    return count if count == limit else count + len(_take(DELETE_WITHOUT_MESSAGE, limit=limit - count))


def index_conversation(conversation_id: UUID, *, limit: int = 4 * BATCH) -> None:
    """Index the waiting messages of one conversation, newest first, at most `limit`."""
    if UnindexedMessage.objects.filter(conversation_id=conversation_id).exists():
        with transaction.atomic():
            _index(_take(TAKE_WAITING_OF_CONVERSATION, limit=limit, conversation=conversation_id))


def reindex_messages(ids: Sequence[UUID | str], *, conversation_id: UUID) -> None:
    """Index messages that were moved to this conversation once more, to be found there."""
    with connection.cursor() as cursor:
        cursor.execute(MOVE_TO_CONVERSATION, {"conversation": conversation_id, "ids": [str(each) for each in ids]})


def reindex() -> Iterator[int]:
    """Index every message again, newest first; yield after each batch how many are done."""
    done = 0
    before: UUID | None = None
    while True:
        rows = Message.objects.order_by("-id").values_list("id", flat=True)
        ids = list(rows.filter(id__lt=before)[:BATCH] if before else rows[:BATCH])
        if not ids:
            return
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(LOCK_MESSAGES, [ids])
            UnindexedMessage.objects.filter(message_id__in=ids).delete()
            _index(ids)
        done, before = done + len(ids), ids[-1]
        yield done


def _take(statement: str, **parameters: Any) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [row[0] for row in cursor.fetchall()]


def _index(ids: list[UUID]) -> int:
    """Write the entries of these messages, in the transaction that locked them and took them from the list."""
    if not ids:
        return 0
    rows = Message.objects.filter(pk__in=ids).values_list("id", "conversation_id", *CONTENT)
    words: dict[UUID, list[str]] = {}
    conversations: dict[UUID, UUID] = {}
    for message_id, conversation_id, *content in rows:
        words[message_id] = list(dict.fromkeys(split_words(searchable_text(*content), limit=MAX_WORDS)))
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
        cursor.execute(UPSERT_ENTRIES, [list(words), [len(each) for each in words.values()], lexemes])
    embeddings.list_for_embedding(list(words))
    return len(ids)


def searchable_text(text: str, details: dict[str, Any] | None, *of_file: str | None) -> str:
    """Return all searchable text of a message: its text, location, contact cards; `of_file`: name, words and text."""
    parts = [location_of(details), *contact_cards(details)]
    names = [part.get(key) for part in parts for key in ("name", "address", "phone")]
    return " \n".join([text[:MAX_TEXT_CHARS], *filter(None, of_file), *(str(name) for name in names if name)])


def conversation_lexeme(conversation_id: UUID) -> str:
    """Return the lexeme that limits a lookup in `terms` to one conversation. No word contains a #."""
    return f"#{conversation_id.hex}"
