"""Authentication of API requests: JWT for people, API keys for programs."""

from functools import lru_cache
from typing import Any
from uuid import UUID

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from accounts.credentials import keys
from accounts.models import ApiKey, User
from whatsapp_agent.postgres.prepared import Statement


def user_of(request: Request) -> User:
    """Return the authenticated user of a request that passed MatrixPermission."""
    assert isinstance(request.user, User), "the permission lets anonymous callers in"
    return request.user


USER_COLUMNS = [field.attname for field in User._meta.concrete_fields]
# Runs with every API call: building this query in the ORM took longer than running it.
SELECT_ACTIVE_USER = Statement(f"""
SELECT {", ".join(USER_COLUMNS)},
       ARRAY(SELECT name FROM auth_group JOIN accounts_user_groups ON group_id = auth_group.id
              WHERE user_id = accounts_user.id)
  FROM accounts_user WHERE id = %(id)s AND is_active
""")  # noqa: S608  names of our columns


def user_of_token(token: Any) -> User | None:
    """Return the active user of a token; None if there is none or the password has changed since."""
    try:
        user_id = UUID(str(token.get(api_settings.USER_ID_CLAIM)))
    except ValueError:
        return None
    rows = SELECT_ACTIVE_USER.rows(id=user_id)
    if not rows:
        return None
    *values, group_names = rows[0]
    user = User.from_db("default", USER_COLUMNS, values)
    user.__dict__["group_names"] = group_names
    if token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
        return None
    return user


@lru_cache(maxsize=1000)
def _verified(raw_token: bytes) -> AccessToken:
    return AccessToken(raw_token)  # type: ignore[arg-type]


class InvalidCredentials(AuthenticationFailed):
    """Every 401 of the API has this text; `code` says which credentials were wrong."""

    default_detail = "Invalid authentication credentials"


class TokenRefused(InvalidCredentials):
    default_code = "token_not_valid"


class KeyRefused(InvalidCredentials):
    default_code = "key_not_valid"


def check_not_expired(token: Token) -> None:
    """Raises TokenError. The leeway, for clocks that differ, is for the time of issue; a token never lives longer."""
    token.check_exp(current_time=timezone.now() + token.get_token_backend().get_leeway())


class TokenAuthentication(JWTAuthentication):
    """`Authorization: Bearer <access token>`. The signature of a token is verified once and cached."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed as exc:  # a header of more or fewer than two parts
            raise exc if isinstance(exc, InvalidCredentials) else TokenRefused() from exc

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        return "Bearer"

    def get_raw_token(self, header: bytes) -> bytes | None:
        """Return the token after `Bearer`, written in any case (RFC 9110 section 11.1); None for another scheme."""
        scheme, *rest = header.split(maxsplit=1) or [b""]
        token: bytes | None = super().get_raw_token(b" ".join([scheme.capitalize(), *rest]))
        return token

    def get_validated_token(self, raw_token: bytes) -> Token:
        try:
            token = _verified(raw_token)
            check_not_expired(token)
        except (TokenError, OverflowError) as exc:  # OverflowError: an expiry beyond year 9999
            raise TokenRefused() from exc
        return token

    def get_user(self, validated_token: Any) -> Any:
        user = user_of_token(validated_token)
        if user is None:
            raise TokenRefused()
        return user


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key <prefix>.<secret>`."""

    keyword = b"api-key"

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        words = get_authorization_header(request).split()
        if not words or words[0].lower() != self.keyword:
            return None
        key = keys.authenticate_key(words[1].decode("latin-1")) if len(words) == 2 else None
        if key is None:
            raise KeyRefused()
        return key.user, key

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        return 'Api-Key realm="api"'
