"""What has to be true before the web server starts: a free port, a usable database, migrations, first rows, files.

Each step may run on ten machines at once and again at every start; what a person can put right is a CannotStart.
"""

import errno
import fcntl
import hashlib
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
from sessions_app.services import ensure_default_bridges
from whatsapp_agent.postgres import embedded

Tell = Callable[[str], None]

LOOPBACK = ("127.0.0.1", "::1", "[::1]", "localhost")
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
ONE_START_AT_A_TIME = 0x57A1  # key of the advisory lock; any number no one else uses in this database


class CannotStart(Exception):
    """Why not and what to do, for a person."""


def check_address(*, host: str, port: int) -> None:
    """Raises CannotStart when nobody could listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError as exc:
        raise CannotStart(f"PORT {port} is for root alone: choose one above 1023, like PORT=8000.") from exc
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
    """Where this machine reaches the web server, whatever address that listens on."""
    return f"http://{in_url(ANY_ADDRESS.get(settings.HOST, settings.HOST))}:{port}"


def public_url(port: int) -> str:
    """Where people reach the web server, as far as the settings tell."""
    names = [name for name in settings.ALLOWED_HOSTS if name not in LOOPBACK and not name.startswith(("*", "."))]
    return f"https://{names[0]}" if settings.HTTPS and names else local_url(port)


def has_no_name() -> bool:
    """Whether a proxy stands before us, but requests by any name other than this machine's own are refused with 400."""
    return settings.HTTPS and all(name in LOOPBACK or name in ANY_ADDRESS for name in settings.ALLOWED_HOSTS)


def check_database() -> None:
    """Raises CannotStart when the database cannot be reached or cannot do what we need."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'")
            has_vector = cursor.fetchone() is not None
    except NotSupportedError as exc:  # Django's own check: "PostgreSQL 14 or later is required (found 12.3)."
        raise CannotStart(f"The database at {database_place()} is too old: {exc}") from exc
    except DatabaseError as exc:
        raise CannotStart(f"The database at {database_place()} cannot be used: {_without_password(exc)}") from exc
    if not has_vector:
        raise CannotStart(
            f"The PostgreSQL at {database_place()} has no pgvector. Install it there (Debian: postgresql-17-pgvector; "
            "container: the image pgvector/pgvector), then start again."
        )


def database_place() -> str:
    """Where the database is, without how to log in."""
    database = settings.DATABASES["default"]
    if settings.EMBEDDED:
        return str(settings.DATA_DIR / "postgres")
    return f"{database.get('HOST') or 'localhost'}:{database.get('PORT') or 5432}/{database['NAME']}"


def _without_password(exc: Exception) -> str:
    said = " ".join(str(exc).split())
    password = settings.DATABASES["default"].get("PASSWORD")
    return said.replace(password, "...") if password else said


def prepare_database(*, tell: Tell) -> bool:
    """Migrations, the first staff user and the bridges of the environment; one start at a time does it.

    Returns whether the first staff user was made now.
    """
    with _one_at_a_time(tell):
        try:
            with connection.cursor() as cursor:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            executor = MigrationExecutor(connection)
            if pending := executor.migration_plan(executor.loader.graph.leaf_nodes()):
                tell(f"Applying {len(pending)} migrations ...")
                call_command("migrate", interactive=False, verbosity=0)
        except ProgrammingError as exc:
            if not isinstance(exc.__cause__, InsufficientPrivilege):
                raise
            raise CannotStart(
                f"The user of DATABASE_URL may not make what we need in {database_place()} ({_without_password(exc)}). "
                "Let the administrator make it the owner of the database, and run CREATE EXTENSION vector there once."
            ) from exc
        is_first = ensure_first_staff_user()
        ensure_default_bridges()
        return is_first


@contextmanager
def _one_at_a_time(tell: Tell) -> Iterator[None]:
    guard = connection.copy()  # of its own: the lock belongs to a connection, and migrations may close theirs
    try:
        with guard.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [ONE_START_AT_A_TIME])
            if cursor.fetchone() == (False,):
                tell("Waiting for another start that prepares this database ...")
                cursor.execute("SELECT pg_advisory_lock(%s)", [ONE_START_AT_A_TIME])
            try:
                yield
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ONE_START_AT_A_TIME])
    finally:
        guard.close()


def prepare_static_files(*, tell: Tell) -> None:
    """Collect and compress static files into STATIC_ROOT, unless they are those already there."""
    root = Path(settings.STATIC_ROOT)
    root.mkdir(parents=True, exist_ok=True)
    stamp = root / ".collected"
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fingerprint = _fingerprint_of_static_files()
        if stamp.is_file() and stamp.read_text() == fingerprint:
            return
        tell("Collecting static files ...")
        stamp.unlink(missing_ok=True)
        call_command("collectstatic", interactive=False, verbosity=0)
        stamp.write_text(fingerprint)


def _fingerprint_of_static_files() -> str:
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            found = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def start_embedded_database(*, tell: Tell) -> None:
    """Raises CannotStart with what the embedded server said."""
    tell("Starting PostgreSQL ...")
    try:
        embedded.ensure_running(settings.DATA_DIR / "postgres")
    except (embedded.NotStarted, OperationalError) as exc:
        raise CannotStart(str(exc)) from exc
