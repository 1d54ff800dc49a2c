"""After a clock was set back, what was to happen soon would wait for the time it was set back by."""

import time
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, models
from django.db.models import F

from messaging.models import Conversation, Message, WebhookDelivery, WebhookEndpoint
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MIN_STEP_S = 10.0
POSTPONED: tuple[tuple[type[models.Model], str, timedelta], ...] = (  # and the longest that each is postponed by us
    (Conversation, "due_at", timedelta(minutes=20)),
    (Conversation, "retry_at", timedelta(minutes=20)),
    (Message, "next_try_at", timedelta(minutes=20)),
    (WebhookEndpoint, "next_try_at", timedelta(minutes=20)),
    (WebhookDelivery, "next_try_at", timedelta(hours=13)),
    (WebhookEndpoint, "lease_expires_at", timedelta(minutes=10)),
)
_last_seen: tuple[datetime, float] | None = None  # the database's time, and our steady clock at that moment


@periodic(every_s=5)
def bring_back_postponed() -> None:
    """Bring back times and leases that only a clock set back can have put so far into the future."""
    global _last_seen
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    steady = time.monotonic()
    step_s = 0.0
    if _last_seen is not None:
        step_s = (now - _last_seen[0]).total_seconds() - (steady - _last_seen[1])
    _last_seen = now, steady
    for model, field, longest in POSTPONED:
        if step_s < -MIN_STEP_S:
            _update(model, field, later_than=now, to=F(field) + timedelta(seconds=step_s))
        _update(model, field, later_than=now + longest, to=now)
    lease = timedelta(seconds=settings.AGENT_LEASE_S)  # whoever is alive renews it before
    _update(Conversation, "lease_expires_at", later_than=now + 2 * lease, to=now + lease)
    if step_s < -MIN_STEP_S:
        log.warning("clock_set_back", seconds=round(-step_s))


def _update(model: type[models.Model], field: str, *, later_than: datetime, to: Any) -> None:
    count = model._default_manager.filter(**{f"{field}__gt": later_than}).update(**{field: to})
    if count:
        log.warning("times_brought_back", table=model._meta.db_table, field=field, count=count)
