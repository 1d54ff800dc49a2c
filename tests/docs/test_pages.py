"""The documentation names files, settings and management commands that exist."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
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
