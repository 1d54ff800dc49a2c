"""What we ask of a model and what comes back, in one form for every API."""

from dataclasses import dataclass, field
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
    """One message of the prompt. `tool_requests` belong to an assistant's, `tool_call_id` to a tool's answer."""

    role: Role
    text: str
    tool_requests: tuple[ToolRequest, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool on offer; `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """`messages` oldest first; the prefix (tools, system, old history) stays the same from turn to turn for caching."""

    model: str
    messages: tuple[PromptMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    temperature: float | None = None
    max_output_tokens: int | None = None


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
