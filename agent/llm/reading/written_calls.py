"""Read tool calls that a model writes into its text, where the server does not parse them.

Formats: the chat templates and tool parsers of Qwen, Hermes, GLM, Mistral, MiniMax, Llama, DeepSeek, Kimi, Granite,
Phi, Gemma, Cohere, Seed, InternLM, LFM and Nemotron, as of 2026-11; and JSON or a Python call, fenced or bare.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent.llm.base import ToolSpec
from agent.llm.reading.call_spellings import ARGUMENT_KEYS, NAME_KEYS, OTHER_KEYS, WRAPPER_KEYS, normalize_calls
from agent.llm.reading.loose_json import MAX_JSON_TRIES, MAX_PYTHON_CHARS, bare_json_starts, decode, dump, repair
from agent.llm.reading.spans import CodeSpans, join_around_gap

_BAR = "[|｜]"
_GAP = "[▁_ ]"
_TAG = (
    r"<(?P<tag>(?:[a-z]{1,12}:|｜DSML｜)?(?:tool_?calls?|function_?calls?|tool_use|invoke(?=\s)"
    r"|function(?=\s*=|\s+name|>\s*[\[{])|tools(?=>\s*[\[{])))(?:\s*[=\s][^<>]{0,200})?>"
)
_CLOSED_BY = {  # marks without a name of their own, and what closes them
    r"\[TOOL_CALLS?\]": r"\[/TOOL_CALLS?\]|(?=\[TOOL_CALLS\])",
    r"<\|python_tag\|>": r"<\|eo[mt]_?(?:id)?\|>",
    r"<\|tool_calls?\|>": r"<\|/tool_calls?\|>",
    r"<\|tool_call>": r"<tool_call\|>",
    r"<\|tool_calls?_start\|>": r"<\|tool_calls?_end\|>",
    r"<\|tool_calls_section_begin\|>": r"<\|tool_calls_section_end\|>",
    r"<\|tool_call_begin\|>": r"<\|tool_call_end\|>",
    r"<\|python_start\|>": r"<\|python_end\|>",
    r"<\|START_ACTION\|>": r"<\|END_ACTION\|>",
    r"<\|action_start\|>": r"<\|action_end\|>",
    r"<\|tools_prefix\|>": r"<\|tools_suffix\|>",
    r"<start_function_call>": r"<end_function_call>",
    rf"<{_BAR}tool{_GAP}calls{_GAP}begin{_BAR}>": rf"<{_BAR}tool{_GAP}calls{_GAP}end{_BAR}>",
    rf"<{_BAR}tool{_GAP}call{_GAP}begin{_BAR}>": rf"<{_BAR}tool{_GAP}call{_GAP}end{_BAR}>",
    r"functools(?=\[\s*\{)": r"(?!)",
}
_RESULT = r"<(?P<result>tool_response|tool_results?|function_results?)>|\[TOOL_RESULTS\]"
CALL_MARK = re.compile("|".join([_TAG, *_CLOSED_BY]), re.IGNORECASE)
_MARK = re.compile(rf"(?P<ticks>`+)|{_RESULT}|(?P<mark>{'|'.join([_TAG, *_CLOSED_BY])})", re.IGNORECASE)
_STRAY = re.compile(
    rf"</(?:[a-z]{{1,12}}:|｜DSML｜)?(?:tool_?calls?|function_?calls?|tool_use|tools|invoke|parameter|function)>"
    rf"|<{_BAR}(?:tool{_GAP}calls?{_GAP}end|tool_call_end|tool_calls_section_end|eom_id){_BAR}>|<tool_call\|>",
    re.IGNORECASE,
)
_NAME = r"[\w.-]{1,64}"
_INVOKE = re.compile(
    rf"<[^\s<>/]{{0,20}}(?:invoke\s+name\s*=|function\s*=|function\s+name\s*=)\s*[\"']?({_NAME})[\"']?[^<>]{{0,100}}>"
    r"(.*?)(?=</[^\s<>]{0,20}(?:invoke|function)>|<[^\s<>/]{0,20}(?:invoke\s|function\s*=)|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_PARAMETER = re.compile(
    rf"<[^\s<>/]{{0,20}}parameter(?:\s+name\s*)?=\s*[\"']?({_NAME})[\"']?[^<>]{{0,60}}>"
    r"(.*?)(?=</[^\s<>]{0,20}parameter>|<[^\s<>/]{0,20}parameter[\s=]|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_GLM_NAME = re.compile(rf"\s*({_NAME})\s*(?=<arg_key>|\Z)")
_GLM_ARGUMENT = re.compile(r"<arg_key>([^<]{1,200})</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", re.DOTALL)
_SEPARATORS = re.compile(
    rf"<{_BAR}(?:tool{_GAP}sep|tool_call_argument_begin|tool_sep){_BAR}>|\[CALL_ID\][\w-]*|\[ARGS\]|```(?:json)?"
    rf"|<{_BAR}(?:tool{_GAP}call{_GAP}(?:begin|end)|plugin|tool_call_(?:begin|end)){_BAR}>|[;,\s]+",
    re.IGNORECASE,
)
_NAME_AND_JSON = re.compile(rf"({_NAME})(?::\d+)?\s*\(?\s*(?=\{{)")
_GEMMA = re.compile(rf"call:({_NAME})\s?(\{{.{{0,4000}}?\}})(?=\s*(?:call:|<|\Z))", re.DOTALL)
_GEMMA_STRING = re.compile(r"(?:<escape>|<\|\"\|>)(.*?)(?:<escape>|<\|\"\|>)", re.DOTALL)
_REACT = re.compile(
    rf"^[ \t]*Action:[ \t]*`?({_NAME})`?[ \t]*\n[ \t]*Action Input:[ \t]*", re.MULTILINE | re.IGNORECASE
)
_REACT_THOUGHT = re.compile(r"\A\s*Thought:.*?(?=^[ \t]*Action:)", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_PYTHON_FENCES = {"tool_code", "tool_call", "tool_calls", "tool", "function_call"}


class WrittenCall(NamedTuple):
    name: str
    arguments: str  # JSON


@dataclass(frozen=True, slots=True)
class Extracted:
    """`text` without the calls; `dropped` is true if a call was removed that cannot be run."""

    text: str
    calls: tuple[WrittenCall, ...] = ()
    dropped: bool = False


def extract_calls(text: str, tools: Iterable[ToolSpec], *, known: Iterable[str] = ()) -> Extracted:
    """Find the tool calls in an answer's text. `known` are tools that were called before and are offered no more.

    Marked calls are removed whatever they name. Bare and fenced JSON is a call only if it names a tool, or if it has
    the very shape of a call while tools are offered.
    """
    reader = _Reader({tool.name: tool for tool in tools}, frozenset(known))
    return reader.extract(text)


class _Reader:
    def __init__(self, tools: Mapping[str, ToolSpec], known: frozenset[str]) -> None:
        self._tools, self._names = tools, known | tools.keys()
        self._calls: list[WrittenCall] = []
        self._dropped = False

    def extract(self, text: str) -> Extracted:
        text = normalize_calls(text, self._names)
        if "<" in text or "[" in text or "`" in text or "functools" in text:
            text = self._take_marked(text)
        if self._names:
            text = self._take_bare(text)
        return Extracted(text.strip(), tuple(self._calls), self._dropped)

    # --- marked and fenced ---------------------------------------------------------------------------------------
    def _take_marked(self, text: str) -> str:
        code = CodeSpans(text)
        kept, start, at = "", 0, 0
        while found := _MARK.search(text, at):
            begin, at = found.span()
            if found["ticks"]:
                end = code.end(begin, len(found[0]))
                content = text[at : end - len(found[0])] if end > 0 else text[at:]
                if not self._take_fenced(content, is_block=len(found[0]) >= 3):
                    at = end if end > 0 else at
                    continue
                at = end if end > 0 else len(text)
            elif found["mark"]:
                content, at = self._marked_content(text, found)
                self._take(content)
            else:  # a result that the model made up
                closing = re.compile(rf"</{found['result']}>" if found["result"] else r"\[/TOOL_RESULTS\]").search(
                    text, at
                )
                at = closing.end() if closing else len(text)
            kept, start = join_around_gap(kept, text[start:begin]), at
        rest = text[start:]
        return join_around_gap(kept, _without_stray_marks(rest)) if start else _without_stray_marks(text)

    def _take_fenced(self, content: str, *, is_block: bool) -> bool:
        """Whether code was a call of a tool, and nothing else."""
        language, _, body = content.partition("\n") if is_block else ("", "", content)
        if not re.fullmatch(r"\s*[\w-]{0,20}\s*", language):
            language, body = "", content
        body = body.strip()
        if marked := CALL_MARK.match(body):
            inner, end = self._marked_content(body, marked)
            calls = self._parse(inner)
            if body[end:].strip() or not self._are_tools(calls):
                return False
        elif body[:1] in {"{", "["} or language.strip().lower() in _PYTHON_FENCES or not body.count("\n"):
            calls, end = self._parse_json(body, strict=True)
            if not calls or body[end:].strip():
                calls = self._parse_python(body) or self._calls_in(repair(body), strict=True)
            is_shaped = body[:1] in {"{", "["} or language.strip().lower() in _PYTHON_FENCES
            if not calls or not self._names or not (is_shaped or self._are_tools(calls)):
                return False
        else:
            return False
        self._add(calls)
        return True

    def _marked_content(self, text: str, mark: re.Match[str]) -> tuple[str, int]:
        """Return what a mark holds, and where it ends. Without a closing mark it ends with its JSON, or the text."""
        at = mark.end()
        name = mark["tag"]
        closing = rf"</{re.escape(name)}>" if name else _closing_of(text, mark)
        ends = re.compile(closing, re.IGNORECASE).search(text, at)
        content = text[at : ends.start()] if ends else text[at:]
        if name and name.lower().endswith(("invoke", "function")):
            content = f"{mark[0]}{content}"
        if ends:
            return content, ends.end()
        if not name or not name.lower().endswith(("invoke", "function")):
            end = self._json_end(content)
            if end > 0:
                return content[:end], at + end
        return content, len(text)

    def _json_end(self, content: str) -> int:
        """Return where the JSON calls end that `content` begins with; 0 if it begins with something else."""
        at = end = 0
        while at < len(content):
            if separator := _SEPARATORS.match(content, at):
                at = separator.end()
            elif content[at] in "{[":
                _, next_at = decode(content, at)
                if next_at < 0:
                    break
                at = end = next_at
            elif named := _NAME_AND_JSON.match(content, at):
                at = named.end()
            else:
                break
        return end

    def _take(self, content: str) -> None:
        calls = self._parse(content)
        self._dropped |= not calls and bool(content.strip())
        self._add(calls)

    def _add(self, calls: Iterable[WrittenCall]) -> None:
        for call in calls:
            if call.name in self._tools:
                self._calls.append(call)
            else:
                self._dropped = True

    # --- what a mark holds ---------------------------------------------------------------------------------------
    def _parse(self, content: str) -> list[WrittenCall]:
        """Return the calls in what a mark holds, in whichever format it is."""
        readers: tuple[Callable[[str], list[WrittenCall]], ...] = (
            self._parse_invokes,
            self._parse_gemma,
            self._parse_sequence,
            self._parse_glm,
            self._parse_python,
        )
        for read in readers:
            if calls := read(content):
                return calls
        return []

    def _parse_invokes(self, content: str) -> list[WrittenCall]:
        calls = []
        for invoke in _INVOKE.finditer(content):
            name, body = self._name(invoke[1]), invoke[2]
            arguments, end = decode(body, len(body) - len(body.lstrip()))
            if end < 0 or not isinstance(arguments, dict):
                arguments = {key: self._value(name, key, value) for key, value in _PARAMETER.findall(body)}
            calls.append(WrittenCall(name, json.dumps(arguments, ensure_ascii=False)))
        return calls

    def _parse_glm(self, content: str) -> list[WrittenCall]:
        found = _GLM_NAME.match(content)
        if not found or (found.end() == len(content) and self._name(found[1]) not in self._names):
            return []
        name = self._name(found[1])
        pairs = {key.strip(): self._value(name, key.strip(), value) for key, value in _GLM_ARGUMENT.findall(content)}
        return [WrittenCall(name, json.dumps(pairs, ensure_ascii=False))]

    def _parse_gemma(self, content: str) -> list[WrittenCall]:
        calls = []
        for name, body in _GEMMA.findall(content):
            quoted = _GEMMA_STRING.sub(lambda string: json.dumps(string[1], ensure_ascii=False), body)
            arguments, end = decode(re.sub(r"([{,]\s*)(\w+)\s*:", r'\1"\2":', quoted), 0)
            if end > 0:
                calls.append(WrittenCall(self._name(name), json.dumps(arguments, ensure_ascii=False)))
        return calls

    def _parse_sequence(self, content: str) -> list[WrittenCall]:
        """Read JSON calls, or names followed by their JSON arguments, one after the other."""
        calls: list[WrittenCall] = []
        content = re.sub(rf"\bfunction\s*(?=<{_BAR}tool{_GAP}sep)", "", content)
        at, tries = 0, 0
        name = ""
        while at < len(content) and tries < MAX_JSON_TRIES:
            tries += 1
            if separator := _SEPARATORS.match(content, at):
                at = separator.end()
            elif content[at] in "{[":
                value, end = decode(content, at)
                if end < 0:
                    value, end = repair(content[at:]), len(content)
                if value is None:
                    break
                found = [WrittenCall(name, dump(value))] if name else self._calls_in(value, strict=False)
                calls += found
                at, name = end, ""
            elif named := re.compile(_NAME).match(content, at):
                name, at = self._name(re.sub(r":\d+\Z", "", named[0])), named.end()
                at = index.end() if (index := re.compile(r":\d+").match(content, at)) else at
                at = paren.end() if (paren := re.compile(r"\s*\(\s*(?=\{)").match(content, at)) else at
                if not re.compile(rf"(?:{_SEPARATORS.pattern})*\s*\{{", re.IGNORECASE).match(content, at):
                    break
            else:
                at += 1
                if content[at - 1] not in ")`":
                    break
        return calls

    def _parse_json(self, content: str, *, strict: bool, at: int = 0) -> tuple[list[WrittenCall], int]:
        value, end = decode(content, at)
        if end < 0:
            return [], at
        return self._calls_in(value, strict=strict), end

    def _calls_in(self, value: Any, *, strict: bool) -> list[WrittenCall]:
        """Return the calls in a JSON value; `strict` wants each to name a tool or to have the full shape."""
        if isinstance(value, list):
            found = [self._calls_in(each, strict=strict) for each in value]
            return [call for calls in found for call in calls] if all(found) else []
        if not isinstance(value, dict):
            return []
        for wrapper in WRAPPER_KEYS:
            if isinstance(value.get(wrapper), dict | list) and not isinstance(value.get("name"), str):
                return self._calls_in(value[wrapper], strict=strict)
        key = next((key for key in NAME_KEYS if isinstance(value.get(key), str)), "")
        if key:
            arguments_key = next((each for each in ARGUMENT_KEYS if each in value), "")
            others = value.keys() - {key, arguments_key} - OTHER_KEYS
            name = self._name(value[key])
            arguments = value.get(arguments_key, {}) if arguments_key else {}
            is_shaped = isinstance(arguments, dict) or (isinstance(arguments, str) and arguments.lstrip()[:1] == "{")
            if not others and (arguments_key or name in self._names) and (is_shaped or arguments is None):
                has_full_shape = is_shaped and key in NAME_KEYS[:2] and arguments_key in ARGUMENT_KEYS[:2]
                if name in self._names or not strict or (has_full_shape and re.fullmatch(_NAME, name)):
                    return [WrittenCall(name, dump(arguments if arguments is not None else {}))]
            if name in self._names and not arguments_key and (not strict or others <= self._properties(name).keys()):
                rest = {each: inner for each, inner in value.items() if each != key and each not in {"id", "type"}}
                return [WrittenCall(name, dump(rest))]
            return []
        if value and all(self._name(each) in self._names and isinstance(inner, dict) for each, inner in value.items()):
            return [WrittenCall(self._name(each), dump(inner)) for each, inner in value.items()]
        return []

    def _parse_python(self, content: str) -> list[WrittenCall]:
        """Read `name(key="value")`, or a list of such calls."""
        content = content.strip().strip("`").strip()
        if "(" not in content or len(content) > MAX_PYTHON_CHARS:
            return []
        try:
            tree = ast.parse(content, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []
        nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
        calls = [self._python_call(node) for node in nodes]
        return [call for call in calls if call] if all(calls) else []

    def _python_call(self, node: ast.expr) -> WrittenCall | None:
        if not isinstance(node, ast.Call):
            return None
        name = ast.unparse(node.func)
        if name == "print" and len(node.args) == 1:
            return self._python_call(node.args[0])
        name = self._name(name.removesuffix(".call"))
        properties = list(self._properties(name))
        try:
            given = {key: ast.literal_eval(value) for key, value in zip(properties, node.args, strict=False)}
            given |= {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
            if len(node.args) == 1 and isinstance(node.args[0], ast.Dict) and not node.keywords:
                given = ast.literal_eval(node.args[0])
            return WrittenCall(name, json.dumps(given, ensure_ascii=False))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return None

    # --- bare ----------------------------------------------------------------------------------------------------
    def _take_bare(self, text: str) -> str:
        whole = text.strip()
        calls = self._parse_python(whole) if whole.endswith((")", ")]")) else []
        if self._are_tools(calls) or (calls and whole[0] == "["):
            self._add(calls)
            return ""
        if (
            whole[:1] in {"{", "["}
            and decode(whole, 0)[1] < 0
            and self._are_tools(calls := self._calls_in(repair(whole), strict=True))
        ):
            self._add(calls)
            return ""
        if "call:" in whole and self._are_tools(calls := self._parse_gemma(whole)):
            self._add(calls)
            return ""
        if react := _REACT.search(text):
            text = self._take_react(text, react)
        return self._take_bare_json(text) if "{" in text else text

    def _are_tools(self, calls: list[WrittenCall]) -> bool:
        return bool(calls) and all(call.name in self._names for call in calls)

    def _take_react(self, text: str, react: re.Match[str]) -> str:
        name = self._name(react[1])
        value, end = decode(text, react.end())
        self._add([WrittenCall(name, dump(value) if end > 0 and isinstance(value, dict) else "{}")])
        before = _REACT_THOUGHT.sub("", text[: react.end()])
        before = before[: found.start()] if (found := _REACT.search(before)) else ""
        return before.strip()  # what follows are results that the model made up

    def _take_bare_json(self, text: str) -> str:
        names = "|".join(map(re.escape, sorted(self._names)))
        kept, start, at = "", 0, 0
        for begin, json_at in bare_json_starts(text, names):
            if begin < at:
                continue
            value, end = decode(text, json_at)
            if end < 0:
                continue
            if json_at != begin:
                calls = [WrittenCall(self._name(text[begin:json_at].strip(" (\n")), dump(value))]
                end += text[end : end + 1] == ")"
            else:
                calls = self._calls_in(value, strict=True)
            if not calls:
                continue
            self._add(calls)
            kept, start, at = join_around_gap(kept, text[start:begin]), end, end
        return join_around_gap(kept, text[start:]) if start else text

    # --- tools ---------------------------------------------------------------------------------------------------
    def _name(self, written: str) -> str:
        name = re.sub(r":\d+\Z", "", written.strip().strip("`\"'"))
        if name in self._names:
            return name
        name = re.sub(r"\A(?:functions?|tools|default_api|tool_code)[.:]", "", name)
        return next((known for known in self._names if known.lower() == name.lower()), name)

    def _properties(self, name: str) -> Mapping[str, Any]:
        tool = self._tools.get(name)
        properties = tool.parameters.get("properties") if tool else None
        return properties if isinstance(properties, dict) else {}

    def _value(self, name: str, key: str, written: str) -> Any:
        """Return a parameter written as text as its schema's type: a number is a text where a text is wanted."""
        text = written.strip("\n")
        schema = self._properties(name).get(key)
        kind = schema.get("type") if isinstance(schema, dict) else None
        if kind == "string":
            return text
        try:
            return json.loads(text.strip().lower() if text.strip() in {"True", "False", "None"} else text)
        except (ValueError, RecursionError):
            return text


def _closing_of(text: str, mark: re.Match[str]) -> str:
    """Return the pattern of what closes a mark."""
    opens = (close for opening, close in _CLOSED_BY.items() if re.compile(opening, re.I).match(text, mark.start()))
    return next(opens, r"(?!)")


def _without_stray_marks(text: str) -> str:
    """Remove closing marks whose opening mark the server has taken away, outside code."""
    return _STRAY.sub("", text) if _STRAY.search(text) and "`" not in text else text
