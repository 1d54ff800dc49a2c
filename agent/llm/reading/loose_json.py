"""Read JSON that a model wrote: it may stand amid text, lack its last braces, or be Python."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from agent.llm.reading.spans import CodeSpans

MAX_JSON_TRIES = 64  # in one text
MAX_PYTHON_CHARS = 8_000
_BARE_KEY = re.compile(r"([{,]\s{0,20})([A-Za-z_]\w{0,63})\s{0,20}:")
_JSON_START = re.compile(r"\[\s*\{\s*\"|\{\s*\"")


def bare_json_starts(text: str, names: str) -> Iterator[tuple[int, int]]:
    """Yield where a call may begin, outside code, and where its JSON does; a name may stand before it."""
    code = CodeSpans(text)
    pattern = re.compile(rf"(?P<ticks>`+)|(?P<named>\b(?:{names})\s*\(?\s*(?=\{{))|{_JSON_START.pattern}")
    at = tries = 0
    while tries < MAX_JSON_TRIES and (found := pattern.search(text, at)):
        begin, at = found.span()
        if found["ticks"]:
            at = max(at, code.end(begin, len(found[0])))
            continue
        tries += 1
        yield (begin, at) if found["named"] else (begin, begin)
        at = at if found["named"] else begin + 1


def decode(text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value at `at` and where it ends; -1 if there is none."""
    if at >= len(text):
        return None, -1
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, -1


def repair(text: str) -> Any:
    """Read JSON that lacks its last braces or the quotes of its keys, or that is Python; None if that fails too."""
    text = text.strip()
    for closing in ("}", "}}", "}]", '"}}', "]}}"):
        value, end = decode(text + closing, 0)
        if end > 0 and not (text + closing)[end:].strip():
            return value
    value, end = decode(_BARE_KEY.sub(r'\1"\2":', text), 0)
    if end > 0:
        return value
    try:
        value = ast.literal_eval(text) if len(text) <= MAX_PYTHON_CHARS else None
        return json.loads(json.dumps(value))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def dump(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
