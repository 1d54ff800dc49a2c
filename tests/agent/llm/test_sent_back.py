"""What a server adds to its message goes back to it unchanged within the turn; what it streams unasked is read."""

import json
from dataclasses import replace

import pytest

from agent.llm.base import Completion, ModelUnavailable, Prompt, PromptMessage, Role, ToolSpec
from tests.support.fake_openai import Answer

TOOL = ToolSpec("search_messages", "Search.", {"type": "object", "properties": {"words": {"type": "string"}}})
FUNCTION = {"name": "search_messages", "arguments": '{"words":"pool"}'}


def after_tools(prompt: Prompt, completion: Completion) -> Prompt:
    results = tuple(
        PromptMessage(Role.TOOL, "On the roof.", tool_call_id=request.id) for request in completion.tool_requests
    )
    return replace(prompt, messages=(*prompt.messages, completion.as_message(), *results))


def chat_answer(**message: object) -> dict[str, object]:
    return {"choices": [{"message": {"role": "assistant", "content": None} | message, "finish_reason": "tool_calls"}]}


def test_signatures_reasoning_and_unknown_fields_go_back_in_chat_completions(chat, server, prompt_of):
    signature = {"google": {"thought_signature": "c2lnbmF0dXJl"}}
    added = {"reasoning_content": "I search.", "reasoning_details": [{"type": "x", "data": "y"}], "vendor": {"a": [1]}}
    call = {"id": "call_1", "type": "function", "function": FUNCTION, "extra_content": signature}
    server.answer(chat_answer(tool_calls=[call], refusal=None, annotations=[], **added))
    prompt = prompt_of("Where?", tools=(TOOL,))
    chat.complete(after_tools(prompt, chat.complete(prompt)))
    sent = server.requests[-1].body["messages"][2]
    assert sent == {"role": "assistant", "content": None, "tool_calls": [call]} | added


def test_thoughts_in_the_text_do_not_go_back(chat, server, prompt_of):
    call = {"id": "call_1", "type": "function", "function": FUNCTION}
    server.answer(chat_answer(content="<think>secret</think>One moment.", tool_calls=[call]))
    prompt = prompt_of("Where?", tools=(TOOL,))
    chat.complete(after_tools(prompt, chat.complete(prompt)))
    assert server.requests[-1].body["messages"][2]["content"] == "One moment."


def test_fields_that_a_server_added_are_left_out_if_it_refuses_them(chat, server, prompt_of):
    call = {"id": "call_1", "type": "function", "function": FUNCTION}
    server.answer(chat_answer(tool_calls=[call], reasoning_content="I search."))
    prompt = prompt_of("Where?", tools=(TOOL,))
    answered = after_tools(prompt, chat.complete(prompt))
    complaint = {"type": "extra_forbidden", "loc": ["body", "messages", 2, "reasoning_content"], "msg": "Extra inputs"}
    server.answer({"detail": [complaint]}, status=422)
    chat.complete(answered)
    chat.complete(answered)
    asked = [request.body["messages"][2] for request in list(server.requests)[1:]]
    assert ["reasoning_content" in message for message in asked] == [True, False, False]
    assert all("tools" in request.body for request in server.requests)


def test_reasoning_items_go_back_in_responses(responses, server, prompt_of):
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "One moment.", "annotations": []}],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed", "vendor": 1, **FUNCTION},
    ]
    server.answer({"status": "completed", "output": output})
    prompt = prompt_of("Where?", tools=(TOOL,))
    responses.complete(after_tools(prompt, responses.complete(prompt)))
    assert server.requests[-1].body["input"][2:5] == output


def test_an_empty_reasoning_item_is_left_out_with_the_ids_that_belong_to_it(responses, server, prompt_of):
    server.call_tools(("search_messages", {"words": "pool"}), text="One moment.")
    prompt = prompt_of("Where?", tools=(TOOL,))
    responses.complete(after_tools(prompt, responses.complete(prompt)))
    sent = server.requests[-1].body["input"][2:-1]
    assert [item["type"] for item in sent] == ["message", "function_call"]
    assert not any("id" in item for item in sent)


def test_encrypted_reasoning_is_requested_from_a_reasoning_model_until_it_is_refused(responses, server, prompt_of):
    server.answer({"error": {"message": "Encrypted content is not supported with this model."}}, status=400)
    responses.complete(prompt_of("Hi", model="o3-mini"))
    responses.complete(prompt_of("Hi", model="o3-mini"))
    assert ["include" in request.body for request in server.requests] == [True, False, False]
    responses.complete(prompt_of("Hi"))
    assert "include" not in server.requests[-1].body


# --- Streamed unasked --------------------------------------------------------------------------------------------
def stream(*chunks: object, done: bool = True) -> Answer:
    lines = [f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in chunks] + (["data: [DONE]\n\n"] if done else [])
    body = ": PROCESSING\n\n" + "".join(lines)
    return Answer(200, body.encode(), (("Content-Type", "text/event-stream"),))


def delta(reason: str | None = None, **fields: object) -> dict[str, object]:
    return {"model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def test_a_streamed_chat_answer_is_read(chat, server, prompt_of):
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    server.next_answers.append(
        stream(
            delta(role="assistant", content=""), delta(content="Good "), delta(content="morning"), delta("stop"), usage
        )
    )
    completion = chat.complete(prompt_of())
    assert (completion.text, completion.finish_reason, completion.model) == ("Good morning", "stop", "m")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (7, 2)


def test_streamed_tool_calls_are_put_together(chat, server, prompt_of):
    def part(index: int, arguments: str, **more: object) -> dict[str, object]:
        function = {"arguments": arguments} | ({"name": "search_messages"} if more else {})
        return delta(tool_calls=[{"index": index, "function": function, **more}])

    server.next_answers.append(
        stream(
            delta(reasoning_content="I "),
            delta(reasoning_content="search."),
            part(0, "", id="a", type="function"),
            part(0, '{"words":'),
            part(0, '"pool"}'),
            part(1, "{}", id="b", type="function"),
            delta("tool_calls"),
        )
    )
    completion = chat.complete(prompt_of(tools=(TOOL,)))
    assert [(request.id, request.arguments) for request in completion.tool_requests] == [
        ("a", '{"words":"pool"}'),
        ("b", "{}"),
    ]
    assert completion.raw[0]["reasoning_content"] == "I search."


def test_a_streamed_response_is_read(responses, server, prompt_of):
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Good morning"}]}]
    server.next_answers.append(
        stream(
            {"type": "response.created", "response": {"status": "in_progress", "output": []}},
            {"type": "response.output_text.delta", "delta": "Good"},
            {"type": "response.completed", "response": {"status": "completed", "output": output}},
            done=False,
        )
    )
    assert responses.complete(prompt_of()).text == "Good morning"


def test_a_stream_that_breaks_off_may_be_tried_again(model, server, prompt_of):
    server.next_answers.append(stream(delta(content="Good mor"), {"type": "response.created"}, done=False))
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert failed.value.code == "malformed"


def test_an_error_within_a_stream_is_a_failure(model, server, prompt_of):
    server.next_answers.append(stream({"error": {"message": "Slow down.", "code": 429}}))
    with pytest.raises(ModelUnavailable) as failed:
        model.complete(prompt_of())
    assert failed.value.code == "rate_limited"
