"""Commands in the terminal: `manage.py run_command`."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.usefixtures("profile")


def terminal(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("run_command", *words, stdout=out, **options)
    return out.getvalue()


def test_the_terminal_takes_arguments_as_in_a_chat_too(place):
    told = terminal("remember", "Ana", "likes", "tea", conversation=place.conversation.pk)
    assert told == "I will remember: Ana likes tea\n"
    shown = json.loads(terminal("facts", conversation=place.conversation.pk, json=True))
    assert [fact["text"] for fact in shown["facts"]] == ["Ana is kind", "Ana likes tea"]


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_the_terminal_takes_options_and_words_in_any_order(place, at):
    words: list[Any] = ["remember", "Ana", "likes tea"]
    words[at:at] = ["--conversation", place.conversation.pk, "--json"]
    assert json.loads(terminal(*map(str, words)))["fact"]["text"] == "Ana likes tea"


def test_the_terminal_wants_to_know_the_conversation(place):
    with pytest.raises(CommandError, match="--conversation"):
        terminal("remember", "Ana likes tea")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fly"], r"Unknown command fly\.$"),
        (["sumarize"], "Did you mean summarize"),
        (["summarize", "count=many"], "must be a whole number"),
        (["forget", "fact=nothing"], "No such fact"),
    ],
)
def test_the_terminal_says_what_is_wrong(place, words, told):
    with pytest.raises(CommandError, match=told):
        terminal(*words, conversation=place.conversation.pk)


def test_the_terminal_knows_no_conversation_that_is_not_there(db):
    with pytest.raises(CommandError, match="no such conversation"):
        terminal("facts", conversation="01a2060c-0186-76a7-9642-3a280e006d9b")
