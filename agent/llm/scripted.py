"""The stand-in for a model: no network, always the same answer to the same prompt, and it says what it is."""

import json
import re
from itertools import takewhile

from agent.llm.base import Completion, Prompt, PromptMessage, Role, ToolRequest, Usage
from agent.llm.tokens import estimate_prompt_tokens, estimate_tokens
from whatsapp_agent.text.truncate import truncate

INTRODUCTION = (
    "I am the scripted stand-in: no language model is configured yet. "
    "Set OPENAI_API_KEY or OPENAI_BASE_URL and a real one answers."
)
_MAX_ECHO_CHARS = 500
_MAX_RESULT_CHARS = 1500
_OURS = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d\] |<earlier>.*?</earlier>\n?", re.DOTALL | re.MULTILINE)
_ASKS_FOR_TOOL = re.compile(r"(?:\btool:[ \t]*|\buse[ \t]+)([A-Za-z_][\w-]{0,63})[ \t]*", re.IGNORECASE)


class ScriptedModel:
    """Repeats what it receives.

    A text with `tool:NAME {json}` or `use NAME {json}` asks for a tool that is on offer, as often as it occurs;
    without JSON the arguments are `{}`. What follows a `{` and is no JSON is passed on as it is up to the end of the
    line, so that malformed calls can be tried too. Once the tools have answered, their results are the answer.
    """

    def complete(self, prompt: Prompt) -> Completion:
        if results := _trailing(prompt, Role.TOOL):
            answer = "\n".join(truncate(result.text, _MAX_RESULT_CHARS) for result in results)
            return _completion(prompt, text=f"{INTRODUCTION}\n\nThe tool answered:\n{answer}")
        text = _OURS.sub("", "\n".join(message.text for message in _trailing(prompt, Role.USER))).strip()
        if requests := _tool_requests(prompt, text):
            return _completion(prompt, tool_requests=requests)
        echo = f"You wrote: {truncate(text, _MAX_ECHO_CHARS)}" if text else "Your message has no text to repeat."
        return _completion(prompt, text=f"{INTRODUCTION}\n\n{echo}")


def _trailing(prompt: Prompt, role: Role) -> list[PromptMessage]:
    """The messages of one role that end the prompt, oldest first."""
    return list(takewhile(lambda message: message.role == role, reversed(prompt.messages)))[::-1]


def _tool_requests(prompt: Prompt, text: str) -> tuple[ToolRequest, ...]:
    offered = {tool.name for tool in prompt.tools}
    requests: list[ToolRequest] = []
    for found in _ASKS_FOR_TOOL.finditer(text) if offered else ():
        if found[1] in offered:
            call_id = f"call_{len(prompt.messages)}_{len(requests)}"
            requests.append(ToolRequest(id=call_id, name=found[1], arguments=_arguments(text, found.end())))
    return tuple(requests)


def _arguments(text: str, start: int) -> str:
    if not text.startswith("{", start):
        return "{}"
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return text[start:].partition("\n")[0]
    return text[start:end]


def _completion(prompt: Prompt, *, text: str = "", tool_requests: tuple[ToolRequest, ...] = ()) -> Completion:
    written = sum(estimate_tokens(request.arguments) + 4 for request in tool_requests) + estimate_tokens(text)
    return Completion(
        text=text,
        tool_requests=tool_requests,
        usage=Usage(prompt_tokens=estimate_prompt_tokens(prompt), completion_tokens=written),
        model="scripted",
        finish_reason="tool_calls" if tool_requests else "stop",
    )
