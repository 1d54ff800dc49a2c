"""Restore a backup: verify all of it first, then replace the database in one transaction, or nothing."""

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from django.conf import settings
from django.db import connection
from packaging.version import InvalidVersion, Version

from agent.backups.create import DATABASE, FORMAT, MANIFEST, MEDIA, SECRET_NAMES, SECRETS, run_postgres
from agent.server.version import newest_migrations
from whatsapp_agent.errors import Conflict, InvalidInput
from whatsapp_agent.private_files import mend
from whatsapp_agent.sealed_file import MAGIC, SealedReader
from whatsapp_agent.version import VERSION

MAX_MANIFEST_BYTES = 256 * 1024 * 1024
COPY_BYTES = 1024 * 1024
# Everything of the schema but what belongs to an extension.
EMPTY_DATABASE = """
DO $$ DECLARE item record; BEGIN
    FOR item IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', item.tablename);
    END LOOP;
    FOR item IN SELECT oid::regprocedure AS name FROM pg_proc
                 WHERE pronamespace = current_schema()::regnamespace
                   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', item.name);
    END LOOP;
END $$;
CREATE EXTENSION IF NOT EXISTS vector;
"""
# What was to be sent when the backup was made has most likely been sent since: a person decides. Nobody holds a lease.
SETTLE = """
SET search_path = public;
UPDATE messaging_conversation SET lease_token = NULL, lease_expires_at = NULL WHERE lease_token IS NOT NULL;
UPDATE messaging_message SET status = 'unconfirmed', error_code = 'restored',
       error = 'Restored from a backup: it may have been sent since.'
 WHERE direction = 'outbound' AND status IN ('queued', 'sending');
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """A verified archive, unpacked into a private directory."""

    directory: Path
    manifest: dict[str, Any]

    @property
    def secrets(self) -> dict[str, str]:
        lines = (self.directory / SECRETS).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@contextmanager
def verified(path: Path, *, passphrase: str = "") -> Iterator[Archive]:
    """Unpack the archive beside the data, and verify it. Raises InvalidInput if it cannot be restored here."""
    settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix="restore-") as name, path.open("rb") as file:
        directory = Path(name)
        is_sealed = file.read(len(MAGIC)) == MAGIC
        if is_sealed and not passphrase:
            raise InvalidInput("This backup is encrypted: give its passphrase.")
        if not is_sealed:
            file.seek(0)
        source = SealedReader(file, passphrase) if is_sealed else file
        try:
            digests = _unpack(cast(IO[bytes], source), directory)
        except (tarfile.TarError, EOFError) as exc:
            raise InvalidInput(f"{path} is not a whole backup: {exc}.") from exc
        yield Archive(directory, _checked_manifest(directory, digests, path=path))


def _unpack(source: IO[bytes], directory: Path) -> dict[str, str]:
    digests: dict[str, str] = {}
    with tarfile.open(mode="r|", fileobj=source) as archive:
        for entry in archive:
            name = PurePosixPath(entry.name)
            is_ours = entry.name in {DATABASE, SECRETS, MANIFEST} or entry.name.startswith(MEDIA)
            leads_out = name.is_absolute() or ".." in name.parts or "\\" in entry.name or "\0" in entry.name
            if not entry.isfile() or not is_ours or leads_out or entry.name in digests:
                raise InvalidInput(f"The archive is refused: {entry.name!r} does not belong into a backup.")
            target = directory / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            content, digest = archive.extractfile(entry), hashlib.sha256()
            assert content is not None
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                while data := content.read(COPY_BYTES):
                    digest.update(data)
                    copy.write(data)
            digests[entry.name] = digest.hexdigest()
    while source.read(COPY_BYTES):  # to the end, so that a shortened encrypted file is noticed
        pass
    return digests


def _checked_manifest(directory: Path, digests: dict[str, str], *, path: Path) -> dict[str, Any]:
    digests.pop(MANIFEST, None)
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        expected, version = dict(manifest["sha256"]), Version(manifest["version"])
        migrations = dict(manifest["migrations"])
    except FileNotFoundError as exc:
        raise InvalidInput(f"{path} is not a whole backup: its end is missing.") from exc
    except (ValueError, KeyError, TypeError, InvalidVersion) as exc:
        raise InvalidInput(f"{path} is not a backup of this project.") from exc
    if manifest.get("format") != FORMAT or version > Version(VERSION):
        raise InvalidInput(
            f"The backup is of version {version}, newer than this one ({VERSION}). Install that version."
        )
    known = newest_migrations()
    if any(int(name[:4]) > int(known[app][:4]) for app, name in migrations.items() if app in known) or (
        set(migrations) - set(known)
    ):
        raise InvalidInput("The backup's database is newer than this version. Install the version it was made with.")
    if expected != digests or not {DATABASE, SECRETS} <= set(digests):
        raise InvalidInput(f"{path} is damaged: its contents do not match its manifest.")
    run_postgres("pg_restore", "--list", str(directory / DATABASE), connect=False, stdout=-3)
    return cast(dict[str, Any], manifest)


def check_target(archive: Archive, *, replace: bool) -> None:
    """Raise Conflict if the database holds data, is in use, or if the environment sets other secrets."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('messaging_message')")
        has_tables = cursor.fetchone()[0] is not None
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        users = cursor.fetchone()[0]
    if users:
        raise Conflict(f"The database is in use ({users} connections). Stop the application first.")
    if has_tables and not replace:
        raise Conflict("The database holds an installation already. Restore into an empty one, or add --replace.")
    if not settings.EMBEDDED and archive.secrets.get("SECRET_KEY") != settings.SECRET_KEY:
        raise Conflict(
            "SECRET_KEY differs from that of the backup, whose credentials could not be read. Set the secrets of the "
            "backup: restore FILE --secrets NEW_FILE writes them."
        )


def restore(archive: Archive) -> None:
    """Replace database, media and secrets by the archive's. If it fails, everything is as it was before."""
    script = archive.directory / "restore.sql"
    before, after = archive.directory / "before.sql", archive.directory / "after.sql"
    toc, wanted = archive.directory / "toc", archive.directory / "wanted"
    with toc.open("wb") as file:
        run_postgres("pg_restore", "--list", str(archive.directory / DATABASE), connect=False, stdout=file)
    lines = toc.read_text().splitlines(keepends=True)
    wanted.write_text("".join(line for line in lines if " EXTENSION " not in line and " SCHEMA " not in line))
    with script.open("wb") as file:
        run_postgres(
            "pg_restore", "--no-owner", "--no-privileges", f"--use-list={wanted}", "--file=-",
            str(archive.directory / DATABASE), connect=False, stdout=file,
        )  # fmt: skip
    before.write_text(EMPTY_DATABASE)
    after.write_text(SETTLE)
    with _files_in_place(archive):
        run_postgres(
            "psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1",
            f"--file={before}", f"--file={script}", f"--file={after}", stdout=-3,
        )  # fmt: skip
    connection.close()


@contextmanager
def _files_in_place(archive: Archive) -> Iterator[None]:
    """Put media and secrets into place; put those from before back if the block fails."""
    data_dir, saved = Path(settings.DATA_DIR), archive.directory / "saved"
    saved.mkdir()
    secrets = "".join(f"{name}={archive.secrets[name]}\n" for name in SECRET_NAMES if archive.secrets.get(name))
    (archive.directory / SECRETS).write_text(secrets)
    (archive.directory / "media").mkdir(exist_ok=True)
    names = ["media", *(["secrets.env"] if settings.EMBEDDED else [])]
    try:
        for name in names:
            if (data_dir / name).exists():
                (data_dir / name).rename(saved / name)
            (archive.directory / name).rename(data_dir / name)
        yield
    except BaseException:
        for name in names:
            if (saved / name).exists():
                if (data_dir / name).is_dir():
                    shutil.rmtree(data_dir / name)
                (saved / name).replace(data_dir / name)
        raise
    mend(data_dir, but=("postgres",))
