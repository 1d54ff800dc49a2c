"""The calls of docs/api.md, unchanged, against a running application."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.application import SECRETS, Application

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, prepared_data: Path) -> Iterator[Application]:
    with Application(tmp_path_factory.mktemp("docs"), prepared=prepared_data, WEB_PROCESSES=2) as application:
        yield application


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page calls with curl")
def test_the_calls_of_the_page_work_in_order(application: Application, tmp_path: Path) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 12, "the login and eleven parts"
    environment = {
        "PATH": os.environ["PATH"],
        "BASE": application.url,
        "ADMIN_PASSWORD": SECRETS["ADMIN_PASSWORD"],
        "NO_PROXY": "*",
    }
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "qr.png").read_bytes().startswith(b"\x89PNG")
    assert "Your parcel has arrived." in result.stdout
    assert application.rows("SELECT author, text FROM messaging_message ORDER BY created_at, id") == [
        ("api", "Your parcel has arrived."),
        ("staff", "Ana here. How can I help?"),
    ]
