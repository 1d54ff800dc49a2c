"""Read an answer that a server streams although it was not asked to.

Formats: `text/event-stream` of Chat Completions (chunks with deltas, ended by `[DONE]`) and of Responses (events; the
last one holds the whole response), https://platform.openai.com/docs/api-reference/chat-streaming
"""

import json
from collections.abc import Iterator
from typing import Any

_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_NOT_CONCATENATED = frozenset({"role", "id", "type", "name", "model", "format", "signature_type"})


def is_stream(content: bytes) -> bool:
    return content[:64].lstrip(b"\xef\xbb\xbf \r\n").startswith((b"data:", b"event:", b": ", b":\n", b"id:", b"retry:"))


def read_stream(content: bytes) -> dict[str, Any]:
    """Return the answer as it would have come at once. Raises ValueError if the stream ends too early."""
    message: dict[str, Any] = {}
    answer: dict[str, Any] = {}
    reason, finished = None, False
    for data in _events(content):
        if data == "[DONE]":
            finished = True
            break
        chunk = json.loads(data)
        if not isinstance(chunk, dict):
            continue
        if chunk.get("type") in _FINAL_EVENTS and isinstance(chunk.get("response"), dict):
            return chunk["response"]
        if chunk.get("error"):
            return chunk
        if chunk.get("type") == "error":
            return {"error": {name: chunk.get(name) for name in ("code", "message", "type")}}
        answer |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict):
            if choice.get("error"):
                return {"error": choice["error"]}
            _merge(message, choice.get("delta") or choice.get("message"))
            reason = choice.get("finish_reason") or reason
    if not finished and reason is None:
        raise ValueError("the stream ended before the answer did")
    return answer | {"choices": [{"index": 0, "message": message, "finish_reason": reason}]}


def _events(content: bytes) -> Iterator[str]:
    """Yield the data of each event. https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    lines: list[str] = []
    for line in content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


def _merge(target: dict[str, Any], delta: Any) -> None:
    """Add a chunk's part of a message: texts are appended, lists merged by `index`, the rest replaced."""
    for name, value in delta.items() if isinstance(delta, dict) else ():
        before = target.get(name)
        if value is None:
            target.setdefault(name, None)
        elif isinstance(value, str) and isinstance(before, str) and name not in _NOT_CONCATENATED:
            target[name] = before + value
        elif isinstance(value, str) and not value and before:
            continue
        elif isinstance(value, dict):
            inner = before if isinstance(before, dict) else {}
            _merge(inner, value)
            target[name] = inner
        elif isinstance(value, list):
            target[name] = _merge_list(before if isinstance(before, list) else [], value)
        else:
            target[name] = value


def _merge_list(target: list[Any], parts: list[Any]) -> list[Any]:
    for part in parts:
        if not isinstance(part, dict):
            target.append(part)
            continue
        same = next(
            (each for each in reversed(target) if isinstance(each, dict) and _is_same(each, part, last=target[-1])),
            None,
        )
        if same is None:
            same = {}
            target.append(same)
        _merge(same, part)
    return target


def _is_same(item: dict[str, Any], part: dict[str, Any], *, last: Any) -> bool:
    """Whether a part continues an item: by `index`, else by `id`; without either it continues the last one."""
    if "index" in part:
        same_id = not part.get("id") or not item.get("id") or part["id"] == item["id"]
        return bool(item.get("index") == part["index"] and same_id)
    if part.get("id"):
        return bool(item.get("id") == part["id"])
    function = part.get("function")
    return item is last and not (isinstance(function, dict) and function.get("name"))
