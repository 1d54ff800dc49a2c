"""Search all messages of one conversation: any word matches, rare words count most.

A message is ranked by the words it shares with the query, as in BM25 with each word counted once, and by those of its
neighbours: in a conversation the answer stands beside the question and rarely repeats its words.
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
from messaging.search.words import Forms, significant_words, split_words, strip_accents

MAX_RESULTS = 50
MAX_WORDS = 32  # of a query
MAX_LOOKUPS = 5_000  # matches that are looked up by id; with more, a scan from the newest soon finds enough
MAX_MATCHES = 40_000  # of all words together; a more common word says little
MAX_COUNTED_MESSAGES = 10_000  # to compute how rare a word is; more make no difference
CANDIDATES = 50  # at least this many of the best get the score of their neighbours
REACH = 2  # neighbours on each side
NEIGHBOUR_WEIGHT = 0.5  # of a neighbour's score, halved with each step
AUTHOR_FACTOR = 2.0  # for messages of the person the query names
SIMILARITY_WEIGHT = 0.5  # of the nearest in meaning, relative to the best by its words
K1, B = 0.9, 0.4  # BM25: saturation of matches, and influence of the length

# Parts of the statements below. Each side has one time bound only: with both, PostgreSQL may enter the
# index at the wrong one.
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


def _with_fragments(statement: str) -> str:
    for name, fragment in FRAGMENTS.items():
        statement = statement.replace(name, fragment)
    return statement


# Candidates are matched word by word and scored; the best and their neighbours are then scored again by id, because
# neighbours may not have matched, nor were all matches of a common word read. No step depends on the planner's row
# estimates, which are wrong for a conversation that was just imported.
SELECT_RANKED = _with_fragments("""
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
SELECT_NEIGHBOURS = _with_fragments("""
SELECT top.id, message.id
  FROM (SELECT id, said_at FROM messaging_message WHERE id = ANY(%(keys)s::uuid[])) top
 CROSS JOIN LATERAL ({sides}) message
 ORDER BY message.said_at, message.id
""")
SELECT_MATCHING_IDS = "SELECT message_id FROM messaging_searchentry WHERE terms @@ %s::tsquery"
EXPLAIN_MATCHING_IDS = f"EXPLAIN (FORMAT JSON) {SELECT_MATCHING_IDS}"
UNKNOWN_WORD = "'#'"  # not in the planner's statistics: no word contains a #
MAX_FORMS = 10  # of one word that are not in the statistics
ALL_TIME = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Hit:
    """A match. `neighbours` are the messages around it, oldest first; `why` lists the reasons in plain words."""

    message: Message
    neighbours: list[Message]
    why: list[str]
    score: float  # comparable within one search; 1 is the best by its own words, before neighbours are added


Author = tuple[str, UUID | None, UUID | None]  # author, contact, staff member


@dataclass(slots=True)
class _Candidate:
    """A message being scored. `own` and `nearby`: bit sets of the query's words in it and in its neighbours."""

    said_at: datetime
    author: Author
    score: float
    own: int
    nearby: int = 0
    around: list[UUID] = field(default_factory=list)  # its neighbours, oldest first, if they were loaded


def search(
    *,
    conversation: Conversation,
    query: str,
    limit: int = 10,
    since: datetime | None = None,
    before: datetime | None = None,
) -> list[Hit]:
    """Return the messages of one conversation that match a query best, best first; [] without a match.

    `since` (inclusive) and `before` bound `said_at`; `limit` is at most MAX_RESULTS. The query is split into at most
    MAX_WORDS words; no character in it is an operator.
    """
    asked = significant_words(query, limit=MAX_WORDS)
    words = _distinct(asked)
    limit = min(limit, MAX_RESULTS)
    if not words or limit < 1:
        return []
    index_conversation(conversation.pk)
    span = {"since": since or ALL_TIME[0], "before": before or ALL_TIME[1], "conversation": conversation.pk}
    similar = _similar(conversation, query)
    candidates = _score(words, similar, span, limit)
    names = _named_authors(conversation, candidates, {strip_accents(form.word) for form in asked})
    for found in candidates.values():
        found.score *= AUTHOR_FACTOR if found.author in names else 1.0
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


def filter_by_words(messages: QuerySet[Message], query: str) -> QuerySet[Message]:
    """Return the messages, of all conversations, with every significant word of a query; none if it has no word.

    A batch of waiting messages is indexed first, newest first.
    """
    wanted = all_words_query(query)
    if not wanted:
        return messages.none()
    index_waiting()
    found: Any = RawSQL(SELECT_MATCHING_IDS, [wanted])  # noqa: S611  a tsquery
    with connection.cursor() as cursor:
        if not _is_known_to_be_common(wanted, cursor):
            # For a word without statistics the planner would scan all messages, newest first.
            cursor.execute(f"{SELECT_MATCHING_IDS} LIMIT {MAX_LOOKUPS + 1}", [wanted])
            few = [row[0] for row in cursor.fetchall()]
            found = few if len(few) <= MAX_LOOKUPS else found
    return messages.filter(pk__in=found)


def _is_known_to_be_common(wanted: str, cursor: Any) -> bool:
    """Return whether so many messages match that scanning from the newest is faster than collecting all ids."""
    return _expected(wanted, cursor) > MAX_FORMS * _expected(UNKNOWN_WORD, cursor)


def _expected(wanted: str, cursor: Any) -> int:
    """Return how many matches the planner expects."""
    cursor.execute(EXPLAIN_MATCHING_IDS, [wanted])
    (plan,) = cursor.fetchone()[0]
    return int(plan["Plan"]["Plan Rows"])


def all_words_query(query: str) -> str:
    """Return a `tsquery` for every significant word of a query, in any of its forms; empty when it has none."""
    return " & ".join(f"({_any_of(lexemes)})" for _, lexemes in _distinct(significant_words(query, limit=MAX_WORDS)))


def _distinct(words: Sequence[Forms]) -> list[tuple[str, frozenset[str]]]:
    """Return each word with its lexemes; words that share a lexeme count as one."""
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
    """Return how similar messages are in meaning: 1 is the nearest, 0 the last of the nearest CANDIDATES."""
    likeness = embeddings.nearest(conversation_id=conversation.pk, query=query, limit=CANDIDATES)
    if not likeness:
        return {}
    least, most = min(likeness.values()), max(likeness.values())
    return {key: (each - least) / (most - least) if most > least else 1.0 for key, each in likeness.items()}


def _score(
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
        cursor.execute(SELECT_RANKED, parameters)
        rows = cursor.fetchall()
    best = max((score for _, _, _, score, *_ in rows), default=0.0) or 1.0
    own = {key: score / best + SIMILARITY_WEIGHT * similar.get(key, 0.0) for key, _, _, score, *_ in rows}
    matched = {key: bits for key, _, _, _, bits, *_ in rows}
    loaded_with_neighbours = {
        key for key, beside, *_ in rows if beside is None
    }  # their neighbours are all among the rows
    candidates: dict[UUID, _Candidate] = {}
    for key, _beside, _steps, _score, bits, said_at, *author in rows:
        if key not in candidates:
            candidates[key] = _Candidate(said_at, (author[0], author[1], author[2]), own[key], bits)
    for key, beside, steps, *_ in sorted(rows, key=lambda row: (row[5], row[0])):
        if beside is None:
            continue
        candidates[beside].around.append(key)
        lends = [(key, beside)] if key in loaded_with_neighbours else [(key, beside), (beside, key)]
        for lender, borrower in lends:
            candidates[borrower].score += NEIGHBOUR_WEIGHT**steps * own[lender]
            candidates[borrower].nearby |= matched[lender]
    return candidates


def _any_of(lexemes: frozenset[str]) -> str:
    """Return a tsquery that matches any of the lexemes. They are letters and digits; quoted all the same."""
    return " | ".join(f"'{lexeme}'" for lexeme in sorted(lexemes))


def _named_authors(
    conversation: Conversation, candidates: dict[UUID, _Candidate], asked: set[str]
) -> dict[Author, str]:
    """Return the author whom the query names, with the name; none when it names several."""
    authors = {found.author for found in candidates.values()}
    called = {
        author: name
        for author, name in _names(conversation, authors).items()
        if asked & {strip_accents(word) for word in split_words(name, limit=MAX_WORDS)}
    }
    return called if len(set(called.values())) == 1 else {}


def _names(conversation: Conversation, authors: set[Author]) -> dict[Author, str]:
    contact_ids = {contact for _, contact, _ in authors if contact and contact != conversation.contact_id}
    user_ids = {by for *_, by in authors if by}
    contacts: dict[UUID | None, str] = {conversation.contact_id: conversation.contact.name}
    contacts |= Contact.objects.filter(pk__in=contact_ids).values_list("pk", "name")
    staff: dict[UUID | None, str] = {
        user.pk: user.get_full_name() or user.username for user in User.objects.filter(pk__in=user_ids)
    }
    names = {}
    for author in authors:
        kind, contact, by = author
        if kind == Message.Author.CONTACT:
            names[author] = contacts.get(contact, "")
        elif kind == Message.Author.AGENT:
            names[author] = conversation.session.agent_profile.name
        else:
            names[author] = staff.get(by, "") or conversation.session.display_name
    return {author: name for author, name in names.items() if name}


def _around(keys: Sequence[UUID], span: dict[str, Any]) -> dict[UUID, list[UUID]]:
    """Return the ids of the messages around each of these, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(SELECT_NEIGHBOURS, span | {"keys": list(keys), "reach": REACH})
        around: dict[UUID, list[UUID]] = {key: [] for key in keys}
        for key, near in cursor.fetchall():
            around[key].append(near)
    return around


def _why(
    found: _Candidate, words: Sequence[tuple[str, frozenset[str]]], names: dict[Author, str], *, is_similar: bool
) -> list[str]:
    """Return the reasons for a match, for people."""
    own = [f"says {word}" for at, (word, _) in enumerate(words) if found.own >> at & 1]
    beside = [f"beside {word}" for at, (word, _) in enumerate(words) if (found.nearby & ~found.own) >> at & 1]
    named = [f"by {names[found.author]}"] if found.author in names else []
    return [*own, *beside, *(["similar meaning"] if is_similar else []), *named]
