"""Rewrite unusual spellings of written tool calls into the common ones that `written_calls` reads.

Only marks of calls and the names of known tools are looked for, so that other texts stay as they are. Every pattern
is bounded: an answer may be long and hostile.
"""

import json
import re
from collections.abc import Collection

from agent.llm.reading.loose_json import decode

NAME_KEYS = (
    "name", "tool_name", "tool", "function_name", "function", "action", "recipient_name", "toolName", "functionName",
    "method", "command",
)  # fmt: skip
ARGUMENT_KEYS = (
    "arguments", "parameters", "args", "input", "action_input", "tool_input", "params", "kwargs", "tool_args",
    "tool_arguments", "function_arguments", "toolInput", "toolArgs",
)  # fmt: skip
WRAPPER_KEYS = (
    "tool_calls", "tool_call", "function_call", "function", "calls", "tool_uses", "toolCall", "toolCalls",
    "functionCall",
)  # fmt: skip
OTHER_KEYS = frozenset(
    {"id", "type", "call_id", "tool_call_id", "index", "description", "thought", "thoughts", "reasoning"}
)

_NAME = r"[\w.-]{1,64}"
_FLAGS = re.IGNORECASE | re.DOTALL
_MARKS = tuple(
    (re.compile(pattern, _FLAGS), replacement)
    for pattern, replacement in (
        (r"\[TOOL_REQUEST\]", "<tool_call>"),  # LM Studio
        (r"\[END_TOOL_REQUEST\]", "</tool_call>"),
        (r"<\|FunctionCallBegin\|>", "<tool_call>"),
        (r"<\|FunctionCallEnd\|>", "</tool_call>"),
        (r"&lt;(/?)(tool_calls?|function_calls?)&gt;", r"<\1\2>"),
        (r"<(/?)longcat_(tool_call|arg_key|arg_value)>", r"<\1\2>"),
        (r"<(/?)(?:use_tool|tool_code|execute_tool|call_tool)>", r"<\1tool_call>"),
        (r"<(?:tool|call|action)>(?=\s{0,20}[\[{])", "<tool_call>"),
        (r"([}\]]\s{0,20})</(?:tool|call|action)>", r"\1</tool_call>"),
        (
            r"(?<!action_start\|>)<\|(?:plugin|tool)\|>(?=\s{0,20}\{)(.{0,8000}?)(?:<\|action_end\|>|\Z)",
            r"<tool_call>\1",
        ),
        (r"<(?:tool_calls|function_calls)>\s{0,20}(?=<(?:tool_call|function_call)\b)", ""),
        (rf"<function[/(]\s?({_NAME})\)?>", r"<function=\1>"),
        (rf"<function=({_NAME})\((\{{.{{0,4000}}?\}})\)>", r"<function=\1>\2"),
        (
            rf"<((?:[a-z]{{1,12}}:)?(?:tool_call|function_call|tool_use|tool|call))\s{{1,9}}name\s?=\s?[\"']?({_NAME})[\"']?"
            r"[^<>]{0,100}>(.{0,8000}?)</\1>",
            r'<invoke name="\2">\3</invoke>',
        ),
        (rf"✿FUNCTION✿:\s{{0,9}}({_NAME})\s{{0,9}}✿ARGS✿:\s{{0,9}}(?=\{{)", r"<tool_call>\1 "),  # Qwen-Agent
        (r"✿(?:RESULT|RETURN)✿.*\Z", ""),
    )
)
_CHILD = re.compile(r"<([\w-]{1,64})>(.{0,4000}?)</\1>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([\w-]{1,64})\s?=\s?(?:\"([^\"]{0,2000})\"|'([^']{0,2000})'|([^\s\"'>\]/]{1,200}))")


def normalize_calls(text: str, names: Collection[str]) -> str:
    """Return the text with its calls in common spellings. `names` are the known tools."""
    if any(mark in text for mark in ("<", "[", "✿", "&lt;")):
        for pattern, replacement in _MARKS:
            text = pattern.sub(replacement, text)
    if not names or not any(name in text for name in names):
        return text
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return _normalize_named(text, known)


def _normalize_named(text: str, known: str) -> str:
    """Rewrite spellings that are calls only because they name a known tool."""
    text = re.sub(
        rf"<(name|tool_name|function_name|function)>\s{{0,9}}({known})\s{{0,9}}</\1>\s{{0,9}}"
        r"<(arguments|parameters|args|input|params)>(.{0,8000}?)</\3>",
        lambda found: _as_invoke(found[2], found[4]),
        text,
        flags=_FLAGS,
    )
    text = re.sub(
        rf"<({known})(\s[^<>]{{0,1000}}?)?(?:/>|>(.{{0,8000}}?)</\1>)",
        lambda found: _as_invoke(found[1], found[3] or "", attributes=found[2] or ""),
        text,
        flags=re.DOTALL,
    )
    text = re.sub(
        rf"^[ \t]{{0,8}}(?:tool|function)(?: name)?:[ \t]{{0,8}}`?({known})`?[ \t]{{0,8}}\n[ \t]{{0,8}}"
        r"(?:arguments|args|parameters|input|tool input):[ \t]{0,8}(?=\{)",
        r"<tool_call>\1 ",
        text,
        flags=re.IGNORECASE | re.MULTILINE,
    )
    text = re.sub(
        rf"^[ \t]{{0,8}}Action:[ \t]{{0,8}}((?:{known})\([^\n]{{0,4000}}\))[ \t]{{0,8}}$",
        r"<tool_call>\1</tool_call>",
        text,
        flags=re.IGNORECASE | re.MULTILINE,
    )
    text = re.sub(
        rf"(?:\b(?:(?:tool|function)[ _]?call|calling|call|using)(?: the)?(?: tool| function)?:?[ \t]{{1,4}}|\bto=)?"
        rf"(?:\bfunctions\.)?`?\b({known})`?(?::\d{{1,4}})?(?:[ \t]{{1,4}}(?:with|using)(?: arguments)?:?)?[ \t]{{0,4}}"
        r"(\(?)[ \t]{0,4}(?=\{)",
        r"\1 \2",
        text,
        flags=re.IGNORECASE,
    )
    text = re.sub(
        rf"\[({known}):?[ \t]{{1,4}}(\{{.{{0,4000}}?\}})[ \t]{{0,4}}\]",
        r"<tool_call>\1 \2</tool_call>",
        text,
        flags=re.DOTALL,
    )
    quoted = r"(?:\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'|[^\s\"'\]]{1,100})"
    text = re.sub(
        rf"\[({known})((?:[ \t]{{1,4}}\w{{1,64}}={quoted}){{1,20}})[ \t]{{0,4}}\]",
        lambda found: _as_invoke(found[1], "", attributes=found[2]),
        text,
    )
    return re.sub(rf"\*\*`?({known})`?\*\*(?=\()", r"\1", text)


def _as_invoke(name: str, body: str, *, attributes: str = "") -> str:
    """Return a call in the form of `invoke`; what cannot be read becomes a call that cannot be run."""
    arguments, end = decode(body, len(body) - len(body.lstrip()))
    if end > 0 and isinstance(arguments, dict):
        return f'<invoke name="{name}">{json.dumps(arguments, ensure_ascii=False)}</invoke>'
    pairs = [(key, double or single or bare) for key, double, single, bare in _ATTRIBUTE.findall(attributes)]
    pairs += [(key, value.strip()) for key, value in _CHILD.findall(body)]
    if body.strip() and not pairs:
        return "<tool_call>?</tool_call>"
    parameters = "".join(f'<parameter name="{key}">{value}</parameter>' for key, value in pairs)
    return f'<invoke name="{name}">{parameters}</invoke>'
