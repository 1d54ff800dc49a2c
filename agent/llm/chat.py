"""Chat Completions: the API that every compatible server has."""

from typing import Any

from agent.llm.answers import completion, count, joined, tool_arguments, tool_name, tool_request
from agent.llm.base import Completion, ModelUnavailable, Prompt, PromptMessage, Role, ToolRequest, ToolSpec, Usage
from agent.llm.capabilities import capabilities_of
from agent.llm.model_server import ModelServer, failure


class ChatModel:
    """Format: `POST /chat/completions`, https://platform.openai.com/docs/api-reference/chat/create"""

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def complete(self, prompt: Prompt) -> Completion:
        return _completion(self._server.post("/chat/completions", _body(prompt)))


def _body(prompt: Prompt) -> dict[str, Any]:
    can = capabilities_of(prompt.model)
    body: dict[str, Any] = {"model": prompt.model}
    if prompt.tools:
        body["tools"] = [_tool(tool) for tool in prompt.tools]
        if not can.tools_while_reasoning:
            body["reasoning_effort"] = "none"
    body["messages"] = [_message(message) for message in prompt.messages_with_notes()]
    if prompt.temperature is not None and can.temperature:
        body["temperature"] = prompt.temperature
    if prompt.max_output_tokens is not None:
        body[can.limit_name] = prompt.max_output_tokens
    return body


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _message(message: PromptMessage) -> dict[str, Any]:
    if message.role is Role.TOOL:
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    if message.picture:
        picture = {"type": "image_url", "image_url": {"url": message.picture}}
        return {"role": message.role.value, "content": [{"type": "text", "text": message.text}, picture]}
    if not message.tool_requests:
        return {"role": message.role.value, "content": message.text}
    calls = [
        {
            "id": request.id,
            "type": "function",
            "function": {"name": tool_name(request.name), "arguments": tool_arguments(request.arguments)},
        }
        for request in message.tool_requests
    ]
    return {"role": message.role.value, "content": message.text or None, "tool_calls": calls}


def _completion(answer: dict[str, Any]) -> Completion:
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        raise ModelUnavailable("The model server's answer has no choices.", code="malformed")
    if choice.get("error"):
        raise failure(500, choice["error"])
    message = choice.get("message")
    if not isinstance(message, dict):
        raise ModelUnavailable("The model server's answer has no message.", code="malformed")
    content = message.get("content")
    calls = message.get("tool_calls")
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
    )


def _tool_request(index: int, call: Any) -> ToolRequest:
    """A call of a shape we do not know is kept whole, without a name: it goes back to the model as an error."""
    if isinstance(call, dict) and isinstance(function := call.get("function"), dict):
        name, arguments = function.get("name"), function.get("arguments")
        return tool_request(index=index, call_id=call.get("id"), name=name, arguments=arguments)
    return tool_request(index=index, call_id=call.get("id") if isinstance(call, dict) else "", name="", arguments=call)
