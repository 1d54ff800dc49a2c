"""What a start checks and prepares before the web server runs: port, database, migrations, first rows, static files.

Each step may run on ten machines at once and again at every start; what a person can correct raises CannotStart.
"""

import errno
import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import DatabaseError, NotSupportedError, OperationalError, ProgrammingError, connection
from django.db.migrations.executor import MigrationExecutor
from psycopg2.errors import InsufficientPrivilege

from accounts.services import ensure_first_staff_user
from sessions_app.links.catching_up import catch_up_now
from sessions_app.services import ensure_default_bridges
from whatsapp_agent.postgres import embedded
from whatsapp_agent.storage import private_files

Report = Callable[[str], None]

LOOPBACK = ("127.0.0.1", "::1", "[::1]", "localhost")
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
ONE_START_AT_A_TIME = 0x57A1  # key of the advisory lock; any number no one else uses in this database


class CannotStart(Exception):
    """The start cannot go on; the text says why and what to do."""


def check_address(*, host: str, port: int) -> None:
    """Raise CannotStart if this process cannot listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError as exc:
        raise CannotStart(f"PORT {port} requires root: choose one above 1023, like PORT=8000.") from exc
    except OSError as exc:
        if isinstance(exc, socket.gaierror) or exc.errno == errno.EADDRNOTAVAIL:
            raise CannotStart(f"HOST {host} is no address of this machine; 127.0.0.1 or 0.0.0.0 always is.") from exc
        raise CannotStart(
            f"PORT {port} on {host} cannot be used ({exc.strerror}). Stop what uses it, or choose another: "
            f"make run PORT={port + 1}, or manage.py up --port {port + 1}."
        ) from exc


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def local_url(port: int) -> str:
    """Return the URL at which this machine reaches the web server, whatever address it listens on."""
    return f"http://{in_url(ANY_ADDRESS.get(settings.HOST, settings.HOST))}:{port}"


def public_url(port: int) -> str:
    """Return the URL at which people reach the web server, as far as the settings say."""
    names = [name for name in settings.ALLOWED_HOSTS if name not in LOOPBACK and not name.startswith(("*", "."))]
    return f"https://{names[0]}" if settings.HTTPS and names else local_url(port)


def has_no_name() -> bool:
    """Return whether a proxy is in front, but ALLOWED_HOSTS refuses every name but this machine's own."""
    return settings.HTTPS and all(name in LOOPBACK or name in ANY_ADDRESS for name in settings.ALLOWED_HOSTS)


def check_database() -> None:
    """Raise CannotStart if the database cannot be reached or lacks what this project needs."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'")
            has_vector = cursor.fetchone() is not None
    except NotSupportedError as exc:  # Django's own check: "PostgreSQL 14 or later is required (found 12.3)."
        raise CannotStart(f"The database at {database_location()} is too old: {exc}") from exc
    except DatabaseError as exc:
        raise CannotStart(f"The database at {database_location()} cannot be used: {_without_password(exc)}") from exc
    if not has_vector:
        raise CannotStart(
            f"The PostgreSQL at {database_location()} has no pgvector. Install it there (Debian: "
            "postgresql-17-pgvector; container: the image pgvector/pgvector), then start again."
        )


def database_location() -> str:
    """Return where the database is, without credentials."""
    database = settings.DATABASES["default"]
    if settings.EMBEDDED:
        return str(settings.DATA_DIR / "postgres")
    return f"{database.get('HOST') or 'localhost'}:{database.get('PORT') or 5432}/{database['NAME']}"


def _without_password(exc: Exception) -> str:
    text = " ".join(str(exc).split())
    password = settings.DATABASES["default"].get("PASSWORD")
    return text.replace(password, "...") if password else text


def prepare_database(*, report: Report) -> bool:
    """Apply migrations, create the first staff user and the bridges of the environment; one start at a time does it.

    Return whether the first staff user was created now.
    """
    with _one_at_a_time(report):
        try:
            with connection.cursor() as cursor:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            executor = MigrationExecutor(connection)
            if pending := executor.migration_plan(executor.loader.graph.leaf_nodes()):
                report(f"Applying {len(pending)} migrations ...")
                call_command("migrate", interactive=False, verbosity=0)
        except ProgrammingError as exc:
            if not isinstance(exc.__cause__, InsufficientPrivilege):
                raise
            raise CannotStart(
                f"The user of DATABASE_URL may not create tables in {database_location()} ({_without_password(exc)}). "
                "Let the administrator make it the owner of the database, and run CREATE EXTENSION vector there once."
            ) from exc
        is_first = ensure_first_staff_user()
        ensure_default_bridges()
        catch_up_now()
        return is_first


@contextmanager
def _one_at_a_time(report: Report) -> Iterator[None]:
    lock = connection.copy()  # its own connection: it holds the lock, and migrations may close theirs
    try:
        with lock.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [ONE_START_AT_A_TIME])
            if cursor.fetchone() == (False,):
                report("Waiting for another start that is preparing this database ...")
                cursor.execute("SELECT pg_advisory_lock(%s)", [ONE_START_AT_A_TIME])
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ONE_START_AT_A_TIME])
    finally:
        lock.close()


def prepare_static_files(*, report: Report) -> None:
    """Collect and compress static files into STATIC_ROOT, unless nothing has changed."""
    root = Path(settings.STATIC_ROOT)
    root.mkdir(parents=True, exist_ok=True)
    stamp = root / ".collected"
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fingerprint = _fingerprint_of_static_files()
        if stamp.is_file() and stamp.read_text() == fingerprint:
            return
        report("Collecting static files ...")
        stamp.unlink(missing_ok=True)
        call_command("collectstatic", interactive=False, verbosity=0)
        stamp.write_text(fingerprint)


def _fingerprint_of_static_files() -> str:
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            found = Path(storage.path(name)).stat()
            # Whole seconds: an image that is pulled has no fractions.
            digest.update(f"{name}\0{found.st_size}\0{int(found.st_mtime)}\n".encode())
    return digest.hexdigest()


def close_data_directory() -> None:
    """Let nobody but its owner read DATA_DIR. Raises CannotStart if parts of it belong to somebody else."""
    try:
        private_files.restrict(settings.DATA_DIR, but=("postgres", "postgres.new"))
    except private_files.NotOurs as exc:
        raise CannotStart(str(exc)) from exc
    except OSError as exc:
        raise CannotStart(f"DATA_DIR cannot be used: {exc.strerror}: {exc.filename}") from exc
    media = Path(settings.MEDIA_ROOT)
    if os.path.lexists(media) and not media.is_dir():
        raise CannotStart(f"{media} is no directory: no file could be stored. Move it away, then start again.")


def start_embedded_database(*, report: Report) -> None:
    """Start PostgreSQL. Raises CannotStart with its error message."""
    report("Starting PostgreSQL ...")
    try:
        embedded.ensure_running(settings.DATA_DIR / "postgres")
    except (embedded.NotStarted, OperationalError) as exc:
        raise CannotStart(str(exc)) from exc
