"""Responses: for models that use tools while they reason, which Chat Completions does not let them."""

from typing import Any

from agent.llm.answers import completion, count, tool_arguments, tool_name, tool_request
from agent.llm.base import Completion, ModelUnavailable, Prompt, PromptMessage, Role, ToolRequest, ToolSpec, Usage
from agent.llm.capabilities import capabilities_of
from agent.llm.model_server import ModelServer, failure

_SMALLEST_LIMIT = 16  # max_output_tokens below this is refused
_FINISH_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesModel:
    """Format: `POST /responses`, https://platform.openai.com/docs/api-reference/responses/create

    Nothing is kept at the server (`store` is false): the history is ours and is sent whole.
    """

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def complete(self, prompt: Prompt) -> Completion:
        return _completion(self._server.post("/responses", _body(prompt)))


def _body(prompt: Prompt) -> dict[str, Any]:
    body: dict[str, Any] = {"model": prompt.model, "store": False}
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
    body["input"] = [item for message in prompt.messages_with_notes() for item in _items(message)]
    if prompt.temperature is not None and capabilities_of(prompt.model).temperature:
        body["temperature"] = prompt.temperature
    if prompt.max_output_tokens is not None:
        body["max_output_tokens"] = max(_SMALLEST_LIMIT, prompt.max_output_tokens)
    return body


def _tool(tool: ToolSpec) -> dict[str, Any]:
    # Strict unless told otherwise here, and strict schemas may have no optional fields.
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": False}
    return {"type": "function", **function}


def _items(message: PromptMessage) -> list[dict[str, Any]]:
    if message.role is Role.TOOL:
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": message.text}]
    if message.picture:
        picture = {"type": "input_image", "image_url": message.picture}
        return [{"role": message.role.value, "content": [{"type": "input_text", "text": message.text}, picture]}]
    calls = [
        {
            "type": "function_call",
            "call_id": request.id,
            "name": tool_name(request.name),
            "arguments": tool_arguments(request.arguments),
        }
        for request in message.tool_requests
    ]
    said = [{"role": message.role.value, "content": message.text}] if message.text or not calls else []
    return said + calls


def _completion(answer: dict[str, Any]) -> Completion:
    if answer.get("status") == "failed":
        raise failure(500, answer.get("error"))
    output = answer.get("output")
    if not isinstance(output, list):
        raise ModelUnavailable("The model server's answer has no output.", code="malformed")
    texts: list[Any] = []
    refusals: list[Any] = []
    requests: list[ToolRequest] = []
    for item in output:
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "message":
            content = item.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict):
                    texts.append(part.get("text"))
                    refusals.append(part.get("refusal"))
        elif isinstance(kind, str) and kind.endswith("_call"):
            requests.append(_tool_request(len(requests), item))
    details = answer.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    usage = answer.get("usage")
    return completion(
        text="".join(text for text in texts if isinstance(text, str)),
        refusal="".join(text for text in refusals if isinstance(text, str)),
        tool_requests=requests,
        usage=Usage(
            prompt_tokens=count(usage, "input_tokens"),
            completion_tokens=count(usage, "output_tokens"),
            cached_tokens=count(usage, "input_tokens_details", "cached_tokens"),
        ),
        model=answer.get("model"),
        finish_reason=_FINISH_REASONS.get(str(reason), "tool_calls" if requests else "stop"),
    )


def _tool_request(index: int, item: dict[str, Any]) -> ToolRequest:
    """A call of a kind we did not offer is kept whole, without a name: it goes back to the model as an error."""
    call_id = item.get("call_id") or item.get("id")
    if item["type"] == "function_call":
        return tool_request(index=index, call_id=call_id, name=item.get("name"), arguments=item.get("arguments"))
    return tool_request(index=index, call_id=call_id, name="", arguments=item)
