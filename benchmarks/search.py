"""`python -m benchmarks.search`: how long a search takes, in one very long conversation among very many messages.


Words follow Zipf's law, as they do in talk: the commonest are real words that say little, the others are made of
syllables. The messages of all conversations are mingled on disk, as they are when they arrive. Each question takes a
few words of some message, adds words that are common, and one that may be nowhere.
"""

import argparse
import random
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import accumulate
from statistics import median
from typing import Any

from benchmarks import scratch  # noqa: F401  # isort: skip  # first: models need it

from django.db import connection
from uuid_utils.compat import uuid7

from messaging.models import Contact, Conversation
from messaging.search.index import reindex
from messaging.search.ranking import search
from sessions_app.models import Bridge, WhatsAppSession
from sessions_app.services import ensure_default_bridges, register_session

VOCABULARY = 30_000
_COMMONEST = (
    "the to and you of in it is that for was on are with have not be this but do at we so just my what they me she all "
    "if about can when there up out no get go how like will time good one day your from know really went see yeah"
)
COMMONEST = _COMMONEST.split()
STOP = {*COMMONEST[:48], "did"}  # what a stop list drops
TARGET_MS = 50.0
COPY = "COPY messaging_message ({columns}) FROM STDIN"
COLUMNS = (
    "id, session_id, conversation_id, sender_id, direction, author, kind, status, unanswered, text, details, "
    "quoted_provider_id, tries, error_code, error, said_at, created_at"
)
# What one would write without thinking of ranking: any of the words, PostgreSQL's own rank, nothing of neighbours.
PLAIN = """
SELECT message.id, message.text
  FROM messaging_searchentry entry JOIN messaging_message message ON message.id = entry.message_id
 WHERE entry.terms @@ %(query)s::tsquery AND message.conversation_id = %(conversation)s
 ORDER BY ts_rank(entry.terms, %(query)s::tsquery) DESC LIMIT 10
"""


def vocabulary(chance: random.Random) -> list[str]:
    syllables = [
        consonant + vowel for consonant in "bcdfgjlmnprstvz" for vowel in ("a", "e", "i", "o", "u", "an", "er")
    ]
    words = dict.fromkeys(COMMONEST)
    while len(words) < VOCABULARY:
        words["".join(chance.choices(syllables, k=chance.randint(2, 4)))] = None
    return list(words)


@dataclass
class Talk:
    """Draws words as they are used: the n-th commonest n times more rarely than the first."""

    words: list[str]
    chance: random.Random

    def __post_init__(self) -> None:
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self.words) + 1)))

    def word(self) -> str:
        return self.words[bisect(self._weights, self.chance.random() * self._weights[-1])]

    def text(self) -> str:
        count = max(1, min(120, round(self.chance.lognormvariate(2.0, 0.8))))
        return " ".join(self.word() for _ in range(count))


def seed(*, messages: int, largest: int, conversations: int, talk: Talk) -> list[Conversation]:
    """Lay down the messages; returns the conversations, the one of `largest` messages first."""
    ensure_default_bridges()
    session = register_session(bridge=Bridge.objects.get(slug="default"), name="search", phone="+5511999990000")
    contacts = Contact.objects.bulk_create(
        (Contact(session=session, name=f"Contact {number}") for number in range(conversations)), batch_size=2000
    )
    rooms = Conversation.objects.bulk_create(
        (Conversation(session=session, contact=contact, address="x") for contact in contacts), batch_size=2000
    )
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE messaging_message DISABLE TRIGGER USER")  # events nobody reads, and a queue we skip
        for lines in _batches(_rows(session, rooms, messages, largest / messages, talk), 20_000):
            cursor.copy_expert(COPY.format(columns=COLUMNS), StringIO("".join(lines)))
        cursor.execute("ALTER TABLE messaging_message ENABLE TRIGGER USER")
        cursor.execute("ANALYZE messaging_message")
    return rooms


def _rows(
    session: WhatsAppSession, rooms: list[Conversation], messages: int, share: float, talk: Talk
) -> Iterator[str]:
    began = datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(messages):
        room = rooms[0] if talk.chance.random() < share else talk.chance.choice(rooms)
        at = (began + timedelta(minutes=2 * number)).isoformat()
        ours = talk.chance.random() < 0.5
        who = (
            ("\\N", "outbound", "phone", "text", "read")
            if ours
            else (room.contact_id, "inbound", "contact", "text", "handled")
        )
        row = (uuid7(), session.pk, room.pk, *who, "", talk.text(), "{}", "", 0, "", "", at, at)
        yield "\t".join(map(str, row)) + "\n"


def _batches(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def questions(conversation: Conversation, *, count: int, talk: Talk) -> list[str]:
    texts = list(conversation.messages.order_by("?").values_list("text", flat=True)[:count])
    asked = []
    for text in texts:
        own = talk.chance.sample(text.split(), k=min(4, len(text.split())))
        asked.append(" ".join(["when", "did", *own, talk.word(), talk.word(), talk.chance.choice(talk.words)]))
    return asked


def timed(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def show(name: str, times_ms: list[float], target_ms: float | None = None) -> bool:
    ordered = sorted(times_ms)
    middle, high = median(ordered), ordered[len(ordered) * 95 // 100]
    met = target_ms is None or middle < target_ms
    verdict = "" if target_ms is None else f"   < {target_ms:g} ms {'met' if met else 'MISSED'}"
    print(f"  {name:<58}{middle:8.1f} ms{high:8.1f} ms (p95){verdict}", flush=True)
    return met


def measure(conversation: Conversation, asked: list[str], *, name: str, target_ms: float | None) -> bool:
    """Print what searches of these questions take beside the plain query; returns whether the target was met."""

    def plain(question: str) -> None:
        words = " | ".join(f"'{word}'" for word in question.split() if word not in STOP)
        with connection.cursor() as cursor:
            cursor.execute(PLAIN, {"query": words, "conversation": conversation.pk})
            cursor.fetchall()

    for question in asked[:3]:
        search(conversation=conversation, query=question)
    met = show(
        f"{name}: search",
        [timed(lambda question=question: search(conversation=conversation, query=question)) for question in asked],
        target_ms,
    )
    show(f"{name}: plain SQL", [timed(lambda question=question: plain(question)) for question in asked])
    return met


def run(rooms: list[Conversation], *, talk: Talk, count: int) -> bool:
    rooms = [Conversation.objects.select_related("session__agent_profile", "contact").get(pk=room.pk) for room in rooms]
    largest, small = rooms
    common = [" ".join(talk.chance.sample(talk.words[len(COMMONEST) : 3 * len(COMMONEST)], 6)) for _ in range(count)]
    return all(
        [
            measure(largest, questions(largest, count=count, talk=talk), name="the longest", target_ms=TARGET_MS),
            measure(largest, common, name="the longest, six common words", target_ms=None),
            measure(small, questions(small, count=count, talk=talk), name="a short one", target_ms=TARGET_MS),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--largest", type=int, default=100_000, help="how many of them in one conversation")
    parser.add_argument("--conversations", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=100)
    options = parser.parse_args()
    chance = random.Random(4)
    talk = Talk(vocabulary(chance), chance)
    began = time.perf_counter()
    rooms = seed(messages=options.messages, largest=options.largest, conversations=options.conversations, talk=talk)
    print(f"  {options.messages} messages laid down in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    done = 0
    for done in reindex():
        print(f"\r  {done} messages indexed", end="", flush=True)
    print(f", {done / (time.perf_counter() - began):.0f}/s")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE messaging_message, messaging_searchentry")  # as autovacuum would have by then
        cursor.execute("SELECT pg_table_size('messaging_searchentry'), pg_relation_size('search_terms')")
        table, index = (size / 2**20 for size in cursor.fetchone())
    print(f"  the index: {table:.0f} MB of entries, {index:.0f} MB of look-up")
    return 0 if run(rooms[:2], talk=talk, count=options.questions) else 1


if __name__ == "__main__":
    sys.exit(main())
