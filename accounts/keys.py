"""API keys: made, shown once, recognised, taken back."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, User, names_of_groups

PREFIX_LENGTH = 12
LAST_USED_RESOLUTION = timedelta(minutes=1)
SHAPE = re.compile(r"[0-9a-f]{12}\.[A-Za-z0-9_-]{43}")
NO_SECRET = hashlib.sha256(b"").digest()


def create_key(
    *,
    user: User,
    name: str,
    scopes: Iterable[str],
    session_ids: Iterable[UUID] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, `<prefix>.<secret>`, which cannot be had again.

    The secret has 256 random bits: it cannot be guessed from its hash, and a slow hash would only slow us down.
    """
    secret = secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=secrets.token_hex(PREFIX_LENGTH // 2),
        secret_hash=_hash(secret),
        scopes=sorted(set(scopes)),
        session_ids=list(dict.fromkeys(session_ids)),
        expires_at=expires_at,
    )
    return key, f"{key.prefix}.{secret}"


def recognise(text: str) -> ApiKey | None:
    """The usable key of this text, with its user; None when there is none. Takes as long for a wrong secret."""
    if not SHAPE.fullmatch(text):
        return None
    prefix, secret = text.split(".")
    found = ApiKey.objects.usable().select_related("user").annotate(group_names=names_of_groups("user__groups__name"))
    key = found.filter(prefix=prefix).first()
    is_right = hmac.compare_digest(bytes(key.secret_hash) if key else NO_SECRET, _hash(secret))
    if key is None or not is_right:
        return None
    key.user.group_names = key.group_names
    key.user.restricted_to = frozenset(key.session_ids) or None
    _note_use(key)
    return key


def _note_use(key: ApiKey) -> None:
    """Once a minute at most: a busy key must not cost a write with each request."""
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at < now - LAST_USED_RESOLUTION:
        long_ago = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_RESOLUTION)
        ApiKey.objects.filter(long_ago, pk=key.pk).update(last_used_at=now)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def revoke(key: ApiKey) -> None:
    """The key stops working at once, for good; its record stays."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
