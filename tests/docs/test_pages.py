"""The documentation names files, settings and management commands that exist."""

import re
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands

from agent.bridges import ADAPTERS
from agent.bridges.capabilities import DESCRIPTIONS, Capability

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PATH = re.compile(
    r"(?<![\w./<])((?:whatsapp_agent|accounts|sessions_app|messaging|commands|agent|tests|docs|benchmarks)/[\w./-]*)"
)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
COMMAND = re.compile(r"manage\.py (\w+)")
EXAMPLES = {"commands/library/tea.py", "tests/payloads/"}  # files the page tells the reader to create


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    text = page.read_text()
    named = {path.rstrip(".") for path in PATH.findall(text)} - EXAMPLES
    linked = {str((page.parent / path).resolve().relative_to(ROOT)) for path in LINK.findall(text)}
    assert [path for path in sorted(named | linked) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_management_commands_that_exist(page: Path) -> None:
    named = set(COMMAND.findall(page.read_text()))
    assert named - set(get_commands()) == set()


def test_the_capability_matrix_of_the_bridges_is_what_the_adapters_declare(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("bridge_matrix")
    printed = capsys.readouterr().out

    page = (ROOT / "docs" / "bridges" / "README.md").read_text()

    assert page.endswith(printed)
    assert set(DESCRIPTIONS) == set(Capability)


@pytest.mark.parametrize("kind", sorted(set(ADAPTERS) - {"simulator"}))
def test_every_bridge_has_a_page(kind: str) -> None:
    assert (ROOT / "docs" / "bridges" / f"{kind}.md").exists()
