"""Search in one conversation's whole past: any of the words, the rare ones counting most, and what stands beside them.

A message is ranked by the words it shares with the query, as BM25 does with each word counted once, and by those of its
neighbours: in a talk the answer stands beside the question, and rarely repeats its words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from accounts.models import User
from messaging.history.visibility import VISIBLE_MESSAGE
from messaging.models import Contact, Conversation, Message
from messaging.search import embeddings
from messaging.search.index import conversation_lexeme, index_conversation, index_waiting
from messaging.search.words import Forms, fold, split_words, telling_words

MAX_RESULTS = 50
MAX_WORDS = 32  # of a query
FEW = 5_000  # messages that are looked up one by one; of more, the newest are soon met in passing
MAX_MATCHES = 40_000  # of all words together: a word as common as that tells little
MAX_COUNTED_MESSAGES = 10_000  # messages; how rare a word is in more than that makes no difference
CANDIDATES = 50  # at least so many of the best by their own words have their neighbours looked at
REACH = 2  # neighbours on each side; each step away halves what they lend
LENT = 0.5
NAMED = 2.0  # what a message by the one the query names is worth
MEANING = 0.5  # what the nearest in meaning is worth, to the best by its words
K1, B = 0.9, 0.4  # BM25: how soon more words stop to count, and how much length does

# The statements are put together of these, once. Each side asks for its own bound of time alone: with both, PostgreSQL
# may enter the index at the wrong one. What never left and what was taken back is never found, nor are commands and
# what they answered: a search would find the list of what was found before.
FRAGMENTS = {
    "{sides}": """
(SELECT id, {columns}, row_number() OVER (ORDER BY said_at DESC, id DESC) AS steps FROM messaging_message message
  WHERE conversation_id = %(conversation)s AND {shown}
    AND (said_at, id) < (top.said_at, top.id) AND said_at >= %(since)s
  ORDER BY said_at DESC, id DESC LIMIT %(reach)s)
UNION ALL
(SELECT id, {columns}, row_number() OVER (ORDER BY said_at, id) AS steps FROM messaging_message message
  WHERE conversation_id = %(conversation)s AND {shown}
    AND (said_at, id) > (top.said_at, top.id) AND said_at < %(before)s
  ORDER BY said_at, id LIMIT %(reach)s)
""",
    "{columns}": "message.said_at, message.author, message.sender_id, message.sent_by_id",
    "{shown}": f"{VISIBLE_MESSAGE} AND message.kind <> 'reaction'",
    "{score}": "own.weight * (%(k1)s + 1) / (1 + %(k1)s * (1 - %(b)s + %(b)s * word_count / usual.length))",
}


def _filled(statement: str) -> str:
    for name, fragment in FRAGMENTS.items():
        statement = statement.replace(name, fragment)
    return statement


# Candidates are found word by word and weighed; the best and their neighbours are then weighed once more, by their
# keys: neighbours may not have been among what was found, nor every match of a common word. No step rests on how many
# rows the planner expects, which it cannot know of a conversation that has just been imported.
RANK = _filled("""
WITH asked AS (
    SELECT query::tsquery, number - 1 AS number FROM unnest(%(queries)s::text[]) WITH ORDINALITY word(query, number)
), hit AS MATERIALIZED (
    SELECT asked.number, entry.* FROM asked CROSS JOIN LATERAL (
        SELECT message_id, said_at, word_count FROM messaging_searchentry
         WHERE terms @@ asked.query AND conversation_id = %(conversation)s
           AND said_at >= %(since)s AND said_at < %(before)s
         LIMIT %(most_matches)s) entry
), total AS (
    SELECT count(*) AS messages FROM (
        SELECT FROM messaging_message WHERE conversation_id = %(conversation)s LIMIT %(most_counted)s) counted
), rarity AS MATERIALIZED (
    SELECT number, asked.query,
           ln(1 + (GREATEST(messages - count(*), 0) + 0.5::float8) / (count(*) + 0.5::float8)) AS weight
      FROM hit JOIN asked USING (number) CROSS JOIN total GROUP BY number, asked.query, messages
), usual AS MATERIALIZED (
    SELECT avg(word_count)::float8 AS length FROM hit
), best AS MATERIALIZED (
    SELECT message_id, said_at, {score} AS score
      FROM (SELECT message_id, said_at, word_count, sum(weight) AS weight
              FROM hit JOIN rarity USING (number) GROUP BY message_id, said_at, word_count) own CROSS JOIN usual
     ORDER BY score DESC, said_at DESC LIMIT %(candidates)s
), top AS MATERIALIZED (
    SELECT message.*
      FROM (SELECT message_id FROM best UNION SELECT unnest(%(similar)s::uuid[])) best CROSS JOIN LATERAL (
        SELECT message.id, {columns} FROM messaging_message message
         WHERE id = best.message_id AND conversation_id = %(conversation)s AND {shown}
           AND said_at >= %(since)s AND said_at < %(before)s LIMIT 1) message
), pool AS MATERIALIZED (
    SELECT id, NULL::uuid AS beside, 0 AS steps, {columns} FROM top message
    UNION ALL
    SELECT message.id, top.id, steps, {columns} FROM top CROSS JOIN LATERAL ({sides}) message
)
SELECT message.id, beside, steps, COALESCE({score}, 0), COALESCE(own.matched, 0), {columns}
  FROM pool message
  LEFT JOIN LATERAL (SELECT terms, word_count FROM messaging_searchentry WHERE message_id = message.id LIMIT 1) entry
    ON true
 CROSS JOIN LATERAL (
      SELECT sum(weight) AS weight, bit_or(1::bigint << number::int) AS matched
        FROM rarity WHERE entry.terms @@ rarity.query) own
 CROSS JOIN usual
""")
AROUND = _filled("""
SELECT top.id, message.id
  FROM (SELECT id, said_at FROM messaging_message WHERE id = ANY(%(keys)s::uuid[])) top
 CROSS JOIN LATERAL ({sides}) message
 ORDER BY message.said_at, message.id
""")
HAVE_WORDS = "SELECT message_id FROM messaging_searchentry WHERE terms @@ %s::tsquery"
EXPECTED = f"EXPLAIN (FORMAT JSON) {HAVE_WORDS}"
UNKNOWN = "'#'"  # a word the planner knows nothing of: no word has a # in it
MAX_FORMS = 10  # of one word, each of them unknown
EVER = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found. `neighbours` are those around it, oldest first; `why` says what spoke for it."""

    message: Message
    neighbours: list[Message]
    why: list[str]
    score: float  # to compare within one search; the best by its own words alone had 1 before neighbours lent theirs


Writer = tuple[str, UUID | None, UUID | None]  # author, contact, staff member


@dataclass(slots=True)
class _Candidate:
    """A message being weighed. `own` and `lent` are bits: which of the query's words it has, which its neighbours."""

    said_at: datetime
    writer: Writer
    score: float
    own: int
    lent: int = 0
    around: list[UUID] = field(default_factory=list)  # its neighbours, oldest first, where they were looked at


def search(
    *,
    conversation: Conversation,
    query: str,
    limit: int = 10,
    since: datetime | None = None,
    before: datetime | None = None,
) -> list[Hit]:
    """The messages of one conversation that answer a query best, the best first; [] when nothing speaks for any.

    `since` (inclusive) and `before` bound when they were said. `limit` is held to MAX_RESULTS. The query may be
    anything: it is taken as words, at most MAX_WORDS of them, and none of its characters is an operator.
    """
    asked = telling_words(query, limit=MAX_WORDS)
    words = _distinct(asked)
    limit = min(limit, MAX_RESULTS)
    if not words or limit < 1:
        return []
    index_conversation(conversation.pk)
    span = {"since": since or EVER[0], "before": before or EVER[1], "conversation": conversation.pk}
    similar = _similar(conversation, query)
    candidates = _weigh(words, similar, span, limit)
    names = _names_asked_for(conversation, candidates, {fold(form.word) for form in asked})
    for found in candidates.values():
        found.score *= NAMED if found.writer in names else 1.0
    order = sorted(candidates, key=lambda key: (-candidates[key].score, -candidates[key].said_at.timestamp(), key))
    best = order[:limit]
    around = {key: candidates[key].around for key in best}
    if borrowers := [key for key in best if not around[key]]:
        around |= _around(borrowers, span)
    messages = Message.objects.select_related("sender", "sent_by", "media").in_bulk(
        {*best, *(near for each in around.values() for near in each)}
    )
    return [
        Hit(
            message=messages[key],
            neighbours=[messages[near] for near in around[key] if near in messages],
            why=_why(candidates[key], words, names, is_similar=similar.get(key, 0.0) > 0),
            score=candidates[key].score,
        )
        for key in best
        if key in messages
    ]


def with_words(messages: QuerySet[Message], query: str) -> QuerySet[Message]:
    """Those that have every telling word of a query, of whichever conversation; none when the query has no word.

    What waits to be indexed, the newest first, is indexed before.
    """
    wanted = all_of(query)
    if not wanted:
        return messages.none()
    index_waiting()
    found: Any = RawSQL(HAVE_WORDS, [wanted])  # noqa: S611  a tsquery
    with connection.cursor() as cursor:
        if not _is_known_to_be_common(wanted, cursor):
            # The planner would look for a word it does not know through all messages, newest first.
            cursor.execute(f"{HAVE_WORDS} LIMIT {FEW + 1}", [wanted])
            few = [row[0] for row in cursor.fetchall()]
            found = few if len(few) <= FEW else found
    return messages.filter(pk__in=found)


def _is_known_to_be_common(wanted: str, cursor: Any) -> bool:
    """Whether so many messages have these words that it takes longer to gather them than to meet the newest ones."""
    return _expected(wanted, cursor) > MAX_FORMS * _expected(UNKNOWN, cursor)


def _expected(wanted: str, cursor: Any) -> int:
    """How many messages the planner expects to have these words."""
    cursor.execute(EXPECTED, [wanted])
    (plan,) = cursor.fetchone()[0]
    return int(plan["Plan"]["Plan Rows"])


def all_of(query: str) -> str:
    """A `tsquery` for every telling word of a query, in any of its forms; empty when it has none."""
    return " & ".join(f"({_any_of(lexemes)})" for _, lexemes in _distinct(telling_words(query, limit=MAX_WORDS)))


def _distinct(words: Sequence[Forms]) -> list[tuple[str, frozenset[str]]]:
    """Each word with its lexemes; words that share one are the same word."""
    distinct: list[tuple[str, frozenset[str]]] = []
    for form in words:
        for at, (word, lexemes) in enumerate(distinct):
            if lexemes & form.lexemes:
                distinct[at] = word, lexemes | form.lexemes
                break
        else:
            distinct.append((form.word, form.lexemes))
    return distinct


def _similar(conversation: Conversation, query: str) -> dict[UUID, float]:
    """How near messages come in meaning: 1 the nearest, 0 the last that is looked at."""
    likeness = embeddings.nearest(conversation_id=conversation.pk, query=query, limit=CANDIDATES)
    if not likeness:
        return {}
    least, most = min(likeness.values()), max(likeness.values())
    return {key: (each - least) / (most - least) if most > least else 1.0 for key, each in likeness.items()}


def _weigh(
    words: Sequence[tuple[str, frozenset[str]]], similar: dict[UUID, float], span: dict[str, Any], limit: int
) -> dict[UUID, _Candidate]:
    within = conversation_lexeme(span["conversation"])
    parameters = span | {
        "queries": [f"'{within}' & ({_any_of(lexemes)})" for _, lexemes in words],
        "similar": list(similar),
        "most_matches": MAX_MATCHES // len(words),
        "most_counted": MAX_COUNTED_MESSAGES,
        "candidates": max(CANDIDATES, 2 * limit),
        "reach": REACH,
        "k1": K1,
        "b": B,
    }
    with connection.cursor() as cursor:
        cursor.execute(RANK, parameters)
        rows = cursor.fetchall()
    best = max((score for _, _, _, score, *_ in rows), default=0.0) or 1.0
    own = {key: score / best + MEANING * similar.get(key, 0.0) for key, _, _, score, *_ in rows}
    matched = {key: bits for key, _, _, _, bits, *_ in rows}
    looked_at = {key for key, beside, *_ in rows if beside is None}  # their neighbours are all among the rows
    candidates: dict[UUID, _Candidate] = {}
    for key, _beside, _steps, _score, bits, said_at, *writer in rows:
        if key not in candidates:
            candidates[key] = _Candidate(said_at, (writer[0], writer[1], writer[2]), own[key], bits)
    for key, beside, steps, *_ in sorted(rows, key=lambda row: (row[5], row[0])):
        if beside is None:
            continue
        candidates[beside].around.append(key)
        lends = [(key, beside)] if key in looked_at else [(key, beside), (beside, key)]
        for lender, borrower in lends:
            candidates[borrower].score += LENT**steps * own[lender]
            candidates[borrower].lent |= matched[lender]
    return candidates


def _any_of(lexemes: frozenset[str]) -> str:
    """As a tsquery; the lexemes are letters and digits, and quoted all the same."""
    return " | ".join(f"'{lexeme}'" for lexeme in sorted(lexemes))


def _names_asked_for(
    conversation: Conversation, candidates: dict[UUID, _Candidate], asked: set[str]
) -> dict[Writer, str]:
    """The writer whom the query calls by name, with the name; nobody when it calls more than one."""
    writers = {found.writer for found in candidates.values()}
    called = {
        writer: name
        for writer, name in _names(conversation, writers).items()
        if asked & {fold(word) for word in split_words(name, limit=MAX_WORDS)}
    }
    return called if len(set(called.values())) == 1 else {}


def _names(conversation: Conversation, writers: set[Writer]) -> dict[Writer, str]:
    contact_ids = {contact for _, contact, _ in writers if contact and contact != conversation.contact_id}
    user_ids = {by for *_, by in writers if by}
    contacts: dict[UUID | None, str] = {conversation.contact_id: conversation.contact.name}
    contacts |= Contact.objects.filter(pk__in=contact_ids).values_list("pk", "name")
    staff: dict[UUID | None, str] = {
        user.pk: user.get_full_name() or user.username for user in User.objects.filter(pk__in=user_ids)
    }
    names = {}
    for writer in writers:
        author, contact, by = writer
        if author == Message.Author.CONTACT:
            names[writer] = contacts.get(contact, "")
        elif author == Message.Author.AGENT:
            names[writer] = conversation.session.agent_profile.name
        else:
            names[writer] = staff.get(by, "") or conversation.session.display_name
    return {writer: name for writer, name in names.items() if name}


def _around(keys: Sequence[UUID], span: dict[str, Any]) -> dict[UUID, list[UUID]]:
    """The messages around each of these, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(AROUND, span | {"keys": list(keys), "reach": REACH})
        around: dict[UUID, list[UUID]] = {key: [] for key in keys}
        for key, near in cursor.fetchall():
            around[key].append(near)
    return around


def _why(
    found: _Candidate, words: Sequence[tuple[str, frozenset[str]]], names: dict[Writer, str], *, is_similar: bool
) -> list[str]:
    """What spoke for a message, in words for a person."""
    said = [f"says {word}" for at, (word, _) in enumerate(words) if found.own >> at & 1]
    beside = [f"beside {word}" for at, (word, _) in enumerate(words) if (found.lent & ~found.own) >> at & 1]
    named = [f"by {names[found.writer]}"] if found.writer in names else []
    return [*said, *beside, *(["similar meaning"] if is_similar else []), *named]
