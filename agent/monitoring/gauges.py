"""What the database knows at the moment somebody asks: queues, sessions, workers, connections, disk, alerts."""

from collections.abc import Iterator
from datetime import datetime

from django.db import connection
from django.db.models import Count, Min, Sum
from prometheus_client.core import GaugeMetricFamily

from agent.models import STALLED_S, Alert, EngineProcess
from agent.monitoring.alert_rules import RULES
from messaging.models import Conversation, Media, Message, WebhookDelivery
from messaging.models.conversations import NEEDS_PERSON
from sessions_app.models import WhatsAppSession
from whatsapp_agent.storage import disk
from whatsapp_agent.version import VERSION

PREFIX = "whatsapp_agent_"
CONNECTIONS = """
SELECT COALESCE(state, 'other'), count(*) FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1
"""
DATABASE = """
SELECT pg_database_size(current_database()), current_setting('max_connections')::int, clock_timestamp()
"""


def gauge(name: str, description: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, description, value=value)


def by_label(name: str, description: str, label: str, values: dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, description, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def read_gauges() -> Iterator[GaugeMetricFamily]:
    """Yield every gauge. Each statement reads few rows: those that wait have an index of their own."""
    with connection.cursor() as cursor:
        cursor.execute(DATABASE)
        size_bytes, max_connections, now = cursor.fetchone()
        cursor.execute(CONNECTIONS)
        connections = {str(state).replace(" ", "_"): count for state, count in cursor.fetchall()}
    yield by_label("info", "The version that answers this request.", "version", {VERSION: 1})
    yield from _queues(now)
    yield by_label("sessions", "WhatsApp sessions that are not ended, by status.", "status", _sessions())
    yield by_label("workers", "Processes that take turns and send, by state.", "state", _workers())
    load = EngineProcess.objects.alive().aggregate(
        running=Sum("turns_running", default=0), waiting=Sum("turns_waiting", default=0)
    )
    yield gauge("turns_running", "Turns under way.", load["running"])
    yield gauge("turns_waiting", "Conversations that wait for a free place in a worker.", load["waiting"])
    yield by_label("database_connections", "Connections to the database, by state.", "state", connections)
    yield gauge("database_max_connections", "How many connections the database server takes.", max_connections)
    yield gauge("database_size_bytes", "Size of the database.", size_bytes)
    yield from _disk()
    lasting = dict(Alert.objects.filter(recovered_at=None).order_by().values_list("rule").annotate(count=Count("pk")))
    alerts = {rule.name: lasting.get(rule.name, 0) for rule in RULES}
    yield by_label("alerts", "Alerts that last, by rule.", "rule", alerts)


def _queues(now: datetime) -> Iterator[GaugeMetricFamily]:
    due = Conversation.objects.due().order_by().aggregate(count=Count("pk"), oldest=Min("due_at"))
    yield gauge("conversations_due", "Conversations that wait for a turn.", due["count"])
    yield gauge("oldest_due_seconds", "For how long the longest waiting of them is due.", _age_s(now, due["oldest"]))
    waiting = Conversation.objects.filter(control="agent", due_at__isnull=False).aggregate(
        oldest=Min("burst_started_at")
    )
    yield gauge(
        "oldest_unanswered_seconds",
        "Age of the oldest message that is to be answered; also while its turn is delayed, running or retried.",
        _age_s(now, waiting["oldest"]),
    )
    queued = Message.objects.filter(status=Message.Status.QUEUED).aggregate(count=Count("pk"), oldest=Min("created_at"))
    yield gauge("messages_queued", "Messages that wait to be sent.", queued["count"])
    yield gauge("oldest_queued_seconds", "Age of the oldest of them.", _age_s(now, queued["oldest"]))
    sending = Message.objects.filter(status=Message.Status.SENDING).count()
    yield gauge("messages_sending", "Messages that a bridge was asked to send and has not answered to.", sending)
    yield gauge(
        "conversations_needing_a_person",
        "Conversations in which staff are asked to look, or that wait for the person in control.",
        Conversation.objects.without_test_chats().filter(NEEDS_PERSON).count(),
    )
    yield gauge(
        "endpoint_deliveries_pending",
        "Events that wait to be posted to webhook endpoints.",
        WebhookDelivery.objects.filter(status=WebhookDelivery.Status.PENDING).count(),
    )
    yield gauge(
        "media_waiting",
        "Received files that are to be fetched or read.",
        Media.objects.filter(next_try_at__isnull=False).count(),
    )


def _age_s(now: datetime, at: datetime | None) -> float:
    return 0.0 if at is None else max((now - at).total_seconds(), 0.0)


def _sessions() -> dict[str, float]:
    counted = dict(WhatsAppSession.objects.live().order_by().values_list("status").annotate(count=Count("pk")))
    return {status: counted.get(status, 0) for status in WhatsAppSession.Status.values}


def _workers() -> dict[str, float]:
    states = {"working": 0.0, "stalled": 0.0, "dead": 0.0}
    for is_alive, stalled_s in EngineProcess.objects.with_state().values_list("is_alive", "stalled_s"):  # type: ignore[misc]
        states["dead" if not is_alive else "stalled" if stalled_s >= STALLED_S else "working"] += 1
    return states


def _disk() -> Iterator[GaugeMetricFamily]:
    if (usage := disk.usage()) is None:
        return
    yield gauge("disk_size_bytes", "Size of the disk that DATA_DIR is on.", usage.total)
    yield gauge("disk_free_bytes", "What is free of it.", usage.free)
