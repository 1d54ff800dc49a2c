"""What holds for both APIs, over real HTTP."""

import json
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agent.llm.base import (
    ModelError,
    ModelRefused,
    ModelUnavailable,
    Prompt,
    PromptMessage,
    Role,
    ToolRequest,
    ToolSpec,
    Usage,
)
from agent.llm.model_server import ModelServer
from tests.agent.llm.conftest import API_KEY

SEARCH = ToolSpec(
    name="search_messages",
    description="Search what was said.",
    parameters={"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]},
)


def test_the_text_of_a_completion_is_what_the_model_wrote(model, server, prompt_of):
    server.say("Good morning!")
    assert model.complete(prompt_of("Hello")).text == "Good morning!"


def test_the_whole_history_reaches_the_model_in_order(model, server):
    history = (
        PromptMessage(Role.SYSTEM, "Be brief."),
        PromptMessage(Role.USER, "One"),
        PromptMessage(Role.ASSISTANT, "Two"),
        PromptMessage(Role.USER, "Três 🌸 ثلاثة"),
    )
    model.complete(Prompt(model="fake-model", messages=history))
    body = server.requests[0].body
    told = [(item["role"], item["content"]) for item in body.get("messages") or body["input"]]
    assert told == [(message.role.value, message.text) for message in history]


def test_a_picture_reaches_the_model_beside_the_words(model, server):
    seen = PromptMessage(role=Role.USER, text="Which colour?", picture="data:image/png;base64,AAAA")
    assert model.complete(Prompt(model="fake-model", messages=(seen,))).text == "You said: Which colour?"
    body = server.requests[0].body
    [text, picture] = (body["messages"] if "messages" in body else body["input"])[-1]["content"]
    assert text["text"] == "Which colour?"
    assert "data:image/png;base64,AAAA" in json.dumps(picture)


def test_a_completion_has_the_tokens_used_and_the_name_of_the_model(model, server, prompt_of):
    completion = model.complete(prompt_of("Hello"))
    assert completion.model == "fake-model"
    assert completion.finish_reason == "stop"
    assert completion.usage.prompt_tokens > completion.usage.cached_tokens > 0
    assert completion.usage.completion_tokens > 0


def test_an_answer_without_usage_has_no_tokens(model, server, prompt_of):
    server.answer(
        {
            "choices": [{"message": {"content": "Hi"}}],
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}],
            "usage": {"prompt_tokens": "many", "input_tokens": -5, "output_tokens": True, "completion_tokens": None},
        }
    )
    completion = model.complete(prompt_of())
    assert (completion.text, completion.usage, completion.model) == ("Hi", Usage(), "")


def test_an_offered_tool_is_called_and_its_result_goes_back(model, server, prompt_of):
    server.call_tools(("search_messages", {"words": "pool"}))
    asked = prompt_of("Where is the pool?", tools=(SEARCH,))
    first = model.complete(asked)
    (request,) = first.tool_requests
    assert (request.name, json.loads(request.arguments)) == ("search_messages", {"words": "pool"})
    assert (first.text, first.finish_reason) == ("", "tool_calls")

    server.say("On the roof.")
    answered = replace(
        asked,
        messages=(
            *asked.messages,
            PromptMessage(Role.ASSISTANT, "", tool_requests=first.tool_requests),
            PromptMessage(Role.TOOL, "The pool is on the roof.", tool_call_id=request.id),
        ),
    )
    assert model.complete(answered).text == "On the roof."


def test_several_tool_calls_of_one_step_stay_in_order_with_different_ids(model, server, prompt_of):
    server.call_tools(("search_messages", {"words": "a"}), ("search_messages", {"words": "b"}), text="Let me look.")
    completion = model.complete(prompt_of(tools=(SEARCH,)))
    assert completion.text == "Let me look."
    assert [json.loads(request.arguments)["words"] for request in completion.tool_requests] == ["a", "b"]
    assert len({request.id for request in completion.tool_requests}) == 2


@pytest.mark.parametrize("arguments", ["{not json", "", "[1, 2]", '"words"', '{"words": ' * 50, "nothing at all"])
def test_malformed_arguments_are_passed_on_unchanged(model, server, prompt_of, arguments):
    server.call_tools(("search_messages", arguments))
    assert model.complete(prompt_of(tools=(SEARCH,))).tool_requests[0].arguments == arguments


def test_a_call_of_a_tool_that_was_not_offered_is_passed_on(model, server, prompt_of):
    server.call_tools(("format_the_disk", {}))
    assert model.complete(prompt_of(tools=(SEARCH,))).tool_requests[0].name == "format_the_disk"


def test_arguments_that_are_not_a_text_become_json(model, server, prompt_of):
    server.call_tools(("search_messages", [1, None]), ("search_messages", None))
    requests = model.complete(prompt_of(tools=(SEARCH,))).tool_requests
    assert [request.arguments for request in requests] == ["[1, null]", "{}"]


def test_a_malformed_call_in_the_history_is_sent_as_valid_json(model, server, prompt_of):
    asked = prompt_of(tools=(SEARCH,))
    bad = ToolRequest(id="call_1", name="two words!", arguments="{not json")
    messages = (
        *asked.messages,
        PromptMessage(Role.ASSISTANT, "", tool_requests=(bad,)),
        PromptMessage(Role.TOOL, "error: unknown tool", tool_call_id="call_1"),
        PromptMessage(Role.USER, "And now?"),
    )
    assert model.complete(replace(asked, messages=messages)).text == "You said: And now?"


@pytest.mark.parametrize(
    "calls",
    [
        ["search"],
        [None, 3],
        [{"id": "x", "type": "custom", "custom": {"name": "search", "input": "pool"}}],
        [{"type": "computer_call", "call_id": "x", "action": {"type": "click"}}],
    ],
)
def test_a_call_of_an_unknown_shape_is_returned_without_a_name(model, server, prompt_of, calls):
    output = [item if isinstance(item, dict) else {"type": "odd_call", "what": item} for item in calls]
    output = [item | {"type": "custom_call"} if item["type"] == "custom" else item for item in output]
    server.answer({"choices": [{"message": {"content": None, "tool_calls": calls}}], "output": output})
    requests = model.complete(prompt_of(tools=(SEARCH,))).tool_requests
    assert len(requests) == len(calls)
    assert all(request.id and not request.name and request.arguments for request in requests)


def test_calls_with_the_same_id_get_different_ids(model, server, prompt_of):
    call = {"id": "same", "type": "function", "function": {"name": "search_messages", "arguments": "{}"}}
    item = {"call_id": "same", "type": "function_call", "name": "search_messages", "arguments": "{}"}
    server.answer({"choices": [{"message": {"tool_calls": [call] * 3}}], "output": [item] * 3})
    assert len({request.id for request in model.complete(prompt_of(tools=(SEARCH,))).tool_requests}) == 3


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>Hm.\nShe asks…</think>\n\nHello!", "Hello!"),
        ("\n<think></think>Hello!", "Hello!"),
        ("She asks for a greeting.</think>Hello!", "Hello!"),
        ("The tag <think> opens and </think> closes.", "The tag <think> opens and </think> closes."),
        ("  Hello!\n", "Hello!"),
        ("Hel\x00lo \ud83d!", "Hello \ufffd!"),
    ],
)
def test_thoughts_and_unstorable_characters_are_not_part_of_the_answer(model, server, prompt_of, text, answer):
    server.say(text)
    assert model.complete(prompt_of()).text == answer


def test_an_answer_that_is_too_long_to_store_is_truncated(model, server, prompt_of):
    server.say("x" * 1_000_000)
    assert len(model.complete(prompt_of()).text) == 65_536


def test_an_answer_that_was_cut_off_by_its_limit_is_still_an_answer(model, server, prompt_of):
    server.answer(
        {
            "choices": [{"message": {"content": "The first half"}, "finish_reason": "length"}],
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "The first half"}]}],
        }
    )
    completion = model.complete(prompt_of())
    assert (completion.text, completion.finish_reason) == ("The first half", "length")


# --- Failures ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("rate_limited", "rate_limited"),
        ("no_quota", "insufficient_quota"),
        ("error_500", "server_error"),
        ("overloaded", "server_error"),
        ("html_502", "server_error"),
        ("error_in_200", "server_error"),
        ("drop", "connection"),
        ("not_json", "malformed"),
        ("truncated", "malformed"),
        ("nested", "malformed"),
        ("an_array", "malformed"),
        ("no_answer_in_it", "malformed"),
        ("wrong_types", "malformed"),
        ("compressed", "malformed"),
        ("compressed_429", "rate_limited"),
        ("huge", "malformed"),
        ("empty", "empty"),
        ("blank", "empty"),
        ("invisible", "empty"),
        ("null", "empty"),
        ("cut_before_it_began", "length"),
    ],
)
def test_a_failure_that_may_pass_is_raised_as_model_unavailable(model, server, prompt_of, outcome, code):
    server.fail(outcome)
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert failed.value.code == code
    assert server.count == 1, "a second try is for the turn to decide"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("unauthorized", "unauthorized"),
        ("not_found", "model_not_found"),
        ("bad_request", "bad_request"),
        ("too_long", "context_too_long"),
        ("too_long_unnamed", "context_too_long"),
        ("redirect", "redirect"),
        ("refusal", "refusal"),
        ("filtered", "content_filter"),
    ],
)
def test_a_failure_that_does_not_pass_is_raised_as_model_refused(model, server, prompt_of, outcome, code):
    server.fail(outcome)
    with pytest.raises(ModelRefused) as failed:
        model.complete(prompt_of())
    assert failed.value.code == code
    assert server.count == 1


@pytest.mark.parametrize("outcome", ["hang", "trickle"])
def test_a_server_that_does_not_end_its_answer_times_out(hurried, server, prompt_of, outcome):
    server.fail(outcome)
    with pytest.raises(ModelUnavailable) as failed:
        hurried.complete(prompt_of())
    assert failed.value.code == "timeout"


def test_an_unreachable_server_is_raised_as_model_unavailable(model, prompt_of):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        with pytest.raises(ModelUnavailable) as failed:
            type(model)(ModelServer(base_url=address, api_key=API_KEY, timeout_s=20)).complete(prompt_of())
    assert failed.value.code == "connection"


def test_a_wrong_key_is_refused(model, server, prompt_of):
    with pytest.raises(ModelRefused) as failed:
        type(model)(ModelServer(base_url=server.base_url, api_key="sk-wrong", timeout_s=20)).complete(prompt_of())
    assert failed.value.code == "unauthorized"


def test_a_server_without_a_configured_key_is_sent_none(model, server, prompt_of):
    server.api_key = ""
    type(model)(ModelServer(base_url=server.base_url, api_key="", timeout_s=20)).complete(prompt_of())
    assert "authorization" not in server.requests[0].headers


def test_an_http_200_that_holds_an_error_is_a_failure(model, server, prompt_of):
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    server.answer({"choices": [{"error": error, "message": {}}], "status": "failed", "error": None, "output": []})
    with pytest.raises(ModelUnavailable):
        model.complete(prompt_of())


@pytest.mark.parametrize("outcome", ["bad_request", "rate_limited", "error_500", "drop", "not_json", "refusal", "huge"])
def test_an_exception_contains_no_key_no_prompt_and_no_answer(model, server, prompt_of, outcome):
    server.fail(outcome)
    with pytest.raises(ModelError) as failed:
        model.complete(prompt_of("my secret prompt"))
    told, exc = "", failed.value
    while exc is not None:
        told += f"{exc} {exc!r} {exc.args} {getattr(exc, 'body', '')}"
        exc = exc.__cause__
    for secret in (API_KEY, "secret", "Hello", "I will not"):
        assert secret not in told


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "0.5"}, 0.5, 0.5),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5, 1.5),
        ({"Retry-After": "2100"}, 2100, 2100),
        ({"Retry-After": "99999999999"}, 3600, 3600),
        ({"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0, 0),
    ],
)
@pytest.mark.parametrize("outcome", ["rate_limited", "overloaded"])
def test_retry_after_in_seconds_is_read(model, server, prompt_of, outcome, headers, least, most):
    server.fail(outcome, headers=headers)
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert least <= failed.value.retry_after_s <= most


def test_retry_after_as_a_date_is_read(model, server, prompt_of):
    in_two_minutes = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    server.fail("rate_limited", headers={"Retry-After": in_two_minutes})
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert 60 <= failed.value.retry_after_s <= 120


@pytest.mark.parametrize("nonsense", ["soon", "-3", "nan", "inf", "Mon, 99 Jan 99999", ""])
def test_an_unreadable_retry_after_is_ignored(model, server, prompt_of, nonsense):
    server.fail("rate_limited", headers={"Retry-After": nonsense})
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert failed.value.retry_after_s is None


# --- What a model does not take ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["gpt-6-luna", "openai/gpt-6-luna", "gpt-5.6-terra", "gpt-5", "gpt-5.1-mini", "gpt-5-chat-latest", "o3-mini"],
)
def test_a_reasoning_model_is_sent_no_parameter_that_it_refuses(model, server, prompt_of, name):
    completion = model.complete(prompt_of("Hi", model=name, temperature=0.2, max_output_tokens=200, tools=(SEARCH,)))
    assert completion.text == "You said: Hi"


def test_an_unknown_model_is_sent_every_parameter(model, server, prompt_of):
    model.complete(prompt_of(temperature=0.2, max_output_tokens=200))
    body = server.requests[0].body
    assert body["temperature"] == 0.2
    assert body.get("max_tokens", body.get("max_output_tokens")) == 200
    assert "reasoning_effort" not in body


def test_many_threads_share_one_model(model, server, prompt_of):
    server.latency_s = 0.3
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(model.complete(prompt_of(f"Number {n}")).text))
        for n in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(f"You said: Number {n}" for n in range(100))


def chat_answer(**message: object) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": None} | message, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "call",
    [
        {"tool_calls": [{"id": "1", "name": "search_messages", "arguments": '{"words": "pool"}'}]},
        {"tool_calls": {"id": "1", "function": {"name": "search_messages", "arguments": '{"words": "pool"}'}}},
        {"function_call": {"name": "search_messages", "arguments": '{"words": "pool"}'}},
        {"tool_calls": [{"function": {"name": "functions.search_messages", "arguments": {"words": "pool"}}}]},
        {"tool_calls": [{"function": {"name": "search_messages<|channel|>json", "arguments": '{"words": "pool"}'}}]},
        {"tool_calls": [{"function": {"name": "search_messages", "arguments": '"{\\"words\\": \\"pool\\"}"'}}]},
        {"tool_calls": [{"function": {"name": "search_messages", "arguments": '```json\n{"words": "pool"}\n```'}}]},
    ],
)
def test_a_tool_call_in_an_unusual_shape_is_read(chat, server, prompt_of, call):
    server.answer(chat_answer(**call))
    (request,) = chat.complete(prompt_of(tools=(SEARCH,))).tool_requests
    assert (request.name, json.loads(request.arguments)) == ("search_messages", {"words": "pool"})


@pytest.mark.parametrize("kind", ["reasoning", "thinking", "reasoning_text", "summary_text"])
def test_a_part_of_an_answer_that_holds_thoughts_is_left_out(model, server, prompt_of, kind):
    parts = [{"type": kind, "text": "They want…"}, {"type": "output_text", "text": "Hi"}]
    server.answer(chat_answer(content=parts) | {"output": [{"type": "message", "content": parts}]})
    assert model.complete(prompt_of()).text == "Hi"


def test_a_response_whose_content_is_a_text_is_read(responses, server, prompt_of):
    server.answer({"output": [{"type": "message", "content": "Hi."}, {"type": "message", "content": "Bye."}]})
    assert responses.complete(prompt_of()).text == "Hi.\n\nBye."
