"""Webhook deliveries: queued from the event feed, leased by one process an endpoint, sent in order, retried.

`agent.webhook_sender` does the requests. An endpoint that fails is tried less and less often and its position in the
feed waits, so that one that is down for days costs little and misses nothing; after DISABLED_AFTER it is disabled.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from messaging.events import feed
from messaging.events.feed import Position, Reader
from messaging.events.types import ENDPOINT_TEST, SUBSCRIBABLE_TYPES
from messaging.models import Event, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from messaging.webhooks.endpoints import check_enabled, disable, lock_endpoint
from sessions_app.models import WhatsAppSession
from whatsapp_agent.backoff import backoff_s
from whatsapp_agent.errors import Conflict
from whatsapp_agent.periodic import periodic

RETRY_AFTER_S = (5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)  # pauses before each retry; then it has failed
PAUSE_BASE_S, MAX_PAUSE_S = 5, 300  # of the endpoint as a whole, doubled with each failure in a row
DISABLED_AFTER = timedelta(days=3)
RETENTION = timedelta(days=7)
MAX_PENDING = 500  # at this many the endpoint's position in the feed waits
BATCH = 100
SEND_BUDGET_S = 20.0  # of one batch; then its results are stored

# When an endpoint may be sent to; the same for the list of endpoints and for the lease.
IS_READY = """endpoint.is_enabled AND owner.is_active
   AND (endpoint.next_try_at IS NULL OR endpoint.next_try_at <= now())
   AND (endpoint.lease_expires_at IS NULL OR endpoint.lease_expires_at < now())"""


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """One event as it is sent. Events of one conversation are sent one after the other."""

    delivery_id: UUID
    tries: int
    webhook_id: str
    body: bytes
    conversation_id: UUID | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of sending one event. `error` is empty when the endpoint answered 2xx."""

    outgoing: OutgoingEvent
    at: datetime
    duration_ms: int
    status_code: int | None = None
    error: str = ""
    answer: str = ""
    retry_after_s: float | None = None

    @property
    def is_accepted(self) -> bool:
        return not self.error


class EndpointLease:
    """The right to send to one endpoint."""

    def __init__(self, endpoint_id: UUID) -> None:
        self.endpoint_id = endpoint_id
        self.token = uuid4()

    def row(self) -> Any:
        """The endpoint's row, as long as the lease is held."""
        return WebhookEndpoint.objects.filter(pk=self.endpoint_id, lease_token=self.token)

    def renew(self) -> bool:
        """Extend the lease; return whether it was still held."""
        return bool(self.row().update(lease_expires_at=timezone.now() + timedelta(seconds=_lease_s())))

    def release(self) -> None:
        self.row().update(lease_token=None, lease_expires_at=None)


def _lease_s() -> float:
    return SEND_BUDGET_S + 2 * settings.WEBHOOK_TIMEOUT_S + 10


ACQUIRE_LEASE = f"""
UPDATE messaging_webhookendpoint endpoint
   SET lease_token = %(token)s, lease_expires_at = now() + make_interval(secs => %(lease_s)s)
  FROM accounts_user owner
 WHERE endpoint.id = %(id)s AND owner.id = endpoint.owner_id AND {IS_READY}
"""  # noqa: S608  our own fragment


def acquire_lease(endpoint_id: UUID) -> EndpointLease | None:
    """Lease an endpoint for sending; None when it is not ready or another process has the lease."""
    lease = EndpointLease(endpoint_id)
    with connection.cursor() as cursor:
        cursor.execute(ACQUIRE_LEASE, {"id": endpoint_id, "token": lease.token, "lease_s": _lease_s()})
        return lease if cursor.rowcount else None


SELECT_ENDPOINTS_WITH_PENDING = f"""
SELECT endpoint.id
  FROM messaging_webhookendpoint endpoint JOIN accounts_user owner ON owner.id = endpoint.owner_id
 WHERE {IS_READY}
   AND (EXISTS (SELECT 1 FROM messaging_event event
                 WHERE (event.transaction, event.id) > (endpoint.read_transaction, endpoint.read_event)
                   AND event.transaction < %(horizon)s)
        OR EXISTS (SELECT 1 FROM messaging_webhookdelivery delivery
                    WHERE delivery.endpoint_id = endpoint.id AND delivery.status = 'pending'
                      AND delivery.next_try_at <= now()))
"""  # noqa: S608  our own fragment


def with_pending() -> list[UUID]:
    """Return the ids of endpoints that are ready and have events to send."""
    if not WebhookEndpoint.objects.filter(is_enabled=True).exists():
        return []
    with connection.cursor() as cursor:
        cursor.execute(SELECT_ENDPOINTS_WITH_PENDING, {"horizon": feed.horizon()})
        return [row[0] for row in cursor.fetchall()]


def signature(secret: str, *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,` and the HMAC of the request. Format: Standard Webhooks 1.0, "Signature scheme"."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers_for(endpoint: WebhookEndpoint, outgoing: OutgoingEvent, *, at: datetime) -> dict[str, str]:
    """Return the headers that prove a request is ours; two signatures while the former secret is valid."""
    timestamp = int(at.timestamp())
    secrets = [endpoint.secret]
    if endpoint.former_secret and endpoint.former_secret_until and endpoint.former_secret_until > at:
        secrets.append(endpoint.former_secret)
    signatures = [
        signature(secret, webhook_id=outgoing.webhook_id, timestamp=timestamp, body=outgoing.body) for secret in secrets
    ]
    return {
        "Content-Type": "application/json",
        "webhook-id": outgoing.webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _reader(endpoint: WebhookEndpoint) -> Reader:
    """Return what the owner may see of the sessions the endpoint is for."""
    sessions = WhatsAppSession.objects.visible_to(endpoint.owner)
    if not endpoint.all_sessions:
        sessions = sessions.filter(pk__in=endpoint.sessions.values("pk"))
    elif endpoint.owner.sees_everything:
        return Reader.of(endpoint.owner)
    return Reader(user_id=endpoint.owner_id, sessions=list(sessions.values_list("pk", flat=True)))


@transaction.atomic
def load_batch(lease: EndpointLease) -> tuple[WebhookEndpoint, Sequence[OutgoingEvent]] | None:
    """Queue new events of the feed; return the endpoint and the events to send now, oldest first.

    None when the lease was lost or the endpoint disabled. For a failing endpoint the batch is one event, as a probe.
    """
    rows = lease.row().filter(is_enabled=True).select_for_update(of=["self"])
    endpoint = rows.select_related("owner").first()
    if endpoint is None:
        return None
    reader = _reader(endpoint)
    pending = endpoint.deliveries.filter(status=WebhookDelivery.Status.PENDING)
    if (room := MAX_PENDING - pending.count()) > 0:
        _queue_new_events(endpoint, reader=reader, limit=room)
    due = pending.filter(next_try_at__lte=timezone.now()).order_by("event_id").values_list("pk", "tries", "event_id")
    batch = list(due[: 1 if endpoint.failures else BATCH])
    visible = {
        event.position.id: event
        for event in feed.load_events(reader=reader, ids=[event_id for _, _, event_id in batch])
    }
    hidden = [delivery_id for delivery_id, _, event_id in batch if event_id not in visible]
    if hidden:  # deleted by now, or no longer visible to the owner
        WebhookDelivery.objects.filter(pk__in=hidden).update(status=WebhookDelivery.Status.FAILED)
    return endpoint, [
        OutgoingEvent(
            delivery_id=delivery_id,
            tries=tries,
            webhook_id=visible[event_id].webhook_id,
            body=json.dumps(visible[event_id].as_dict(), ensure_ascii=False, separators=(",", ":")).encode(),
            conversation_id=visible[event_id].conversation_id,
        )
        for delivery_id, tries, event_id in batch
        if event_id in visible
    ]


def _queue_new_events(endpoint: WebhookEndpoint, *, reader: Reader, limit: int) -> None:
    """Create deliveries for the next events of the feed and move the endpoint's position behind them."""
    page = feed.read(
        reader=reader,
        after=Position(endpoint.read_transaction, endpoint.read_event),
        types=endpoint.types or SUBSCRIBABLE_TYPES,
        limit=limit,
    )
    WebhookDelivery.objects.bulk_create(
        [WebhookDelivery(endpoint=endpoint, event_id=event.position.id, type=event.type) for event in page.events],
        ignore_conflicts=True,
    )
    endpoint.read_transaction, endpoint.read_event = page.end.transaction, page.end.id
    endpoint.save(update_fields=["read_transaction", "read_event"])


@transaction.atomic
def record_attempts(lease: EndpointLease, attempts: Sequence[Attempt]) -> None:
    """Store the results of a batch, even if the lease was lost meanwhile: the requests were sent."""
    endpoint = WebhookEndpoint.objects.select_for_update().filter(pk=lease.endpoint_id).first()
    if endpoint is None:  # deleted meanwhile
        return
    WebhookAttempt.objects.bulk_create(
        WebhookAttempt(
            delivery_id=attempt.outgoing.delivery_id,
            at=attempt.at,
            duration_ms=attempt.duration_ms,
            status_code=attempt.status_code,
            error=attempt.error,
            answer=attempt.answer,
        )
        for attempt in attempts
    )
    accepted = [attempt.outgoing.delivery_id for attempt in attempts if attempt.is_accepted]
    now = timezone.now()
    WebhookDelivery.objects.filter(pk__in=accepted).update(
        status=WebhookDelivery.Status.DELIVERED, tries=F("tries") + 1, delivered_at=now
    )
    failed = [attempt for attempt in attempts if not attempt.is_accepted]
    for attempt in failed:
        _record_failure(attempt, now=now)
    if accepted:
        endpoint.last_success_at, endpoint.failing_since, endpoint.failures, endpoint.next_try_at = now, None, 0, None
    if failed:
        endpoint.failing_since = endpoint.failing_since or now
        endpoint.failures += 1
        pause_s = backoff_s(endpoint.failures, base_s=PAUSE_BASE_S, max_s=MAX_PAUSE_S)
        requested_s = max(attempt.retry_after_s or 0.0 for attempt in failed)
        endpoint.next_try_at = now + timedelta(seconds=max(pause_s, requested_s))
    endpoint.save(update_fields=["last_success_at", "failing_since", "failures", "next_try_at"])
    if any(attempt.status_code == 410 for attempt in failed):
        disable(endpoint, reason=gettext_noop("The endpoint answered 410 Gone."))
    elif endpoint.failing_since and now - endpoint.failing_since > DISABLED_AFTER:
        disable(endpoint, reason=f"The endpoint accepted nothing for {DISABLED_AFTER.days} days.")


def _record_failure(attempt: Attempt, *, now: datetime) -> None:
    delivery = WebhookDelivery.objects.filter(pk=attempt.outgoing.delivery_id)
    tries = attempt.outgoing.tries + 1
    if tries > len(RETRY_AFTER_S):
        delivery.update(status=WebhookDelivery.Status.FAILED, tries=tries)
    else:
        delivery.update(tries=tries, next_try_at=now + timedelta(seconds=RETRY_AFTER_S[tries - 1]))


@transaction.atomic
def send_test(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Queue an `endpoint.test` event for this endpoint alone. Raises Conflict; NotFound when it was just deleted."""
    endpoint = lock_endpoint(endpoint)
    check_enabled(endpoint)
    event = Event.objects.create(
        type=ENDPOINT_TEST.name, user_id=endpoint.owner_id, data={"endpoint": str(endpoint.pk)}
    )
    return WebhookDelivery.objects.create(endpoint=endpoint, event=event, type=event.type)


@transaction.atomic
def redeliver(delivery: WebhookDelivery) -> WebhookDelivery:
    """Queue an event again, under the same id. Raises Conflict when the endpoint is disabled or the event deleted."""
    check_enabled(delivery.endpoint)
    if not Event.objects.filter(pk=delivery.event_id).exists():
        raise Conflict(_("The event is no longer stored."))
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        status=WebhookDelivery.Status.PENDING, tries=0, next_try_at=timezone.now(), delivered_at=None
    )
    WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).update(next_try_at=None)
    delivery.refresh_from_db()
    return delivery


@periodic(every_s=5)
def purge() -> None:
    """Delete finished deliveries older than RETENTION, with their attempts."""
    old = Q(created_at__lt=timezone.now() - RETENTION) & ~Q(status=WebhookDelivery.Status.PENDING)
    ids: Iterable[UUID] = WebhookDelivery.objects.filter(old).order_by("created_at").values_list("pk", flat=True)[:2000]
    WebhookDelivery.objects.filter(pk__in=list(ids)).delete()
