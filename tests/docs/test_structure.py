"""The shape of the code that docs/architecture.md describes: small modules, small folders, names that exist."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from messaging.events.types import EVENT_TYPE_NAMES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("accounts", "agent", "benchmarks", "commands", "messaging", "sessions_app", "tests", "whatsapp_agent")
MAX_LINES = 450
MAX_MODULES = 14  # beside __init__.py
MODULES = [
    path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if path.parent.name != "migrations"
]
SCRIPTS = sorted((ROOT / "agent" / "static").rglob("*.js"))
# `leases.complete_turn`, `control.lock_conversation()`: a module, and a name that it defines.
NAME = re.compile(r"`(?:[\w/]+/)?(\w+)\.([a-z_]\w+)(?:\(\))?`")
# Names the code once had. Cut in two, so that this module does not hold them.
FORMER_NAMES = re.compile(
    "door" r"bell|\blook" r"_at\b|\bMO" r"ST_|\bLONG" r"EST_|\bSa" r"id\b|_KE" r"EPS\b|\bfol" r"ding\b"
)
FILE_SUFFIXES = {"py", "md", "js", "html", "toml", "yaml", "env"}


def test_no_module_is_longer_than_a_reader_can_hold_in_mind() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in (*MODULES, *SCRIPTS)}

    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_no_folder_has_more_modules_than_fit_on_one_screen() -> None:
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in MODULES if path.name != "__init__.py")

    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_a_function_that_the_architecture_names_is_defined_in_that_module() -> None:
    named = {
        (module, name)
        for module, name in NAME.findall((ROOT / "docs" / "architecture.md").read_text())
        if name not in FILE_SUFFIXES and f"{module}.{name}" not in EVENT_TYPE_NAMES
    }
    texts: dict[str, str] = {}
    for path in MODULES:
        texts[path.stem] = texts.get(path.stem, "") + path.read_text()
    missing = [
        f"{module}.{name}"
        for module, name in sorted(named)
        if module in texts and not re.search(rf"^(?:\s*def |class )?{name}\b", texts[module], flags=re.MULTILINE)
    ]

    assert named
    assert missing == []


def test_no_test_module_imports_another() -> None:
    tests = [path for path in MODULES if path.is_relative_to(ROOT / "tests")]
    imports = re.compile(r"^(?:from|import) tests(?:\.\w+)*\.test_\w+", flags=re.MULTILINE)

    assert [str(path.relative_to(ROOT)) for path in tests if imports.search(path.read_text())] == []


def test_no_module_uses_a_former_name_again() -> None:
    found = {str(path.relative_to(ROOT)): FORMER_NAMES.findall(path.read_text()) for path in (*MODULES, *SCRIPTS)}

    assert {path: names for path, names in found.items() if names} == {}


def test_the_architecture_names_every_package() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    own = [path for path in MODULES if path.relative_to(ROOT).parts[0] not in {"tests", "benchmarks"}]
    folders = {str(path.parent.relative_to(ROOT)) for path in own} - set(PACKAGES)

    assert [
        folder
        for folder in sorted(folders)
        if f"{folder}/" not in page and not re.search(r"/(management|formats|locale)\b", folder)
    ] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_bench_runs_each_of_the_measurements_that_its_page_names() -> None:
    commands = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert [name for name in ("parsing", "api", "media") if f"-m benchmarks.{name} " not in commands] == []
