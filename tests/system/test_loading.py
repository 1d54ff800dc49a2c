"""What a process does while it loads, and no longer."""

from pathlib import Path

from tests.support.application import SECRETS
from tests.support.operators import manage


def test_a_management_command_collects_garbage_again_once_all_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    done = manage(tmp_path, "shell", "-v0", "-c", "import gc; print(gc.isenabled())")
    assert done.stdout.strip() == "True", done.stderr
