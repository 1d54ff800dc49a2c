"""Find what a profile knows about a question: by words in any of their forms, rare ones count most, as in memory."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection

from messaging.search.words import significant_words
from sessions_app.models import AgentProfile

MAX_WORDS = 32  # of a question
MAX_RESULTS = 20
K1, B = 0.9, 0.4  # as in `messaging.search.ranking`
MIN_SHARE_OF_BEST = 0.35  # what fits much less than the best says something else

SELECT_PARTS = """
WITH asked AS (
    SELECT query::tsquery, number FROM unnest(%(queries)s::text[]) WITH ORDINALITY word(query, number)
), hit AS MATERIALIZED (
    SELECT part.id, part.word_count, asked.number
      FROM messaging_knowledgepart part JOIN asked ON part.terms @@ asked.query
     WHERE part.agent_profile_id = %(profile)s
), total AS (
    SELECT count(*) AS parts, avg(word_count)::float8 AS length
      FROM messaging_knowledgepart WHERE agent_profile_id = %(profile)s
), rarity AS (
    SELECT number, ln(1 + (parts - count(*) + 0.5::float8) / (count(*) + 0.5::float8)) AS weight
      FROM hit CROSS JOIN total GROUP BY number, parts
), scored AS (
    SELECT hit.id, sum(weight) * (%(k1)s + 1) / (1 + %(k1)s * (1 - %(b)s + %(b)s * word_count / length)) AS score
      FROM hit JOIN rarity USING (number) CROSS JOIN total
     GROUP BY hit.id, word_count, length ORDER BY score DESC, hit.id LIMIT %(limit)s
)
SELECT part.id, knowledge.id, knowledge.kind, knowledge.title, part.text, score
  FROM scored JOIN messaging_knowledgepart part USING (id) JOIN messaging_knowledge knowledge
    ON knowledge.id = part.knowledge_id
 WHERE score >= %(share)s * (SELECT max(score) FROM scored)
 ORDER BY score DESC, part.id
"""


@dataclass(frozen=True, slots=True)
class KnowledgeHit:
    """A part of a text that fits a question; `title` is its source."""

    part_id: int
    knowledge_id: UUID
    kind: str
    title: str
    text: str
    score: float


def search_knowledge(*, profile: AgentProfile, query: str, limit: int = 5) -> list[KnowledgeHit]:
    """Return the parts that fit the question best, best first. A draft knows what its profile knows.

    One statement, and one more for words that were never asked for before.
    """
    words = significant_words(query, limit=MAX_WORDS)
    if not words or not profile.has_knowledge:
        return []
    parameters: dict[str, Any] = {
        "queries": [" | ".join(f"'{lexeme}'" for lexeme in sorted(word.lexemes)) for word in words],
        "profile": profile.draft_of_id or profile.pk,
        "limit": min(limit, MAX_RESULTS),
        "k1": K1,
        "b": B,
        "share": MIN_SHARE_OF_BEST,
    }
    with connection.cursor() as cursor:
        cursor.execute(SELECT_PARTS, parameters)
        return [KnowledgeHit(*row) for row in cursor.fetchall()]
