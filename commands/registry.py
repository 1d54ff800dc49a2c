"""Declare commands: one typed function each, from which chat, API, tool and terminal are made."""

import difflib
import inspect
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _
from pydantic import BaseModel, ConfigDict, model_validator

from accounts.models import User
from agent.llm.answers import MAX_TEXT_CHARS, clean
from agent.llm.base import ToolSpec
from commands.models import CommandRun
from messaging.models import Contact, Conversation, Message
from sessions_app import profiles
from whatsapp_agent.errors import AppError
from whatsapp_agent.text.times import in_zone

By = CommandRun.Caller
READERS = frozenset({By.CONTACT, By.MODEL, By.OWNER, By.STAFF})
PEOPLE = frozenset({By.CONTACT, By.OWNER, By.STAFF})
MANAGERS = frozenset({By.OWNER, By.STAFF})


class UnknownCommand(AppError):
    status, code, detail = 404, "unknown_command", "Unknown command."


def _trim(schema: dict[str, Any]) -> None:
    """Drop the titles that pydantic generates: they cost tokens and say nothing."""
    schema.pop("title", None)
    schema.pop("description", None)
    for field_schema in schema.setdefault("properties", {}).values():
        field_schema.pop("title", None)


class Arguments(BaseModel):
    """Arguments of a command. Unknown ones are refused: nobody can name another's conversation."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True, json_schema_extra=_trim)

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, values: Any) -> Any:
        """Drop what the database refuses: NUL and lone surrogates."""
        if not isinstance(values, Mapping):
            return values
        return {
            clean(name, MAX_TEXT_CHARS): clean(value, MAX_TEXT_CHARS) if isinstance(value, str) else value
            for name, value in values.items()
        }


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs a command, by where the call came from and never by what it says.

    `contact` wrote it, or is the one the model acts for; `user` is logged in.
    """

    by: By
    contact: Contact | None = None
    user: User | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a command's function gets beside its arguments. `message` is the one that asked, if one did."""

    caller: Caller
    conversation: Conversation
    surface: CommandRun.Surface
    message: Message | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the times in `Result.text`."""
        return self.conversation.session.zone

    def data_time(self, at: datetime) -> str:
        """Return a time for `Result.data`: in UTC for programs, in the session's zone for the model."""
        return in_zone(at, self.zone if self.caller.by == By.MODEL else UTC).isoformat()


@dataclass(frozen=True, slots=True)
class Result:
    """The result: `text` for people, in the markup of WhatsApp; `data`, plain JSON, for programs and the model."""

    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ChatCommand:
    """A declared command.

    `allowed`: who may run it. `reads_only`: no effect, may be run again. `asks_model`: reads only and waits for the
    model, so it runs outside of any transaction. `changes_control`: as a tool it takes effect together with the answer.
    `offer`: what the model is told of the tool in a conversation, None where it cannot be used.
    """

    name: str
    description: str
    function: Callable[[Call, Any], Result]
    arguments: type[Arguments]
    allowed: frozenset[By]
    aliases: tuple[str, ...] = ()
    tool: str = ""
    tool_description: str = ""
    examples: tuple[str, ...] = ()
    reads_only: bool = False
    asks_model: bool = False
    changes_control: bool = False
    offer: Callable[[Conversation, ToolSpec], ToolSpec | None] | None = None

    @property
    def tool_name(self) -> str:
        return self.tool or self.name

    def may_be_run_by(self, by: By) -> bool:
        """Whether this caller may run it. An owner may do what a contact may, an administrator what staff may."""
        match by:
            case By.OWNER:
                return bool(self.allowed & {By.OWNER, By.CONTACT})
            case By.ADMIN:
                return bool(self.allowed & {By.ADMIN, By.STAFF})
        return by in self.allowed

    def tool_spec_for(self, conversation: Conversation) -> ToolSpec | None:
        """Return the tool as it is offered in this conversation; None if it has nothing to do there."""
        return self.tool_spec() if self.offer is None else self.offer(conversation, self.tool_spec())

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        return self.arguments.model_json_schema()

    @cache  # noqa: B019 - commands live as long as the process, and every turn asks
    def tool_spec(self) -> ToolSpec:
        return ToolSpec(
            name=self.tool_name, description=self.tool_description or self.description, parameters=self.schema()
        )


registered_commands: dict[str, ChatCommand] = {}
commands_by_word: dict[str, ChatCommand] = {}


def chat_command(
    name: str, description: str, *, allowed: Iterable[By] = PEOPLE, **declaration: Any
) -> Callable[[Callable[[Call, Any], Result]], Callable[[Call, Any], Result]]:
    """Declare a command over a function `(Call, arguments) -> Result`; `declaration`: fields of ChatCommand."""

    def declare(function: Callable[[Call, Any], Result]) -> Callable[[Call, Any], Result]:
        command = ChatCommand(
            name=name,
            description=description,
            function=function,
            arguments=_arguments_of(function),
            allowed=frozenset(allowed),
            **declaration,
        )
        if By.MODEL in command.allowed and By.CONTACT not in command.allowed:
            raise TypeError(f"{name}: what the model may do for a contact the contact may do too")
        for word in {normalize(word) for word in (name, command.tool_name, *command.aliases)}:
            if commands_by_word.get(word, command).function is not function:
                raise TypeError(f"{name}: {word} is the command {commands_by_word[word].name} already")
            commands_by_word[word] = command
        registered_commands[name] = command
        return function

    return declare


def _profile_tools() -> list[profiles.ProfileTool]:
    return [
        profiles.ProfileTool(command.tool_name, command.description, [command.name, *command.aliases])
        for command in registered_commands.values()
        if By.MODEL in command.allowed
    ]


profiles.list_tools.provide(_profile_tools)


def _arguments_of(function: Callable[..., Result]) -> type[Arguments]:
    """Return the argument model: the annotation of the second parameter."""
    parameters = list(inspect.signature(function).parameters)
    annotation = get_type_hints(function).get(parameters[1]) if len(parameters) == 2 else None
    if not (isinstance(annotation, type) and issubclass(annotation, Arguments)):
        raise TypeError(f"{function.__name__} takes a Call and its Arguments")
    return annotation


def normalize(word: str) -> str:
    """Normalize for comparison: no accents, lower case, `-` for `_`."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    return bare.casefold().replace("_", "-")


def all_commands() -> list[ChatCommand]:
    return [registered_commands[name] for name in sorted(registered_commands)]


def find(word: str) -> ChatCommand | None:
    """Return the command with this name, alias or tool name, in any spelling; None when unknown."""
    return commands_by_word.get(normalize(word))


def get(word: str) -> ChatCommand:
    """Return a command by name. Raises UnknownCommand, with a suggestion."""
    command = find(word)
    if command is None:
        meant = nearest(word, by=By.ADMIN)
        text = _("Unknown command %(name)s.") % {"name": word[:64]}
        if meant:
            text += " " + _("Did you mean %(name)s?") % {"name": meant.name}
        raise UnknownCommand(text)
    return command


def nearest(word: str, *, by: By) -> ChatCommand | None:
    """Suggest a command that this caller may run; of equally near ones, that whose own name matches."""
    meant = normalize(word)[:64]
    words = [known for known, command in commands_by_word.items() if command.may_be_run_by(by)]
    close = difflib.get_close_matches(meant, words, n=5, cutoff=0.6)
    if not close:
        return None
    nearness = difflib.SequenceMatcher(b=meant)

    def rank(known: str) -> tuple[float, bool]:
        nearness.set_seq1(known)
        return nearness.ratio(), known == commands_by_word[known].name

    return commands_by_word[max(close, key=rank)]


def tools_named(names: Iterable[Any]) -> dict[str, ChatCommand]:
    """Return the enabled tools by tool name; unknown ones and those not for a model are left out."""
    found = (find(name) for name in names if isinstance(name, str))
    return {command.tool_name: command for command in found if command and By.MODEL in command.allowed}
