"""Addresses that are told what happens: outgoing webhooks, as https://www.standardwebhooks.com has them.

An endpoint follows the feed like any reader, with its owner's eyes. What it is to be told becomes a delivery; the
deliveries of an endpoint are claimed by one process at a time, by a lease, and sent in order as long as it takes them.
An endpoint that fails is asked less and less often and its place in the feed waits, so that one that is dead for days
costs little and misses nothing; after DISABLED_AFTER it is no longer asked.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import User
from messaging.events import feed
from messaging.events.feed import Position, Reader
from messaging.models import Event, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from sessions_app.models import WhatsAppSession
from whatsapp_agent.backoff import backoff_s
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound
from whatsapp_agent.http.outbound import UnsafeUrl, check_target
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

MAX_ENDPOINTS = 20  # of one user
SECRET_BYTES = 32
FORMER_SECRET_TTL = timedelta(hours=24)
TEST_EVENT = "endpoint.test"
TOLD_BY_DEFAULT = tuple(type_ for type_ in feed.TYPES if type_ != TEST_EVENT)

# The pauses before an event is sent again; together about a day. Then it is given up.
RETRY_AFTER_S = (5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
PAUSE_BASE_S, MAX_PAUSE_S = 5, 300  # of the endpoint as a whole, doubling with each failure in a row
DISABLED_AFTER = timedelta(days=3)
RETENTION = timedelta(days=7)
MAX_PENDING = 500  # beyond it the endpoint's place in the feed waits
BATCH = 100
SENDS_FOR_S = 20.0  # then the batch is written down

TAKE = """
UPDATE messaging_webhookendpoint endpoint
   SET lease_token = %(token)s, lease_expires_at = now() + make_interval(secs => %(lease_s)s)
  FROM accounts_user owner
 WHERE endpoint.id = %(id)s AND endpoint.is_enabled AND owner.id = endpoint.owner_id AND owner.is_active
   AND (endpoint.next_try_at IS NULL OR endpoint.next_try_at <= now())
   AND (endpoint.lease_expires_at IS NULL OR endpoint.lease_expires_at < now())
"""
WITH_WORK = """
SELECT endpoint.id
  FROM messaging_webhookendpoint endpoint JOIN accounts_user owner ON owner.id = endpoint.owner_id
 WHERE endpoint.is_enabled AND owner.is_active
   AND (endpoint.next_try_at IS NULL OR endpoint.next_try_at <= now())
   AND (endpoint.lease_expires_at IS NULL OR endpoint.lease_expires_at < now())
   AND (EXISTS (SELECT 1 FROM messaging_event event
                 WHERE (event.transaction, event.id) > (endpoint.read_transaction, endpoint.read_event)
                   AND event.transaction < %(horizon)s)
        OR EXISTS (SELECT 1 FROM messaging_webhookdelivery delivery
                    WHERE delivery.endpoint_id = endpoint.id AND delivery.status = 'pending'
                      AND delivery.next_try_at <= now()))
"""


# --- what owners do -----------------------------------------------------------------------------------------------


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def check_url(url: str) -> None:
    """Raises UnsafeUrl: what is no address, or leads into a private network where that is not allowed."""
    try:
        check_target(url, allow_private=settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS)
    except UnsafeUrl as exc:
        exc.field = "url"
        raise


@transaction.atomic
def create_endpoint(
    *,
    owner: User,
    url: str,
    types: Collection[str] = (),
    sessions: Collection[UUID] | None = None,
    description: str = "",
) -> WebhookEndpoint:
    """An endpoint that is told of what happens from now on. Its `secret` is shown once, by whoever calls this.

    `sessions` None: all the owner may see. Raises UnsafeUrl, InvalidInput or Conflict.
    """
    check_url(url)
    chosen = _check_sessions(owner, sessions)
    User.objects.select_for_update().get(pk=owner.pk)
    if WebhookEndpoint.objects.filter(owner=owner).count() >= MAX_ENDPOINTS:
        raise Conflict(f"A user may have {MAX_ENDPOINTS} endpoints.")
    now = feed.last_position()
    endpoint = WebhookEndpoint.objects.create(
        owner=owner,
        url=url,
        types=sorted(set(types)),
        description=description,
        secret=new_secret(),
        all_sessions=chosen is None,
        read_transaction=now.transaction,
        read_event=now.id,
    )
    endpoint.sessions.set(chosen or [])
    return endpoint


@transaction.atomic
def change_endpoint(endpoint: WebhookEndpoint, *, by: User, **changes: Any) -> WebhookEndpoint:
    """Change `url`, `types`, `sessions`, `description` or `is_enabled`. Raises UnsafeUrl or InvalidInput."""
    if "url" in changes:
        check_url(changes["url"])
    if "sessions" in changes:
        chosen = _check_sessions(by, changes.pop("sessions"))
        endpoint.sessions.set(chosen or [])
        endpoint.all_sessions = chosen is None
    is_enabled = changes.pop("is_enabled", endpoint.is_enabled)
    for name, value in changes.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=["all_sessions", "updated_at", *changes])
    if is_enabled != endpoint.is_enabled:
        (enable if is_enabled else disable)(endpoint)
    return endpoint


def _check_sessions(user: User, wanted: Collection[UUID] | None) -> list[WhatsAppSession] | None:
    """The sessions with these ids, all of them the user's to see; None for all the user will see."""
    visible = WhatsAppSession.objects.visible_to(user)
    if wanted is None:
        # An API key for some sessions must not be told of the others this way.
        return None if user.restricted_to is None else list(visible)
    found = list(visible.filter(pk__in=wanted))
    if len(found) != len(set(wanted)):
        raise InvalidInput("There is no such session.", field="sessions")
    return found


def rotate_secret(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """Give the endpoint a new secret; for FORMER_SECRET_TTL what is sent is signed with both."""
    endpoint.former_secret = endpoint.secret
    endpoint.former_secret_until = timezone.now() + FORMER_SECRET_TTL
    endpoint.secret = new_secret()
    endpoint.save(update_fields=["secret", "former_secret", "former_secret_until", "updated_at"])
    return endpoint


def enable(endpoint: WebhookEndpoint) -> None:
    """Ask it again, beginning with what it missed."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        is_enabled=True, disabled_reason="", disabled_at=None, failing_since=None, failures=0, next_try_at=None
    )
    endpoint.refresh_from_db()


def disable(endpoint: WebhookEndpoint, *, reason: str = "") -> None:
    """Ask it no more; its place in the feed waits. With a reason its owner is told, as it was not they who did it."""
    changed = WebhookEndpoint.objects.filter(pk=endpoint.pk, is_enabled=True).update(
        is_enabled=False, disabled_reason=reason[:200], disabled_at=timezone.now()
    )
    if changed and reason:
        data = {"endpoint": str(endpoint.pk), "reason": reason}
        Event.objects.create(type="endpoint.disabled", user_id=endpoint.owner_id, data=data)
        log.warning("webhook_endpoint_disabled", endpoint=str(endpoint.pk))
    endpoint.refresh_from_db()


@transaction.atomic
def send_test(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Send an event that means nothing, to this endpoint alone. Raises Conflict; NotFound when it was just deleted."""
    endpoint = _held(endpoint)
    _check_enabled(endpoint)
    event = Event.objects.create(type=TEST_EVENT, user_id=endpoint.owner_id, data={"endpoint": str(endpoint.pk)})
    return WebhookDelivery.objects.create(endpoint=endpoint, event=event, type=event.type)


@transaction.atomic
def delete_endpoint(endpoint: WebhookEndpoint) -> None:
    """Forget it, and what was sent to it; what is just being queued for it waits, and finds it gone."""
    _held(endpoint).delete()


def _held(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    held = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    if held is None:
        raise NotFound()
    return held


@transaction.atomic
def redeliver(delivery: WebhookDelivery) -> WebhookDelivery:
    """Send an event again, now, under the same id. Raises Conflict when the endpoint or the event is no more."""
    _check_enabled(delivery.endpoint)
    if not Event.objects.filter(pk=delivery.event_id).exists():
        raise Conflict("The event is no longer kept.")
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        status=WebhookDelivery.Status.PENDING, tries=0, next_try_at=timezone.now(), delivered_at=None
    )
    WebhookEndpoint.objects.filter(pk=delivery.endpoint_id).update(next_try_at=None)
    delivery.refresh_from_db()
    return delivery


def _check_enabled(endpoint: WebhookEndpoint) -> None:
    if not endpoint.is_enabled:
        raise Conflict("The endpoint is disabled; enable it first.")


# --- what the engine does -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event as it is to be sent. Those of one `place` go one after the other."""

    delivery_id: UUID
    tries: int
    webhook_id: str
    body: bytes
    place: UUID | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending one event. `error` is empty when the endpoint took it."""

    outgoing: Outgoing
    at: datetime
    duration_ms: int
    status_code: int | None = None
    error: str = ""
    answer: str = ""
    retry_after_s: float | None = None

    @property
    def is_taken(self) -> bool:
        return not self.error


class EndpointLease:
    """The right to send to one endpoint."""

    def __init__(self, endpoint_id: UUID) -> None:
        self.endpoint_id = endpoint_id
        self.token = uuid4()

    def ours(self) -> Any:
        return WebhookEndpoint.objects.filter(pk=self.endpoint_id, lease_token=self.token)

    def renew(self) -> bool:
        """Prolong it; returns whether it was still held."""
        return bool(self.ours().update(lease_expires_at=timezone.now() + timedelta(seconds=_lease_s())))

    def give_back(self) -> None:
        self.ours().update(lease_token=None, lease_expires_at=None)


def _lease_s() -> float:
    return SENDS_FOR_S + 2 * settings.WEBHOOK_TIMEOUT_S + 10


def with_work() -> list[UUID]:
    """Endpoints that may be asked now and have something to be told."""
    if not WebhookEndpoint.objects.filter(is_enabled=True).exists():
        return []
    with connection.cursor() as cursor:
        cursor.execute(WITH_WORK, {"horizon": feed.horizon()})
        return [row[0] for row in cursor.fetchall()]


def take(endpoint_id: UUID) -> EndpointLease | None:
    """Take an endpoint for sending; None when it may not be asked now, or another process is at it."""
    lease = EndpointLease(endpoint_id)
    with connection.cursor() as cursor:
        cursor.execute(TAKE, {"id": endpoint_id, "token": lease.token, "lease_s": _lease_s()})
        return lease if cursor.rowcount else None


def signature(secret: str, *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the HMAC of what is sent. Format: Standard Webhooks 1.0, "Signature scheme"."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def headers_for(endpoint: WebhookEndpoint, outgoing: Outgoing, *, at: datetime) -> dict[str, str]:
    """The headers that prove where a delivery comes from; two signatures while a former secret is still good."""
    timestamp = int(at.timestamp())
    good = [endpoint.secret]
    if endpoint.former_secret and endpoint.former_secret_until and endpoint.former_secret_until > at:
        good.append(endpoint.former_secret)
    signatures = [
        signature(secret, webhook_id=outgoing.webhook_id, timestamp=timestamp, body=outgoing.body) for secret in good
    ]
    return {
        "Content-Type": "application/json",
        "webhook-id": outgoing.webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _reader(endpoint: WebhookEndpoint) -> Reader:
    """The owner's eyes, on the sessions the endpoint is for."""
    sessions = WhatsAppSession.objects.visible_to(endpoint.owner)
    if not endpoint.all_sessions:
        sessions = sessions.filter(pk__in=endpoint.sessions.values("pk"))
    elif endpoint.owner.sees_everything:
        return Reader.of(endpoint.owner)
    return Reader(user_id=endpoint.owner_id, sessions=list(sessions.values_list("pk", flat=True)))


@transaction.atomic
def gather(lease: EndpointLease) -> tuple[WebhookEndpoint, Sequence[Outgoing]] | None:
    """Read on in the feed, and give what is to be sent now, oldest first. None when the lease was lost or the endpoint
    disabled.

    Of an endpoint that fails only one: a question whether it is well again.
    """
    held = lease.ours().filter(is_enabled=True).select_for_update(of=["self"])
    endpoint = held.select_related("owner").first()
    if endpoint is None:
        return None
    reader = _reader(endpoint)
    pending = endpoint.deliveries.filter(status=WebhookDelivery.Status.PENDING)
    if (room := MAX_PENDING - pending.count()) > 0:
        _read_on(endpoint, reader=reader, limit=room)
    due = pending.filter(next_try_at__lte=timezone.now()).order_by("event_id").values_list("pk", "tries", "event_id")
    batch = list(due[: 1 if endpoint.failures else BATCH])
    kept = {event.position.id: event for event in feed.some(reader=reader, ids=[event_id for _, _, event_id in batch])}
    gone = [delivery_id for delivery_id, _, event_id in batch if event_id not in kept]
    if gone:  # no longer kept, or no longer the owner's to see
        WebhookDelivery.objects.filter(pk__in=gone).update(status=WebhookDelivery.Status.FAILED)
    return endpoint, [
        Outgoing(
            delivery_id=delivery_id,
            tries=tries,
            webhook_id=kept[event_id].webhook_id,
            body=json.dumps(kept[event_id].as_dict(), ensure_ascii=False, separators=(",", ":")).encode(),
            place=kept[event_id].conversation_id,
        )
        for delivery_id, tries, event_id in batch
        if event_id in kept
    ]


def _read_on(endpoint: WebhookEndpoint, *, reader: Reader, limit: int) -> None:
    page = feed.read(
        reader=reader,
        after=Position(endpoint.read_transaction, endpoint.read_event),
        types=endpoint.types or TOLD_BY_DEFAULT,
        limit=limit,
    )
    WebhookDelivery.objects.bulk_create(
        [WebhookDelivery(endpoint=endpoint, event_id=event.position.id, type=event.type) for event in page.events],
        ignore_conflicts=True,
    )
    endpoint.read_transaction, endpoint.read_event = page.end.transaction, page.end.id
    endpoint.save(update_fields=["read_transaction", "read_event"])


@transaction.atomic
def note(lease: EndpointLease, attempts: Sequence[Attempt]) -> None:
    """Write down what came of a batch. It happened, with or without the lease."""
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
    taken = [attempt.outgoing.delivery_id for attempt in attempts if attempt.is_taken]
    now = timezone.now()
    WebhookDelivery.objects.filter(pk__in=taken).update(
        status=WebhookDelivery.Status.DELIVERED, tries=F("tries") + 1, delivered_at=now
    )
    failed = [attempt for attempt in attempts if not attempt.is_taken]
    for attempt in failed:
        _note_failure(attempt, now=now)
    if taken:
        endpoint.last_success_at, endpoint.failing_since, endpoint.failures, endpoint.next_try_at = now, None, 0, None
    if failed:
        endpoint.failing_since = endpoint.failing_since or now
        endpoint.failures += 1
        pause_s = backoff_s(endpoint.failures, base_s=PAUSE_BASE_S, max_s=MAX_PAUSE_S)
        asked_s = max(attempt.retry_after_s or 0.0 for attempt in failed)
        endpoint.next_try_at = now + timedelta(seconds=max(pause_s, asked_s))
    endpoint.save(update_fields=["last_success_at", "failing_since", "failures", "next_try_at"])
    if any(attempt.status_code == 410 for attempt in failed):
        disable(endpoint, reason="The endpoint answered 410: it is gone.")
    elif endpoint.failing_since and now - endpoint.failing_since > DISABLED_AFTER:
        disable(endpoint, reason=f"The endpoint took nothing for {DISABLED_AFTER.days} days.")


def _note_failure(attempt: Attempt, *, now: datetime) -> None:
    delivery = WebhookDelivery.objects.filter(pk=attempt.outgoing.delivery_id)
    tries = attempt.outgoing.tries + 1
    if tries > len(RETRY_AFTER_S):
        delivery.update(status=WebhookDelivery.Status.FAILED, tries=tries)
    else:
        delivery.update(tries=tries, next_try_at=now + timedelta(seconds=RETRY_AFTER_S[tries - 1]))


@periodic(every_s=5)
def purge() -> None:
    """Forget deliveries that came to an end some days ago, and their attempts."""
    old = Q(created_at__lt=timezone.now() - RETENTION) & ~Q(status=WebhookDelivery.Status.PENDING)
    ids: Iterable[UUID] = WebhookDelivery.objects.filter(old).order_by("created_at").values_list("pk", flat=True)[:2000]
    WebhookDelivery.objects.filter(pk__in=list(ids)).delete()
