"""Management commands as an operator runs them: in processes of their own, on installations of their own."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2

from tests.support.application import ROOT, SECRETS, copy_data, open_to_all
from whatsapp_agent.postgres import embedded


def manage(
    data_dir: Path,
    *arguments: object,
    preexec_fn: Callable[[], None] | None = None,
    given: str = "",
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run `manage.py`; `given` is its standard input."""
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    return subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False,
        env=own | {"DATA_DIR": str(data_dir)} | environment, preexec_fn=preexec_fn, input=given,
    )  # fmt: skip


def mebibytes_at_most(count: float) -> Callable[[], None]:
    """Return what lets a process write no file that is larger, as on a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the error EFBIG instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(count * 2**20), resource.RLIM_INFINITY))

    return limit


def installation(path: Path, prepared: Path, *, messages: int, photo: bytes = b"a photo", key: str = "") -> Path:
    """Return a DATA_DIR with messages, one file, and secrets that begin with `key`."""
    data_dir = open_to_all(path)
    copy_data(prepared, data_dir)
    (data_dir / "secrets.env").write_text("".join(f"{name}={key}{value}\n" for name, value in SECRETS.items()))
    media = data_dir / "media" / "2026" / "11"
    media.mkdir(parents=True)
    (media / "photo.png").write_bytes(photo)
    done = manage(data_dir, "seed_demo", "--messages", messages, "--conversations", 10, "--sessions", 1)
    assert done.returncode == 0, done.stderr
    return data_dir


def received(data_dir: Path, **environment: str) -> tuple[int, int]:
    """Return how many conversations and inbound messages there are."""
    done = manage(data_dir, "stats", "--since", "3000d", "--json", **environment)
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data["conversations"]["total"], sum(data["messages"]["inbound"].values())


def inbound_count(data_dir: Path) -> int:
    """Return how many inbound messages the embedded database holds, without starting a Python for it."""
    server = embedded.ensure_running(data_dir / "postgres")
    try:
        connection = psycopg2.connect(**server.address, user=embedded.SUPERUSER, dbname=embedded.DATABASE)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM messaging_message WHERE direction = 'inbound'")
            (count,) = cursor.fetchone()
        connection.close()
        return int(count)
    finally:
        embedded.stop(data_dir / "postgres")


@contextmanager
def external_server(path: Path) -> Iterator[embedded.Server]:
    """Run a server that the application does not manage, with an empty database `agent`."""
    cluster = open_to_all(path) / "server" / "postgres"
    cluster.parent.mkdir()
    server = embedded.ensure_running(cluster)
    try:
        connection = psycopg2.connect(**server.address, user=embedded.SUPERUSER, dbname="postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE agent")
        connection.close()
        yield server
    finally:
        os.kill(int((cluster / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGQUIT)


@contextmanager
def postgres_server(path: Path) -> Iterator[str]:
    """Run `external_server`; yield the URL of its database."""
    with external_server(path) as server:
        yield f"postgres://{embedded.SUPERUSER}@{quote(str(server.socket_dir), safe='')}:5432/agent"
