"""The stand-in: no network, the same answer each time, and no pretence."""

import json
from dataclasses import replace

import pytest

from agent.llm.base import Prompt, PromptMessage, Role, ToolSpec
from agent.llm.scripted import ScriptedModel

SEARCH = ToolSpec("search_messages", "Search what was said.", {"type": "object", "properties": {}})
HAND_OFF = ToolSpec("hand_off", "Ask for a person.", {"type": "object", "properties": {}})


def asked(*texts: str, tools: tuple[ToolSpec, ...] = ()) -> Prompt:
    messages = tuple(PromptMessage(Role.USER, text) for text in texts)
    return Prompt(model="any", messages=(PromptMessage(Role.SYSTEM, "Be brief."), *messages), tools=tools)


def test_the_scripted_model_explains_itself_and_how_to_configure_a_real_one():
    text = ScriptedModel().complete(asked("Hello")).text
    assert "stand-in" in text
    assert "OPENAI_API_KEY" in text
    assert "OPENAI_BASE_URL" in text


def test_the_scripted_model_repeats_all_messages_since_its_last_answer():
    text = ScriptedModel().complete(asked("Where is the pool?", "And the bar?")).text
    assert "Where is the pool?\nAnd the bar?" in text


def test_the_scripted_model_answers_the_same_prompt_alike():
    prompt = asked("use search_messages", tools=(SEARCH,))
    assert ScriptedModel().complete(prompt) == ScriptedModel().complete(prompt)


def test_the_scripted_model_repeats_a_long_text_in_part():
    assert len(ScriptedModel().complete(asked("x" * 100_000)).text) < 1000


@pytest.mark.parametrize("texts", [(), ("",), (" \n ",)])
def test_the_scripted_model_answers_an_empty_message_too(texts):
    assert ScriptedModel().complete(asked(*texts)).text


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("use search_messages", [("search_messages", "{}")]),
        ('Please use search_messages {"words": "pool"} now', [("search_messages", '{"words": "pool"}')]),
        ('tool:search_messages {"a": {"b": [1]}}\nbye', [("search_messages", '{"a": {"b": [1]}}')]),
        ("Use hand_off and tool: search_messages", [("hand_off", "{}"), ("search_messages", "{}")]),
        ("tool:search_messages {not json\nbye", [("search_messages", "{not json")]),
        ("tool:search_messages " + '{"a":' * 50_000, [("search_messages", '{"a":' * 50_000)]),
        ("use your imagination", []),
        ("use format_the_disk", []),
        ("because search_messages", []),
    ],
)
def test_the_scripted_model_calls_an_offered_tool_that_the_user_names(text, calls):
    completion = ScriptedModel().complete(asked(text, tools=(SEARCH, HAND_OFF)))
    assert [(request.name, request.arguments) for request in completion.tool_requests] == calls
    assert bool(completion.text) is not bool(calls)


def test_the_scripted_model_calls_no_tool_if_none_is_offered():
    assert not ScriptedModel().complete(asked("use search_messages")).tool_requests


def test_the_scripted_model_answers_with_the_results_of_its_tools():
    prompt = asked("use search_messages and use hand_off", tools=(SEARCH, HAND_OFF))
    requests = ScriptedModel().complete(prompt).tool_requests
    assert len({request.id for request in requests}) == 2
    results = (
        PromptMessage(Role.ASSISTANT, "", tool_requests=requests),
        PromptMessage(Role.TOOL, "Nothing found.", tool_call_id=requests[0].id),
        PromptMessage(Role.TOOL, json.dumps({"ok": True}), tool_call_id=requests[1].id),
    )
    completion = ScriptedModel().complete(replace(prompt, messages=prompt.messages + results))
    assert completion.text.endswith('Nothing found.\n{"ok": true}')
    assert not completion.tool_requests


def test_the_scripted_model_uses_more_tokens_for_longer_prompts():
    short, long = (ScriptedModel().complete(asked(text)).usage for text in ("Hi", "Hi there, " * 40))
    assert 0 < short.prompt_tokens < long.prompt_tokens
    assert 0 < short.completion_tokens < long.completion_tokens
