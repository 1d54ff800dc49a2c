"""Back up an installation: database, media and secrets in one archive, consistent while everything runs.

The archive is a tar file, encrypted if a passphrase is given: `database.dump` (pg_dump's custom format), `secrets.env`,
`media/...`, and at the end `manifest.json` with the SHA-256 of each: an archive without it is not whole.
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from agent.server.version import newest_migrations
from sessions_app.models import Bridge
from whatsapp_agent.errors import AppError
from whatsapp_agent.postgres import embedded
from whatsapp_agent.storage.sealed_file import SealedWriter
from whatsapp_agent.storage.whole_file import whole_file
from whatsapp_agent.version import VERSION

FORMAT = 1
MB = 1024 * 1024
DATABASE, SECRETS, MANIFEST, MEDIA = "database.dump", "secrets.env", "manifest.json", "media/"
CONNECTION_PARAMETERS = ("host", "hostaddr", "port", "user", "sslmode", "sslrootcert", "sslcert", "sslkey")
SECRET_NAMES = ("SECRET_KEY", "ADMIN_TOKEN_SECRET", "WHATSAPP_WEBHOOK_SECRET", "ADMIN_PASSWORD")


class BackupFailed(AppError):
    status, code, detail = 500, "backup_failed", "The backup failed."


def create_backup(path: Path, *, passphrase: str = "", report: Callable[[str], None] = lambda _: None) -> int:
    """Write the archive, and report how far it is; return how many media are in it.

    Raises BackupFailed, Conflict or OSError.
    """
    with tempfile.TemporaryFile(dir=path.parent) as dump, whole_file(path) as file:
        with running_postgres("pg_dump", "--format=custom", "--compress=1", "--no-owner", "--no-privileges",
                              "--exclude-table-data=accounts_requestrate", stdout=dump) as pg_dump:  # fmt: skip
            while pg_dump.poll() is None:
                report(f"{os.fstat(dump.fileno()).st_size / MB:,.0f} MB of the database")
                with suppress(subprocess.TimeoutExpired):
                    pg_dump.wait(timeout=0.1)
        sealed = SealedWriter(file, passphrase) if passphrase else None
        with tarfile.open(mode="w|", fileobj=cast(IO[bytes], sealed or file), format=tarfile.PAX_FORMAT) as archive:
            digests: dict[str, str] = {}
            for name, content in _parts(dump):
                digests[name] = _add(archive, name, content)
                report(f"{len(digests):,} parts")
            manifest = {
                "format": FORMAT,
                "version": VERSION,
                "migrations": newest_migrations(),
                "created_at": timezone.now().isoformat(),
                "sha256": digests,
            }
            _add(archive, MANIFEST, io.BytesIO(json.dumps(manifest).encode()))
        if sealed is not None:
            sealed.finish()
    return len([name for name in digests if name.startswith(MEDIA)])


def _parts(dump: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield what goes into the archive. Files come after the database, whose rows name only files that are stored."""
    yield DATABASE, dump
    values = {name: getattr(settings, name) for name in SECRET_NAMES}
    values["SECRET_KEY_FALLBACKS"] = ",".join(settings.SECRET_KEY_FALLBACKS)
    if not values["WHATSAPP_WEBHOOK_SECRET"]:  # with DATABASE_URL it may have been generated into the bridge's row
        default = Bridge.objects.filter(slug=Bridge.DEFAULT).first()
        values["WHATSAPP_WEBHOOK_SECRET"] = default.webhook_secret if default else ""
    lines = (f"{name}={value}\n" for name, value in values.items() if value)
    yield SECRETS, io.BytesIO("".join(lines).encode())
    for name in _stored_files(""):
        try:
            file = default_storage.open(name, "rb")
        except FileNotFoundError:
            continue  # deleted meanwhile
        with file:
            yield f"{MEDIA}{name}", cast(IO[bytes], file.file)


def _stored_files(folder: str) -> Iterator[str]:
    if (folder and not default_storage.exists(folder)) or not Path(settings.MEDIA_ROOT).exists():
        return
    folders, files = default_storage.listdir(folder)
    yield from (f"{folder}{name}" for name in sorted(files))
    for each in sorted(folders):
        yield from _stored_files(f"{folder}{each}/")


class _Digesting:
    """A file that computes the digest of what is read from it."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content, self.digest = content, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._content.read(size)
        self.digest.update(data)
        return data


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes]) -> str:
    entry = tarfile.TarInfo(name)
    content.seek(0, io.SEEK_END)
    entry.size, entry.mode = content.tell(), 0o600
    content.seek(0)
    source = _Digesting(content)
    archive.addfile(entry, cast(IO[bytes], source))
    return source.digest.hexdigest()


def postgres_command(program: str, *arguments: str, connect: bool) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of one of PostgreSQL's programs, with `connect` for the database."""
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    if connect:
        connection.ensure_connection()
        parameters = connection.connection.info.dsn_parameters
        variables = {"dbname": "PGDATABASE"} | {name: f"PG{name.upper()}" for name in CONNECTION_PARAMETERS}
        environment |= {variable: parameters[name] for name, variable in variables.items() if parameters.get(name)}
        if password := settings.DATABASES["default"].get("PASSWORD"):
            environment["PGPASSWORD"] = str(password)
        host = environment.get("PGHOST", "")
        environment["PGHOST"] = host.replace("/proc/self/", f"/proc/{os.getpid()}/", 1)
    return [str(embedded.program(program)), *arguments], environment


def run_postgres(program: str, *arguments: str, connect: bool = True, **streams: Any) -> None:
    """Run one of PostgreSQL's programs on the database. Raises BackupFailed with what it printed."""
    with running_postgres(program, *arguments, connect=connect, **streams):
        pass


@contextmanager
def running_postgres(
    program: str, *arguments: str, connect: bool = True, **streams: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of PostgreSQL's programs beside the block, and wait for it. Raises BackupFailed with what it printed."""
    command, environment = postgres_command(program, *arguments, connect=connect)
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, env=environment, stderr=printed, **streams)  # noqa: S603
        try:
            yield process
            returned = process.wait()
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
        if returned:
            printed.seek(0)
            reason = " ".join(printed.read(2000).decode(errors="replace").split())
            raise BackupFailed(f"{program} failed: {reason[:500]}")
