"""Responses: for models that use tools while they reason, which Chat Completions does not let them."""

from typing import Any

from agent.llm.adapter import Adapter, arrange_messages
from agent.llm.answers import completion, count, joined, tool_arguments, tool_name, tool_request
from agent.llm.base import Completion, ModelUnavailable, Prompt, PromptMessage, Role, ToolRequest, ToolSpec, Usage
from agent.llm.capabilities import Capabilities
from agent.llm.failures import failure

_SMALLEST_LIMIT = 16  # max_output_tokens below this is refused
_FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesModel(Adapter):
    """Format: `POST /responses`, https://platform.openai.com/docs/api-reference/responses/create

    Nothing is stored at the server (`store` is false): the whole history is sent, reasoning of this turn included.
    """

    path = "/responses"

    def build_body(self, prompt: Prompt, can: Capabilities) -> dict[str, Any]:
        body: dict[str, Any] = {"model": prompt.model, "store": False}
        if can.encrypted_reasoning:
            body["include"] = ["reasoning.encrypted_content"]
        if prompt.tools and can.tools:
            body["tools"] = [_tool(tool) for tool in prompt.tools]
        body["input"] = [item for message in arrange_messages(prompt, can) for item in _items(message, can)]
        if prompt.temperature is not None and can.temperature:
            body["temperature"] = prompt.temperature
        if prompt.max_output_tokens is not None and can.limit_name:
            body["max_output_tokens"] = max(_SMALLEST_LIMIT, prompt.max_output_tokens)
        return body

    def read_answer(self, answer: dict[str, Any], prompt: Prompt) -> Completion:
        return _completion(answer, prompt)


def _tool(tool: ToolSpec) -> dict[str, Any]:
    # Strict unless told otherwise here, and strict schemas may have no optional fields.
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": False}
    return {"type": "function", **function}


def _items(message: PromptMessage, can: Capabilities) -> list[dict[str, Any]]:
    if message.role is Role.TOOL:
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": message.text}]
    if message.pictures:
        pictures = [{"type": "input_image", "image_url": url} for url in message.pictures]
        return [{"role": message.role.value, "content": [{"type": "input_text", "text": message.text}, *pictures]}]
    if message.raw and can.extra_fields:
        return _own_items(message)
    text = [{"role": message.role.value, "content": message.text}] if message.text or not message.tool_requests else []
    return text + [_call(request) for request in message.tool_requests]


def _call(request: ToolRequest) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": request.id,
        "name": tool_name(request.name),
        "arguments": tool_arguments(request.arguments),
    }


def _own_items(message: PromptMessage) -> list[dict[str, Any]]:
    """Return the items of an answer of this turn as the server sent them, reasoning and signatures included.

    Thoughts in the text are gone, and calls are as we read them. Reasoning that holds nothing is left out, and the ids
    with it: a server that stored nothing cannot find it.
    """
    items: list[dict[str, Any]] = []
    requests = list(message.tool_requests)
    text = message.text
    has_ids = not any(item.get("type") == "reasoning" and not _holds_something(item) for item in message.raw)
    for item in message.raw:
        kind = str(item.get("type"))
        kept = item if has_ids else {name: value for name, value in item.items() if name not in {"id", "status"}}
        if kind == "reasoning" and _holds_something(item):
            items.append(item)
        elif kind == "message" and text:
            items.append(kept if _text_of(item).strip() == text else {"role": message.role.value, "content": text})
            text = ""
        elif kind.endswith("_call") and requests:
            call = _call(requests.pop(0))
            items.append(kept | call if kind == "function_call" else call)
    if text:
        items.append({"role": message.role.value, "content": text})
    return items + [_call(request) for request in requests]


def _holds_something(reasoning: dict[str, Any]) -> bool:
    return any(reasoning.get(name) for name in ("encrypted_content", "content", "summary"))


def _text_of(item: dict[str, Any]) -> str:
    content = item.get("content")
    return content if isinstance(content, str) else joined(content if isinstance(content, list) else ())


def _completion(answer: dict[str, Any], prompt: Prompt) -> Completion:
    if answer.get("status") == "failed":
        raise failure(500, answer.get("error"))
    output = answer.get("output")
    if not isinstance(output, list):
        raise ModelUnavailable("The model server's answer has no output.", code="malformed")
    texts: list[str] = []
    refusals: list[Any] = []
    requests: list[ToolRequest] = []
    for item in output:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "message":
            content = item.get("content")
            texts.append(_text_of(item))
            parts = content if isinstance(content, list) else ()
            refusals += [part.get("refusal") for part in parts if isinstance(part, dict)]
        elif isinstance(kind, str) and kind.endswith("_call"):
            requests.append(_tool_request(len(requests), item))
    details = answer.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    usage = answer.get("usage")
    return completion(
        text="\n\n".join(text for text in texts if text),
        refusal="".join(text for text in refusals if isinstance(text, str)),
        tool_requests=requests,
        usage=Usage(
            prompt_tokens=count(usage, "input_tokens"),
            completion_tokens=count(usage, "output_tokens"),
            cached_tokens=count(usage, "input_tokens_details", "cached_tokens"),
        ),
        model=answer.get("model"),
        finish_reason=_FINISH_REASONS.get(str(reason), "tool_calls" if requests else "stop"),
        raw=tuple(item for item in output if isinstance(item, dict)),
        prompt=prompt,
    )


def _tool_request(index: int, item: dict[str, Any]) -> ToolRequest:
    """Read a tool call. One of an unknown kind is returned whole, without a name: its result is an error."""
    call_id = item.get("call_id") or item.get("id")
    if item["type"] == "function_call":
        return tool_request(index=index, call_id=call_id, name=item.get("name"), arguments=item.get("arguments"))
    return tool_request(index=index, call_id=call_id, name="", arguments=item)
