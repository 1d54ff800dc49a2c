"""Encryption of secrets at rest, with a key derived from SECRET_KEY."""

import base64
from functools import cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


@cache
def _cipher(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"whatsapp-agent credentials").derive(
        secret_key.encode()
    )
    return Fernet(base64.urlsafe_b64encode(derived))


def encrypt(text: str) -> str:
    return _cipher(settings.SECRET_KEY).encrypt(text.encode()).decode()


def decrypt(text: str) -> str:
    """Return the plain text. Raises ImproperlyConfigured if no known SECRET_KEY has encrypted it."""
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _cipher(key).decrypt(text.encode()).decode()
        except InvalidToken:
            continue
    raise ImproperlyConfigured(
        "SECRET_KEY is not the one that credentials, webhook secrets and stored responses were encrypted with. "
        "Set the previous one again, or name it in SECRET_KEY_FALLBACKS."
    )


def is_current(text: str) -> bool:
    """Return whether SECRET_KEY itself has encrypted it, and no earlier one."""
    try:
        _cipher(settings.SECRET_KEY).decrypt(text.encode())
    except InvalidToken:
        return False
    return True
