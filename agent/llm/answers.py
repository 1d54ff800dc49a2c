"""What both APIs' answers have in common: fields of any type become texts and numbers that we can keep."""

import json
import re
from collections.abc import Iterable
from typing import Any

from agent.llm.base import Completion, ContentFiltered, ModelRefused, ModelUnavailable, ToolRequest, Usage
from whatsapp_agent.text.sanitize import storable

MAX_TEXT_CHARS = 65_536  # characters of an answer; WhatsApp takes 4,096 at once
_MAX_ARGUMENTS_CHARS = 65_536
_MAX_TOOL_REQUESTS = 64
_MAX_TOKENS = 2_000_000_000
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def clean(value: Any, limit: int) -> str:
    """Return the first `limit` characters as storable text; anything but a string is empty."""
    return storable(value[:limit], nul="") if isinstance(value, str) else ""


def joined(parts: Iterable[Any]) -> str:
    """The texts of a list of content parts, whatever else is in it."""
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def without_thoughts(text: str) -> str:
    """Without the `<think>…</think>` that local reasoning models put first; some forget to open it, or to close it."""
    thoughts, closed, answer = text.partition("</think>")
    opened = thoughts.lstrip().startswith("<think>")
    if closed and (opened or "<think>" not in thoughts):
        return answer.lstrip()
    return "" if opened else text


def tool_request(*, index: int, call_id: Any, name: Any, arguments: Any) -> ToolRequest:
    """A tool request from whatever the server sent; arguments that are no text are kept as their JSON."""
    if arguments is None:
        arguments = "{}"
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return ToolRequest(
        id=clean(call_id, 200) or f"call_{index}",
        name=clean(name, 200),
        arguments=clean(arguments, _MAX_ARGUMENTS_CHARS),
    )


def tool_name(name: str) -> str:
    """A name that servers take back in the history, where a model made one up that they do not."""
    return name if _TOOL_NAME.fullmatch(name) else "unknown"


def tool_arguments(arguments: str) -> str:
    """Arguments that servers take back in the history: a JSON object, also where the model wrote none."""
    try:
        if isinstance(json.loads(arguments), dict):
            return arguments
    except (ValueError, RecursionError):
        pass
    return json.dumps({"malformed": arguments})


def count(value: Any, *path: str) -> int:
    """The number at `path` in nested dicts; 0 where there is none, or nonsense."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return min(value, _MAX_TOKENS) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def completion(
    *, text: str, refusal: str, tool_requests: list[ToolRequest], usage: Usage, model: Any, finish_reason: Any
) -> Completion:
    """Raises ModelRefused for a refusal or a filtered answer, ModelUnavailable when nothing was said."""
    reason = clean(finish_reason, 64)
    text = clean(without_thoughts(text), MAX_TEXT_CHARS).strip()
    if not any(character.isprintable() and not character.isspace() for character in text):
        text = ""  # zero-width characters and the like
    requests = _with_own_ids(tool_requests[:_MAX_TOOL_REQUESTS])
    if reason == "content_filter":
        raise ContentFiltered("The model server filtered the answer.")
    if refusal.strip() and not text and not requests:
        raise ModelRefused("The model refused to answer.", code="refusal")
    if not text and not requests:
        if reason == "length":
            raise ModelUnavailable("The answer's limit was reached before anything was said.", code="length")
        raise ModelUnavailable("The model said nothing.", code="empty")
    return Completion(text=text, tool_requests=requests, usage=usage, model=clean(model, 200), finish_reason=reason)


def _with_own_ids(requests: list[ToolRequest]) -> tuple[ToolRequest, ...]:
    """Some models give all requests of a step the same id; the answers must not be mixed up."""
    seen: set[str] = set()
    kept = []
    for index, request in enumerate(requests):
        call_id = f"{request.id}_{index}" if request.id in seen else request.id
        seen.add(call_id)
        kept.append(ToolRequest(id=call_id, name=request.name, arguments=request.arguments))
    return tuple(kept)
