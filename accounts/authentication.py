"""Who is asking: a person with a token."""

from typing import Any
from uuid import UUID

from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.utils import get_md5_hash_password

from accounts.models import User


def user_of(request: Request) -> User:
    """Who is asking, where the permissions have seen to it that somebody is."""
    assert isinstance(request.user, User), "the route is open to nobody"
    return request.user


def holder_of(token: Any) -> User | None:
    """The active user a token was given to, under the password they have now; None when there is none."""
    try:
        user_id = UUID(str(token.get(api_settings.USER_ID_CLAIM)))
    except ValueError:
        return None
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None or token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
        return None
    return user


class TokenAuthentication(JWTAuthentication):
    """`Authorization: Bearer <access token>`."""

    def get_user(self, validated_token: Any) -> Any:
        user = holder_of(validated_token)
        if user is None:
            raise InvalidToken()
        return user
