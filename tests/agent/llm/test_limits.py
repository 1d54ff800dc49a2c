"""What a model server does not take is left out, asked again without, and remembered."""

# ruff: noqa: E501  (the servers' own words)

import pytest

from agent.llm.base import (
    ModelRefused,
    Prompt,
    PromptMessage,
    Role,
    ToolRequest,
    ToolSpec,
)
from agent.llm.capabilities import MAX_CACHED, capabilities_of, clear_cache, describe_limits, learn
from tests.support.openai_formats import openai_error

TOOL = ToolSpec("search_messages", "Search.", {"type": "object", "properties": {"words": {"type": "string"}}})


NO_TOOLS = {
    "openrouter": (
        404,
        {"error": {"message": "No endpoints found that support tool use. To learn more, see the docs.", "code": 404}},
    ),
    "llama.cpp": (
        500,
        {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}},
    ),
    "501": (501, {"error": {"code": 501, "message": "Not implemented", "type": "not_supported_error"}}),
    "ollama": (400, openai_error("registry.ollama.ai/library/gemma:latest does not support tools")),
    "vllm": (
        400,
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        },
    ),
    "groq": (400, openai_error("`tool calling` is not supported with this model")),
    "gemini": (400, [{"error": {"code": 400, "message": "Function calling is not enabled for models/gemma-3-27b-it"}}]),
    "pydantic": (
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "tools"], "msg": "Extra inputs are not permitted"}]},
    ),
    "argument": (400, openai_error("Unrecognized request argument supplied: tools")),
}


@pytest.mark.parametrize(("status", "body"), NO_TOOLS.values(), ids=NO_TOOLS)
def test_a_model_without_tools_is_asked_without_them_from_then_on(model, server, prompt_of, status, body):
    server.answer(body, status=status)
    assert model.complete(prompt_of("Hi", tools=(TOOL,))).text == "You said: Hi"
    assert model.complete(prompt_of("Again", tools=(TOOL,))).text == "You said: Again"
    assert ["tools" in asked.body for asked in server.requests] == [True, False, False]
    assert describe_limits(model.address, "fake-model") == ["takes no tools"]


def test_a_limit_applies_only_to_its_server_and_model(model, server, prompt_of):
    server.answer(openai_error("x does not support tools"), status=400)
    model.complete(prompt_of(tools=(TOOL,)))
    model.complete(prompt_of(tools=(TOOL,), model="other"))
    assert "tools" in server.requests[-1].body
    assert capabilities_of("fake-model", address="https://elsewhere").tools


def test_a_limit_is_not_remembered_if_the_request_fails_without_it_too(model, server, prompt_of):
    server.answer(openai_error("x does not support tools"), status=400)
    server.answer(openai_error("Something else is wrong."), status=400)
    with pytest.raises(ModelRefused):
        model.complete(prompt_of(tools=(TOOL,)))
    assert describe_limits(model.address, "fake-model") == []


def test_the_number_of_remembered_models_is_bounded():
    for number in range(MAX_CACHED + 10):
        learn("server", f"model {number}", {"tools": False})
    assert capabilities_of("model 0", address="server").tools
    assert not capabilities_of(f"model {MAX_CACHED + 9}", address="server").tools


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
        "temperature is not supported by this model",
        "`temperature` is deprecated for this model.",
        "invalid temperature: only 1 is allowed for this model",
    ],
)
def test_a_refused_temperature_is_left_out(model, server, prompt_of, message):
    server.answer(openai_error(message), status=400)
    assert model.complete(prompt_of("Hi", temperature=0.2, tools=(TOOL,))).text == "You said: Hi"
    last = server.requests[-1].body
    assert ("temperature" in last, "tools" in last, server.count) == (False, True, 2)


def test_a_refused_name_of_the_limit_is_replaced(model, server, prompt_of):
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    server.answer(openai_error(message, param="max_tokens"), status=400)
    assert model.complete(prompt_of("Hi", max_output_tokens=300)).text == "You said: Hi"
    first, last = (asked.body for asked in server.requests)
    if "max_tokens" in first:
        assert (last.get("max_completion_tokens"), "max_tokens" in last) == (300, False)
    else:
        assert "max_output_tokens" not in last


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "System role not supported"),
        (400, "'system' is not a valid role"),
        (422, "Input should be 'user' or 'assistant'"),
        (400, "role must be one of user, assistant"),
        (500, "Only user, assistant and tool roles are supported, got system."),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    ],
)
def test_instructions_move_to_the_first_user_message_if_the_system_role_is_refused(
    model, server, prompt_of, status, message
):
    server.answer(openai_error(message), status=status)
    model.complete(prompt_of("Hi"))
    body = server.requests[-1].body
    assert [(item["role"], item["content"]) for item in body.get("messages") or body["input"]] == [
        ("user", "You are brief.\n\nHi")
    ]


def test_messages_of_one_role_in_a_row_are_merged_if_roles_must_alternate(model, server):
    server.answer(openai_error("Conversation roles must alternate user/assistant/user/assistant/..."), status=400)
    messages = [
        (Role.SYSTEM, "S"),
        (Role.USER, "a"),
        (Role.USER, "b"),
        (Role.ASSISTANT, "c"),
        (Role.ASSISTANT, "d"),
        (Role.USER, "e"),
    ]
    prompt = Prompt(model="fake-model", messages=tuple(PromptMessage(role, text) for role, text in messages))
    model.complete(prompt)
    body = server.requests[-1].body
    assert [(item["role"], item["content"]) for item in body.get("messages") or body["input"]] == [
        ("system", "S"),
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
        ("user", "e"),
    ]


@pytest.mark.parametrize("notes", ["", "It is noon."])
def test_the_first_message_after_the_system_prompt_is_a_user_message(model, server, notes):
    messages = (
        PromptMessage(Role.SYSTEM, "S"),
        PromptMessage(Role.ASSISTANT, "We open at 9."),
        PromptMessage(Role.USER, "ok"),
    )
    model.complete(Prompt(model="fake-model", messages=messages, notes=notes))
    model.complete(Prompt(model="fake-model", messages=messages[:2], notes=notes))
    for asked in server.requests:
        items = asked.body.get("messages") or asked.body["input"]
        assert [item["role"] for item in items[:3]] == ["system", "user", "assistant"]


def asked_a_tool(prompt_of: object) -> Prompt:
    prompt = prompt_of("Hi", tools=(TOOL,))
    messages = (
        *prompt.messages,
        PromptMessage(Role.ASSISTANT, "", tool_requests=(ToolRequest("call_1", "search_messages", "{}"),)),
        PromptMessage(Role.TOOL, "On the roof.", tool_call_id="call_1"),
    )
    return Prompt(model=prompt.model, messages=messages, tools=prompt.tools)


def test_null_content_beside_tool_calls_becomes_empty_text_if_it_is_refused(chat, server, prompt_of):
    for message in ("Invalid value for 'content': expected a string, got null.", "Bad request."):
        clear_cache()
        server.forget()
        server.answer(openai_error(message), status=400)
        chat.complete(asked_a_tool(prompt_of))
        chat.complete(asked_a_tool(prompt_of))
        assert [asked.body["messages"][2]["content"] for asked in server.requests] == [None, "", ""]
        assert "tools" in server.requests[-1].body


def test_calls_and_results_become_text_for_a_model_without_tools(model, server, prompt_of):
    learn(model.address, "fake-model", {"tools": False})
    model.complete(asked_a_tool(prompt_of))
    body = server.requests[-1].body
    items = body.get("messages") or body["input"]
    assert [item["role"] for item in items] == ["system", "user", "assistant", "user"]
    assert "On the roof." in items[-1]["content"]
