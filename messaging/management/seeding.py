"""Generate demonstration data: thousands of conversations and a million messages in about a minute.

The database generates the rows, with triggers disabled: no events are written, and the search index is filled directly.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from messaging.models import Contact, ContactAlias, Conversation
from messaging.search.words import forms_of, split_words
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import register_session

BATCH_SIZE = 5000
DAYS = 90
OPENINGS = ["Good morning", "Hello", "Oi, tudo bem?", "Hi there", "Boa tarde", "Excuse me", "Hola", "Thank you"]
MIDDLES = [
    "I would like to know the price of the blue chair",
    "my parcel has not arrived yet",
    "can I change the address of my order",
    "do you deliver on Saturdays",
    "quero saber o prazo de entrega",
    "the invoice shows the wrong amount",
    "is the shop open tomorrow",
    "I need a refund for the broken lamp",
    "qual o valor do frete para Recife",
    "the appointment on Thursday suits me",
    "please send me the catalogue",
    "o boleto ainda não chegou",
]
# A UUIDv7 of the time `at`. Ids that grow with time keep the indexes small.
UUID7 = """(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 3)
         || '8' || substr(md5(random()::text), 1, 15))::uuid"""
CREATE_SEED_CONVERSATION = """
CREATE TEMPORARY TABLE seed_conversation ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY id) - 1 AS position, id, session_id, contact_id
  FROM messaging_conversation WHERE session_id = ANY(%(sessions)s::uuid[]);
CREATE UNIQUE INDEX ON seed_conversation (position);
ANALYZE seed_conversation;
"""
# Some conversations are much longer than others, as in reality.
INSERT_MESSAGES = f"""
CREATE TEMPORARY TABLE seed_message ON COMMIT DROP AS
SELECT {UUID7} AS id, seed_conversation.id AS conversation_id, session_id, contact_id, at, number, is_inbound,
       1 + floor(random() * cardinality(%(texts)s::text[]))::int AS text_number
  FROM (SELECT number, number %% 2 = 0 AS is_inbound,
               %(now)s - make_interval(secs => %(span_s)s * (1 - number::float8 / %(messages)s)) AS at,
               floor(%(conversations)s * random() * random())::int AS position
          FROM generate_series(1, %(messages)s) number OFFSET 0) numbered
  JOIN seed_conversation USING (position)
 ORDER BY number;
INSERT INTO messaging_message (
    id, session_id, conversation_id, sender_id, direction, author, kind, status, unanswered, text, details,
    provider_message_id, quoted_provider_id, tries, error_code, error, said_at, created_at, sent_at, delivered_at)
SELECT id, session_id, conversation_id, CASE WHEN is_inbound THEN contact_id END,
       CASE WHEN is_inbound THEN 'inbound' ELSE 'outbound' END, CASE WHEN is_inbound THEN 'contact' ELSE 'agent' END,
       CASE WHEN number %% 97 = 0 THEN 'location' ELSE 'text' END,
       CASE WHEN is_inbound THEN 'handled' WHEN number %% 1001 = 0 THEN 'failed' ELSE 'delivered' END, '',
       (%(texts)s::text[])[text_number] || ', order ' || number, '{{}}',
       'seed-' || id, '', 0, '', '', at, at, CASE WHEN NOT is_inbound THEN at END,
       CASE WHEN NOT is_inbound AND number %% 1001 <> 0 THEN at END
  FROM seed_message;
"""  # noqa: S608  contains no input
UPDATE_LAST_MESSAGE_AT = """
UPDATE messaging_conversation conversation SET last_message_at = latest.at
  FROM (SELECT conversation_id, max(at) AS at FROM seed_message GROUP BY conversation_id) latest
 WHERE conversation.id = latest.conversation_id
"""
INSERT_SEARCH_ENTRIES = """
INSERT INTO messaging_searchentry (message_id, conversation_id, said_at, word_count, terms)
SELECT id, conversation_id, at, (%(counts)s::int[])[text_number],
       array_to_tsvector(string_to_array((%(lexemes)s::text[])[text_number], ' ')
                         || ARRAY[number::text, '#' || replace(conversation_id::text, '-', '')])
  FROM seed_message
"""
TABLES = ("messaging_message", "messaging_conversation", "messaging_searchentry")


def seed(*, messages: int, conversations: int, sessions: int = 5) -> Iterator[str]:
    """Generate conversations and messages in new simulator sessions, all or nothing. Yield each step before it is done.

    Requires the rights of the tables' owner. Locks the tables: storing a message waits until this is done.
    """
    now = timezone.now()
    texts = [f"{opening}, {middle}" for opening in OPENINGS for middle in MIDDLES]
    words_by_text = [[*dict.fromkeys(split_words(text, limit=100)), "order"] for text in texts]
    forms = forms_of({word for words in words_by_text for word in words})
    with transaction.atomic():
        yield f"{sessions} sessions with {conversations} conversations"
        session_ids = _create_sessions(sessions)
        indexes = _disable_triggers_and_indexes()
        _create_conversations(session_ids, count=conversations, since=now - timedelta(days=DAYS))
        yield f"{messages} messages"
        parameters: dict[str, Any] = {
            "sessions": session_ids,
            "conversations": conversations,
            "messages": messages,
            "now": now,
            "span_s": DAYS * 86400.0,
            "texts": texts,
            "lexemes": [
                " ".join(sorted({lexeme for word in words for lexeme in forms[word].lexemes}))
                for words in words_by_text
            ],
            "counts": [len(words) + 1 for words in words_by_text],
        }
        with connection.cursor() as cursor:
            cursor.execute(CREATE_SEED_CONVERSATION, parameters)
            cursor.execute(INSERT_MESSAGES, parameters)
            cursor.execute(UPDATE_LAST_MESSAGE_AT)
            yield "search index"
            cursor.execute(INSERT_SEARCH_ENTRIES, parameters)
        yield "indexes"
        _restore_triggers_and_indexes(indexes)
    yield "statistics of the query planner"
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {', '.join(TABLES)}, messaging_contact")


def _create_sessions(count: int) -> list[UUID]:
    bridge = Bridge.objects.get(slug=Bridge.SIMULATOR)
    existing = WhatsAppSession.objects.filter(bridge=bridge, name__startswith="demo-").count()
    return [register_session(bridge=bridge, name=f"demo-{existing + number}").pk for number in range(1, count + 1)]


def _create_conversations(session_ids: list[UUID], *, count: int, since: datetime) -> None:
    contacts = Contact.objects.bulk_create(
        [
            Contact(session_id=session_ids[number % len(session_ids)], name=f"Customer {number}", phone=_phone(number))
            for number in range(count)
        ],
        batch_size=BATCH_SIZE,
    )
    ContactAlias.objects.bulk_create(
        [
            ContactAlias(session_id=each.session_id, contact=each, kind=ContactAlias.Kind.PHONE, value=each.phone)
            for each in contacts
        ],
        batch_size=BATCH_SIZE,
    )
    Conversation.objects.bulk_create(
        [
            Conversation(
                session_id=contact.session_id,
                contact=contact,
                address=f"{contact.phone[1:]}@s.whatsapp.net",
                control=Conversation.Control.HUMAN if number % 50 == 0 else Conversation.Control.AGENT,
                unread_count=number % 20 == 0,
                needs_attention=number % 100 == 0,
                attention_reason=Conversation.Attention.HANDOFF if number % 100 == 0 else "",
            )
            for number, contact in enumerate(contacts)
        ],
        batch_size=BATCH_SIZE,
    )
    Conversation.objects.filter(session__in=session_ids).update(created_at=since)


def _phone(number: int) -> str:
    """Return a number of the area code 555, which is assigned to nobody."""
    return f"+1555{number:07d}"


def _disable_triggers_and_indexes() -> list[str]:
    """Disable triggers and drop indexes. Return the definitions of the indexes.

    Building an index over a million rows takes seconds; inserting them into it one by one takes a minute.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(
            """SELECT relname, pg_get_indexdef(oid) FROM pg_class JOIN pg_index ON indexrelid = oid
                WHERE indrelid = ANY(%s::regclass[]) AND NOT indisunique""",
            [list(TABLES)],
        )
        indexes = dict(cursor.fetchall())
        for name in indexes:
            cursor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")
        # A superuser, as on the embedded server, can also skip the checks of foreign keys.
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone()[0]:
            cursor.execute("SET LOCAL session_replication_role = replica")
    return list(indexes.values())


def _restore_triggers_and_indexes(indexes: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with pending checks cannot be altered
        for definition in indexes:
            cursor.execute(definition)
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
