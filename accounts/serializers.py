"""Serializers of tokens, users and API keys."""

from datetime import datetime
from typing import Any

from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from accounts.models import ApiKey, Role, Scope, User
from whatsapp_agent.api.fields import StrictSerializer


class LoginSerializer(StrictSerializer):
    username = serializers.CharField(max_length=150, write_only=True)
    password = serializers.CharField(max_length=1024, write_only=True, trim_whitespace=False)


class RefreshTokenSerializer(StrictSerializer):
    refresh = serializers.CharField(max_length=4096, write_only=True)


class VerifySerializer(StrictSerializer):
    token = serializers.CharField(max_length=4096, write_only=True, help_text="An access token or a refresh token.")


class TokensSerializer(serializers.Serializer):
    access = serializers.CharField(help_text="Send it as `Authorization: Bearer …`. Short-lived.")
    refresh = serializers.CharField(help_text="Exchange it once for a new pair at `auth/token/refresh/`.")


class PasswordChangeSerializer(StrictSerializer):
    """The current and the new password."""

    always_whole = True  # for the schema: this PATCH requires both
    current_password = serializers.CharField(max_length=1024, write_only=True, trim_whitespace=False)
    new_password = serializers.CharField(max_length=1024, write_only=True, trim_whitespace=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        user = self.context["request"].user
        if (
            authenticate(self.context["request"], username=user.get_username(), password=attrs["current_password"])
            != user
        ):
            raise ValidationError({"current_password": ["Wrong password."]})
        try:
            validate_password(attrs["new_password"], user=user)
        except DjangoValidationError as exc:
            raise ValidationError({"new_password": exc.messages}) from exc
        return attrs


class ApiKeySerializer(StrictSerializer, serializers.ModelSerializer):
    """An API key, without its secret."""

    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices), min_length=1, max_length=len(Scope))
    sessions = serializers.ListField(
        source="session_ids",
        child=serializers.UUIDField(),
        required=False,
        max_length=1000,
        help_text="Ids of the sessions it may see. Empty: all that you see.",
    )

    class Meta:
        model = ApiKey
        fields = [
            "id",
            "name",
            "prefix",
            "scopes",
            "sessions",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "created_at",
        ]
        read_only_fields = ["prefix", "revoked_at", "last_used_at"]

    def validate_expires_at(self, expires_at: datetime | None) -> datetime | None:
        if expires_at is not None and expires_at <= timezone.now():
            raise ValidationError("Must be in the future.")
        return expires_at


class MeSerializer(serializers.ModelSerializer):
    email = serializers.CharField(help_text="Empty if unknown.")
    role = serializers.SerializerMethodField()
    key = serializers.SerializerMethodField(help_text="The API key of this request; null with a token.")

    class Meta:
        model = User
        fields = [
            "id",
            "username",
            "first_name",
            "last_name",
            "email",
            "role",
            "is_staff",
            "last_login",
            "date_joined",
            "key",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField([role.name.lower() for role in Role]))
    def get_role(self, user: User) -> str:
        return user.role.name.lower()

    def get_key(self, user: User) -> ApiKeySerializer(allow_null=True):  # type: ignore[valid-type]  # noqa: ARG002
        key = self.context["request"].auth
        return ApiKeySerializer(key).data if isinstance(key, ApiKey) else None


class NewApiKeySerializer(ApiKeySerializer):
    """A new API key, with its secret."""

    key = serializers.CharField(help_text="Send it as `Authorization: Api-Key …`. It cannot be shown again.")

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields
