"""Send queued notifications to the push services of browsers: RFC 8030, encrypted as RFC 8291, signed as RFC 8292.

A notification names neither contact nor words: it says what has happened, and where to look.
"""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from webpush import WebPush

from accounts.models import User, names_of_groups
from agent.models import PushMessage, PushSubscription
from agent.push.queue import MAX_AGE, is_wanted
from agent.push.subscriptions import check_endpoint, is_logged_in, load_encoder, parse_subscription
from whatsapp_agent import postgres
from whatsapp_agent.backoff import backoff_s
from whatsapp_agent.errors import AppError, InvalidInput
from whatsapp_agent.http.outbound import ask
from whatsapp_agent.http.retry_after import parse_retry_after
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

BATCH = 50
AT_ONCE = 8
START_WITHIN_S = 30.0  # of the claim; what was not started by then is for the next batch
MAX_LOOKUP_S = 60.0  # for which the resolver may try to find the address of one name, twice
RETRY_BASE_S, MAX_RETRY_S = 5, 300
MAX_RESPONSE_BYTES = 1000
GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}  # the browser has withdrawn its permission
TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a push service answered: `status` is None for no answer. `reason` is one word that it gave, or none."""

    status: int | None = None
    retry_after_s: float | None = None
    reason: str = ""


@periodic(every_s=2, may_block=True)
def send_pushes() -> int:
    """Send what is due; return how many notifications the push services took.

    A batch ends before its claim does, however slow the services are: no second process sends the same again.
    """
    count, is_complete = 0, True
    while is_complete:
        start_until, claimed_until = monotonic() + START_WITHIN_S, timezone.now() + _claim_time()
        batch = _claim(claimed_until)
        if not batch:
            break
        requests = _requests(batch)
        postgres.release()
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            answers = list(pool.map(partial(_send, start_until=start_until), requests))
        for (message, _request), answer in zip(requests, answers, strict=True):
            if answer is None:
                is_complete = False
                own = PushMessage.objects.filter(pk=message.pk, next_try_at=claimed_until)
                own.update(next_try_at=timezone.now())
            else:
                count += _record(message, answer)
    return count


def _claim_time() -> timedelta:
    """Return for how long a batch is claimed: longer than it takes."""
    return timedelta(seconds=2 * (START_WITHIN_S + MAX_LOOKUP_S) + settings.WEBHOOK_TIMEOUT_S)


@transaction.atomic
def _claim(until: datetime) -> Sequence[PushMessage]:
    """Claim notifications that are due. Those of a process that dies are due again when its claim ends."""
    now = timezone.now()
    PushMessage.objects.filter(expires_at__lte=now).delete()
    due = PushMessage.objects.filter(next_try_at__lte=now).select_for_update(skip_locked=True, of=["self"])
    batch = list(due.select_related("subscription__user").order_by("next_try_at")[:BATCH])
    PushMessage.objects.filter(pk__in=[each.pk for each in batch]).update(next_try_at=until)
    return batch


def _requests(batch: Sequence[PushMessage]) -> list[tuple[PushMessage, dict[str, Any]]]:
    """Return the requests to make. Deletes what is not wanted any more, and browsers that cannot be sent to."""
    encoder = load_encoder(ttl_s=int(MAX_AGE.total_seconds()))
    requests = []
    for message in batch:
        if not _is_wanted(message):
            message.delete()
            continue
        try:
            requests.append((message, _request(message, encoder)))
        except InvalidInput:  # its text may hold the endpoint
            log.warning("push_subscription_unusable", subscription=str(message.subscription_id))
            PushSubscription.objects.filter(pk=message.subscription_id).delete()
    return requests


def _is_wanted(message: PushMessage) -> bool:
    user = User.objects.annotate(group_names=names_of_groups()).filter(pk=message.subscription.user_id).first()
    return (
        user is not None
        and is_logged_in(message.subscription)
        and is_wanted(user, kind=message.kind, conversation_id=message.conversation_id)
    )


def _request(message: PushMessage, encoder: WebPush) -> dict[str, Any]:
    """Return the headers and the content of the request. Raises InvalidInput for an unusable subscription."""
    subscription = message.subscription
    address = parse_subscription(endpoint=subscription.endpoint, p256dh=subscription.p256dh, auth=subscription.auth)
    encoded = encoder.get(_content(message), address)
    headers = dict(encoded.headers) | {
        "Content-Type": "application/octet-stream",
        "Urgency": "high",
        "Topic": message.conversation_id.hex,  # a newer one replaces one that was not delivered yet
    }
    return {"headers": headers, "content": encoded.encrypted}


def _content(message: PushMessage) -> dict[str, str]:
    with translation.override(message.subscription.user.language or settings.LANGUAGE_CODE):
        is_waiting = message.kind == PushMessage.Kind.WAITING
        title = _("Somebody needs a person") if is_waiting else _("A conversation was assigned to you")
    return {
        "title": title,
        "url": reverse("inbox-conversation", args=[message.conversation_id]),
        "tag": message.conversation_id.hex,
        "icon": static("agent/icon-192.png"),
    }


def _send(prepared: tuple[PushMessage, dict[str, Any]], *, start_until: float) -> _Answer | None:
    """Return what the push service answered; None if it is too late to begin."""
    message, request = prepared
    if monotonic() >= start_until:
        return None
    try:
        check_endpoint(message.subscription.endpoint)
        answer = ask(
            "POST",
            message.subscription.endpoint,
            **request,
            timeout_s=settings.WEBHOOK_TIMEOUT_S,
            max_bytes=MAX_RESPONSE_BYTES,
            allow_private=settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS,
        )
    except AppError:
        return _Answer()
    except Exception as exc:  # noqa: BLE001  one address must not lose what became of the others
        log.error("push_failed", subscription=str(message.subscription_id), error=type(exc).__name__)
        return _Answer()
    return _Answer(answer.status, parse_retry_after(answer.headers), _reason(answer.body))


def _reason(body: bytes) -> str:
    """Return the word that names the reason, like Apple's `{"reason": "BadJwtToken"}`; nothing else of it is logged."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    reason = content.get("reason") if isinstance(content, dict) else None
    return reason if isinstance(reason, str) and re.fullmatch(r"[A-Za-z]{1,40}", reason) else ""


def _record(message: PushMessage, answer: _Answer) -> bool:
    """Store what became of a notification; return whether it was taken."""
    status, subscription = answer.status, message.subscription
    if status is not None and status < HTTPStatus.MULTIPLE_CHOICES:
        message.delete()
        if subscription.refused_status is not None:
            PushSubscription.objects.filter(pk=subscription.pk).update(refused_status=None)
        return True
    log.warning(
        "push_not_sent",
        subscription=str(subscription.pk),
        status=status,
        reason=answer.reason,
        tries=message.tries + 1,
    )
    if status in GONE:
        PushSubscription.objects.filter(pk=subscription.pk).delete()
    elif status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in TRANSIENT:
        message.delete()  # refused: sending the same again helps nobody
        PushSubscription.objects.filter(pk=subscription.pk).update(refused_status=status)
    else:
        pause_s = max(backoff_s(message.tries + 1, base_s=RETRY_BASE_S, max_s=MAX_RETRY_S), answer.retry_after_s or 0.0)
        at = timezone.now() + timedelta(seconds=pause_s)
        PushMessage.objects.filter(pk=message.pk).update(tries=message.tries + 1, next_try_at=at)
    return False
