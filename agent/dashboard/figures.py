"""The figures of a period, for the sessions that a user may see, in a fixed number of statements.

Test chats with drafts count in nothing but the tokens that they used.

An *exchange* begins with the first message of a contact that nobody has answered, and ends with the next message of the
agent or of a person. Its answer time is the time between the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count
from django.utils import timezone

from accounts.models import User
from commands.models import CommandRun
from messaging.models import Conversation, Message
from messaging.models.conversations import NEEDS_PERSON
from sessions_app.models import WhatsAppSession

MAX_MESSAGES = 400_000  # of a period, the newest
MAX_COUNT = 1000

# Which messages count, as lookups of the list of messages: the same rule as the WHERE of SELECT_MESSAGES. The lists
# behind the figures are compared with the figures in tests/agent/dashboard.
COUNTED = {
    f"{field}__in": ",".join(sorted(set(values) - left_out))
    for field, values, left_out in (
        ("kind", Message.Kind.values, {"reaction", "system"}),
        ("unanswered", ["", *Message.Unanswered.values], {"history"}),
        ("status", Message.Status.values, {"failed", "cancelled"}),
        ("author", Message.Author.values, {"system"}),
    )
}

SELECT_MESSAGES = """
WITH recent AS MATERIALIZED (
    SELECT id, conversation_id, direction = 'inbound' AS is_inbound, author, sent_by_id, said_at,
           COALESCE(sent_at, said_at) AS done_at
      FROM messaging_message
     WHERE said_at >= %(since)s AND said_at < %(until)s AND (%(all)s OR session_id = ANY(%(sessions)s::uuid[]))
       AND session_id <> ALL(%(test_chats)s::uuid[])
       AND kind NOT IN ('reaction', 'system') AND unanswered <> 'history'
       AND status NOT IN ('failed', 'cancelled') AND author <> 'system'
     ORDER BY said_at DESC LIMIT %(limit)s
), turning AS (  -- where the other side begins to write
    SELECT * FROM (SELECT *, lag(is_inbound) OVER (PARTITION BY conversation_id ORDER BY said_at, id) AS was_inbound
                     FROM recent) each
     WHERE is_inbound IS DISTINCT FROM was_inbound
), paired AS MATERIALIZED (
    SELECT is_inbound, lead(author) OVER conversation AS author, lead(sent_by_id) OVER conversation AS sent_by_id,
           GREATEST(lead(done_at) OVER conversation - said_at,
                    CASE WHEN lead(done_at) OVER conversation IS NOT NULL THEN interval '0' END) AS wait,
           row_number() OVER conversation <= 2 AS is_first  -- its first, or after something from us
      FROM turning WINDOW conversation AS (PARTITION BY conversation_id ORDER BY said_at, id)
), exchange AS (
    SELECT author, sent_by_id, wait, is_first FROM paired WHERE is_inbound
)
SELECT json_build_object(
    'count', (SELECT count(*) FROM recent),
    'buckets', (SELECT json_agg(bucket) FROM (
        SELECT extract(epoch FROM date_trunc(%(bucket)s, quarter, %(zone)s)) AS at,
               sum(inbound) AS inbound, sum(agent) AS agent, sum(people) AS people
          FROM (SELECT date_bin('15 minutes', said_at, '2000-01-01 00:00+00') AS quarter,  -- cheaper than in a zone
                       count(*) FILTER (WHERE is_inbound) AS inbound,
                       count(*) FILTER (WHERE author = 'agent') AS agent,
                       count(*) FILTER (WHERE author IN ('staff', 'phone', 'api')) AS people
                  FROM recent GROUP BY 1) counted
         GROUP BY 1 ORDER BY 1) bucket),
    'exchanges', (SELECT json_build_object(
        'total', count(*),
        'agent', count(*) FILTER (WHERE author = 'agent'),
        'people', count(*) FILTER (WHERE author <> 'agent'),
        'unanswered', count(*) FILTER (WHERE author IS NULL),
        'median_s', extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY wait)),
        'p95_s', extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY wait)),
        'first_median_s', extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY wait) FILTER (WHERE is_first)),
        'first_p95_s', extract(epoch FROM percentile_cont(0.95) WITHIN GROUP (ORDER BY wait) FILTER (WHERE is_first)))
        FROM exchange),
    'staff', (SELECT json_agg(person) FROM (
        SELECT writer.id, writer.username, counted.messages, counted.conversations, answers.median_s
          FROM (SELECT sent_by_id, count(*) AS messages, count(DISTINCT conversation_id) AS conversations
                  FROM recent WHERE author = 'staff' AND sent_by_id IS NOT NULL GROUP BY 1
                 ORDER BY 2 DESC LIMIT 50) counted
          JOIN accounts_user writer ON writer.id = counted.sent_by_id
          LEFT JOIN (SELECT sent_by_id,
                            extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY wait)) AS median_s
                       FROM exchange WHERE author = 'staff' GROUP BY 1) answers USING (sent_by_id)
         ORDER BY counted.messages DESC, writer.username) person))
"""
# Turns have no index by time: their ids grow with it. One that ends in the period began at most an hour before it.
SELECT_TURNS = """
WITH recent AS MATERIALIZED (
    SELECT turn.created_at, turn.outcome, turn.agent_profile_id, turn.prompt_tokens, turn.completion_tokens,
           turn.cached_tokens, conversation.session_id = ANY(%(test_chats)s::uuid[]) AS is_test
      FROM messaging_turn turn JOIN messaging_conversation conversation ON conversation.id = turn.conversation_id
     WHERE turn.id >= %(first_id)s AND turn.created_at >= %(since)s AND turn.created_at < %(until)s
       AND (%(all)s OR conversation.session_id = ANY(%(sessions)s::uuid[]))
     ORDER BY turn.id DESC LIMIT %(limit)s
)
SELECT json_build_object(
    'buckets', (SELECT json_agg(bucket) FROM (
        SELECT extract(epoch FROM date_trunc(%(bucket)s, created_at, %(zone)s)) AS at,
               count(*) FILTER (WHERE outcome = 'answered') AS answered,
               count(*) FILTER (WHERE outcome = 'failed') AS failed,
               count(*) FILTER (WHERE outcome NOT IN ('answered', 'failed')) AS other
          FROM recent WHERE NOT is_test GROUP BY 1 ORDER BY 1) bucket),
    'outcomes', (SELECT json_object_agg(outcome, n) FROM (
        SELECT outcome, count(*) AS n FROM recent WHERE NOT is_test GROUP BY 1) each),
    'profiles', (SELECT json_agg(profile) FROM (
        SELECT profile.id, profile.name, profile.draft_of_id IS NOT NULL AS is_draft, count(*) AS turns,
               sum(prompt_tokens) AS prompt_tokens, sum(cached_tokens) AS cached_tokens,
               sum(completion_tokens) AS completion_tokens
          FROM recent JOIN sessions_app_agentprofile profile ON profile.id = agent_profile_id
         GROUP BY profile.id ORDER BY sum(prompt_tokens + completion_tokens) DESC, profile.name LIMIT 50) profile))
"""


@dataclass(frozen=True, slots=True)
class Period:
    """A time span, and the unit its charts count by."""

    since: datetime
    until: datetime
    bucket: str  # hour or day


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a period. Lists are as the statements above name their fields."""

    period: Period
    is_cut_off: bool
    messages: list[dict[str, Any]]
    turns: list[dict[str, Any]]
    exchanges: Mapping[str, Any]
    outcomes: Mapping[str, int]
    profiles: list[dict[str, Any]]
    staff: list[dict[str, Any]]
    handoffs: int
    trouble: Mapping[str, int]
    waiting: int
    sessions: list[dict[str, Any]]


def read_figures(user: User, period: Period) -> Figures:
    """Return the figures of a period. At most MAX_MESSAGES of it are read, the newest; `is_cut_off` says so."""
    visible = WhatsAppSession.objects.visible_to(user)
    sessions = None if user.sees_everything else list(visible.values_list("pk", flat=True))
    test_chats = list(visible.test_chats().values_list("pk", flat=True))
    parameters: dict[str, Any] = {
        "since": period.since,
        "until": period.until,
        "bucket": period.bucket,
        "zone": timezone.get_current_timezone_name(),
        "all": sessions is None,
        "sessions": sessions or [],
        "test_chats": test_chats,
        "limit": MAX_MESSAGES,
        "first_id": first_id_of(period.since - timedelta(hours=1)),
    }
    messages, turns = _read(SELECT_MESSAGES, parameters), _read(SELECT_TURNS, parameters)
    span = {"said_at__gte": period.since, "said_at__lt": period.until}
    in_trouble = (
        Message.objects.visible_to(user)
        .exclude(session__in=test_chats)
        .filter(status__in=["failed", "unconfirmed"], **span)
    )
    runs = CommandRun.objects.filter(name="human", status=CommandRun.Status.DONE, created_at__gte=period.since)
    runs = runs.exclude(conversation__session__in=test_chats)
    if sessions is not None:
        runs = runs.filter(conversation__session__in=sessions)
    live = visible.without_test_chats().live().order_by("status")
    return Figures(
        period=period,
        is_cut_off=messages["count"] == MAX_MESSAGES,
        messages=messages["buckets"] or [],
        turns=turns["buckets"] or [],
        exchanges=messages["exchanges"],
        outcomes=turns["outcomes"] or {},
        profiles=turns["profiles"] or [],
        staff=messages["staff"] or [],
        handoffs=runs.filter(created_at__lt=period.until)[:MAX_MESSAGES].count(),
        trouble=dict(in_trouble.order_by().values_list("status").annotate(n=Count("pk"))),
        waiting=Conversation.objects.visible_to(user).without_test_chats().filter(NEEDS_PERSON)[:MAX_COUNT].count(),
        sessions=[{"status": status, "n": n} for status, n in live.values_list("status").annotate(n=Count("pk"))],
    )


def first_id_of(at: datetime) -> UUID:
    """Return the smallest id (UUIDv7) of rows created at this time or later."""
    return UUID(int=max(int(at.timestamp() * 1000), 0) << 80)


def _read(statement: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: dict[str, Any] = cursor.fetchone()[0]
        return found
