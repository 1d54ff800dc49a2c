"""Commands in the terminal: `manage.py run_command`."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.usefixtures("profile")


def run(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("run_command", *words, stdout=out, **options)
    return out.getvalue()


def test_the_terminal_takes_arguments_as_in_a_chat(history):
    message = run("remember", "Ana", "likes", "tea", conversation=history.conversation.pk)
    assert message == "I will remember: Ana likes tea\n"
    shown = json.loads(run("facts", conversation=history.conversation.pk, json=True))
    assert [fact["text"] for fact in shown["facts"]] == ["Ana is kind", "Ana likes tea"]


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_the_terminal_takes_options_and_words_in_any_order(history, at):
    words: list[Any] = ["remember", "Ana", "likes tea"]
    words[at:at] = ["--conversation", history.conversation.pk, "--json"]
    assert json.loads(run(*map(str, words)))["fact"]["text"] == "Ana likes tea"


def test_the_terminal_requires_a_conversation(history):
    with pytest.raises(CommandError, match="--conversation"):
        run("remember", "Ana likes tea")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], r"Unknown command fly\.$"),
        (["sumarize"], "Did you mean summarize"),
        (["summarize", "count=many"], "must be a whole number"),
        (["forget", "fact=nothing"], "No such fact"),
    ],
)
def test_the_terminal_explains_an_error(history, words, message):
    with pytest.raises(CommandError, match=message):
        run(*words, conversation=history.conversation.pk)


def test_the_terminal_refuses_an_unknown_conversation(db):
    with pytest.raises(CommandError, match="Conversation not found"):
        run("facts", conversation="01a2060c-0186-76a7-9642-3a280e006d9b")
