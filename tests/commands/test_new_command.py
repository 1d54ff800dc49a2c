"""A command is added by putting one file into `commands/library/`: the very files that README and docs show."""

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator

from agent.turns.turn import take_turn
from commands import library, registry
from commands.models import CommandRun
from messaging.models import Message, ToolCall
from sessions_app.models import AgentProfile
from tests.conftest import as_user

ROOT = Path(__file__).resolve().parent.parent.parent
SHOWN = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ["README.md", "docs/commands.md"]
COSTS = "250 g of tea cost 10.00 €."

pytestmark = pytest.mark.usefixtures("profile")


@pytest.fixture(params=PAGES)
def added(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file that the page shows, in a library that has it beside our own, as a start finds it."""
    [shown] = SHOWN.findall((ROOT / request.param).read_text())
    (tmp_path / "tea.py").write_text(shown)
    monkeypatch.setattr(registry, "_commands", dict(registry._commands))
    monkeypatch.setattr(registry, "_by_word", dict(registry._by_word))
    monkeypatch.setattr(library, "__path__", [*library.__path__, str(tmp_path)])
    apps.get_app_config("commands").ready()
    yield
    del sys.modules["commands.library.tea"]
    del library.tea  # type: ignore[attr-defined]


def test_the_readme_shows_it_in_ten_lines() -> None:
    [shown] = SHOWN.findall((ROOT / "README.md").read_text())
    assert len([line for line in shown.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("typed", ["/price 250", "#preco 250", "/preço grams=250"])
def test_it_is_typed_in_a_chat(added, says, conversation, typed):
    says(typed)
    take_turn(conversation.pk)
    assert Message.objects.get(direction="outbound").text == COSTS


def test_help_lists_it(added, says, conversation):
    says("/help")
    take_turn(conversation.pk)
    assert "*/price* Tell the price of tea." in Message.objects.get(direction="outbound").text


def test_it_is_run_by_the_api(added, member, conversation):
    body = {"conversation": str(conversation.pk), "arguments": {"grams": 250}}
    assert as_user(member).post("/api/v1/commands/price/", body, format="json").json()["text"] == COSTS


def test_its_arguments_are_documented(added):
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    body = paths["/api/v1/commands/price/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["arguments"]["properties"]["grams"]["maximum"] == 5000


def test_the_model_uses_it_where_its_profile_says_so(added, says, conversation, model):
    AgentProfile.objects.update(tools=["price"])
    model.call_tools(("price", {"grams": 250}))
    says("How much is the tea?")
    take_turn(conversation.pk)
    call = ToolCall.objects.get()
    assert (call.name, call.status, call.result) == ("price", "done", '{"euro":10.0}')


def test_it_is_run_in_the_terminal(added, conversation):
    said = io.StringIO()
    call_command("run_command", "price", "grams=250", conversation=conversation.pk, stdout=said)
    assert said.getvalue() == f"{COSTS}\n"
    assert CommandRun.objects.get().surface == "cli"
