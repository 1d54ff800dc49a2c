"""`manage.py up` with real processes, real ports and the embedded database."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from accounts.models import User
from accounts.services import ensure_first_staff_user
from agent.server.startup import CannotStart, check_address, close_data_directory
from tests.support.application import SECRETS, copy_data, open_to_all

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Up:
    """A running `manage.py up` with its own data directory and port."""

    data_dir: Path
    port: int
    process: "subprocess.Popen[str]"

    output: str = ""

    def read_greeting(self) -> str:
        """Return its output up to the last line of the greeting. Fails if the process ends before."""
        assert self.process.stdout
        while "Log in as" not in self.output:
            line = self.process.stdout.readline()
            assert line, self.end()
            self.output += line
        return self.output

    def end(self) -> str:
        """Wait for its end and return its whole output."""
        rest, errors = self.process.communicate(timeout=40)
        return self.output + rest + errors

    def kill(self) -> None:
        """Kill the processes and the database at once, as a power failure would."""
        postmaster = int((self.data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(postmaster, signal.SIGKILL)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def start(data_dir: Path, *arguments: str, port: int | None = None, **variables: str) -> Up:
    port = port or free_port()
    own = {"DATA_DIR": str(data_dir), "PORT": str(port), "WEB_PROCESSES": "1", "AGENT_DEBOUNCE_S": "0"}
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up", *arguments],
        cwd=ROOT,
        env=inherited | own | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal's Ctrl-C reaches a whole process group: this one has its own
    )
    return Up(data_dir, port, process)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return open_to_all(tmp_path_factory.mktemp("two homes"))


def prepare(data_dir: Path, prepared_data: Path) -> None:
    """Make a data directory in which a first start finds its database and its secrets."""
    copy_data(prepared_data, data_dir)
    (data_dir / "secrets.env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))


@pytest.fixture(scope="module")
def pair(place, prepared_data) -> Iterator[tuple[Up, Up]]:
    """Two instances side by side, at their first start; the other one finds an empty database."""
    prepare(place / "other", prepared_data)
    both = start(place / "one"), start(place / "other", "--no-self-check")
    for up in both:
        up.read_greeting()
    yield both
    for up in both:
        if up.process.poll() is None:
            up.kill()


def healthy(up: Up) -> bool:
    return httpx.get(f"http://127.0.0.1:{up.port}/health/").json() == {"status": "healthy"}


def open_to_others(data_dir: Path) -> set[Path]:
    return {path for path in (data_dir, *data_dir.rglob("*")) if path.stat().st_mode & 0o077}


def test_two_instances_run_side_by_side_and_stop_without_leftovers(pair):
    one, other = pair
    assert healthy(one)
    assert healthy(other)
    with httpx.Client(base_url=f"http://127.0.0.1:{one.port}/api/v1/", trust_env=False) as client:
        password = (one.data_dir / "secrets.env").read_text().split("ADMIN_PASSWORD=")[1].strip()
        tokens = client.post("auth/token/", json={"username": "admin", "password": password}).json()
        headers = {"Authorization": f"Bearer {tokens['access']}"}
        for listed in ("sessions/", "conversations/", "contacts/"):
            assert client.get(listed, headers=headers).json()["results"] == [], "the self check left something behind"
    assert open_to_others(one.data_dir) == set()
    workers = [worker for up in pair for worker in psutil.Process(up.process.pid).children(recursive=True)]
    os.killpg(one.process.pid, signal.SIGINT)
    other.process.send_signal(signal.SIGTERM)
    output, other_output = one.end(), other.end()

    assert (one.process.returncode, other.process.returncode) == (0, 0)
    assert "answered after" in output
    assert "scripted stand-in" in output
    assert f"http://127.0.0.1:{one.port}/admin/" in output
    assert f"http://127.0.0.1:{other.port}/health/" in other_output
    assert "Traceback" not in output + other_output
    assert (one.data_dir / "secrets.env").read_text().split("ADMIN_PASSWORD=")[1].strip() not in output
    assert workers
    assert not [worker for worker in workers if worker.is_running()]
    for up in pair:
        assert not (up.data_dir / "postgres" / "postmaster.pid").exists()


def test_a_start_after_a_crash_works(pair):
    _, other = pair
    second = start(other.data_dir, "--no-self-check")
    second.read_greeting()
    second.kill()

    third, fourth = start(other.data_dir), start(other.data_dir, "--self-check")  # at once, on the same data
    output = third.read_greeting()
    assert "Self check" not in output, "only the first start checks itself"
    assert "answered after" in fourth.read_greeting()
    assert healthy(third)
    third.process.send_signal(signal.SIGTERM)
    output += third.end()
    assert healthy(fourth)  # the other stop left the database running
    fourth.process.send_signal(signal.SIGTERM)
    output += fourth.end()
    assert (third.process.returncode, fourth.process.returncode) == (0, 0)
    assert "Applying" not in output
    assert "Collecting" not in output
    assert "Traceback" not in output


def test_a_start_names_the_source_of_the_password_and_makes_its_files_private(place, prepared_data):
    data_dir = place / "given"
    prepare(data_dir, prepared_data)
    (data_dir / "media").mkdir(mode=0o755)
    (data_dir / "media" / "a.jpg").write_bytes(b"a")
    up = start(data_dir, "--no-self-check", ADMIN_PASSWORD="given by the environment")
    output = up.read_greeting()
    up.process.send_signal(signal.SIGTERM)
    up.end()
    assert "with ADMIN_PASSWORD from the environment" in output
    assert "given by" not in output
    assert open_to_others(data_dir) == set()

    up = start(data_dir, "--no-self-check", ADMIN_PASSWORD="another one")
    output = up.read_greeting()
    up.process.send_signal(signal.SIGTERM)
    up.end()
    assert "with the password set since" in output


def test_the_error_for_a_port_in_use_names_a_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart) as error:
            check_address(host="127.0.0.1", port=port)

    assert f"PORT {port} on 127.0.0.1 cannot be used" in str(error.value)
    assert f"make run PORT={port + 1}" in str(error.value)


@pytest.mark.parametrize("make", [lambda path: path.write_text(""), lambda path: path.symlink_to("/nonexistent/media")])
def test_a_start_refuses_media_that_is_no_directory(tmp_path, settings, make):
    settings.DATA_DIR, settings.MEDIA_ROOT = tmp_path, tmp_path / "media"
    make(settings.MEDIA_ROOT)
    with pytest.raises(CannotStart, match="media is no directory"):
        close_data_directory()


@pytest.mark.parametrize("host", ["192.0.2.1", "no such name"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(CannotStart, match="HOST"):
        check_address(host=host, port=free_port())


def test_the_error_for_an_unreachable_database_does_not_contain_its_password(tmp_path):
    secrets = dict.fromkeys(("SECRET_KEY", "ADMIN_TOKEN_SECRET", "WHATSAPP_WEBHOOK_SECRET", "ADMIN_PASSWORD"), "k" * 50)
    url = f"postgres://agent:hush-hush@127.0.0.1:{free_port()}/agent"
    up = start(tmp_path / "data", DATABASE_URL=url, **secrets)
    output = up.end()

    assert up.process.returncode == 1
    assert "The database at 127.0.0.1:" in output
    assert "refused" in output
    assert "hush-hush" not in output
    assert "Traceback" not in output
    assert not (tmp_path / "data" / "postgres").exists()


@pytest.mark.django_db
def test_the_first_staff_user_is_created_once_and_keeps_a_changed_password(settings):
    assert ensure_first_staff_user()
    admin = User.objects.get()
    assert admin.check_password(settings.ADMIN_PASSWORD)
    admin.set_password("something else entirely")
    admin.save()

    assert not ensure_first_staff_user()
    assert User.objects.get().check_password("something else entirely")


@pytest.mark.django_db
def test_a_deleted_admin_is_not_created_again_while_another_superuser_exists():
    User.objects.create_superuser("boss", password="a long password 1")

    assert not ensure_first_staff_user()
    assert User.objects.get().username == "boss"
