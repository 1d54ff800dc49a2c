"""Who logs in, as the API shows and takes them."""

from typing import Any

from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as DjangoValidationError
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from accounts.models import User
from whatsapp_agent.api import StrictFields


class LoginSerializer(StrictFields):
    username = serializers.CharField(max_length=150, write_only=True)
    password = serializers.CharField(max_length=1024, write_only=True, trim_whitespace=False)


class RefreshTokenSerializer(StrictFields):
    refresh = serializers.CharField(max_length=4096, write_only=True)


class VerifySerializer(StrictFields):
    token = serializers.CharField(max_length=4096, write_only=True, help_text="An access token or a refresh token.")


class TokensSerializer(serializers.Serializer):
    access = serializers.CharField(help_text="Goes into `Authorization: Bearer …` and is short-lived.")
    refresh = serializers.CharField(help_text="Gives a new pair once, at `auth/token/refresh/`.")


class MeSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["id", "username", "first_name", "last_name", "email", "is_staff", "last_login", "date_joined"]
        read_only_fields = fields


class PasswordChangeSerializer(StrictFields):
    """A new password, and the present one as proof that it is the same person."""

    current_password = serializers.CharField(max_length=1024, write_only=True, trim_whitespace=False)
    new_password = serializers.CharField(max_length=1024, write_only=True, trim_whitespace=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        user = self.context["request"].user
        if authenticate(username=user.get_username(), password=attrs["current_password"]) != user:
            raise ValidationError({"current_password": ["This is not your password."]})
        try:
            validate_password(attrs["new_password"], user=user)
        except DjangoValidationError as exc:
            raise ValidationError({"new_password": exc.messages}) from exc
        return attrs
