"""The event feed: events in a fixed order and without gaps.

Transactions do not commit in the order of their numbers, so a reader that went by the row's id alone would skip a row
that was written early and committed late. Each row therefore stores its transaction. The feed is ordered by transaction
and returns only rows of transactions older than every one still running: no row can be added before them any more. A
long transaction delays the feed and loses nothing.
"""

import base64
import binascii
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy

from messaging.models import Event, webhook_id_of
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import AppError, InvalidInput
from whatsapp_agent.periodic import periodic

RETENTION = timedelta(days=30)
WINDOW = 2000  # rows read for one page, however few of them the reader may see
PURGE_BATCH_SIZE = 2000

# The oldest transaction that may still write an event. Those of other databases of the same server cannot, and may run
# for hours. Read before the events, not with them: transactions that end between the two are then included.
SELECT_HORIZON = """
WITH now AS (SELECT pg_current_snapshot() AS snapshot),
     running AS (SELECT pg_snapshot_xip(snapshot)::text::bigint AS number FROM now)
SELECT COALESCE(
    (SELECT min(number) FROM running
      WHERE NOT EXISTS (
          SELECT 1 FROM pg_locks held JOIN pg_stat_activity backend ON backend.pid = held.pid
           WHERE held.locktype = 'transactionid' AND held.granted AND held.mode = 'ExclusiveLock'
             AND held.transactionid::text::bigint = running.number & 4294967295
             AND backend.datid <> (SELECT oid FROM pg_database WHERE datname = current_database()))),
    (SELECT pg_snapshot_xmax(snapshot)::text::bigint FROM now))
"""
# `seen`: the next rows. `wanted`: those of them the reader asked for and may see, one more than a page. `furthest`: the
# last row read, where the next page begins.
SELECT_PAGE = """
WITH seen AS MATERIALIZED (
    SELECT * FROM messaging_event
     WHERE (transaction, id) > (%(after_transaction)s, %(after_id)s)
       AND transaction < %(horizon)s
     ORDER BY transaction, id LIMIT %(window)s
), wanted AS (
    SELECT id, transaction, public_id, type, at, session_id, conversation_id, data::text FROM seen
     WHERE (%(sees_everything)s OR session_id = ANY(%(sessions)s::uuid[]) OR user_id = %(user)s)
       AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s::text[]))
       AND (%(session)s::uuid IS NULL OR session_id = %(session)s::uuid)
       AND (%(conversation)s::uuid IS NULL OR conversation_id = %(conversation)s::uuid)
     ORDER BY transaction, id LIMIT %(limit)s + 1
), furthest AS (
    SELECT id, transaction, (SELECT count(*) = %(window)s FROM seen) AS is_full
      FROM seen ORDER BY transaction DESC, id DESC LIMIT 1
)
SELECT furthest.id, furthest.transaction, furthest.is_full, wanted.*
  FROM furthest LEFT JOIN wanted ON true
 ORDER BY wanted.transaction, wanted.id
"""
# A server that a dump was restored on numbers its transactions from the beginning. Rows and positions with a number it
# has not reached belong before its own; among themselves they are ordered by id.
SELECT_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
RESET_FOREIGN_TRANSACTIONS = """
WITH endpoint AS (
    UPDATE messaging_webhookendpoint SET read_transaction = 0
     WHERE read_transaction >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
)
UPDATE messaging_event SET transaction = 0
 WHERE transaction >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""
# The last expired row stays: a cursor before it has missed events, one at or behind it has not.
DELETE_EXPIRED = """
WITH expired AS (
    SELECT id, transaction FROM (SELECT * FROM messaging_event ORDER BY transaction, id LIMIT %(limit)s) oldest
     WHERE at < %(before)s
)
DELETE FROM messaging_event
 WHERE id IN (SELECT id FROM expired ORDER BY transaction DESC, id DESC OFFSET 1)
"""


class InvalidCursor(InvalidInput):
    code, detail = "invalid_cursor", gettext_lazy("Invalid cursor.")


class CursorExpired(AppError):
    status, code = 410, "cursor_expired"
    detail = "Events after this cursor have been deleted. Start again without a cursor."


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A position in the feed: behind the event of this transaction and id. As text it is the API's cursor."""

    transaction: int = 0
    id: int = 0

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Raises InvalidCursor."""
        try:
            raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            transaction, event_id = (int(part, 16) for part in raw.decode("ascii").split("."))
        except (ValueError, binascii.Error) as exc:
            raise InvalidCursor(field="after") from exc
        position = cls(transaction, event_id)
        if not (0 <= transaction < 2**63 and 0 <= event_id < 2**63) or str(position) != cursor:
            raise InvalidCursor(field="after")
        return position

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.transaction:x}.{self.id:x}".encode()).decode().rstrip("=")


START = Position()


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event as the API and webhooks show it."""

    position: Position
    public_id: UUID
    type: str
    at: datetime
    session_id: UUID | None
    conversation_id: UUID | None
    data: dict[str, Any]

    @property
    def webhook_id(self) -> str:
        """The event's public id."""
        return webhook_id_of(self.public_id)

    def as_dict(self) -> dict[str, Any]:
        """`{"id", "type", "timestamp", "data": {"session", "conversation", …}}`"""
        ids = {"session": self.session_id, "conversation": self.conversation_id}
        return {
            "id": self.webhook_id,
            "type": self.type,
            "timestamp": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {name: str(value) for name, value in ids.items() if value} | self.data,
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Events, and the position where the next page begins. `has_more`: there are more rows behind it."""

    events: Sequence[FeedEvent]
    end: Position
    has_more: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """What a reader may see: events of these sessions and of this user; administrators see everything."""

    user_id: UUID | None
    sessions: Collection[UUID] = ()
    sees_everything: bool = False

    @classmethod
    def of(cls, user: Any) -> Self:
        sessions = WhatsAppSession.objects.visible_to(user).values_list("pk", flat=True)
        return cls(
            user_id=user.pk if user.restricted_to is None else None,  # a key restricted to sessions sees only theirs
            sessions=() if user.sees_everything else list(sessions),
            sees_everything=user.sees_everything,
        )


def read(
    *,
    reader: Reader,
    after: Position = START,
    limit: int = 100,
    types: Collection[str] | None = None,
    session: UUID | None = None,
    conversation: UUID | None = None,
) -> Page:
    """Return the events behind `after` that match the filters and that the reader may see, oldest first.

    Reads WINDOW rows at most, so that a page costs the same however few of them match: an empty page may have more.
    """
    parameters: dict[str, Any] = {
        "sees_everything": reader.sees_everything,
        "sessions": list(reader.sessions),
        "user": reader.user_id,
        "types": list(types) if types else None,
        "session": session,
        "conversation": conversation,
        "limit": limit,
        "after_transaction": after.transaction,
        "after_id": after.id,
        "window": WINDOW,
        "horizon": horizon(),
    }
    with connection.cursor() as cursor:
        cursor.execute(SELECT_PAGE, parameters)
        rows = cursor.fetchall()
    if not rows:
        return Page([], after, has_more=False)
    furthest_id, furthest_transaction, is_full, *_ = rows[0]
    events = [_feed_event(row[3:]) for row in rows if row[3] is not None]
    if len(events) > limit:
        return Page(events[:limit], events[limit - 1].position, has_more=True)
    return Page(events, Position(furthest_transaction, furthest_id), has_more=is_full)


def _feed_event(row: Sequence[Any]) -> FeedEvent:
    event_id, transaction, public_id, type_, at, session_id, conversation_id, data = row
    return FeedEvent(
        Position(transaction, event_id), public_id, type_, at, session_id, conversation_id, json.loads(data)
    )


def load_events(*, reader: Reader, ids: Collection[int]) -> list[FeedEvent]:
    """Return the events with these row ids (not public ids) that still exist and that the reader may see."""
    rows = Event.objects.filter(pk__in=ids)
    if not reader.sees_everything:
        rows = rows.filter(Q(session_id__in=list(reader.sessions)) | Q(user_id=reader.user_id))
    return [
        FeedEvent(
            Position(row.transaction, row.pk),
            row.public_id,
            row.type,
            row.at,
            row.session_id,
            row.conversation_id,
            row.data,
        )
        for row in rows
    ]


def horizon() -> int:
    """Return the oldest transaction that may still write an event. What older ones wrote is complete and final."""
    with connection.cursor() as cursor:
        cursor.execute(SELECT_HORIZON)
        return cursor.fetchone()[0]


def last_position() -> Position:
    """Return the position behind the newest event that may be read now."""
    rows = Event.objects.filter(transaction__lt=horizon()).order_by("-transaction", "-id")
    last = rows.values_list("transaction", "id").first()
    return Position(*last) if last else START


def resolve_position(position: Position) -> Position:
    """Return the position in this server's numbering. Raises CursorExpired when events behind it have been deleted."""
    with connection.cursor() as cursor:
        cursor.execute(SELECT_NEXT_TRANSACTION)
        if position.transaction >= cursor.fetchone()[0]:
            position = Position(0, position.id)
    oldest = Event.objects.order_by("transaction", "id").values_list("transaction", "id", "at").first()
    if oldest and START < position < Position(*oldest[:2]) and oldest[2] < timezone.now() - RETENTION:
        raise CursorExpired()
    return position


@periodic(every_s=5)
def purge() -> int:
    """Delete the oldest events that are past RETENTION, a batch at a time; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(DELETE_EXPIRED, {"limit": PURGE_BATCH_SIZE, "before": timezone.now() - RETENTION})
        return cursor.rowcount


@periodic(every_s=5)
def rebase() -> None:
    """Order events of a restored dump, and the endpoints' positions among them, before all events of this server."""
    with connection.cursor() as cursor:
        cursor.execute(RESET_FOREIGN_TRANSACTIONS)
