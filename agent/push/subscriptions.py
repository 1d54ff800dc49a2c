"""Browsers that are sent notifications: https://www.w3.org/TR/push-api/. The key pair is made once, and stored."""

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from django.conf import settings
from django.db import transaction
from webpush import WebPush
from webpush.vapid import VAPID

from accounts.models import User
from agent.models import PushSender, PushSubscription
from messaging.events import feed
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.http.outbound import UnsafeUrl, check_target

MAX_SUBSCRIPTIONS = 20  # of one user; the oldest are dropped
MAX_ENDPOINT_LENGTH = 1000
AUTH_BYTES = 16


def sender() -> PushSender:
    """Return the row with our key pair, made when it is first needed."""
    row = PushSender.objects.filter(pk=1).first()
    if row is None:
        private_key, _, _ = VAPID.generate_keys()
        row, _ = PushSender.objects.get_or_create(pk=1, defaults={"private_key": private_key.decode()})
    return row


def public_key() -> str:
    """Return our public key as browsers take it (`applicationServerKey`)."""
    return VAPID.get_application_server_key(_public_key_of(sender()))


def load_encoder(*, contact: str, ttl_s: int) -> WebPush:
    """Return what encrypts a message for a browser and signs its request. `contact` is our e-mail address."""
    row = sender()
    public = _public_key_of(row).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return WebPush(private_key=row.private_key.encode(), public_key=public, subscriber=contact, ttl=ttl_s)


def _public_key_of(row: PushSender) -> ec.EllipticCurvePublicKey:
    key = load_pem_private_key(row.private_key.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.public_key()


@transaction.atomic
def subscribe(*, user: User, endpoint: str, p256dh: str, auth: str) -> PushSubscription:
    """Send the user's notifications to a browser; one that another user has used is theirs from now on.

    Raises UnsafeUrl for an endpoint that is not a public https address, InvalidInput for unusable keys.
    """
    check_endpoint(endpoint)
    _check_keys(p256dh, auth)
    row = PushSender.objects.select_for_update().get(pk=sender().pk)
    if not PushSubscription.objects.exists():  # what has happened before is not told
        position = feed.last_position()
        PushSender.objects.filter(pk=row.pk).update(read_transaction=position.transaction, read_event=position.id)
    subscription, _ = PushSubscription.objects.update_or_create(
        endpoint=endpoint, defaults={"user": user, "p256dh": p256dh, "auth": auth}
    )
    newest = PushSubscription.objects.filter(user=user).order_by("-created_at", "-id").values_list("pk", flat=True)
    PushSubscription.objects.filter(pk__in=list(newest[MAX_SUBSCRIPTIONS:])).delete()
    return subscription


def unsubscribe(*, user: User, endpoint: str) -> None:
    """Send nothing to this browser of the user any more."""
    PushSubscription.objects.filter(user=user, endpoint=endpoint).delete()


def check_endpoint(endpoint: str) -> None:
    """Raises UnsafeUrl unless it is https at a public address; WEBHOOK_ALLOW_PRIVATE_NETWORKS allows others."""
    if len(endpoint) > MAX_ENDPOINT_LENGTH:
        raise UnsafeUrl("The address is too long.", field="endpoint")
    if not endpoint.startswith("https://") and not settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS:
        raise UnsafeUrl("The address must begin with https://.", field="endpoint")
    try:
        check_target(endpoint, allow_private=settings.WEBHOOK_ALLOW_PRIVATE_NETWORKS)
    except UnsafeUrl as exc:
        exc.field = "endpoint"
        raise


def _check_keys(p256dh: str, auth: str) -> None:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _decode(p256dh))
        is_valid = len(_decode(auth)) == AUTH_BYTES
    except (ValueError, binascii.Error):
        is_valid = False
    if not is_valid:
        raise InvalidInput("The browser's keys cannot be used.", field="p256dh")


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
