"""Log in and out: tokens given, renewed once, and taken back."""

from dataclasses import dataclass

from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken, Token, UntypedToken

from accounts.authentication import holder_of
from accounts.models import User
from whatsapp_agent.periodic import periodic

PURGE_BATCH_SIZE = 500


class TokenRefused(AuthenticationFailed):
    default_code = "token_not_valid"
    default_detail = "The token is not valid, or no longer."


class WrongCredentials(AuthenticationFailed):
    default_code = "wrong_credentials"
    default_detail = "No active account has this name and this password."


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str
    refresh: str


def log_in(*, request: HttpRequest, username: str, password: str) -> Tokens:
    """Raises WrongCredentials, alike for a wrong name, a wrong password and a deactivated account; or LockedOut."""
    user = authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        raise WrongCredentials()
    update_last_login(User, user)
    return tokens_for(user)


def tokens_for(user: User) -> Tokens:
    refresh = RefreshToken.for_user(user)
    return Tokens(access=str(refresh.access_token), refresh=str(refresh))


@transaction.atomic
def renew_tokens(*, refresh: str) -> Tokens:
    """A new pair for a refresh token, which is used up by that. Raises TokenRefused.

    The library's own way does not look at the password the token was given under, and lets two calls that come at
    once both have a pair.
    """
    token = _read(RefreshToken, refresh)
    user = _holder(token)
    if not _use_up(token):
        raise TokenRefused()
    return tokens_for(user)


def log_out(*, refresh: str) -> None:
    """Take a refresh token back; fine when that was done before. Raises TokenRefused when it never was one of ours."""
    try:
        token = RefreshToken(refresh)  # type: ignore[arg-type]
    except TokenError as exc:
        if "blacklisted" in str(exc):
            return
        raise TokenRefused() from exc
    _use_up(token)


def verify(*, token: str) -> None:
    """Raises TokenRefused when a token, access or refresh, would not be taken now."""
    read = _read(UntypedToken, token)
    _holder(read)
    if BlacklistedToken.objects.filter(token__jti=read[api_settings.JTI_CLAIM]).exists():
        raise TokenRefused()


def _read(kind: type[Token], token: str) -> Token:
    try:
        return kind(token)  # type: ignore[arg-type]
    except TokenError as exc:
        raise TokenRefused() from exc


def _holder(token: Token) -> User:
    user = holder_of(token)
    if user is None:
        raise TokenRefused()
    return user


@transaction.atomic
def _use_up(token: Token) -> bool:
    """Whether it was this call that used the token up; of several at once only one is told so."""
    outstanding = OutstandingToken.objects.select_for_update().filter(jti=token[api_settings.JTI_CLAIM]).first()
    if outstanding is None:  # its row goes with its user
        return False
    _, is_new = BlacklistedToken.objects.get_or_create(token=outstanding)
    return is_new


def change_password(*, user: User, new_password: str) -> Tokens:
    """Every token given before stops working; the answer is a new pair."""
    user.set_password(new_password)
    user.save(update_fields=["password"])
    return tokens_for(user)


@periodic(every_s=5)
def purge() -> None:
    """Forget refresh tokens that have expired, the oldest first: used up or not, they open nothing."""
    oldest = OutstandingToken.objects.order_by("id").values_list("id", "expires_at")[:PURGE_BATCH_SIZE]
    expired = [token_id for token_id, expires_at in oldest if expires_at <= timezone.now()]
    if expired:
        OutstandingToken.objects.filter(pk__in=expired).delete()
