"""Credentials at rest, as a model field."""

from typing import Any

from django.db import models

from whatsapp_agent.encryption import decrypt, encrypt


class EncryptedTextField(models.TextField):
    """A text that is plain in Python and encrypted in the database. It cannot be filtered by."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return encrypt(value) if value else value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:  # noqa: ARG002
        return decrypt(value) if value else value
