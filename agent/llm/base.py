"""What we ask of a model and what comes back, in one form for every API."""

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
    """The model asks for a tool. `arguments` is the JSON text as it came: it may be anything."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of the prompt. `tool_requests` belong to an assistant's, `tool_call_id` to a tool's answer, `picture`
    to a user's: a `data:` URL.
    """

    role: Role
    text: str
    tool_requests: tuple[ToolRequest, ...] = ()
    tool_call_id: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool on offer; `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """`messages` oldest first; the prefix (tools, system, old history) stays the same from turn to turn for caching.

    `notes` are what changes each time: they follow what the user said last, and are no part of the next prompt.
    """

    model: str
    messages: tuple[PromptMessage, ...]
    notes: str = ""
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_output_tokens: int | None = None

    def messages_with_notes(self) -> tuple[PromptMessage, ...]:
        """In the user's last message: a system message behind the first is refused by many servers."""
        if not self.notes:
            return self.messages
        last = max((at for at, message in enumerate(self.messages) if message.role is Role.USER), default=-1)
        tools = next((at for at, message in enumerate(self.messages) if message.tool_requests), len(self.messages))
        if last < 0 or any(message.role is Role.ASSISTANT for message in self.messages[last + 1 : tools]):
            last_words = PromptMessage(role=Role.USER, text=self.notes)
            return (*self.messages[:tools], last_words, *self.messages[tools:])
        said = self.messages[last]
        noted = replace(said, text=f"{said.text}\n\n{self.notes}")
        return (*self.messages[:last], noted, *self.messages[last + 1 :])


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What the model said: a text, or tools it wants run, or both. `model` is what the server says it was."""

    text: str = ""
    tool_requests: tuple[ToolRequest, ...] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    finish_reason: str = ""


class ModelError(Exception):
    """No usable answer. `code` is for programs and is kept on the turn; the message holds no key and no prompt."""

    code = "model_error"

    def __init__(self, message: str = "", *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.retry_after_s = retry_after_s


class ModelUnavailable(ModelError):
    """May pass: 429, 5xx, a timeout, no connection, an answer that is malformed or empty."""

    code = "model_unavailable"


class ModelRefused(ModelError):
    """Will not pass by itself: a wrong key, an unknown model, a request it does not take."""

    code = "model_refused"


class Model(Protocol):
    """A way to ask. Safe to share by threads."""

    def complete(self, prompt: Prompt) -> Completion:
        """Raises ModelUnavailable or ModelRefused."""
        ...
