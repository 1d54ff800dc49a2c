"""Send queued notifications to the push services of browsers: RFC 8030, encrypted as RFC 8291, signed as RFC 8292.

A notification names neither contact nor words: it says what has happened, and where to look.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parseaddr
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from webpush import WebPush, WebPushSubscription
from webpush.types import WebPushKeys

from accounts.models import User, names_of_groups
from agent.models import PushMessage
from agent.push.queue import MAX_AGE, is_wanted
from agent.push.subscriptions import check_endpoint, load_encoder
from whatsapp_agent import postgres
from whatsapp_agent.backoff import backoff_s
from whatsapp_agent.errors import AppError
from whatsapp_agent.http.outbound import ask
from whatsapp_agent.http.retry_after import parse_retry_after
from whatsapp_agent.periodic import periodic

log = structlog.get_logger(__name__)

CLAIMED_FOR = timedelta(minutes=2)  # longer than a batch takes; then another process tries
BATCH = 50
AT_ONCE = 8
RETRY_BASE_S, MAX_RETRY_S = 5, 300
MAX_RESPONSE_BYTES = 1000
# The browser has withdrawn its permission, or it was given to another key pair.
GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.FORBIDDEN}
TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


@periodic(every_s=2, may_block=True)
def send_pushes() -> int:
    """Send what is due; return how many notifications the push services took."""
    count = 0
    while batch := _claim():
        wanted = [message for message in batch if _is_wanted(message)]
        PushMessage.objects.filter(pk__in=[each.pk for each in batch if each not in wanted]).delete()
        encoder = load_encoder(contact=parseaddr(settings.DEFAULT_FROM_EMAIL)[1], ttl_s=int(MAX_AGE.total_seconds()))
        requests = [(message, _request(message, encoder)) for message in wanted]
        postgres.release()
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            answers = list(pool.map(lambda each: _send(*each), requests))
        count += sum(_record(message, *answer) for message, answer in zip(wanted, answers, strict=True))
    return count


@transaction.atomic
def _claim() -> Sequence[PushMessage]:
    """Claim notifications that are due. Those of a process that dies are due again when its claim ends."""
    now = timezone.now()
    PushMessage.objects.filter(expires_at__lte=now).delete()
    due = PushMessage.objects.filter(next_try_at__lte=now).select_for_update(skip_locked=True, of=["self"])
    batch = list(due.select_related("subscription__user").order_by("next_try_at")[:BATCH])
    PushMessage.objects.filter(pk__in=[each.pk for each in batch]).update(next_try_at=now + CLAIMED_FOR)
    return batch


def _is_wanted(message: PushMessage) -> bool:
    user = User.objects.annotate(group_names=names_of_groups()).get(pk=message.subscription.user_id)
    return is_wanted(user, kind=message.kind, conversation_id=message.conversation_id)


def _request(message: PushMessage, encoder: WebPush) -> dict[str, Any]:
    """Return the headers and the content of the request."""
    subscription = message.subscription
    address = WebPushSubscription(
        endpoint=subscription.endpoint, keys=WebPushKeys(auth=subscription.auth, p256dh=subscription.p256dh)
    )
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


def _send(message: PushMessage, request: dict[str, Any]) -> tuple[int | None, float | None]:
    """Return the status that the push service answered, None for no answer; and for how long it asks us to wait."""
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
        return None, None
    return answer.status, parse_retry_after(answer.headers)


def _record(message: PushMessage, status: int | None, retry_after_s: float | None) -> bool:
    """Store what became of a notification; return whether it was taken."""
    if status is not None and status < HTTPStatus.MULTIPLE_CHOICES:
        message.delete()
        return True
    log.warning("push_not_sent", subscription=str(message.subscription_id), status=status, tries=message.tries + 1)
    if status in GONE:
        message.subscription.delete()
    elif status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in TRANSIENT:
        message.delete()  # refused: sending the same again helps nobody
    else:
        pause_s = max(backoff_s(message.tries + 1, base_s=RETRY_BASE_S, max_s=MAX_RETRY_S), retry_after_s or 0.0)
        at = timezone.now() + timedelta(seconds=pause_s)
        PushMessage.objects.filter(pk=message.pk).update(tries=message.tries + 1, next_try_at=at)
    return False
