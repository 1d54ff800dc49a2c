"""What people type, however they type it."""

import pytest

from commands.parsing import InvalidArguments, parse_arguments, read_command, split_addressee, usage
from commands.registry import all_commands, find, get, nearest
from whatsapp_agent.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("/help", "help", ""),
        ("  /Help  summarize ", "help", "summarize"),
        ("#resumo 20", "summarize", "20"),
        ("/RESUMEN", "summarize", ""),
        ("/Estatísticas", "stats", ""),
        ("\u200e/status", "status", ""),
        ("／ajuda", "help", ""),
        ("/search_messages blue", "search", "blue"),
        ("/search\nblue\nbicycle", "search", "blue\nbicycle"),
    ],
)
def test_a_command_is_recognised_in_every_spelling(text, name, rest):
    typed = read_command(text)
    assert (typed.command.name, typed.rest) == (name, rest)


@pytest.mark.parametrize(
    "text",
    ["", "/", "//", "/ help", "help", "/home/user/file", "/10", "1/2", "see /help", "#1 best", "#sale", "/a" * 90],
)
def test_a_text_that_only_resembles_a_command_is_no_command(text):
    assert read_command(text) is None


def test_an_unknown_slash_word_is_an_unknown_command():
    assert read_command("/sumarize 3").command is None


def test_a_mistyped_word_suggests_the_nearest_command_the_caller_may_run():
    assert nearest("sumarize", by="contact").name == "summarize"
    assert nearest("silense", by="contact") is None
    assert nearest("silense", by="owner").name == "pause"
    assert nearest("qqqqqq", by="owner") is None
    assert nearest("resum", by="owner").name == "resume"  # as near: /resumo, which is /summarize
    assert nearest("resum", by="contact").name == "summarize"


@pytest.mark.parametrize(
    ("word", "rest", "expected"),
    [
        ("summarize", "", {"count": 50}),
        ("summarize", "20", {"count": 20}),
        ("summarize", "count=20", {"count": 20}),
        ("summarize", "Count: 20", {"count": 20}),
        ("summarize", "--count=20", {"count": 20}),
        ("search", "blue  bicycle", {"words": "blue  bicycle", "limit": 5}),
        ("search", "blue bicycle limit=3", {"words": "blue bicycle", "limit": 3}),
        ("search", "limit=3 blue bicycle", {"words": "blue bicycle", "limit": 3}),
        ("search", "blue limit=3 bicycle", {"words": "blue bicycle", "limit": 3}),
        ("search", '"blue bicycle"', {"words": "blue bicycle", "limit": 5}),
        ("search", "“blue bicycle” limit:2", {"words": "blue bicycle", "limit": 2}),
        ("search", 'words="blue bicycle" limit=2', {"words": "blue bicycle", "limit": 2}),
        ("search", "it's 5 o'clock", {"words": "it's 5 o'clock", "limit": 5}),
        ("remember", "I am\nvegetarian", {"fact": "I am\nvegetarian", "corrects": ""}),
        ("remember", "I am vegan corrects=2", {"fact": "I am vegan", "corrects": "2"}),
        ("human", "reason: I am angry", {"reason": "I am angry", "summary": ""}),
        ("help", "/status", {"command": "/status"}),
        ("status", "", {}),
    ],
)
def test_arguments_are_read_in_order_by_name_and_quoted(word, rest, expected):
    assert parse_arguments(get(word), rest).model_dump() == expected


@pytest.mark.parametrize(
    ("word", "rest", "message"),
    [
        ("summarize", "many", "*count* must be a whole number, not “many”."),
        ("summarize", "0", "*count* must be at least 1, not “0”."),
        ("summarize", "9999999999", "*count* must be at most 500"),
        ("summarize", "3 4", "Unexpected argument “4”."),
        ("summarize", "count=3 count=4", "count is given twice."),
        ("search", "", "*words* is missing."),
        ("search", '""', "*words* must not be empty."),
        ("search", "x" * 301, "*words* must have at most 300 characters."),
        ("status", "now", "Unexpected argument “now”."),
    ],
)
def test_invalid_arguments_are_explained_in_the_chat(word, rest, message):
    with pytest.raises(InvalidInput) as caught:
        parse_arguments(get(word), rest)
    assert message in str(caught.value)
    assert f"Write: /{word}" in str(caught.value)


def test_invalid_arguments_name_their_fields():
    with pytest.raises(InvalidArguments) as caught:
        parse_arguments(get("summarize"), "many")
    assert caught.value.fields == {"count": ["must be a whole number, not “many”."]}


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("@Ana 30", ("Ana", "30")),
        ('@"Ana Maria" 30', ("Ana Maria", "30")),
        ("+55 11 98888-7777 30 minutes", ("+55 11 98888-7777", "30 minutes")),
        ("+5511988887777 30", ("+5511988887777", "30")),
        ("@+5511988887777 30", ("+5511988887777", "30")),
        ("30", ("", "30")),
        ("@", ("", "")),
        ("", ("", "")),
    ],
)
def test_the_owner_names_a_contact_first(rest, expected):
    assert split_addressee(rest) == expected


def test_every_command_has_a_usage_and_valid_examples():
    for command in all_commands():
        assert usage(command).startswith(f"Write: /{command.name}")
        for example in command.examples:
            typed = read_command(example)
            assert typed.command is command
            parse_arguments(command, split_addressee(typed.rest)[1])


def test_a_tool_has_a_plain_schema():
    spec = find("search").tool_spec()
    assert spec.name == "search_messages"
    assert spec.parameters["required"] == ["words"]
    assert spec.parameters["additionalProperties"] is False
    assert "title" not in str(spec.parameters)
