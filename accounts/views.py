"""Log in and out, the caller's account, and API keys."""

from dataclasses import asdict

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ViewSet

from accounts.credentials import keys, tokens
from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from accounts.models import ApiKey
from accounts.serializers import (
    ApiKeySerializer,
    LoginSerializer,
    MeSerializer,
    NewApiKeySerializer,
    PasswordChangeSerializer,
    RefreshTokenSerializer,
    TokensSerializer,
    VerifySerializer,
)
from whatsapp_agent.api.fields import valid


class TokenViewSet(ViewSet):
    """Tokens of people: log in, refresh, verify, log out. Open to everyone; a header with credentials is not read."""

    authentication_classes = []

    def get_authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        return "Bearer"  # without it a refusal is 403

    @extend_schema(request=LoginSerializer, responses=TokensSerializer)
    @action(detail=False, methods=["post"], url_path="token", url_name="token")
    def log_in(self, request: Request) -> Response:
        """Log in with user name and password. Returns an access token and a refresh token."""
        return Response(asdict(tokens.log_in(request=request._request, **valid(LoginSerializer, request))))

    @extend_schema(request=RefreshTokenSerializer, responses=TokensSerializer)
    @action(detail=False, methods=["post"], url_path="token/refresh", url_name="token-refresh")
    def refresh(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair. Each refresh token works once."""
        return Response(asdict(tokens.refresh_tokens(**valid(RefreshTokenSerializer, request))))

    @extend_schema(request=VerifySerializer, responses={200: None})
    @action(detail=False, methods=["post"], url_path="token/verify", url_name="token-verify")
    def verify(self, request: Request) -> Response:
        """Verify a token: 200 if it is valid, else 401."""
        tokens.verify(**valid(VerifySerializer, request))
        return Response({})

    @extend_schema(request=RefreshTokenSerializer, responses={204: None})
    @action(detail=False, methods=["post"], url_path="logout", url_name="logout")
    def log_out(self, request: Request) -> Response:
        """Revoke a refresh token. Its access token stays valid until it expires."""
        tokens.log_out(**valid(RefreshTokenSerializer, request))
        return Response(status=204)


class MeViewSet(ViewSet):
    """The caller's own account."""

    @extend_schema(responses=MeSerializer)
    @action(detail=False)
    def me(self, request: Request) -> Response:
        """Return the caller's account."""
        return Response(MeSerializer(request.user, context={"request": request}).data)

    @extend_schema(request=PasswordChangeSerializer, responses=TokensSerializer)
    @me.mapping.patch
    def change_password(self, request: Request) -> Response:
        """Change your own password. Returns a new pair; all earlier tokens stop working."""
        form = valid(PasswordChangeSerializer, request)
        return Response(asdict(tokens.change_password(user=user_of(request), new_password=form["new_password"])))


@extend_schema_view(
    list=extend_schema(description="List your own API keys, also expired and revoked ones."),
    retrieve=extend_schema(description="Return one of your own API keys."),
)
class ApiKeyViewSet(ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """The caller's API keys. Only people create and revoke keys: a leaked key cannot create others."""

    serializer_class = ApiKeySerializer
    queryset = ApiKey.objects.none()  # for the schema

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(user=user_of(self.request))

    @extend_schema(responses={201: NewApiKeySerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Create a key. Only this response holds its secret."""
        key, text = keys.create_key(user=user_of(request), **valid(ApiKeySerializer, request))
        return Response({**ApiKeySerializer(key).data, "key": text}, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Revoke a key. It stops working at once; its record stays."""
        keys.revoke(self.get_object())
        return Response(status=204)
