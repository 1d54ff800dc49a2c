"""A command is new_command by putting one file into `commands/library/`: the very files that README and docs show."""

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
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ["README.md", "docs/commands.md"]
PRICE = "250 g of tea cost 10.00 €."

pytestmark = pytest.mark.usefixtures("profile")


@pytest.fixture(params=PAGES)
def new_command(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The file that the page shows, in a library that has it beside our own, as a start finds it."""
    [example] = PYTHON_BLOCK.findall((ROOT / request.param).read_text())
    (tmp_path / "tea.py").write_text(example)
    monkeypatch.setattr(registry, "registered_commands", dict(registry.registered_commands))
    monkeypatch.setattr(registry, "commands_by_word", dict(registry.commands_by_word))
    monkeypatch.setattr(library, "__path__", [*library.__path__, str(tmp_path)])
    apps.get_app_config("commands").ready()
    yield
    del sys.modules["commands.library.tea"]
    del library.tea  # type: ignore[attr-defined]


def test_the_readme_shows_a_command_in_ten_lines() -> None:
    [example] = PYTHON_BLOCK.findall((ROOT / "README.md").read_text())
    assert len([line for line in example.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("typed", ["/price 250", "#preco 250", "/preço grams=250"])
def test_a_new_command_runs_in_a_chat(new_command, says, conversation, typed):
    says(typed)
    take_turn(conversation.pk)
    assert Message.objects.get(direction="outbound").text == PRICE


def test_help_lists_a_new_command(new_command, says, conversation):
    says("/help")
    take_turn(conversation.pk)
    assert "*/price* Show the price of tea." in Message.objects.get(direction="outbound").text


def test_a_new_command_runs_by_the_api(new_command, member, conversation):
    body = {"conversation": str(conversation.pk), "arguments": {"grams": 250}}
    assert as_user(member).post("/api/v1/commands/price/", body, format="json").json()["text"] == PRICE


def test_the_openapi_schema_documents_the_arguments_of_a_new_command(new_command):
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    body = paths["/api/v1/commands/price/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["arguments"]["properties"]["grams"]["maximum"] == 5000


def test_the_model_calls_a_new_command_that_its_profile_enables(new_command, says, conversation, model):
    AgentProfile.objects.update(tools=["price"])
    model.call_tools(("price", {"grams": 250}))
    says("How much is the tea?")
    take_turn(conversation.pk)
    call = ToolCall.objects.get()
    assert (call.name, call.status, call.result) == ("price", "done", '{"euro":10.0}')


def test_a_new_command_runs_in_the_terminal(new_command, conversation):
    output = io.StringIO()
    call_command("run_command", "price", "grams=250", conversation=conversation.pk, stdout=output)
    assert output.getvalue() == f"{PRICE}\n"
    assert CommandRun.objects.get().surface == "cli"
