"""Clocks that are wrong: what was postponed by one that was set back, and what was taken for old because of one."""

import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, models
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_noop

from messaging.models import Conversation, Message, WebhookDelivery, WebhookEndpoint
from sessions_app.bridge_clocks import saved_offset_s
from sessions_app.models import Bridge, WhatsAppSession
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MIN_STEP_S = 10.0
POSTPONED: tuple[tuple[type[models.Model], str, timedelta], ...] = (  # and the longest that each is postponed by us
    (Conversation, "due_at", timedelta(minutes=20)),
    (Conversation, "retry_at", timedelta(minutes=20)),
    (WhatsAppSession, "next_send_at", timedelta(minutes=2)),
    (Message, "next_try_at", timedelta(minutes=20)),
    (WebhookEndpoint, "next_try_at", timedelta(minutes=20)),
    (WebhookDelivery, "next_try_at", timedelta(hours=13)),
    (WebhookEndpoint, "lease_expires_at", timedelta(minutes=10)),
)
STALE_BEFORE_MEASURED = timedelta(minutes=10)  # how long it may take until a bridge's clock is known to be wrong
last_seen: tuple[datetime, float] | None = None  # the database's time, and our steady clock at that moment


@periodic(every_s=5)
def advance_postponed() -> None:
    """Bring back times and leases that only a clock set back can have put so far into the future."""
    global last_seen
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    steady = time.monotonic()
    step_s = 0.0
    if last_seen is not None:
        step_s = (now - last_seen[0]).total_seconds() - (steady - last_seen[1])
    last_seen = now, steady
    for model, field, longest in POSTPONED:
        if step_s < -MIN_STEP_S:
            _update(model, field, later_than=now, to=F(field) + timedelta(seconds=step_s))
        _update(model, field, later_than=now + longest, to=now)
    lease = timedelta(seconds=settings.AGENT_LEASE_S)  # a worker that is alive renews it earlier
    _update(Conversation, "lease_expires_at", later_than=now + 2 * lease, to=now + lease)
    if step_s < -MIN_STEP_S:
        log.warning("clock_set_back", seconds=round(-step_s))


def _update(model: type[models.Model], field: str, *, later_than: datetime, to: Any) -> None:
    count = model._default_manager.filter(**{f"{field}__gt": later_than}).update(**{field: to})
    if count:
        log.warning("times_advanced", table=model._meta.db_table, field=field, count=count)


_asked_until: dict[UUID, datetime] = {}


@periodic(every_s=10)
def report_stale_messages() -> None:
    """Ask for attention where a message was taken for old while the times of its bridge are known to differ from ours.

    Such a message may have been written just now; what is asked for once is not asked for again.
    """
    for bridge in Bridge.objects.exclude(clock_offset_s=0):
        if not saved_offset_s(bridge):
            continue
        now = timezone.now()
        since = _asked_until.get(bridge.pk, now - STALE_BEFORE_MEASURED)
        _asked_until[bridge.pk] = now
        stale = Message.objects.filter(
            session__bridge=bridge, unanswered=Message.Unanswered.STALE, created_at__gt=since, created_at__lte=now
        )
        Conversation.objects.filter(pk__in=stale.values("conversation")).ask_for_attention(
            Conversation.Attention.CLOCK,
            note=gettext_noop(
                "A message seemed old and was not answered. The bridge's clock differs from ours: run doctor."
            ),
        )
