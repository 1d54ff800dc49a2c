"""What model servers refuse, in the words they have for it: told apart, left out, asked again and remembered."""

# ruff: noqa: E501  (the servers' own words)

import pytest

from agent.llm.base import (
    ContentFiltered,
    ContextTooLong,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    Prompt,
    PromptMessage,
    Role,
    ToolRequest,
    ToolSpec,
)
from agent.llm.capabilities import MAX_CACHED, capabilities_of, clear_cache, describe_limits, learn

TOOL = ToolSpec("search_messages", "Search.", {"type": "object", "properties": {"words": {"type": "string"}}})


def openai_error(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None} | more}


# --- Told apart --------------------------------------------------------------------------------------------------
CONTEXT_TOO_LONG = {
    "openai": (
        400,
        openai_error("This model's maximum context length is 8192 tokens. However, your messages resulted in 9000."),
    ),
    "openai code": (400, openai_error("Too long.", code="context_length_exceeded")),
    "openai responses": (
        400,
        openai_error("Your input exceeds the context window of this model. Please adjust your input."),
    ),
    "openai tpm": (
        429,
        openai_error(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000.",
            code="rate_limit_exceeded",
        ),
    ),
    "azure": (
        400,
        openai_error("Input tokens exceed the configured limit of 272000 tokens.", code="context_length_exceeded"),
    ),
    "anthropic": (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "prompt is too long: 208310 tokens > 200000 maximum"},
        },
    ),
    "anthropic limit": (
        400,
        openai_error("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"),
    ),
    "anthropic 413": (
        413,
        {"type": "error", "error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}},
    ),
    "bedrock": (400, {"message": "Input is too long for requested model."}),
    "vllm": (
        400,
        {
            "object": "error",
            "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "vllm limit": (
        400,
        openai_error(
            "'max_tokens' or 'max_completion_tokens' is too large: 2048. This model's maximum context length is 4096 tokens and your request has 3000 input tokens"
        ),
    ),
    "vllm none left": (400, openai_error("max_tokens must be at least 1, got -500.")),
    "sglang": (400, openai_error("The input (5000 tokens) is longer than the model's context length (4096 tokens).")),
    "tgi": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 20 `max_new_tokens`",
            "error_type": "validation",
        },
    ),
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
                "type": "exceed_context_size_error",
            }
        },
    ),
    "llama.cpp 500": (
        500,
        {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}},
    ),
    "ollama": (400, {"error": "prompt too long; exceeded max context length by 17 tokens"}),
    "ollama 500": (500, {"error": "the input length exceeds the context length"}),
    "lm studio": (
        400,
        {
            "error": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."
        },
    ),
    "lm studio keep": (
        400,
        {"error": "The number of tokens to keep from the initial prompt is greater than the context length."},
    ),
    "gemini": (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
    ),
    "mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
    ),
    "groq": (
        413,
        openai_error(
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 7000",
            code="rate_limit_exceeded",
        ),
    ),
    "groq 400": (400, openai_error("Please reduce the length of the messages or completion.", param="messages")),
    "openrouter": (
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens.",
                "code": 400,
            }
        },
    ),
    "openrouter raw": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": '{"error":{"message":"prompt is too long: 9 tokens > 8 maximum"}}'},
            }
        },
    ),
    "xai": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
    ),
    "cohere": (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    "kimi": (400, openai_error("Invalid request: Your request exceeded model token limit: 8192")),
    "zhipu": (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    "dashscope": (400, openai_error("Range of input length should be [1, 30720]")),
    "github": (
        413,
        {
            "error": {
                "code": "tokens_limit_reached",
                "message": "Request body too large for gpt-4o model. Max size: 8000 tokens.",
            }
        },
    ),
    "plain text": (400, "context window exceeded"),
}


@pytest.mark.parametrize(("status", "body"), CONTEXT_TOO_LONG.values(), ids=CONTEXT_TOO_LONG)
def test_a_context_that_is_too_long_is_told_in_every_wording(model, server, said, status, body):
    server.answer(body, status=status)
    with pytest.raises(ContextTooLong) as failed:
        model.complete(said())
    assert (failed.value.code, server.count) == ("context_too_long", 1)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000."),
        (400, "max_tokens is too large: 100000. This model supports at most 16384 completion tokens."),
        (400, "The value of a parameter is wrong."),
        (500, "The server had an error."),
    ],
)
def test_another_failure_is_not_taken_for_a_long_context(model, server, said, status, message):
    server.answer(openai_error(message), status=status)
    with pytest.raises(ModelError) as failed:
        model.complete(said())
    assert not isinstance(failed.value, ContextTooLong | ContentFiltered)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, openai_error("The response was filtered.", code="content_filter")),
        (400, {"error": {"message": "x", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        (
            400,
            openai_error(
                "Invalid prompt: your prompt was flagged as violating our usage policy.", code="invalid_prompt"
            ),
        ),
        (400, {"type": "error", "error": {"message": "Output blocked by content filtering policy"}}),
        (400, openai_error("Content Exists Risk")),
        (400, openai_error("Input data may contain inappropriate content.", code="data_inspection_failed")),
        (403, {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged."}}),
    ],
)
def test_a_filtered_prompt_is_told_as_such(model, server, said, status, body):
    server.answer(body, status=status)
    with pytest.raises(ContentFiltered) as failed:
        model.complete(said())
    assert failed.value.code == "content_filter"


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "content_filter: PROHIBITED_CONTENT", "sensitive"])
def test_a_filtered_answer_is_told_as_such(model, server, said, reason):
    server.answer(
        {
            "choices": [{"message": {"content": "Half an ans"}, "finish_reason": reason}],
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Half an ans"}]}],
        }
    )
    with pytest.raises(ContentFiltered):
        model.complete(said())


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_an_answer_that_was_cut_off_has_one_reason(model, server, said, reason):
    server.answer(
        {
            "choices": [{"message": {"content": "Half an ans"}, "finish_reason": reason}],
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Half an ans"}]}],
        }
    )
    completion = model.complete(said())
    assert (completion.finish_reason, completion.was_cut_off) == ("length", True)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, openai_error("Incorrect API key provided."), "unauthorized"),
        (403, openai_error("You may not use this model."), "unauthorized"),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}], "unauthorized"),
        (404, openai_error("The model `x` does not exist.", code="model_not_found"), "model_not_found"),
        (404, {"error": "model 'x' not found, try pulling it first"}, "model_not_found"),
        (400, {"error": {"message": "x is not a valid model ID", "code": 400}}, "model_not_found"),
        (
            429,
            openai_error("You exceeded your current quota, please check your plan.", code="insufficient_quota"),
            "insufficient_quota",
        ),
        (402, openai_error("Insufficient Balance"), "insufficient_quota"),
        (400, openai_error("Your credit balance is too low to access the API."), "insufficient_quota"),
        (403, openai_error("Key limit exceeded (total limit)."), "insufficient_quota"),
    ],
)
def test_what_an_operator_has_to_mend_is_told_apart(model, server, said, status, body, code):
    server.answer(body, status=status)
    with pytest.raises(ModelError) as failed:
        model.complete(said())
    assert (failed.value.code, failed.value.needs_operator) == (code, True)


def test_a_limit_per_minute_is_no_exhausted_quota(model, server, said):
    server.answer(
        [{"error": {"code": 429, "message": "Quota exceeded for requests per minute. Please retry in 37s."}}],
        status=429,
    )
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(said())
    assert (failed.value.code, failed.value.needs_operator) == ("rate_limited", False)


# --- Asked again without -----------------------------------------------------------------------------------------
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
def test_a_model_without_tools_is_asked_again_without_them_once_and_for_all(model, server, said, status, body):
    server.answer(body, status=status)
    assert model.complete(said("Hi", tools=(TOOL,))).text == "You said: Hi"
    assert model.complete(said("Again", tools=(TOOL,))).text == "You said: Again"
    assert ["tools" in asked.body for asked in server.requests] == [True, False, False]
    assert describe_limits(model.address, "fake-model") == ["takes no tools"]


def test_what_was_learned_holds_for_that_server_and_model_alone(model, server, said):
    server.answer(openai_error("x does not support tools"), status=400)
    model.complete(said(tools=(TOOL,)))
    model.complete(said(tools=(TOOL,), model="other"))
    assert "tools" in server.requests[-1].body
    assert capabilities_of("fake-model", address="https://elsewhere").tools


def test_a_refusal_that_leaving_out_does_not_heal_teaches_nothing(model, server, said):
    server.answer(openai_error("x does not support tools"), status=400)
    server.answer(openai_error("Something else is wrong."), status=400)
    with pytest.raises(ModelRefused):
        model.complete(said(tools=(TOOL,)))
    assert describe_limits(model.address, "fake-model") == []


def test_what_is_remembered_is_bounded():
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
def test_a_refused_temperature_is_left_out(model, server, said, message):
    server.answer(openai_error(message), status=400)
    assert model.complete(said("Hi", temperature=0.2, tools=(TOOL,))).text == "You said: Hi"
    last = server.requests[-1].body
    assert ("temperature" in last, "tools" in last, server.count) == (False, True, 2)


def test_a_refused_name_of_the_limit_is_replaced(model, server, said):
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    server.answer(openai_error(message, param="max_tokens"), status=400)
    assert model.complete(said("Hi", max_output_tokens=300)).text == "You said: Hi"
    first, last = (asked.body for asked in server.requests)
    if "max_tokens" in first:
        assert (last.get("max_completion_tokens"), "max_tokens" in last) == (300, False)
    else:
        assert "max_output_tokens" not in last


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "System role not supported"),
        (500, "Only user, assistant and tool roles are supported, got system."),
        (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    ],
)
def test_instructions_stand_in_the_first_user_message_where_no_system_role_is_taken(
    model, server, said, status, message
):
    server.answer(openai_error(message), status=status)
    model.complete(said("Hi"))
    body = server.requests[-1].body
    assert [(item["role"], item["content"]) for item in body.get("messages") or body["input"]] == [
        ("user", "You are brief.\n\nHi")
    ]


def test_same_roles_in_a_row_are_merged_where_a_server_wants_them_to_alternate(model, server):
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
def test_the_first_message_after_the_system_prompt_is_a_users(model, server, notes):
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


def asked_a_tool(said: object) -> Prompt:
    prompt = said("Hi", tools=(TOOL,))
    messages = (
        *prompt.messages,
        PromptMessage(Role.ASSISTANT, "", tool_requests=(ToolRequest("call_1", "search_messages", "{}"),)),
        PromptMessage(Role.TOOL, "On the roof.", tool_call_id="call_1"),
    )
    return Prompt(model=prompt.model, messages=messages, tools=prompt.tools)


def test_null_content_beside_tool_calls_becomes_empty_where_a_server_wants_text(chat, server, said):
    for message in ("Invalid value for 'content': expected a string, got null.", "Bad request."):
        clear_cache()
        server.forget()
        server.answer(openai_error(message), status=400)
        chat.complete(asked_a_tool(said))
        chat.complete(asked_a_tool(said))
        assert [asked.body["messages"][2]["content"] for asked in server.requests] == [None, "", ""]
        assert "tools" in server.requests[-1].body


def test_calls_and_results_are_told_in_words_to_a_model_without_tools(model, server, said):
    learn(model.address, "fake-model", {"tools": False})
    model.complete(asked_a_tool(said))
    body = server.requests[-1].body
    items = body.get("messages") or body["input"]
    assert [item["role"] for item in items] == ["system", "user", "assistant", "user"]
    assert "On the roof." in items[-1]["content"]
