"""Send events to webhook endpoints: one process per endpoint at a time, in order per conversation."""

import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from uuid import UUID

import structlog
from django.conf import settings
from django.utils import timezone

from agent.monitoring.instruments import ENDPOINT_REQUESTS
from messaging.models import WebhookEndpoint
from messaging.webhooks import deliveries
from messaging.webhooks.deliveries import Attempt, OutgoingEvent
from whatsapp_agent import postgres
from whatsapp_agent.http.outbound import FetchFailed, UnsafeUrl, ask
from whatsapp_agent.http.retry_after import parse_retry_after
from whatsapp_agent.text.sanitize import storable

log = structlog.get_logger(__name__)

AT_ONCE = 8  # conversations of one endpoint
MAX_RESPONSE_BYTES = 2000


def deliver_to_endpoint(endpoint_id: UUID) -> None:
    """Send pending events to one endpoint. Does nothing if it is paused or another process holds its lease."""
    lease = deliveries.acquire_lease(endpoint_id)
    if lease is None:
        return
    try:
        while (loaded := deliveries.load_batch(lease)) is not None:
            endpoint, batch = loaded
            if not batch:
                break
            postgres.release()
            attempts = _send_all(endpoint, batch)
            for attempt in attempts:
                ENDPOINT_REQUESTS.add("accepted" if attempt.is_accepted else "failed")
            deliveries.record_attempts(lease, attempts)
            if not all(attempt.is_accepted for attempt in attempts) or not lease.renew():
                break
    finally:
        lease.release()


def _send_all(endpoint: WebhookEndpoint, batch: Sequence[OutgoingEvent]) -> list[Attempt]:
    """Send a batch until it is done, time is up or the endpoint fails. Conversations run in parallel, each in order."""
    give_up_at = time.monotonic() + deliveries.SEND_BUDGET_S
    attempts: list[Attempt] = []
    by_conversation: dict[UUID | None, list[OutgoingEvent]] = defaultdict(list)
    for outgoing in batch:
        by_conversation[outgoing.conversation_id].append(outgoing)

    def send_in_order(queue: list[OutgoingEvent]) -> None:
        for outgoing in queue:
            if time.monotonic() > give_up_at or any(not attempt.is_accepted for attempt in attempts[-AT_ONCE:]):
                return
            attempts.append(send(endpoint, outgoing))

    if len(by_conversation) == 1:
        send_in_order(list(batch))
    else:
        with ThreadPoolExecutor(min(AT_ONCE, len(by_conversation)), thread_name_prefix="webhook") as threads:
            list(threads.map(send_in_order, by_conversation.values()))
    return attempts


def send(endpoint: WebhookEndpoint, outgoing: OutgoingEvent) -> Attempt:
    """Send one event and return the attempt. Anything but 2xx within the timeout is a failure."""
    at, began = timezone.now(), time.monotonic()

    def attempt(**facts: object) -> Attempt:
        return Attempt(outgoing, at=at, duration_ms=round((time.monotonic() - began) * 1000), **facts)  # type: ignore[arg-type]

    try:
        answer = ask(
            "POST",
            endpoint.url,
            headers=deliveries.headers_for(endpoint, outgoing, at=at),
            content=outgoing.body,
            timeout_s=settings.WEBHOOK_TIMEOUT_S,
            max_bytes=MAX_RESPONSE_BYTES,
            allow_private=settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS,
        )
    except (UnsafeUrl, FetchFailed) as exc:
        return attempt(error=exc.code)
    shown = storable(answer.body.decode(errors="replace"))[:500]
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return attempt(status_code=answer.status, answer=shown)
    wish_s = parse_retry_after(answer.headers)
    return attempt(status_code=answer.status, error=f"status_{answer.status}", answer=shown, retry_after_s=wish_s)
