"""Find loops: the other side, or another program on our own number, is a machine that answers every message.

Of conversations this module only decides: `leases.pause_if_looping` pauses the agent, `control.record_human_reply` asks
for attention. A number whose bridge sends by itself is stopped here.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import Count, F, Q
from django.utils import timezone

from messaging.models import Conversation, Message
from sessions_app.links.stopping import stop_session
from sessions_app.models import WhatsAppSession
from whatsapp_agent.periodic import periodic
from whatsapp_agent.postgres.batches import Batched
from whatsapp_agent.postgres.prepared import Statement

log = structlog.get_logger(__name__)

ECHO_WINDOW = timedelta(minutes=1)  # in which echoes of what we did not send are counted
WINDOW = timedelta(hours=1)  # exchanges looked at; a person may say the same thing again tomorrow
MAX_EXCHANGES = 200
MAX_TEXT_CHARS = 500  # of each message; machines differ early or not at all
MIN_WORD_SIMILARITY = 0.9  # two questions about two products are less alike
MIN_LETTER_SIMILARITY = 0.95  # for languages that write no spaces
MIN_TELLING_CHARS = 12  # a shorter text ("yes", "ok") is repeated by people too
SLOW_SHORT_FACTOR = 3  # how many times more often a short text has to come at a person's pace

MACHINE_REPLY_S = 3.0
INSTANT_REPLY_S = 1.0
MACHINE_CHARS_PER_S = 15.0  # the fastest typists reach 12 for some seconds
OTHER_PROGRAM_REPLIES = 3
CLOCK_TOLERANCE_S = 1.0  # bridges round to seconds
REFERENCE = re.compile(r"#(?=[\w-]*[^\W\d])(?=[\w-]*\d)[\w-]{4,}")  # such as #INV-1042; a plain number is none


class Limits(NamedTuple):
    """The agent profile's limits; 0 turns one off."""

    repeats: int
    fast_replies: int
    max_turns: int
    window_s: int
    pause_s: int


class Exchange(NamedTuple):
    """A burst and what answered it. `sent_at`: when the reply began to be sent, None if it has not been.

    Of the burst that is still to be answered, `answered_at` and `sent_at` are None.
    """

    answered_at: datetime | None
    received_at: datetime | None
    text: str
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Loop:
    """Why the agent has to stop, for people, and for how long (None: until released by hand)."""

    note: str
    pause: timedelta | None


# The burst first, then the answered ones, newest first. A change of control raises the epoch: counting begins again.
RECENT_EXCHANGES = Statement("""
SELECT item.number, exchange.*
  FROM unnest(%(ids)s::uuid[], %(epochs)s::int[]) WITH ORDINALITY AS item(conversation_id, epoch, number)
 CROSS JOIN LATERAL (
    WITH limits AS (
        SELECT profile.loop_repeats, profile.loop_fast_replies, profile.loop_max_turns, profile.loop_window_s,
               profile.loop_pause_s
          FROM messaging_conversation conversation
          JOIN sessions_app_whatsappsession session ON session.id = conversation.session_id
          JOIN sessions_app_agentprofile profile ON profile.id = session.agent_profile_id
         WHERE conversation.id = item.conversation_id
    ), recent AS (
        SELECT id, created_at FROM messaging_turn
         WHERE conversation_id = item.conversation_id AND created_at > %(since)s
         ORDER BY created_at DESC LIMIT %(max_exchanges)s
    ), answered AS (
        SELECT recent.created_at AS answered_at,
               min(message.created_at) FILTER (WHERE message.direction = 'inbound') AS received_at,
               COALESCE(string_agg(left(message.text, %(max_chars)s::int), ' ' ORDER BY message.created_at, message.id)
                        FILTER (WHERE message.direction = 'inbound'), '') AS text,
               min(message.sending_at) FILTER (WHERE message.direction = 'outbound') AS sent_at
          FROM recent JOIN messaging_message message ON message.turn_id = recent.id
         GROUP BY recent.id, recent.created_at
        HAVING bool_or(message.direction = 'outbound' AND message.control_epoch = item.epoch)
    ), burst AS (
        SELECT NULL::timestamptz AS answered_at, min(created_at) AS received_at,
               COALESCE(string_agg(left(text, %(max_chars)s::int), ' ' ORDER BY created_at, id), '') AS text,
               NULL::timestamptz AS sent_at
          FROM messaging_message
         WHERE conversation_id = item.conversation_id AND status = 'received'
    )
    SELECT limits.*, exchange.*
      FROM limits, (SELECT * FROM burst UNION ALL SELECT * FROM answered) exchange
 ) exchange
 ORDER BY item.number, exchange.answered_at DESC NULLS FIRST
""")


def _select(items: Sequence[tuple[UUID, int]], _wait: bool) -> list[list[tuple[Any, ...]]]:
    """Return the recent exchanges of each conversation, given as its id and the control epoch."""
    ids, epochs = (list(values) for values in zip(*items, strict=True))
    exchanges: list[list[tuple[Any, ...]]] = [[] for _ in items]
    for number, *row in RECENT_EXCHANGES.rows(
        ids=ids,
        epochs=epochs,
        since=timezone.now() - WINDOW,
        max_exchanges=MAX_EXCHANGES,
        max_chars=MAX_TEXT_CHARS,
    ):
        exchanges[number - 1].append(tuple(row))
    return exchanges


_recent_exchanges = Batched(_select)


def find_loop(*, conversation_id: UUID, epoch: int) -> Loop | None:
    """Return why the unanswered burst must not be answered, None if it may be. Call it with the lease held."""
    now = timezone.now()
    rows = _recent_exchanges((conversation_id, epoch))
    if len(rows) < 2:
        return None
    limits = Limits(*rows[0][: len(Limits._fields)])
    note = decide(limits, [Exchange(*row[len(Limits._fields) :]) for row in rows], now=now)
    return Loop(note, timedelta(seconds=limits.pause_s) if limits.pause_s else None) if note else None


def decide(limits: Limits, exchanges: Sequence[Exchange], *, now: datetime) -> str:
    """Return in words which limit the burst (the first exchange) breaks, "" if none."""
    turns = sum(
        each.answered_at is not None and each.answered_at > now - timedelta(seconds=limits.window_s)
        for each in exchanges
    )
    if limits.max_turns and turns >= limits.max_turns:
        return f"{turns} answers within {limits.window_s} seconds"
    if limits.repeats and (repeats := count_repeats(exchanges, limit=limits.repeats)):
        return f"nearly the same text {repeats} times"
    if limits.fast_replies and (fast := _count_fast_replies(exchanges)) >= limits.fast_replies:
        return f"{fast} messages in a row at a machine's pace"
    return ""


def count_repeats(exchanges: Sequence[Exchange], *, limit: int) -> int:
    """Return how often the burst's text came in answer to a reply of ours, if that is `limit` or more, else 0.

    A text with a reference of its own is about something new. Looks at twice as many exchanges, as machines alternate
    between texts. A short text counts at a machine's pace, or when it came alone for much longer.
    """
    text = normalize(exchanges[0].text)
    if not text:
        return 0
    pairs = list(pairwise(exchanges))[: SLOW_SHORT_FACTOR * limit]
    references = _references(exchanges[0])
    alike = [
        _is_after(each, before)
        and (each is exchanges[0] or _references(each) == references)
        and is_similar(text, normalize(each.text))
        for each, before in pairs
    ]
    if len(text) < MIN_TELLING_CHARS:
        if all(alike) and len(alike) == SLOW_SHORT_FACTOR * limit:
            return len(alike)
        alike = [same and _is_fast(each, before) for same, (each, before) in zip(alike, pairs, strict=True)]
    count = sum(alike[: 2 * limit])
    return count if count >= limit else 0


def _count_fast_replies(exchanges: Sequence[Exchange]) -> int:
    """Return how many bursts in a row, up to the last, followed what we sent at a machine's pace.

    A program that works through a list, each text with the reference of its item, is no loop; the number of turns
    limits it.
    """
    count = 0
    for each, before in pairwise(exchanges):
        if not _is_fast(each, before) or _references(each) != _references(before):
            break
        count += 1
    return count


def _references(exchange: Exchange) -> set[str]:
    return set(REFERENCE.findall(exchange.text))


def _is_after(exchange: Exchange, before: Exchange) -> bool:
    """Return whether the burst came after the reply before it: else it was written without knowing that."""
    return before.sent_at is not None and exchange.received_at is not None and exchange.received_at >= before.sent_at


def _is_fast(exchange: Exchange, before: Exchange) -> bool:
    if before.sent_at is None or exchange.received_at is None:
        return False
    return is_machine_pace((exchange.received_at - before.sent_at).total_seconds(), chars=len(exchange.text))


def is_machine_pace(seconds: float, *, chars: int) -> bool:
    """Return whether no person reads a message and types a text of this length so soon.

    A text that came before what it would answer (negative seconds) was typed meanwhile, by a fast person.
    """
    if not 0 <= seconds <= MACHINE_REPLY_S:
        return False
    return seconds <= INSTANT_REPLY_S or chars / seconds >= MACHINE_CHARS_PER_S


def normalize(text: str) -> str:
    """Return what a machine's texts have in common: lower-case words without accents, marks and numbers.

    A text with too little beside its numbers ("1", "12 de maio") keeps them: people answer menus with them.
    """
    plain = "".join(
        character
        for character in unicodedata.normalize("NFKD", text.casefold())
        if unicodedata.category(character)[0] not in "MC" or character.isspace()
    )
    words = re.sub(r"[^\w\s]|_", " ", plain).split()
    telling = " ".join(word for word in words if not any(character.isdigit() for character in word))
    if len(telling) >= MIN_TELLING_CHARS:
        return telling
    return " ".join(words) or " ".join(plain.split())


def is_similar(one: str, other: str) -> bool:
    """Return whether two normalized texts are nearly the same, in their words or in their letters."""
    if one == other:
        return True
    if min(len(one), len(other)) < MIN_TELLING_CHARS:
        return False
    words = SequenceMatcher(None, one.split(), other.split(), autojunk=False)
    if words.ratio() >= MIN_WORD_SIMILARITY:
        return True
    letters = SequenceMatcher(None, one, other, autojunk=False)
    return letters.quick_ratio() >= MIN_LETTER_SIMILARITY and letters.ratio() >= MIN_LETTER_SIMILARITY


def is_other_program(conversation: Conversation) -> bool:
    """Return whether the last messages from our own number that we did not send came at a machine's pace."""
    messages = Message.objects.filter(conversation=conversation, created_at__gt=timezone.now() - WINDOW)
    own = list(messages.filter(author=Message.Author.PHONE).order_by("-created_at", "-id")[:OTHER_PROGRAM_REPLIES])
    return len(own) == OTHER_PROGRAM_REPLIES and all(_followed_at_machine_pace(each) for each in own)


def _followed_at_machine_pace(message: Message) -> bool:
    before = Message.objects.filter(
        conversation=message.conversation_id, direction=Message.Direction.INBOUND, created_at__lte=message.created_at
    )
    question = before.order_by("-created_at", "-id").first()
    if question is None:
        return False
    # After an outage everything arrives at once: by the phones' clocks it has to have been quick as well.
    typed_s = ((message.written_at or message.said_at) - (question.written_at or question.said_at)).total_seconds()
    if not -CLOCK_TOLERANCE_S <= typed_s <= MACHINE_REPLY_S + CLOCK_TOLERANCE_S:
        return False
    return is_machine_pace((message.created_at - question.created_at).total_seconds(), chars=len(message.text))


# --- a bridge that sends by itself ----------------------------------------------------------------------------------
@periodic(every_s=5, may_block=True)
def stop_repeating_sessions() -> list[str]:
    """Stop numbers whose bridge reports many messages as sent through it that are not ours; return their names.

    Many: MAX_UNKNOWN_ECHOES_PER_MINUTE, and more than we sent, since a bridge may report each of ours twice.
    """
    if not settings.MAX_UNKNOWN_ECHOES_PER_MINUTE:
        return []
    is_ours = Q(sending_at__isnull=False)
    arrived = [Message.Status.SENT, Message.Status.DELIVERED, Message.Status.READ]  # receipts raise what was sent
    is_unknown = Q(sending_at=None, author=Message.Author.API, status__in=arrived)
    since_connected = Q(session__status_changed_at=None) | Q(said_at__gt=F("session__status_changed_at"))
    since = timezone.now() - ECHO_WINDOW
    recent = Message.objects.filter(
        since_connected,
        said_at__gte=since,
        written_at__gte=since,  # what is only reported now was not sent now
        direction=Message.Direction.OUTBOUND,
        session__status=WhatsAppSession.Status.CONNECTED,
    )
    counted = (
        recent.exclude(kind=Message.Kind.REACTION)
        .exclude(details__has_key="standby")  # written by another agent of the platform
        .values("session")
        .annotate(unknown=Count("pk", filter=is_unknown), ours=Count("pk", filter=is_ours))
        .filter(unknown__gte=settings.MAX_UNKNOWN_ECHOES_PER_MINUTE, unknown__gt=F("ours"))
    )
    stopped = []
    for session_id, count in list(counted.order_by("session").values_list("session", "unknown")):
        session = WhatsAppSession.objects.select_related("bridge").get(pk=session_id)
        if stop_session(session):
            log.error("session_stopped", session=str(session.pk), bridge=session.bridge.slug, unknown_echoes=count)
            stopped.append(session.name)
    return stopped
