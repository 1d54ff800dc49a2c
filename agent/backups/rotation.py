"""Rotate the secrets of the installation.

SECRET_KEY: a new one encrypts, the earlier ones are accepted until every row is encrypted anew. The secrets in the
webhook addresses of the bridges: the former is accepted for a day. ADMIN_TOKEN_SECRET: the tokens that it signed end.
"""

import os
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection, models
from django.utils import timezone

from accounts.models import IdempotentRequest
from agent.backups.create import SECRETS
from agent.backups.key_holders import with_another_key
from agent.models import ALIVE_FOR
from sessions_app.bridges import FORMER_SECRET_TTL, renew_webhook_secret, setup_bridge
from sessions_app.encryption import EncryptedTextField
from sessions_app.models import Bridge
from whatsapp_agent.errors import Conflict
from whatsapp_agent.storage.encryption import decrypt, encrypt, is_current
from whatsapp_agent.storage.whole_file import whole_file

SECRET_BYTES = 48
HOUR = timedelta(hours=1)
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


def check_key_holders() -> None:
    """Raise Conflict while a process runs with another SECRET_KEY: it could not read what is encrypted anew."""
    if holders := with_another_key():
        raise Conflict(
            f"Still running with another SECRET_KEY: {', '.join(map(str, holders))}. They could not read what the "
            "present key encrypts. Restart them, then run this again (a process that was killed counts for "
            f"{ALIVE_FOR.seconds} s). --force does it nevertheless."
        )


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


def end_tokens() -> str:
    """Write a new ADMIN_TOKEN_SECRET into secrets.env. Return the file's name.

    Raises Conflict where the secret comes from elsewhere.
    """
    path = Path(settings.DATA_DIR) / SECRETS
    if settings.ENVIRONMENT.source("ADMIN_TOKEN_SECRET") != str(path):
        raise Conflict(
            "ADMIN_TOKEN_SECRET is set by the environment: set it to a new long random text there and restart "
            "everything. Then every access and refresh token ends, and whoever uses one logs in again."
        )
    _write(path, {"ADMIN_TOKEN_SECRET": secrets.token_urlsafe(SECRET_BYTES)})
    return str(path)


def may_renew_webhook_secret(bridge: Bridge) -> bool:
    """Return whether we keep the bridge's webhook secret: in its row, or in secrets.env."""
    if bridge.slug != Bridge.DEFAULT or not settings.WHATSAPP_WEBHOOK_SECRET:
        return True
    return bool(settings.ENVIRONMENT.source("WHATSAPP_WEBHOOK_SECRET") == str(Path(settings.DATA_DIR) / SECRETS))


def rotate_webhook_secret(bridge: Bridge) -> Iterator[str]:
    """Give a bridge a new webhook address and tell it; yield what was done, and what is left to do.

    Run again, it goes on: while the former secret is accepted it tells the bridge the present address once more.
    Raises BridgeFailed, with the new secret stored and the former accepted.
    """
    if not may_renew_webhook_secret(bridge):
        yield (
            f"{bridge.slug}: its secret is WHATSAPP_WEBHOOK_SECRET of the environment. Set a new one there and "
            f"restart; the former is accepted for {FORMER_SECRET_TTL // HOUR} hours. Then run manage.py setup_bridge."
        )
        return
    path = Path(settings.DATA_DIR) / SECRETS
    is_in_file = bridge.slug == Bridge.DEFAULT and bool(settings.WHATSAPP_WEBHOOK_SECRET)

    def keep(secret: str) -> None:
        if is_in_file:  # a process that dies before the row is stored: the next start stores it, with the former
            _write(path, {"WHATSAPP_WEBHOOK_SECRET": secret})

    is_simulator = bridge.slug == Bridge.SIMULATOR  # ours, and told by its row
    is_new = renew_webhook_secret(bridge, accepts_former=not is_simulator, keep=keep)
    bridge.refresh_from_db()
    if is_simulator:
        yield f"{bridge.slug}: it has a new secret."
        return
    assert bridge.former_webhook_secret_until is not None
    until = timezone.localtime(bridge.former_webhook_secret_until)
    beginning = "it has a new webhook address" if is_new else "it was given a new webhook address before"
    yield f"{bridge.slug}: {beginning}; the former is accepted until {until:%Y-%m-%d %H:%M %Z}."
    if not settings.PUBLIC_URL:
        yield f"{bridge.slug}: configure there this server's address, followed by {bridge.webhook_path}"
        return
    for line in setup_bridge(bridge):
        yield f"{bridge.slug}: {line}"


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
