"""The embedded server as separate processes use it: started, shared, killed, left."""

import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from tests.support.application import open_to_all
from whatsapp_agent.postgres import embedded

ROOT = Path(__file__).resolve().parents[3]
USE_IT = """
import sys
from pathlib import Path
from whatsapp_agent.postgres import embedded
print(embedded.ensure_running(Path(sys.argv[1])).socket_dir, flush=True)
sys.stdin.read()
"""

type_of_start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Path]:
    """A data directory whose path has a space and both quotes in it, and whose sockets' path is too long."""
    base = open_to_all(tmp_path_factory.mktemp('it\'s a "data" $HOME directory'))
    data_dir = base / ("long " * 20) / "postgres"
    yield data_dir
    if pid := postmaster(data_dir):
        os.kill(pid, signal.SIGQUIT)


@pytest.fixture
def start(cluster) -> Iterator[type_of_start]:
    """Start a process that uses the server until its standard input is closed."""
    started: list[subprocess.Popen[str]] = []

    def start_one() -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", USE_IT, str(cluster)],
            cwd=ROOT,
            env=os.environ | {"PGPORT": "1", "PGHOSTADDR": "127.0.0.1", "PGDATA": "/nowhere", "LC_ALL": "xx_XX"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def postmaster(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return None


def ready(process: "subprocess.Popen[str]") -> bool:
    assert process.stdout
    return bool(process.stdout.readline().strip())


def leave(process: "subprocess.Popen[str]") -> None:
    process.communicate("", timeout=30)


def test_processes_that_start_at_once_share_one_server_and_the_last_one_stops_it(cluster, start):
    first, second, third = start(), start(), start()
    assert ready(first)
    assert ready(second)
    assert ready(third)
    server = postmaster(cluster)

    leave(first)
    leave(second)
    assert postmaster(cluster) == server
    leave(third)
    assert postmaster(cluster) is None


def test_a_server_whose_users_were_all_killed_is_found_and_used_again(cluster, start):
    first = start()
    assert ready(first)
    server = postmaster(cluster)
    first.kill()
    first.wait()

    second = start()
    assert ready(second)
    assert postmaster(cluster) == server
    leave(second)
    assert postmaster(cluster) is None


@pytest.mark.parametrize("waits", ["start", "stop"])
def test_a_server_that_an_interrupted_start_has_left_is_waited_for(own, waits):
    embedded.ensure_running(own)
    server, socket = postmaster(own), own / embedded.SOCKET
    hidden = socket.rename(own / "hidden")  # as before it listens
    later = threading.Timer(1, hidden.rename, [socket])
    later.start()
    if waits == "start":
        embedded.ensure_running(own)
        assert postmaster(own) == server
    assert embedded.stop(own)
    later.join()
    assert postmaster(own) is None


def test_a_killed_server_starts_again_even_if_its_process_id_is_someone_elses_by_now(cluster, start):
    first = start()
    assert ready(first)
    killed = postmaster(cluster)
    assert killed
    psutil.Process(killed).kill()
    first.kill()
    first.wait()
    owner = cluster.stat().st_uid
    stranger = subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None)
    for lock in (cluster / "postmaster.pid", cluster / ".s.PGSQL.5432.lock"):
        lock.write_text(lock.read_text().replace(str(killed), str(stranger.pid), 1))
    try:
        second = start()
        assert ready(second)
        assert postmaster(cluster) not in {killed, stranger.pid}
        leave(second)
    finally:
        stranger.kill()
        stranger.wait()


def test_the_server_listens_on_no_port_and_keeps_texts_out_of_its_log(cluster):
    server = embedded.ensure_running(cluster)
    connection = psycopg2.connect(**server.address, user="postgres", dbname="whatsapp_agent")
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW listen_addresses")
        assert cursor.fetchone() == ("",)
        cursor.execute(
            "SELECT lower('ÄÖÜ'), pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'"
        )
        assert cursor.fetchone() == ("äöü", "UTF8")
    with connection.cursor() as cursor, pytest.raises(psycopg2.DataError):
        cursor.execute("SELECT 'a very private text'::int")
    connection.close()
    assert embedded.stop(cluster)

    log = (cluster / "server.log").read_text()
    assert "ready to accept connections" in log
    assert "private" not in log


def test_data_of_another_version_is_left_alone_and_reported(tmp_path):
    data_dir = open_to_all(tmp_path) / "postgres"
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("16\n")

    with pytest.raises(embedded.NotStarted, match="made by PostgreSQL 16"):
        embedded.ensure_running(data_dir)


@pytest.fixture
def own(tmp_path) -> Iterator[Path]:
    """A place for a server that the test starts itself."""
    data_dir = open_to_all(tmp_path) / "data" / "postgres"
    data_dir.parent.mkdir(0o700)
    yield data_dir
    embedded.stop(data_dir)


def test_an_empty_folder_becomes_a_database_and_stays_closed_to_others(own):
    own.mkdir()
    embedded.ensure_running(own)
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert stat.S_IMODE(own.parent.stat().st_mode) == 0o700


def test_a_mode_that_postgresql_refuses_is_corrected(own):
    embedded.ensure_running(own)
    embedded.stop(own)
    own.chmod(0o755)
    embedded.ensure_running(own)
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


@pytest.mark.parametrize("part", ["PG_VERSION", "global/pg_control", "pg_wal", "pg_tblspc"])
def test_an_incomplete_database_is_reported_and_left_alone(tmp_path, part):
    own = tmp_path / "data" / "postgres"
    for name in embedded.PARTS:
        if name != part:
            (own / name).mkdir(parents=True)
    with pytest.raises(embedded.NotStarted, match=f"{part} is missing. Restore all of it"):
        embedded.ensure_running(own)
    assert (own / "base").is_dir()


def test_a_file_or_a_folder_of_other_files_is_no_database(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "photos").mkdir(parents=True)
    for name in ("file", "folder"):
        with pytest.raises(embedded.NotStarted, match=f"{name} is not a database. Move it away"):
            embedded.ensure_running(tmp_path / name)
    assert (tmp_path / "folder" / "photos").is_dir()


def test_damaged_files_are_explained_with_the_remedy(own):
    embedded.ensure_running(own)
    embedded.stop(own)
    os.truncate(own / "global" / "pg_control", 100)
    with pytest.raises(embedded.NotStarted, match="restore all of it from a backup"):
        embedded.ensure_running(own)


@pytest.mark.parametrize("command", [["migrate"], ["doctor"], ["sync_sessions"], ["createsuperuser", "--noinput"]])
def test_a_command_without_the_data_of_a_start_creates_none_and_reports_it(tmp_path, command):
    data_dir = tmp_path / "nowhere"
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment | {"DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert f"There is no data in {data_dir}. Set DATA_DIR" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert not data_dir.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_database_started_by_root_belongs_to_the_owner_of_the_data_directory(own):
    daemon = pwd.getpwnam("daemon")
    os.chown(own.parent, daemon.pw_uid, daemon.pw_gid)
    embedded.ensure_running(own)
    assert {path.stat().st_uid for path in own.parent.iterdir()} == {daemon.pw_uid}
