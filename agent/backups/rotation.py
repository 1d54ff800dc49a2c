"""Rotate SECRET_KEY: a new one encrypts, the earlier ones are accepted until every row is encrypted anew."""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, models

from accounts.models import IdempotentRequest
from agent.backups.create import SECRETS
from sessions_app.encryption import EncryptedTextField
from whatsapp_agent.errors import Conflict
from whatsapp_agent.storage.encryption import decrypt, encrypt, is_current
from whatsapp_agent.storage.whole_file import whole_file

SECRET_BYTES = 48
LISTED = re.compile(r"[^\s,]+")  # what a comma-separated list can hold


def encrypted_columns() -> list[tuple[type[models.Model], str]]:
    """Return every column that SECRET_KEY encrypts."""
    fields = [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.local_concrete_fields
        if isinstance(field, EncryptedTextField)
    ]
    return [*fields, (IdempotentRequest, "answer")]


def start_rotation() -> str:
    """Write a new SECRET_KEY into secrets.env, the present one into SECRET_KEY_FALLBACKS. Return the file's name.

    Raises Conflict where the key comes from elsewhere, or an earlier rotation has not ended.
    """
    path = Path(settings.DATA_DIR) / SECRETS
    if settings.ENVIRONMENT.source("SECRET_KEY") != str(path):
        raise Conflict(
            "SECRET_KEY is set by the environment: set it to a new long random text there, the present one in "
            "SECRET_KEY_FALLBACKS, restart everything, then run rotate_secrets --encrypt."
        )
    if settings.SECRET_KEY_FALLBACKS:
        raise Conflict("A rotation is under way: run rotate_secrets --encrypt, then rotate_secrets --finish.")
    if not LISTED.fullmatch(settings.SECRET_KEY):
        raise Conflict("SECRET_KEY holds commas or spaces, which SECRET_KEY_FALLBACKS cannot: rotate it by hand.")
    _write(path, {"SECRET_KEY": secrets.token_urlsafe(SECRET_BYTES), "SECRET_KEY_FALLBACKS": settings.SECRET_KEY})
    return str(path)


def finish_rotation() -> None:
    """Remove SECRET_KEY_FALLBACKS from secrets.env. Raises Conflict while a row needs it."""
    if left := count_outdated():
        raise Conflict(f"{left} values are still encrypted with an earlier key: run rotate_secrets --encrypt first.")
    if not settings.SECRET_KEY_FALLBACKS:
        raise Conflict("No rotation is under way: SECRET_KEY_FALLBACKS is empty.")
    path = Path(settings.DATA_DIR) / SECRETS
    if settings.ENVIRONMENT.source("SECRET_KEY_FALLBACKS") != str(path):
        raise Conflict("SECRET_KEY_FALLBACKS is set by the environment: remove it there, then restart everything.")
    _write(path, {"SECRET_KEY_FALLBACKS": ""})


def _write(path: Path, values: dict[str, str]) -> None:
    lines = [line for line in path.read_text().splitlines() if line.partition("=")[0] not in values]
    lines += [f"{name}={value}" for name, value in values.items() if value]
    owner = path.stat()
    with whole_file(path, overwrite=True) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)


def count_outdated() -> int:
    return sum(1 for model, name in encrypted_columns() for _ in _outdated(model, name))


def encrypt_again() -> Iterator[None]:
    """Encrypt with SECRET_KEY what an earlier key has encrypted; yield for each value. Run again, it goes on.

    A value that is changed meanwhile is left: it has been encrypted by whoever changed it.
    """
    for model, name in encrypted_columns():
        table, column, key = (connection.ops.quote_name(each) for each in (model._meta.db_table, name, _key(model)))
        statement = f"UPDATE {table} SET {column} = %s WHERE {key} = %s AND {column} = %s"  # noqa: S608
        for pk, stored in _outdated(model, name):
            with connection.cursor() as cursor:
                cursor.execute(statement, [encrypt(decrypt(stored)), pk, stored])
            yield None


def _outdated(model: type[models.Model], name: str) -> list[tuple[Any, str]]:
    table, column, key = (connection.ops.quote_name(each) for each in (model._meta.db_table, name, _key(model)))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {key}, {column} FROM {table} WHERE {column} <> ''")  # noqa: S608
        return [(pk, stored) for pk, stored in cursor.fetchall() if not is_current(stored)]


def _key(model: type[models.Model]) -> str:
    assert model._meta.pk is not None
    return str(model._meta.pk.column)
