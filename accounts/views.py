"""Logging in and out, one's own account, and API keys."""

from dataclasses import asdict

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts import keys, tokens
from accounts.authentication import user_of
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


class LoginView(APIView):
    """Log in."""

    authentication_classes = []

    def get_authenticate_header(self, request: Request) -> str:  # noqa: ARG002
        return 'Bearer realm="api"'  # without it a refusal would be 403


class TokenView(LoginView):
    @extend_schema(request=LoginSerializer, responses=TokensSerializer)
    def post(self, request: Request) -> Response:
        """Log in with a name and a password; gives an access token and a refresh token."""
        return Response(asdict(tokens.log_in(request=request._request, **valid(LoginSerializer, request))))


class TokenRefreshView(LoginView):
    @extend_schema(request=RefreshTokenSerializer, responses=TokensSerializer)
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair. The old one is used up."""
        return Response(asdict(tokens.renew_tokens(**valid(RefreshTokenSerializer, request))))


class TokenVerifyView(LoginView):
    @extend_schema(request=VerifySerializer, responses={200: None})
    def post(self, request: Request) -> Response:
        """200 when the token would be taken now, 401 otherwise."""
        tokens.verify(**valid(VerifySerializer, request))
        return Response({})


class LogoutView(LoginView):
    @extend_schema(request=RefreshTokenSerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        """Take a refresh token back. Access tokens given for it end by themselves, soon."""
        tokens.log_out(**valid(RefreshTokenSerializer, request))
        return Response(status=204)


class MeView(APIView):
    @extend_schema(responses=MeSerializer)
    def get(self, request: Request) -> Response:
        """The account that is asking."""
        return Response(MeSerializer(request.user, context={"request": request}).data)

    @extend_schema(request=PasswordChangeSerializer, responses=TokensSerializer)
    def patch(self, request: Request) -> Response:
        """Change your own password. Every token given before stops working; here is a new pair."""
        form = valid(PasswordChangeSerializer, request)
        return Response(asdict(tokens.change_password(user=user_of(request), new_password=form["new_password"])))


@extend_schema_view(
    list=extend_schema(description="Your own API keys, also expired and revoked ones."),
    retrieve=extend_schema(description="One of your own API keys."),
)
class ApiKeyViewSet(ListModelMixin, RetrieveModelMixin, GenericViewSet):
    """Your own API keys. Only a person makes and revokes keys: a key that leaked makes no others."""

    serializer_class = ApiKeySerializer
    queryset = ApiKey.objects.none()  # for the schema

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(user=user_of(self.request))

    @extend_schema(responses={201: NewApiKeySerializer})
    @idempotent
    def create(self, request: Request) -> Response:
        """Make a key. Its secret is in this answer and nowhere else."""
        key, text = keys.create_key(user=user_of(request), **valid(ApiKeySerializer, request))
        return Response({**ApiKeySerializer(key).data, "key": text}, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Revoke a key: it stops working at once, and its record stays."""
        keys.revoke(self.get_object())
        return Response(status=204)
