"""Chat Completions: the API that every compatible server has."""

from collections.abc import Collection
from typing import Any

from agent.llm.adapter import Adapter, arrange_messages
from agent.llm.answers import completion, count, joined, tool_arguments, tool_name, tool_request
from agent.llm.base import (
    Completion,
    ContentFiltered,
    ModelUnavailable,
    Prompt,
    PromptMessage,
    Role,
    ToolRequest,
    ToolSpec,
    Usage,
)
from agent.llm.capabilities import Capabilities
from agent.llm.failures import failure

_OWN_FIELDS = frozenset({"role", "content", "tool_calls", "function_call", "refusal", "annotations", "audio"})


class ChatModel(Adapter):
    """Format: `POST /chat/completions`, https://platform.openai.com/docs/api-reference/chat/create"""

    path = "/chat/completions"

    def build_body(self, prompt: Prompt, can: Capabilities) -> dict[str, Any]:
        body: dict[str, Any] = {"model": prompt.model}
        if prompt.tools and can.tools:
            body["tools"] = [_tool(tool) for tool in prompt.tools]
            if not can.tools_while_reasoning:
                body["reasoning_effort"] = "none"
        body["messages"] = [_message(message, can) for message in arrange_messages(prompt, can)]
        if prompt.temperature is not None and can.temperature:
            body["temperature"] = prompt.temperature
        if prompt.max_output_tokens is not None and can.limit_name:
            body[can.limit_name] = prompt.max_output_tokens
        return body

    def read_answer(self, answer: dict[str, Any], prompt: Prompt) -> Completion:
        return _completion(answer, prompt)


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _message(message: PromptMessage, can: Capabilities) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    if message.pictures:
        pictures = [{"type": "image_url", "image_url": {"url": url}} for url in message.pictures]
        return {"role": message.role.value, "content": [{"type": "text", "text": message.text}, *pictures]}
    if not message.tool_requests:
        return {"role": message.role.value, "content": message.text}
    raw = message.raw[0] if message.raw else {}
    sent = raw.get("tool_calls")
    calls = [
        _call(request, sent[index] if isinstance(sent, list) and index < len(sent) else None, can)
        for index, request in enumerate(message.tool_requests)
    ]
    empty = None if can.null_content and raw.get("content") is None else ""
    own = {"role": message.role.value, "content": message.text or empty, "tool_calls": calls}
    return _added_fields(raw, _OWN_FIELDS) | own if can.extra_fields else own


def _call(request: ToolRequest, sent: Any, can: Capabilities) -> dict[str, Any]:
    function = {"name": tool_name(request.name), "arguments": tool_arguments(request.arguments)}
    call = {"id": request.id, "type": "function", "function": function}
    was = sent.get("function") if isinstance(sent, dict) else None
    if not can.extra_fields or not isinstance(was, dict) or was.get("name") != request.name:
        return call
    call["function"] = _added_fields(was, function.keys()) | function
    return _added_fields(sent, {*call, "index"}) | call


def _added_fields(sent: dict[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Return what a server added to its message, such as signatures and reasoning: it wants them back unchanged."""
    return {name: value for name, value in sent.items() if name not in own and value not in (None, "", [], {})}


def _completion(answer: dict[str, Any], prompt: Prompt) -> Completion:
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if choice is None and (answer.get("promptFeedback") or answer.get("prompt_filter_results")):
        raise ContentFiltered("The model server filtered the prompt.")  # Gemini, Azure
    if not isinstance(choice, dict):
        raise ModelUnavailable("The model server's answer has no choices.", code="malformed")
    if choice.get("error"):
        raise failure(500, choice["error"])
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ModelUnavailable("The model server's answer has no message.", code="malformed")
    content = message.get("content")
    calls = message.get("tool_calls") or message.get("function_call")
    calls = [calls] if isinstance(calls, dict) else calls
    usage = answer.get("usage")
    return completion(
        text=content if isinstance(content, str) else joined(content if isinstance(content, list) else ()),
        refusal=message["refusal"] if isinstance(message.get("refusal"), str) else "",
        tool_requests=[
            _tool_request(index, call) for index, call in enumerate(calls if isinstance(calls, list) else ())
        ],
        usage=Usage(
            prompt_tokens=count(usage, "prompt_tokens"),
            completion_tokens=count(usage, "completion_tokens"),
            cached_tokens=count(usage, "prompt_tokens_details", "cached_tokens"),
        ),
        model=answer.get("model"),
        finish_reason=choice.get("finish_reason"),
        raw=(message,),
        prompt=prompt,
    )


def _tool_request(index: int, call: Any) -> ToolRequest:
    """Read a tool call. One of an unknown shape is returned whole, without a name: its result is an error."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        name, arguments = function.get("name"), function.get("arguments")
        return tool_request(index=index, call_id=call.get("id"), name=name, arguments=arguments)
    return tool_request(index=index, call_id=call.get("id") if isinstance(call, dict) else "", name="", arguments=call)
