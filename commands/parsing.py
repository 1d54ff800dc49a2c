"""Parse typed commands: `/summarize 20`, `#search "blue shoes" limit=3`; explain what does not fit."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import phonenumbers
from django.utils.translation import gettext as _
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from commands.registry import ChatCommand, find, normalize
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.truncate import truncate

SLASHES, HASHES = "/／", "#＃"
MAX_QUOTED_CHARS = 40  # of an input that an error repeats
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_TYPED = re.compile(rf"[\s{_INVISIBLE}]*([{SLASHES}{HASHES}])([^\W\d][\w-]{{0,63}})(?![\w/／-])\s*(.*)", re.DOTALL)
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "'": "'"}
_NAMED = re.compile(r"(?:--)?([^\W\d][\w-]*)[=:]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Typed:
    """A typed command: the word after `/` or `#`, and the rest of the text."""

    word: str
    rest: str
    command: ChatCommand | None


def read_command(text: str) -> Typed | None:
    """Parse a message as a command; None when it is none. An unknown hashtag is just a hashtag."""
    match = _TYPED.match(text)
    if match is None:
        return None
    mark, word, rest = match.groups()
    command = find(word)
    if command is None and mark in HASHES:
        return None
    return Typed(word=word, rest=rest.strip(), command=command)


# --- addressee ----------------------------------------------------------------------------------------------------


def split_addressee(rest: str) -> tuple[str, str]:
    """Split off the contact that an owner names first (`@Ana`, `@"Ana Maria"`, `+55 11 98888-7777`) from the rest.

    The name is empty when there is none.
    """
    if rest.startswith("@"):
        token = next(_tokens(rest[1:].lstrip()), None)
        if token is None:
            return "", ""
        return token.text, rest[1:].lstrip()[token.end :].strip()
    if rest.startswith("+"):
        tokens = list(_tokens(rest))[:6]
        for token in tokens:  # a phone may be written with spaces; a number behind it is not part of it
            if _is_phone(rest[: token.end]):
                return rest[: token.end], rest[token.end :].strip()
        return tokens[0].text, rest[tokens[0].end :].strip()
    return "", rest


def _is_phone(text: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text))
    except phonenumbers.NumberParseException:
        return False


# --- arguments ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int
    quoted: bool = False


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        closing = _QUOTES.get(text[at])
        close = text.find(closing, at + 1) if closing else -1
        if close > 0 and (close + 1 == len(text) or text[close + 1].isspace()):
            yield _Token(text[at + 1 : close], at, close + 1, quoted=True)
            at = close + 1
            continue
        end = at
        while end < len(text) and not text[end].isspace():
            named = _NAMED.match(text, at) if text[end] in _QUOTES else None
            if named and named.end() == end:  # name="two words"
                close = text.find(_QUOTES[text[end]], end + 1)
                end = close if close > 0 else end
            end += 1
        yield _Token(text[at:end], at, end)
        at = end


def parse_arguments(command: ChatCommand, rest: str) -> BaseModel:
    """Parse typed arguments: by name (`limit=3`, `limit:3`, `--limit=3`), quoted, or by position.

    The first text argument takes the rest of the line; another one is given by name. Raises InvalidInput, which says
    what is expected.
    """
    fields = command.arguments.model_fields
    values: dict[str, Any] = {}
    loose: list[_Token] = []
    tokens = iter(_tokens(rest))
    for token in tokens:
        name = None if token.quoted else _field_named(token.text, fields)
        if name is None:
            loose.append(token)
            continue
        if name in values:
            raise InvalidInput("\n".join([_("%(name)s is given twice.") % {"name": name}, usage(command)]))
        value = _unquoted(re.split("[=:]", token.text, maxsplit=1)[1])
        if value:
            values[name] = value
        elif not _is_text(fields[name]) and (following := next(tokens, None)):  # minutes: 5
            values[name] = following.text
    waiting = [name for name in fields if name not in values]
    first_text = next((name for name in waiting if _is_text(fields[name])), None)
    for name in waiting:
        if not loose:
            break
        if name == first_text:
            values[name] = _rest_of(rest, loose)
            loose = []
        elif _fits(fields[name], loose[0].text) or fields[name].is_required():
            values[name] = loose.pop(0).text
    if loose and (unfilled := next((name for name in waiting if name not in values), None)):
        values[unfilled] = loose.pop(0).text  # it does not fit: the validation says why
    if loose:
        unexpected = _("Unexpected argument “%(text)s”.") % {"text": truncate(loose[0].text, MAX_QUOTED_CHARS)}
        raise InvalidInput(f"{unexpected}\n{usage(command)}")
    return validated(command, {name: _convert(fields[name], value) for name, value in values.items()})


def names_only(command: ChatCommand, words: Sequence[str]) -> dict[str, str] | str:
    """Return command-line words by name where each begins with one (`words=blue bicycle`), else joined as typed."""
    fields = command.arguments.model_fields
    named = [_field_named(word, fields) for word in words]
    if all(named) and len(set(named)) == len(words):
        return {str(name): re.split("[=:]", word, maxsplit=1)[1] for name, word in zip(named, words, strict=True)}
    return " ".join(words)


def _field_named(token: str, fields: dict[str, FieldInfo]) -> str | None:
    match = _NAMED.match(token)
    if match is None:
        return None
    return next((name for name in fields if normalize(name) == normalize(match[1])), None)


def _rest_of(rest: str, loose: list[_Token]) -> str:
    """Return the text from the first loose word to the last, without the arguments given by name."""
    if len(loose) == 1:
        return loose[0].text
    pieces, at = [], loose[0].start
    for before, token in pairwise(loose):
        if rest[before.end : token.start].strip():
            pieces.append(rest[at : before.end])
            at = token.start
    return " ".join([*pieces, rest[at : loose[-1].end]])


def _unquoted(text: str) -> str:
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1]
    return text


def _kind(info: FieldInfo) -> Any:
    """Return the field's type (int, str, bool or a Literal), without the None of an optional one."""
    annotation = info.annotation
    if get_origin(annotation) in {Union, UnionType}:
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def _is_text(info: FieldInfo) -> bool:
    return _kind(info) is str


_TRUE_WORDS, _FALSE_WORDS = (
    {"yes", "y", "on", "true", "1", "sim", "si", "ja"},
    {"no", "n", "off", "false", "0", "nao", "nein"},
)


def _fits(info: FieldInfo, text: str) -> bool:
    kind = _kind(info)
    if kind is int:
        return re.fullmatch(r"[+-]?\d+", text) is not None
    if kind is float:
        return re.fullmatch(r"[+-]?\d+([.,]\d+)?", text) is not None
    if kind is bool:
        return normalize(text) in _TRUE_WORDS | _FALSE_WORDS
    if get_origin(kind) is Literal:
        return normalize(text) in {normalize(choice) for choice in get_args(kind)}
    return True


def _convert(info: FieldInfo, text: str) -> Any:
    """Convert a word for its field; one that does not fit stays a text, which validation refuses."""
    kind = _kind(info)
    if not _fits(info, text):
        return text
    if kind is bool:
        return normalize(text) in _TRUE_WORDS
    if kind is float:
        return text.replace(",", ".")
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if normalize(choice) == normalize(text))
    return text


# --- validation --------------------------------------------------------------------------------------------------


def validated(command: ChatCommand, values: Any) -> BaseModel:
    """Validate arguments. Raises InvalidArguments, which says what is wrong with which."""
    try:
        return command.arguments.model_validate(values)
    except ValidationError as exc:
        fields: dict[str, list[str]] = {}
        for error in exc.errors(include_url=False, include_context=True):
            name = str(error["loc"][0]) if error["loc"] else "arguments"
            fields.setdefault(name, []).append(_complaint(error))
        lines = "\n".join(f"*{name}* {text}" for name, texts in fields.items() for text in texts)
        raise InvalidArguments(f"{lines}\n{usage(command)}", fields=fields) from exc


class InvalidArguments(InvalidInput):
    """Arguments that do not fit. `fields`: `{name: [errors]}`."""

    def __init__(self, message: str, *, fields: dict[str, list[str]]) -> None:
        super().__init__(message)
        self._fields = fields

    @property
    def fields(self) -> dict[str, list[str]]:
        return self._fields


def _complaint(error: Any) -> str:
    limits, given = error.get("ctx", {}), error["input"]
    value = ""
    if isinstance(given, str | int | float):
        value = _(", not “%(text)s”") % {"text": truncate(str(given), MAX_QUOTED_CHARS)}
    match error["type"]:
        case "missing":
            return _("is missing.")
        case "extra_forbidden":
            return _("is not one of the arguments.")
        case "greater_than_equal":
            return _("must be at least %(limit)s%(value)s.") % {"limit": limits["ge"], "value": value}
        case "less_than_equal":
            return _("must be at most %(limit)s%(value)s.") % {"limit": limits["le"], "value": value}
        case "string_too_short":
            return _("must not be empty.")
        case "string_too_long":
            return _("must have at most %(limit)s characters.") % {"limit": limits["max_length"]}
        case "literal_error":
            expected = limits["expected"].replace("'", "")
            return _("must be %(expected)s%(value)s.") % {"expected": expected, "value": value}
        case "int_parsing" | "int_type" | "int_from_float":
            return _("must be a whole number%(value)s.") % {"value": value}
        case "float_parsing" | "float_type":
            return _("must be a number%(value)s.") % {"value": value}
        case "bool_parsing" | "bool_type":
            return _("must be yes or no%(value)s.") % {"value": value}
        case "string_type":
            return _("must be a text.")
        case "uuid_parsing" | "uuid_type":
            return _("must be an id.")
        case "model_type" | "dict_type":
            return _("must be given by name.")
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}."


def usage(command: ChatCommand) -> str:
    """Return how it is typed: `/search words [limit]`, with an example."""
    names = [name if info.is_required() else f"[{name}]" for name, info in command.arguments.model_fields.items()]
    line = " ".join([f"/{command.name}", *names])
    lines = [_("Write: %(command)s") % {"command": line}]
    if command.examples:
        lines.append(_("Like this: %(example)s") % {"example": command.examples[0]})
    return "\n".join(lines)
