"""In which language commands answer: staff in that of their page, everyone else in English."""

import ast
import re
from pathlib import Path

import pytest
from django.utils import translation

from commands.models import CommandRun
from commands.registry import By, Caller, all_commands, get
from commands.run import run
from sessions_app import profiles
from sessions_app.admin.agent_profiles import AgentProfileForm
from tests.commands.conftest import History

LIBRARY = sorted((Path(__file__).resolve().parents[2] / "commands" / "library").glob("*.py"))
MARKS = {"_", "gettext", "gettext_noop"}
SENTENCE = re.compile(r"[A-Za-z]{3,}.*\s|\s.*[A-Za-z]{3,}", re.DOTALL)

ANSWERS = {  # typed: what staff read in Portuguese, and what a contact reads
    "/help pause": ("Silencia o assistente em uma conversa.", "Silence the assistant in a conversation."),
    "/status": ("O assistente responde aqui.", "The assistant answers here."),
    "/facts nonsense": ("Argumento inesperado: “nonsense”.", "Unexpected argument “nonsense”."),
    "/forget nothing like this": ("Esse fato não existe.", "No such fact."),
    "/forget 1": ("Esquecido: Ana is kind", "Forgotten: Ana is kind"),
    "/summarize 5": ("Nenhum modelo de linguagem está configurado", "No language model is configured"),
    "/tasks 501": ("deve ser no máximo 500, não “501”.", "must be at most 500, not “501”."),
    "/tasks": ("as tarefas não podem ser lidas", "tasks cannot be read"),
    "/search zebra": ("Nada foi encontrado.", "Nothing was found."),
    "/stats": ("3 mensagens em 1 dias", "3 messages in 1 days"),
    "/human": ("Pedi a uma pessoa que responda.", "I have asked a person to answer you."),
}


def answer(typed: str, history: History, caller: Caller) -> str:
    name, _, arguments = typed.removeprefix("/").partition(" ")
    with translation.override("pt-br"):
        done = run(
            get(name),
            arguments=arguments,
            caller=caller,
            conversation=history.current(),
            surface=CommandRun.Surface.API,
        )
    return done.text


@pytest.mark.parametrize("typed", ANSWERS)
def test_staff_read_the_answer_of_a_command_in_the_language_of_their_page(history, operator, typed):
    assert ANSWERS[typed][0] in answer(typed, history, Caller(by=By.STAFF, user=operator))


@pytest.mark.parametrize("typed", ANSWERS)
def test_a_contact_reads_the_answer_of_a_command_in_english_whatever_language_is_active(history, typed):
    assert ANSWERS[typed][1] in answer(typed, history, Caller(by=By.CONTACT, contact=history.conversation.contact))


def test_staff_read_in_their_language_who_may_run_a_command(history, operator):
    refused = answer("/persona", history, Caller(by=By.STAFF, user=operator))
    assert set(refused.removeprefix("persona pode ser usado apenas por: ").removesuffix(".").split(" e ")) == {
        "o dono deste número",
        "administradores",
    }


def test_every_command_and_argument_is_described_in_portuguese():
    described = [command.description for command in all_commands()]
    for command in all_commands():
        described += [info.description for info in command.arguments.model_fields.values() if info.description]
    with translation.override("pt-br"):
        assert [text for text in described if translation.gettext(text) == text] == []


def test_the_editor_of_a_profile_describes_the_tools_in_the_language_of_the_reader(profile):
    with translation.override("pt-br"):
        labels = dict(AgentProfileForm(instance=profile).fields["tools"].choices)
    assert labels["hand_off"] == "Pede que uma pessoa responda. (hand_off)"
    assert [tool.name for tool in profiles.list_tools() if tool.description in labels[tool.name]] == []


def test_the_model_reads_the_description_of_a_tool_in_english(profile):
    with translation.override("pt-br"):
        spec = get("search").tool_spec()
    assert spec.description.startswith("Search everything ever said")
    assert spec.parameters["properties"]["limit"]["description"] == "How many messages at most."


@pytest.mark.parametrize("module", LIBRARY, ids=lambda path: path.stem)
def test_every_sentence_of_an_answer_is_marked_for_translation(module):
    tree = ast.parse(module.read_text())
    assert [text for text in unmarked(tree) if SENTENCE.search(text)] == []


def unmarked(tree: ast.AST) -> list[str]:
    """Return the texts that people read, outside of gettext: of results, errors, descriptions and appended lines."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in {"Result", "append", "NotFound", "InvalidInput", "Conflict"}:
            found += texts_of(node.args[0])
        elif name == "chat_command":
            found += texts_of(node.args[1])
        elif name == "Field":
            found += [text for each in node.keywords if each.arg == "description" for text in texts_of(each.value)]
    return found


def texts_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MARKS:
        return []
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    return [text for child in ast.iter_child_nodes(node) for text in texts_of(child)]
