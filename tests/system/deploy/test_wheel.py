"""The wheel: installed alone, its command works from an empty directory."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.application import ROOT, free_port, open_to_all

CHECKOUT = ("accounts", "agent", "commands", "messaging", "sessions_app", "whatsapp_agent")
FILES = ("pyproject.toml", "requirements.txt", "requirements-monitoring.txt", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that nothing is left in the checkout."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in CHECKOUT:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(source)]
    subprocess.run(build, check=True, timeout=120)
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`whatsapp-agent` in an environment of its own, which finds the other packages in ours."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    open_to_all(folder.parent)
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin" / "python"),
        "install",
        "--quiet",
        "--no-deps",
    ]
    subprocess.run([*install, str(wheel)], check=True, timeout=120)
    return folder / "bin" / "whatsapp-agent"


def environment(**variables: str) -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | variables


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", *CHECKOUT], cwd=ROOT, capture_output=True, text=True, check=False)
    files = tracked.stdout.split() or [
        str(path.relative_to(ROOT))
        for name in CHECKOUT
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert len(files) > 300
    assert sorted(name for name in files if name not in names and (ROOT / name).exists()) == []
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_wheel_requires_exactly_the_pinned_packages(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    required = {line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist:")}
    pinned = {line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"}
    assert {line for line in required if "extra ==" not in line} == pinned
    assert any(line.startswith("sentry-sdk==") and 'extra == "monitoring"' in line for line in required)


TRANSLATE = """
from django.utils import translation
with translation.override("pt-br"):
    print(translation.gettext("Set up"))
"""


def test_the_installed_command_runs_from_an_empty_directory(command: Path, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".env").write_text(f"PORT={free_port()}\nWEB_PROCESSES=1\nENGINE_PROCESSES=1\n")
    port = (home / ".env").read_text().split("\n")[0].partition("=")[2]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [command, "run", "--no-self-check"], cwd=home, env=environment(), stdout=log, stderr=log
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", running, log=tmp_path / "log")
        assert httpx.get(f"http://127.0.0.1:{port}/admin/login/", trust_env=False).status_code == 200
        asked = subprocess.run(
            [command, "version"], cwd=home, env=environment(), capture_output=True, text=True, check=True
        )
        assert "WhatsApp Agent" in asked.stdout
        assert "up to date" in asked.stdout
        translated = subprocess.run(
            [command, "shell", "-v0", "-c", TRANSLATE], cwd=home, env=environment(), capture_output=True, text=True
        )
        assert translated.stdout.strip() == "Configurar", translated.stderr
        assert (home / ".data" / "secrets.env").is_file()
    finally:
        running.terminate()
        code = running.wait(40)
    assert code == 0
    assert not [each for each in psutil.process_iter(["cwd"]) if str(tmp_path) in str(each.info["cwd"])]


def wait_until_healthy(url: str, running: subprocess.Popen[bytes], *, log: Path) -> None:
    give_up_at = time.monotonic() + 300
    while True:
        assert running.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < give_up_at, log.read_text()[-2000:]
        try:
            if httpx.get(f"{url}/health/", trust_env=False, timeout=2).json() == {"status": "healthy"}:
                return
        except httpx.HTTPError:
            time.sleep(0.1)


def test_the_installed_command_lists_what_it_can_do(command: Path, tmp_path: Path) -> None:
    asked = subprocess.run(
        [command, "help"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert {"up", "doctor", "backup", "link_session", "worker"} <= set(asked.stdout.split())
