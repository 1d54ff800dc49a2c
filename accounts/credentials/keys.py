"""API keys: create, authenticate, revoke."""

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
KEY_PATTERN = re.compile(r"[0-9a-f]{12}\.[A-Za-z0-9_-]{43}")
EMPTY_HASH = hashlib.sha256(b"").digest()


def create_key(
    *,
    user: User,
    name: str,
    scopes: Iterable[str],
    session_ids: Iterable[UUID] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key; return it and its text, `<prefix>.<secret>`, which cannot be shown again.

    The secret has 256 random bits, so a fast hash is safe.
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


def authenticate_key(text: str) -> ApiKey | None:
    """Return the usable key with its user; None if there is none. Constant time for a wrong secret."""
    if not KEY_PATTERN.fullmatch(text):
        return None
    prefix, secret = text.split(".")
    keys = ApiKey.objects.usable().select_related("user").annotate(group_names=names_of_groups("user__groups__name"))
    key = keys.filter(prefix=prefix).first()
    is_right = hmac.compare_digest(bytes(key.secret_hash) if key else EMPTY_HASH, _hash(secret))
    if key is None or not is_right:
        return None
    key.user.group_names = key.group_names
    key.user.restricted_to = frozenset(key.session_ids) or None
    _record_use(key)
    return key


def _record_use(key: ApiKey) -> None:
    """Set `last_used_at`, at most once a minute: a busy key must not cost a write per request."""
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at < now - LAST_USED_RESOLUTION:
        is_stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_RESOLUTION)
        ApiKey.objects.filter(is_stale, pk=key.pk).update(last_used_at=now)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def revoke(key: ApiKey) -> None:
    """Revoke a key for good; its record stays."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
