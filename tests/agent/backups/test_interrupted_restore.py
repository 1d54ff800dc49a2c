"""A restore that fails, is stopped or is killed: the installation is wholly the old one or wholly the new one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.application import ROOT, SECRETS, copy_data, open_to_all
from tests.support.operators import (
    inbound_count,
    installation,
    manage,
    mebibytes_at_most,
    postgres_server,
    received,
)

# Runs manage.py and dies, as by a power cut, before the nth of these steps.
KILLED = """
import os, runpy, signal, sys
event, nth = os.environ["KILL_BEFORE"].rsplit(":", 1)
count = 0
def die(name, arguments):
    global count
    if name == event.split("=")[0] and event.partition("=")[2] in str(arguments):
        count += 1
        if count == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
sys.argv = ["manage.py", *sys.argv[1:]]
runpy.run_path("manage.py", run_name="__main__")
"""
STEPS = [
    "open=toc:1",
    "os.rename=restore:1",  # the unpacked backup becomes the restore under way
    "subprocess.Popen=psql:1",
    "subprocess.Popen=--use-list:1",
    "os.mkdir=before:1",  # the database is replaced
    "os.rename=media:1",
    "os.rename=media:2",
    "os.rename=secrets:1",
    "os.rename=secrets:2",
    "os.rename=restore-:2",  # everything is in place
    "shutil.rmtree:1",
]


def killed(data_dir: Path, *arguments: object, step: str) -> None:
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        cwd=ROOT, env=own | {"DATA_DIR": str(data_dir), "KILL_BEFORE": step},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Path:
    data_dir = installation(
        tmp_path_factory.mktemp("source"), prepared_data, messages=300, photo=b"a photo", key="new-"
    )
    path = tmp_path_factory.mktemp("backup") / "agent.backup"
    done = manage(data_dir, "backup", path)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Path:
    """Another installation, in whose place the backup is restored."""
    return installation(tmp_path_factory.mktemp("older"), prepared_data, messages=20, photo=b"older", key="old-")


def state(data_dir: Path) -> tuple[int, bytes, bool]:
    """Return what database, media and secrets say, each of which tells the two installations apart."""
    photo = data_dir / "media" / "2026" / "11" / "photo.png"
    return inbound_count(data_dir), photo.read_bytes(), "=new-" in (data_dir / "secrets.env").read_text()


@pytest.fixture(scope="module")
def before(older: Path) -> tuple[int, bytes, bool]:
    return state(older)


def is_new(data_dir: Path, before: tuple[int, bytes, bool]) -> bool:
    """Return whether it is wholly the new installation; anything but that or the old one is a failure."""
    now = state(data_dir)
    if now == before:
        return False
    assert now[0] > before[0]
    assert now[1:] == (b"a photo", True)
    return True


@pytest.mark.parametrize("step", STEPS)
def test_a_restore_that_is_killed_is_finished_or_undone(
    older: Path, before: tuple[int, bytes, bool], backup: Path, tmp_path: Path, step: str
) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    copy_data(older, data_dir)
    killed(data_dir, "restore", backup, "--replace", step=step)
    if (data_dir / "restore").exists():
        check_that_nothing_starts(data_dir, "stats")
    recovered = manage(data_dir, "restore", "--recover")
    assert recovered.returncode == 0, recovered.stderr
    is_replaced = STEPS.index(step) >= STEPS.index("os.mkdir=before:1")
    assert is_new(data_dir, before) is is_replaced
    assert not [path for path in data_dir.iterdir() if path.name.startswith("restore")]


def check_that_nothing_starts(data_dir: Path, *commands: str) -> None:
    for command in commands:
        refused = manage(data_dir, command)
        assert refused.returncode == 1
        assert "manage.py restore --recover" in refused.stderr


@pytest.mark.parametrize("step", ["subprocess.Popen=psql:1", "os.rename=media:2"])  # undone, and finished
def test_nothing_starts_until_a_killed_restore_is_recovered_and_then_it_can_be_done_again(
    older: Path, before: tuple[int, bytes, bool], backup: Path, tmp_path: Path, step: str
) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    copy_data(older, data_dir)
    killed(data_dir, "restore", backup, "--replace", step=step)
    check_that_nothing_starts(data_dir, "up", "worker")
    recovered = manage(data_dir, "restore", "--recover", tmp_path / "no such file", "--json")
    assert (recovered.returncode, "No such file" in recovered.stderr) == (1, True)
    assert json.loads(recovered.stdout) == {"recovered": "finished" if "media" in step else "undone"}
    again = manage(data_dir, "restore", backup, "--replace")
    assert again.returncode == 0, again.stderr
    assert is_new(data_dir, before)


@pytest.mark.parametrize("step", [STEPS[1], STEPS[3], STEPS[4], STEPS[5]])
def test_a_restore_into_nothing_that_is_killed_leaves_all_or_nothing(backup: Path, tmp_path: Path, step: str) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    data_dir.mkdir(mode=0o755)
    killed(data_dir, "restore", backup, step=step)
    done = manage(data_dir, "restore", "--recover")
    assert done.returncode == 0, done.stderr
    if STEPS.index(step) >= STEPS.index("os.mkdir=before:1"):
        assert state(data_dir)[1:] == (b"a photo", True)
    else:
        assert list(data_dir.iterdir()) == []
        assert manage(data_dir, "restore", backup).returncode == 0


@pytest.mark.parametrize("share", [0.55, 0.8])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_restore_that_is_stopped_at_any_time_leaves_one_installation(
    older: Path, before: tuple[int, bytes, bool], backup: Path, tmp_path: Path, share: float, sign: signal.Signals
) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    copy_data(older, data_dir)
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    began_at = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "restore", str(backup), "--replace"],
        cwd=ROOT, env=own | {"DATA_DIR": str(data_dir)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(data_dir.glob("restore*")) and process.poll() is None:
        time.sleep(0.005)
    usual_s = time.monotonic() - began_at  # of the start alone: the work takes about as long
    time.sleep(usual_s * (share - 0.5))
    process.send_signal(sign)
    output, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors, errors
    if sign != signal.SIGKILL:
        assert process.returncode in {0, {signal.SIGINT: 130, signal.SIGTERM: 143}[sign]}, errors
        assert not list(data_dir.glob("restore*"))
    assert manage(data_dir, "restore", "--recover").returncode == 0
    is_done = is_new(data_dir, before)
    if process.returncode == 0:
        assert is_done
        assert "Restored in" in output


def test_a_full_disk_leaves_an_empty_directory_empty(backup: Path, tmp_path: Path) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    data_dir.mkdir(mode=0o755)
    done = manage(data_dir, "restore", backup, preexec_fn=mebibytes_at_most(backup.stat().st_size / 2**20 / 2))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert list(data_dir.iterdir()) == []


@pytest.mark.parametrize("problem", ["damaged", "no such file", "a directory"])
def test_a_restore_that_is_refused_leaves_an_empty_directory_empty(backup: Path, tmp_path: Path, problem: str) -> None:
    data_dir, file = open_to_all(tmp_path) / "data", tmp_path / "file"
    data_dir.mkdir(mode=0o755)
    if problem == "damaged":
        whole = backup.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])  # an archive may end in kilobytes of padding
    elif problem == "a directory":
        file.mkdir()
    done = manage(data_dir, "restore", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert list(data_dir.iterdir()) == []


def test_a_dry_run_leaves_an_empty_directory_empty(backup: Path, tmp_path: Path) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    data_dir.mkdir(mode=0o755)
    done = manage(data_dir, "restore", backup, "--dry-run")
    assert "can be restored here" in done.stdout, done.stderr
    assert list(data_dir.iterdir()) == []


def test_two_restores_into_one_directory_are_one(backup: Path, tmp_path: Path) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    data_dir.mkdir(mode=0o755)
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    both = [
        subprocess.Popen(
            [sys.executable, "manage.py", "restore", str(backup)],
            cwd=ROOT, env=own | {"DATA_DIR": str(data_dir)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert any("Another restore" in errors or "holds an installation already" in errors for _, errors in outputs)
    assert state(data_dir)[1:] == (b"a photo", True)


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    with postgres_server(tmp_path) as url:
        yield url


@pytest.mark.parametrize("step", ["subprocess.Popen=psql:1", "os.mkdir=before:1", "os.rename=media:1"])
def test_a_restore_into_an_external_database_that_is_killed_is_finished_or_undone(
    backup: Path, tmp_path: Path, database_url: str, step: str
) -> None:
    data_dir = open_to_all(tmp_path) / "data"
    data_dir.mkdir(mode=0o755)
    secrets = {"DATABASE_URL": database_url} | {name: f"new-{value}" for name, value in SECRETS.items()}
    before = {name: os.environ.get(name) for name in (*secrets, "KILL_BEFORE")}
    own = {name: value for name, value in os.environ.items() if name not in before}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "restore", str(backup)],
        cwd=ROOT, env=own | secrets | {"DATA_DIR": str(data_dir), "KILL_BEFORE": step}, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    elsewhere = manage(data_dir, "restore", "--recover")
    assert elsewhere.returncode == 1
    assert "Set DATABASE_URL" in elsewhere.stderr
    recovered = manage(data_dir, "restore", "--recover", **secrets)
    assert recovered.returncode == 0, recovered.stderr
    if step == "subprocess.Popen=psql:1":
        assert list(data_dir.iterdir()) == []
        assert manage(data_dir, "restore", backup, **secrets).returncode == 0
    assert (data_dir / "media" / "2026" / "11" / "photo.png").read_bytes() == b"a photo"
    assert received(data_dir, **secrets)[0] == 10
