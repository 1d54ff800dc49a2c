"""What management commands are given by a terminal: files that are none, and streams that are closed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.application import ROOT, SECRETS
from whatsapp_agent.storage import input_file
from whatsapp_agent.storage.input_file import open_input


def test_a_command_works_with_its_input_and_output_closed(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if name not in {*SECRETS, "DATABASE_URL"}}
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&-', "sh", sys.executable, "manage.py", "event_types"], cwd=ROOT, capture_output=True,
        text=True, check=False, env=own | {"DATA_DIR": str(tmp_path / "data")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("later_s", [0, 0.3])
def test_a_pipe_is_read_to_its_end_whoever_opens_it_first(tmp_path: Path, later_s: float) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Timer(later_s, pipe.write_bytes, args=(b"a passphrase" * 10_000,))
    writer.start()
    content = _read(pipe)
    writer.join(20)
    assert content == b"a passphrase" * 10_000


def _read(path: Path) -> bytes:
    with open_input(path, may_be_pipe=True) as file:
        return file.read()


def test_a_pipe_that_nobody_writes_into_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_file, "MAX_WAIT_FOR_WRITER_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    assert _read(tmp_path / "pipe") == b""
    with pytest.raises(OSError, match="a pipe, not a file"):
        open_input(tmp_path / "pipe")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file(path: str) -> None:
    with pytest.raises(OSError, match="device, not a file"):
        open_input(Path(path))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_input(tmp_path)
