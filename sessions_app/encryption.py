"""Credentials at rest: encrypted with a key made from SECRET_KEY."""

import base64
from functools import cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models


@cache
def _cipher(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"whatsapp-agent credentials").derive(
        secret_key.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))


class EncryptedTextField(models.TextField):
    """A text that is plain in Python and encrypted in the database. It cannot be filtered by."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return _cipher(settings.SECRET_KEY).encrypt(value.encode()).decode() if value else value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:  # noqa: ARG002
        if not value:
            return value
        try:
            return _cipher(settings.SECRET_KEY).decrypt(value.encode()).decode()
        except InvalidToken as exc:
            raise ImproperlyConfigured(
                "SECRET_KEY is not the one the bridges' credentials were kept with; bring the former one back."
            ) from exc
