"""The internal form of a prompt, of a completion and of a failure, shared by all adapters."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool call. `arguments` is the JSON text as the model wrote it; it may be invalid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of the prompt. Assistant messages have `tool_requests`, tool results a `tool_call_id`, user messages
    a `picture` (a `data:` URL), and `more_pictures` if it stands for several messages.

    `raw` is `Completion.raw` of an assistant message of this turn: what the server needs back (signatures, reasoning).
    """

    role: Role
    text: str
    tool_requests: tuple[ToolRequest, ...] = ()
    tool_call_id: str = ""
    picture: str = ""
    more_pictures: tuple[str, ...] = ()
    raw: tuple[dict[str, Any], ...] = ()

    @property
    def pictures(self) -> tuple[str, ...]:
        return (self.picture, *self.more_pictures) if self.picture else self.more_pictures


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """An offered tool; `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to a model. `messages` are oldest first; the prefix (tools, system, old history) stays the same from
    turn to turn, so that servers can cache it.

    `notes` is what changes with every turn. It is appended to the last user message and is not part of the next prompt.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    notes: str = ""
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_output_tokens: int | None = None

    def messages_with_notes(self) -> tuple[PromptMessage, ...]:
        """Return the messages with the notes in the last user message: many servers refuse a second system message."""
        if not self.notes:
            return self.messages
        last = max((at for at, message in enumerate(self.messages) if message.role is Role.USER), default=-1)
        tools = next((at for at, message in enumerate(self.messages) if message.tool_requests), len(self.messages))
        if last < 0 or any(message.role is Role.ASSISTANT for message in self.messages[last + 1 : tools]):
            notes = PromptMessage(role=Role.USER, text=self.notes)
            return (*self.messages[:tools], notes, *self.messages[tools:])
        user = self.messages[last]
        with_notes = replace(user, text=f"{user.text}\n\n{self.notes}")
        return (*self.messages[:last], with_notes, *self.messages[last + 1 :])


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer: a text, tool calls, or both. `model` is the name that the server reports.

    `text` is free of thoughts and of tool calls written as text. `dropped_tool_call` is true if a written call was
    removed that cannot be run (unreadable, or a tool that is not offered): ask once more. `finish_reason` is `length`
    for an answer that was cut off, whatever the server calls it.
    """

    text: str = ""
    tool_requests: tuple[ToolRequest, ...] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    finish_reason: str = ""
    dropped_tool_call: bool = False
    raw: tuple[dict[str, Any], ...] = ()

    @property
    def was_cut_off(self) -> bool:
        return self.finish_reason == "length"

    def as_message(self) -> PromptMessage:
        """Return this answer as the assistant message of the turn's next request."""
        return PromptMessage(role=Role.ASSISTANT, text=self.text, tool_requests=self.tool_requests, raw=self.raw)


class ModelError(Exception):
    """No usable answer. `code` is for programs and is stored on the turn; the message holds no key and no prompt.

    `usage` is what an unusable answer cost all the same. `unsupported` are fields of `Capabilities`: what the server
    may have meant, if it said that it does not take a part of the request.
    """

    code = "model_error"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        unsupported: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.retry_after_s = retry_after_s
        self.usage = usage or Usage()
        self.unsupported = unsupported

    @property
    def needs_operator(self) -> bool:
        """True if the key, the model's name or the account has to be corrected by an operator."""
        return self.code in OPERATOR_CODES


OPERATOR_CODES = frozenset({"unauthorized", "model_not_found", "insufficient_quota"})


class ModelUnavailable(ModelError):
    """May pass: 429, 5xx, a timeout, no connection, or an answer that is malformed or empty.

    Codes: rate_limited, insufficient_quota, timeout, connection, server_error, malformed, empty, length (the limit was
    used up before any text), dropped_tool_call (nothing but a tool call that cannot be run).
    """

    code = "model_unavailable"


class ModelRefused(ModelError):
    """Does not pass by itself. Codes: unauthorized, model_not_found, bad_request, redirect, refusal."""

    code = "model_refused"


class ContextTooLong(ModelRefused):
    """The prompt does not fit the model's context: ask with less history."""

    code = "context_too_long"


class ContentFiltered(ModelRefused):
    """The provider filtered the prompt or the answer."""

    code = "content_filter"


class Model(Protocol):
    """A model behind one API. Thread-safe."""

    def complete(self, prompt: Prompt) -> Completion:
        """Raises ModelUnavailable or ModelRefused."""
        ...
