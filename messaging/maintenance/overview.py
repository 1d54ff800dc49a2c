"""Figures of the installation: sessions, conversations, messages, turns, what waits, and what takes up space."""

from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from messaging.models import Conversation, Media, Message, Turn, WebhookDelivery, WebhookEndpoint
from sessions_app.models import WhatsAppSession

MAX_TABLES = 10
LARGEST_TABLES = """
SELECT class.relname, GREATEST(class.reltuples, 0)::bigint, pg_total_relation_size(class.oid)
  FROM pg_class class
 WHERE class.relkind = 'r' AND class.relnamespace = current_schema()::regnamespace
 ORDER BY 3 DESC LIMIT %s
"""


def overview(*, since: datetime, session: WhatsAppSession | None = None) -> dict[str, Any]:
    """Return the figures since a time, of one session or of all."""
    now = timezone.now()
    of_session = {"session": session} if session else {}
    conversations = Conversation.objects.filter(**of_session)
    shown = conversations if session else conversations.without_test_chats()
    messages = Message.objects.filter(said_at__gte=since, **of_session)
    turns = Turn.objects.filter(created_at__gte=since)
    if session:
        turns = turns.filter(conversation__session=session)
    sessions = WhatsAppSession.objects.filter(pk=session.pk) if session else WhatsAppSession.objects.all()
    queued = Message.objects.filter(status=Message.Status.QUEUED, **of_session)
    due = conversations.due().aggregate(count=Count("pk"), oldest=Min("due_at"))
    waiting = queued.aggregate(count=Count("pk"), oldest=Min("created_at"))
    return {
        "at": now,
        "since": since,
        "session": session.name if session else None,
        "sessions": _counts(sessions.live(), "status"),
        "conversations": {
            "total": shown.count(),
            "by_control": _counts(shown, "control"),
            "need_attention": shown.filter(needs_attention=True).count(),
            "unread": shown.filter(unread_count__gt=0).count(),
        },
        "messages": {
            "inbound": _counts(messages.filter(direction="inbound"), "status"),
            "outbound": _counts(messages.filter(direction="outbound"), "status"),
            "unanswered": _counts(messages.filter(direction="inbound").exclude(unanswered=""), "unanswered"),
        },
        "turns": _counts(turns, "outcome"),
        "models": list(
            turns.exclude(model="")
            .values("model")
            .annotate(
                turns=Count("pk"),
                prompt_tokens=Sum("prompt_tokens"),
                cached_tokens=Sum("cached_tokens"),
                completion_tokens=Sum("completion_tokens"),
            )
            .order_by("-turns", "model")
        ),
        "waiting": {
            "due_conversations": due["count"],
            "oldest_due_s": _seconds(now, due["oldest"]),
            "queued_messages": waiting["count"],
            "oldest_queued_s": _seconds(now, waiting["oldest"]),
        },
        "webhooks": {
            "endpoints": WebhookEndpoint.objects.filter(is_enabled=True).count(),
            "deliveries": _counts(WebhookDelivery.objects.filter(created_at__gte=since), "status"),
        },
        "media": Media.objects.filter(~Q(file=""), **({"message__session": session} if session else {})).aggregate(
            files=Count("pk"), size_bytes=Sum("size_bytes", default=0)
        ),
        "database": _database(),
    }


def _counts(rows: Any, field: str) -> dict[str, int]:
    return dict(rows.order_by(field).values_list(field).annotate(count=Count("pk")))


def _seconds(now: datetime, at: datetime | None) -> int | None:
    return None if at is None else max(round((now - at).total_seconds()), 0)


def _database() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size_bytes = cursor.fetchone()[0]
        cursor.execute(LARGEST_TABLES, [MAX_TABLES])
        tables = [{"table": name, "rows": rows, "size_bytes": size} for name, rows, size in cursor.fetchall()]
    return {"size_bytes": size_bytes, "largest_tables": tables}  # `rows` is an estimate of PostgreSQL's
