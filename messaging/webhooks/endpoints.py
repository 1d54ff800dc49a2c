"""Webhook endpoints: URLs of customers that receive events, as https://www.standardwebhooks.com describes.

An endpoint reads the feed with the rights of its owner. `messaging.webhooks.deliveries` queues and records what is
sent to it.
"""

import base64
import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from messaging.events import feed
from messaging.events.types import ENDPOINT_DISABLED
from messaging.models import Event, WebhookEndpoint
from sessions_app.models import WhatsAppSession
from whatsapp_agent.errors import Conflict, InvalidInput, NotFound
from whatsapp_agent.http.outbound import UnsafeUrl, check_target

log = structlog.get_logger(__name__)

MAX_ENDPOINTS = 20  # of one user
SECRET_BYTES = 32
FORMER_SECRET_TTL = timedelta(hours=24)


def new_secret() -> str:
    """Return a random signing secret in the form of Standard Webhooks."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def check_url(url: str) -> None:
    """Raises UnsafeUrl for an invalid URL, and for a private network unless WEBHOOK_ALLOW_PRIVATE_NETWORKS is set."""
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
    """Create an endpoint that receives events from now on. The caller shows its `secret`, once.

    `sessions=None` means all sessions that the owner may see. Raises UnsafeUrl, InvalidInput or Conflict.
    """
    check_url(url)
    selected = _check_sessions(owner, sessions)
    User.objects.select_for_update().get(pk=owner.pk)
    if WebhookEndpoint.objects.filter(owner=owner).count() >= MAX_ENDPOINTS:
        raise Conflict(_("A user may have at most %(limit)s endpoints.") % {"limit": MAX_ENDPOINTS})
    position = feed.last_position()
    endpoint = WebhookEndpoint.objects.create(
        owner=owner,
        url=url,
        types=sorted(set(types)),
        description=description,
        secret=new_secret(),
        all_sessions=selected is None,
        read_transaction=position.transaction,
        read_event=position.id,
    )
    endpoint.sessions.set(selected or [])
    return endpoint


@transaction.atomic
def change_endpoint(endpoint: WebhookEndpoint, *, by: User, **changes: Any) -> WebhookEndpoint:
    """Change `url`, `types`, `sessions`, `description` or `is_enabled`. Raises UnsafeUrl or InvalidInput."""
    if "url" in changes:
        check_url(changes["url"])
    if "sessions" in changes:
        selected = _check_sessions(by, changes.pop("sessions"))
        endpoint.sessions.set(selected or [])
        endpoint.all_sessions = selected is None
    is_enabled = changes.pop("is_enabled", endpoint.is_enabled)
    for name, value in changes.items():
        setattr(endpoint, name, value)
    endpoint.save(update_fields=["all_sessions", "updated_at", *changes])
    if is_enabled != endpoint.is_enabled:
        (enable if is_enabled else disable)(endpoint)
    return endpoint


def _check_sessions(user: User, wanted: Collection[UUID] | None) -> list[WhatsAppSession] | None:
    """Return the sessions with these ids; None means all the user may see. Raises InvalidInput for one they may not."""
    visible = WhatsAppSession.objects.visible_to(user)
    if wanted is None:
        # An API key restricted to some sessions must not receive the others' events this way.
        return None if user.restricted_to is None else list(visible)
    found = list(visible.filter(pk__in=wanted))
    if len(found) != len(set(wanted)):
        raise InvalidInput(_("Number not found."), field="sessions")
    return found


def rotate_secret(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """Give the endpoint a new secret. Requests are signed with both secrets for FORMER_SECRET_TTL."""
    endpoint.former_secret = endpoint.secret
    endpoint.former_secret_until = timezone.now() + FORMER_SECRET_TTL
    endpoint.secret = new_secret()
    endpoint.save(update_fields=["secret", "former_secret", "former_secret_until", "updated_at"])
    return endpoint


def enable(endpoint: WebhookEndpoint) -> None:
    """Deliver to it again, beginning with the events it missed."""
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        is_enabled=True, disabled_reason="", disabled_at=None, failing_since=None, failures=0, next_try_at=None
    )
    endpoint.refresh_from_db()


def disable(endpoint: WebhookEndpoint, *, reason: str = "") -> None:
    """Stop delivering to it; its position in the feed stays. With a reason, its owner gets an event."""
    changed = WebhookEndpoint.objects.filter(pk=endpoint.pk, is_enabled=True).update(
        is_enabled=False, disabled_reason=reason[:200], disabled_at=timezone.now()
    )
    if changed and reason:
        data = {"endpoint": str(endpoint.pk), "reason": reason}
        Event.objects.create(type=ENDPOINT_DISABLED.name, user_id=endpoint.owner_id, data=data)
        log.warning("webhook_endpoint_disabled", endpoint=str(endpoint.pk))
    endpoint.refresh_from_db()


@transaction.atomic
def delete_endpoint(endpoint: WebhookEndpoint) -> None:
    """Delete it with its deliveries. A concurrent `send_test` waits for the row lock and then raises NotFound."""
    lock_endpoint(endpoint).delete()


def lock_endpoint(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    """Lock the endpoint's row. Raises NotFound when it was deleted."""
    locked = WebhookEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
    if locked is None:
        raise NotFound()
    return locked


def check_enabled(endpoint: WebhookEndpoint) -> None:
    """Raises Conflict when it is disabled."""
    if not endpoint.is_enabled:
        raise Conflict(_("The endpoint is disabled. Enable it first."))
