"""Run the application: `manage.py up` in its own processes, reached by HTTP and stopped by signals."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx
import psutil
import psycopg2

from whatsapp_agent.postgres import embedded

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "SECRET_KEY": "for-tests-only-secret-key-0123456789-0123456789-0123456789",
    "ADMIN_TOKEN_SECRET": "for-tests-only-token-secret-0123456789-0123456789",
    "WHATSAPP_WEBHOOK_SECRET": "for-tests-only-webhook-secret",
    "ADMIN_PASSWORD": "for-tests-only-password",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def open_to_all(path: Path) -> Path:
    """Let every user enter a directory of pytest's: started as root, the embedded server runs as another user."""
    for folder in (path, *path.parents):
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o001)
    return path


PREPARE = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from agent.server import startup
startup.start_embedded_database(report=print)
with connection.cursor() as cursor:
    cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
call_command("migrate", verbosity=0)
startup.prepare_static_files(report=print)
"""


def prepare_data(data_dir: Path) -> None:
    """Do what a first start does before it writes any row: database, migrations, static files."""
    environment = (
        os.environ | SECRETS | {"DATA_DIR": str(data_dir), "DJANGO_SETTINGS_MODULE": "whatsapp_agent.settings"}
    )
    subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    with (data_dir / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("fsync = off\n")  # tests kill processes; none takes the machine's power away


def copy_data(prepared: Path, data_dir: Path) -> None:
    """Copy what `prepare_data` made, with its modes and owners."""
    data_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{prepared}/.", str(data_dir)], check=True)


def stop_database(data_dir: Path) -> None:
    """Stop the embedded database, which runs on when its users are killed, unless another process uses it."""
    cluster = data_dir / "postgres"
    if (cluster / "postmaster.pid").exists():
        embedded.ensure_running(cluster)  # this process is a user, too: the last one stops it
        embedded.stop(cluster)


class Application:
    """`environment` holds variables beside DATA_DIR, PORT and SECRETS. The output is written to `log`.

    The embedded database survives `kill`, as it survives a crash, until `stop`. `prepared` is a directory that
    `prepare_data` filled: the application starts faster on a copy of it. `source` is the checkout that runs: another
    version, perhaps.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        prepared: Path | None = None,
        source: Path = ROOT,
        **environment: Any,
    ) -> None:
        self.data_dir = data_dir
        self.source = source
        if prepared:
            copy_data(prepared, data_dir)
        self.port = port or free_port()
        self.log = data_dir / "application.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
        extra = {name: str(value) for name, value in environment.items()}
        own = {"DATA_DIR": str(data_dir), "PORT": str(self.port), "SEND_RATE_PER_MINUTE": "0"}
        self.environment = inherited | SECRETS | own | extra
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def webhook_url(self) -> str:
        return f"{self.url}/api/v1/webhooks/default/{SECRETS['WHATSAPP_WEBHOOK_SECRET']}/"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, timeout_s: float = 300.0) -> None:
        """Start it and wait until it answers."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._started = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--no-self-check"],
                cwd=self.source,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # one process group, for `kill`
            )
        give_up_at = time.monotonic() + timeout_s
        while not self._is_healthy():
            assert self._started.poll() is None, f"the application did not start:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < give_up_at, f"the application does not answer:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def _is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def wait_for_output(self, text: str, *, timeout_s: float = 60.0) -> str:
        """Wait until a line with this text is printed, and return the whole output."""
        give_up_at = time.monotonic() + timeout_s
        while text not in (printed := self.log.read_text()).rpartition("\n")[0]:
            assert time.monotonic() < give_up_at, f"{text!r} was not printed:\n{printed[-3000:]}"
            time.sleep(0.05)
        return printed

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._started is not None, "the application was not started"
        return self._started

    def manage(self, *arguments: str) -> None:
        """Run a management command beside it, with its environment."""
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, check=True)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Query its database directly."""
        server = embedded.ensure_running(self.data_dir / "postgres")
        database = psycopg2.connect(**server.address, user=embedded.SUPERUSER, dbname=embedded.DATABASE)
        try:
            with database, database.cursor() as cursor:
                cursor.execute(query, parameters)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            database.close()

    def processes(self) -> list[psutil.Process]:
        """Return the main process and its workers, without those of the database."""
        first = psutil.Process(self.process.pid)
        return [first, *(child for child in first.children(recursive=True) if child.name() != "postgres")]

    def kill(self) -> None:
        """Kill all its processes at once, as a power failure would."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def kill_a_worker(self) -> None:
        """Kill the oldest child process, which the main process then replaces.

        Engine processes are started before web processes, so that repeated calls reach both kinds.
        """
        with suppress(psutil.NoSuchProcess, ValueError):
            min(self.processes()[1:], key=psutil.Process.create_time).kill()

    def stop(self) -> int:
        """Ask it to end, and wait; returns its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(40)
        finally:
            self.kill()
            stop_database(self.data_dir)


class Worker:
    """`manage.py worker`, or another command that starts one, beside an application and with its environment."""

    READY = "ready."

    def __init__(self, application: Application, name: str, *, command: tuple[str, ...] = ()) -> None:
        self.application = application
        self.command = command or ("manage.py", "worker", "--name", name)
        self.log = application.data_dir / f"{name}.log"
        self._started: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._started is not None, "the worker was not started"
        return self._started

    def start(self, *, is_to_be_ready: bool = True, timeout_s: float = 120.0) -> None:
        """Start it, and wait until it takes wake-ups."""
        before = self.log.read_text().count(self.READY) if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._started = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=ROOT,
                env=self.application.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up_at = time.monotonic() + timeout_s
        while is_to_be_ready and self.log.read_text().count(self.READY) == before:
            assert self._started.poll() is None, f"the worker did not start:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < give_up_at, f"the worker is not ready:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to end, and wait; returns its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(40)
        finally:
            self.kill()
