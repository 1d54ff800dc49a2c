"""A model field for credentials, encrypted in the database."""

from typing import Any

from django.db import models

from whatsapp_agent.storage.encryption import decrypt, encrypt


class EncryptedTextField(models.TextField):
    """Text that is plain in Python and encrypted in the database. Queries cannot filter by it."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return encrypt(value) if value else value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:  # noqa: ARG002
        return decrypt(value) if value else value
