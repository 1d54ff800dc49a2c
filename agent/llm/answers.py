"""Read what both APIs' answers have in common. Fields of any type become texts and numbers that can be stored."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from agent.llm.base import Completion, ContentFiltered, ModelRefused, ModelUnavailable, Prompt, ToolRequest, Usage
from agent.llm.reading.thoughts import remove_thoughts
from agent.llm.reading.written_calls import extract_calls
from whatsapp_agent.text.sanitize import storable

MAX_TEXT_CHARS = 65_536  # characters of an answer; WhatsApp takes 4,096 at once
_MAX_ARGUMENTS_CHARS = 65_536
_MAX_TOOL_REQUESTS = 64
_MAX_TOKENS = 2_000_000_000
_MAX_THOUGHT_CHARS = 4 * MAX_TEXT_CHARS  # thoughts and answer together
_LENGTH_REASONS = frozenset(
    ["length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"]
)
_FILTER_REASONS = frozenset(
    [
        "safety",
        "prohibited_content",
        "blocklist",
        "spii",
        "recitation",
        "sensitive",
        "content_filtered",
        "content_policy",
        "refusal",
    ]
)
_FENCED = re.compile(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", re.DOTALL)
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def clean(value: Any, limit: int) -> str:
    """Return the first `limit` characters as storable text; anything but a string is empty."""
    return storable(value[:limit], nul="") if isinstance(value, str) else ""


def joined(parts: Iterable[Any]) -> str:
    """Return the texts of a list of content parts; thoughts and other parts are left out."""
    texts = (part.get("text") for part in parts if isinstance(part, dict) and _is_text(part))
    return "".join(text for text in texts if isinstance(text, str))


def _is_text(part: dict[str, Any]) -> bool:
    return not part.get("thought") and part.get("type") in {None, "", "text", "output_text"}


def tool_request(*, index: int, call_id: Any, name: Any, arguments: Any) -> ToolRequest:
    """Return a tool request from whatever the server sent; arguments that are not a text become their JSON."""
    if arguments is None:
        arguments = "{}"
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    arguments = _unwrap(arguments)
    return ToolRequest(
        id=clean(call_id, 200) or f"call_{index}",
        name=clean(name, 200),
        arguments=clean(arguments, _MAX_ARGUMENTS_CHARS),
    )


def _unwrap(arguments: str) -> str:
    """Return the JSON object of arguments that are fenced or encoded twice; anything else unchanged."""
    fenced = _FENCED.fullmatch(arguments)
    inner = fenced[1] if fenced else arguments
    try:
        value = json.loads(inner)
        if isinstance(value, str):
            inner, value = value, json.loads(value)
    except (ValueError, RecursionError):
        return arguments
    return inner if isinstance(value, dict) else arguments


def _offered_name(name: str, prompt: Prompt) -> str:
    """Return the name of an offered tool that was written with a prefix or with the mark of a channel."""
    names = {tool.name for tool in prompt.tools}
    plain = name.partition("<|")[0].strip().removeprefix("functions.")
    return plain if name not in names and plain in names else name


def tool_name(name: str) -> str:
    """Return a name that servers accept in the history, also for one that a model made up."""
    return name if _TOOL_NAME.fullmatch(name) else "unknown"


def tool_arguments(arguments: str) -> str:
    """Return arguments that servers accept in the history: a JSON object, also if the model wrote none."""
    try:
        if isinstance(json.loads(arguments), dict):
            return arguments
    except (ValueError, RecursionError):
        pass
    return json.dumps({"malformed": arguments})


def count(value: Any, *path: str) -> int:
    """Return the number at `path` in nested dicts; 0 if there is none, or it is invalid."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return min(value, _MAX_TOKENS) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def completion(
    *,
    text: str,
    refusal: str,
    tool_requests: list[ToolRequest],
    usage: Usage,
    model: Any,
    finish_reason: Any,
    raw: tuple[dict[str, Any], ...],
    prompt: Prompt,
) -> Completion:
    """Raises ContentFiltered, ModelRefused for a refusal, or ModelUnavailable for an empty answer."""
    reason = _finish_reason(clean(finish_reason, 64))
    answer = remove_thoughts(text[:_MAX_THOUGHT_CHARS])
    known = {request.name for message in prompt.messages for request in message.tool_requests}
    written = extract_calls(answer[:MAX_TEXT_CHARS], prompt.tools, known=known)
    text = clean(written.text, MAX_TEXT_CHARS).strip()
    if not any(character.isprintable() and not character.isspace() for character in text):
        text = ""  # zero-width characters and the like
    if not tool_requests:
        tool_requests = [
            tool_request(index=index, call_id="", name=call.name, arguments=call.arguments)
            for index, call in enumerate(written.calls)
        ]
    requests = _with_unique_ids(tool_requests[:_MAX_TOOL_REQUESTS], prompt)
    if reason == "content_filter":
        raise ContentFiltered("The model server filtered the answer.", usage=usage)
    if refusal.strip() and not text and not requests:
        raise ModelRefused("The model refused to answer.", code="refusal", usage=usage)
    if not text and not requests:
        if written.dropped:
            raise ModelUnavailable(
                "The model wrote a tool call that cannot be run.", code="dropped_tool_call", usage=usage
            )
        if reason == "length":
            raise ModelUnavailable("The limit was reached before any text.", code="length", usage=usage)
        raise ModelUnavailable("The answer is empty.", code="empty", usage=usage)
    return Completion(
        text=text,
        tool_requests=requests,
        usage=usage,
        model=clean(model, 200),
        finish_reason="tool_calls" if requests and reason in {"stop", ""} else reason,
        dropped_tool_call=written.dropped,
        raw=raw,
    )


def _finish_reason(written: str) -> str:
    """Return one name for a reason that servers name differently."""
    reason = written.lower()
    if reason in _LENGTH_REASONS:
        return "length"
    return "content_filter" if reason.startswith("content_filter") or reason in _FILTER_REASONS else written


def _with_unique_ids(requests: list[ToolRequest], prompt: Prompt) -> tuple[ToolRequest, ...]:
    """Some models repeat an id within a step or a turn; the results must not be mixed up."""
    seen = {request.id for message in prompt.messages for request in message.tool_requests}
    unique = []
    for request in requests:
        call_id, number = request.id, 0
        while call_id in seen:
            call_id, number = f"{request.id}_{number}", number + 1
        seen.add(call_id)
        unique.append(replace(request, id=call_id, name=_offered_name(request.name, prompt)))
    return tuple(unique)
