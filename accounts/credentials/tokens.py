"""Tokens: log in, refresh, verify, log out."""

from dataclasses import dataclass

from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken, Token, UntypedToken

from accounts.credentials.authentication import InvalidCredentials, TokenRefused, check_not_expired, user_of_token
from accounts.models import User
from whatsapp_agent.periodic import periodic

PURGE_BATCH_SIZE = 500


class WrongCredentials(InvalidCredentials):
    default_code = "wrong_credentials"


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str
    refresh: str


def log_in(*, request: HttpRequest, username: str, password: str) -> Tokens:
    """Return new tokens. Raises LockedOut or WrongCredentials (wrong name, wrong password or inactive user)."""
    user = authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        raise WrongCredentials()
    update_last_login(User, user)
    return tokens_for(user)


def tokens_for(user: User) -> Tokens:
    refresh = RefreshToken.for_user(user)
    return Tokens(access=str(refresh.access_token), refresh=str(refresh))


@transaction.atomic
def refresh_tokens(*, refresh: str) -> Tokens:
    """Exchange a refresh token, once, for a new pair. Raises TokenRefused.

    Not simplejwt's serializer: it does not check for a changed password, and gives two concurrent calls a pair each.
    """
    token = _read(RefreshToken, refresh)
    user = _holder(token)
    if not _blacklist(token):
        raise TokenRefused()
    return tokens_for(user)


def log_out(*, refresh: str) -> None:
    """Revoke a refresh token; revoking it twice is no error. Raises TokenRefused if it is not valid."""
    try:
        token = RefreshToken(refresh)  # type: ignore[arg-type]
    except TokenError as exc:
        if "blacklisted" in str(exc):
            return
        raise TokenRefused() from exc
    _blacklist(token)


def verify(*, token: str) -> None:
    """Raises TokenRefused if an access or refresh token is not valid now."""
    read = _read(UntypedToken, token)
    _holder(read)
    if BlacklistedToken.objects.filter(token__jti=read[api_settings.JTI_CLAIM]).exists():
        raise TokenRefused()


def _read(kind: type[Token], token: str) -> Token:
    try:
        read = kind(token)  # type: ignore[arg-type]
        check_not_expired(read)
    except (TokenError, OverflowError) as exc:
        raise TokenRefused() from exc
    return read


def _holder(token: Token) -> User:
    user = user_of_token(token)
    if user is None:
        raise TokenRefused()
    return user


@transaction.atomic
def _blacklist(token: Token) -> bool:
    """Blacklist a token; return True to one of several concurrent calls."""
    outstanding = OutstandingToken.objects.select_for_update().filter(jti=token[api_settings.JTI_CLAIM]).first()
    if outstanding is None:  # its user was deleted
        return False
    _, is_new = BlacklistedToken.objects.get_or_create(token=outstanding)
    return is_new


def change_password(*, user: User, new_password: str) -> Tokens:
    """Set the password; return a new pair. All earlier tokens stop working."""
    user.set_password(new_password)
    user.save(update_fields=["password"])
    return tokens_for(user)


@periodic(every_s=5)
def purge() -> None:
    """Delete expired refresh tokens, the oldest first."""
    oldest = OutstandingToken.objects.order_by("id").values_list("id", "expires_at")[:PURGE_BATCH_SIZE]
    expired = [token_id for token_id, expires_at in oldest if expires_at <= timezone.now()]
    if expired:
        OutstandingToken.objects.filter(pk__in=expired).delete()
