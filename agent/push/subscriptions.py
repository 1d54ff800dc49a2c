"""Browsers that are sent notifications: https://www.w3.org/TR/push-api/. The key pair is made once, and stored."""

import base64
import binascii
from collections.abc import Iterable
from email.utils import parseaddr
from importlib import import_module
from time import time
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.db import transaction
from django.utils.crypto import constant_time_compare
from pydantic import AnyHttpUrl, ValidationError
from webpush import WebPush, WebPushSubscription
from webpush.types import WebPushKeys
from webpush.vapid import VAPID

from accounts.models import User
from agent.models import PushSender, PushSubscription
from messaging.events import feed
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.http.outbound import UnsafeUrl, check_target

MAX_SUBSCRIPTIONS = 20  # of one user; the oldest are dropped
MAX_ENDPOINT_LENGTH = 1000
AUTH_BYTES = 16
LOCAL_DOMAINS = {"localhost", "localdomain", "local", "internal"}  # by their last label
NO_CONTACT = "mailto:whatsapp-agent@localhost"  # refused by Apple, taken by others


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


class _Signer(VAPID):  # type: ignore[misc]
    """Signs for any contact; the library's own signer takes e-mail addresses alone."""

    def get_authorization_header(self, endpoint: AnyHttpUrl, subscriber: str, expiration: int) -> str:
        claims = {"aud": f"{endpoint.scheme}://{endpoint.host}", "exp": int(time()) + expiration, "sub": subscriber}
        token = jwt.encode(claims, self.private_key, algorithm="ES256")
        return f"vapid t={token}, k={self.get_application_server_key(self.public_key)}"


def load_encoder(*, ttl_s: int) -> WebPush:
    """Return what encrypts a message for a browser and signs its request."""
    row = sender()
    private = row.private_key.encode()
    public = _public_key_of(row).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    encoder = WebPush(private_key=private, public_key=public, subscriber=public_contact() or NO_CONTACT, ttl=ttl_s)
    encoder.vapid = _Signer(private_key=private, public_key=public)
    return encoder


def public_contact() -> str:
    """Return where push services can reach who runs this (`sub` of RFC 8292); empty if no setting names it.

    Apple answers 403 to a contact at localhost.
    """
    url = urlsplit(settings.PUBLIC_URL)
    if url.scheme == "https" and _is_public_name(url.hostname or ""):
        return str(settings.PUBLIC_URL)
    email = parseaddr(settings.DEFAULT_FROM_EMAIL)[1]
    return f"mailto:{email}" if _is_public_name(email.rpartition("@")[2]) and "@" in email else ""


def _is_public_name(host: str) -> bool:
    return "." in host and host.lower().rstrip(".").rpartition(".")[2] not in LOCAL_DOMAINS


def _public_key_of(row: PushSender) -> ec.EllipticCurvePublicKey:
    key = load_pem_private_key(row.private_key.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.public_key()


def subscribe(*, user: User, login: str, endpoint: str, p256dh: str, auth: str) -> PushSubscription:
    """Send the user's notifications to a browser, for as long as the login lasts (the key of a session of Django).

    One that another user has used is theirs from now on. Raises UnsafeUrl for an endpoint that is not a public https
    address, InvalidInput for one that nobody can have and for unusable keys.
    """
    check_endpoint(endpoint)  # looks its host up, for as long as that takes: before the transaction
    parse_subscription(endpoint=endpoint, p256dh=p256dh, auth=auth)
    return _store(user=user, login=login, endpoint=endpoint, p256dh=p256dh, auth=auth)


@transaction.atomic
def _store(*, user: User, login: str, endpoint: str, p256dh: str, auth: str) -> PushSubscription:
    row = PushSender.objects.select_for_update().get(pk=sender().pk)
    if not PushSubscription.objects.exists():  # what has happened before is not told
        position = feed.last_position()
        PushSender.objects.filter(pk=row.pk).update(read_transaction=position.transaction, read_event=position.id)
    values = {"user": user, "login": login, "p256dh": p256dh, "auth": auth, "refused_status": None}
    subscription, _ = PushSubscription.objects.update_or_create(endpoint=endpoint, defaults=values)
    newest = PushSubscription.objects.filter(user=user).order_by("-created_at", "-id").values_list("pk", flat=True)
    PushSubscription.objects.filter(pk__in=list(newest[MAX_SUBSCRIPTIONS:])).delete()
    return subscription


def is_logged_in(subscription: PushSubscription) -> bool:
    """Return whether the login of a browser still holds: it has neither expired, nor another user or password since."""
    user = subscription.user
    login = import_module(settings.SESSION_ENGINE).SessionStore(subscription.login or None).load()
    digests = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    is_same_user = login.get(SESSION_KEY) == str(user.pk)
    return is_same_user and any(constant_time_compare(login.get(HASH_SESSION_KEY, ""), each) for each in digests)


def unsubscribe(*, user: User, endpoint: str) -> None:
    """Send nothing to this browser of the user any more."""
    PushSubscription.objects.filter(user=user, endpoint=endpoint).delete()


def unsubscribe_all(*, user: User, ids: Iterable[str]) -> None:
    """Send nothing to these browsers any more; those that another user has taken over stay."""
    PushSubscription.objects.filter(user=user, pk__in=list(ids)).delete()


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


def parse_subscription(*, endpoint: str, p256dh: str, auth: str) -> WebPushSubscription:
    """Return the subscription as what encrypts takes it. Looks no host up. Raises InvalidInput if it cannot be used."""
    _check_keys(p256dh, auth)
    try:
        return WebPushSubscription(endpoint=AnyHttpUrl(endpoint), keys=WebPushKeys(auth=auth, p256dh=p256dh))
    except ValidationError:  # its text holds the endpoint
        raise InvalidInput("The address cannot be used.", field="endpoint") from None


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
