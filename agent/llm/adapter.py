"""What both adapters share: ask, and ask again without what the server does not take."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from agent.llm.base import Completion, ModelError, Prompt, PromptMessage, Role
from agent.llm.capabilities import Capabilities, capabilities_of, learn
from agent.llm.model_server import ModelServer
from agent.llm.tokens import estimate_prompt_tokens

MAX_ATTEMPTS = 8
START_OF_CONVERSATION = "[The conversation begins.]"
UNSEEN_IMAGES = "[You cannot see the images that were sent.]"
_GUESSES = ("null_content", "extra_fields", "images")  # if the server does not say what it refuses: they cost nothing


class Adapter(ABC):
    """A `Model` over HTTP. What a server refuses is left out, and remembered for that address and model."""

    path: str

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    @property
    def address(self) -> str:
        """Return the URL that is asked, without secrets: what was found out is stored for it."""
        return self._server.public_url(self.path)

    def complete(self, prompt: Prompt) -> Completion:
        """Raises ModelUnavailable or ModelRefused."""
        can = capabilities_of(prompt.model, address=self.address)
        body = self.build_body(prompt, can)
        learned: dict[str, Any] = {}
        tried: set[tuple[str, Any]] = set()
        first: ModelError | None = None
        for _ in range(MAX_ATTEMPTS):
            try:
                answer = self._server.post(self.path, body)
            except ModelError as exc:
                first = first or exc
                change = self._next_change(exc, prompt, can, body=body, tried=tried)
                if change is None:
                    raise first if exc.code == "bad_request" else exc from None
                name, value = change
                can = replace(can, **{name: value})
                body = self.build_body(prompt, can)
                tried.add(change)
                learned[name] = value
                continue
            if can.max_prompt_tokens and not self.fits(prompt):
                learned["max_prompt_tokens"] = 0  # it has more room now
            if learned:
                learn(self.address, prompt.model, learned)
            return self.read_answer(answer, prompt)
        raise first or ModelError()

    def fits(self, prompt: Prompt) -> bool:
        """Return whether the prompt is shorter than those that were too long before."""
        limit = capabilities_of(prompt.model, address=self.address).max_prompt_tokens
        return not limit or estimate_prompt_tokens(prompt) <= limit

    def remember_too_long(self, prompt: Prompt, *, taken: Prompt) -> None:
        """Remember that this prompt was too long, and that the same with less history was taken."""
        limit = (estimate_prompt_tokens(prompt) + estimate_prompt_tokens(taken)) // 2
        learn(self.address, prompt.model, {"max_prompt_tokens": limit})

    def _next_change(
        self, exc: ModelError, prompt: Prompt, can: Capabilities, *, body: dict[str, Any], tried: set[tuple[str, Any]]
    ) -> tuple[str, Any] | None:
        """Return the first change that makes the request another one; None if there is nothing left to leave out."""
        for name, value in _changes(exc, can):
            if (name, value) not in tried and self.build_body(prompt, replace(can, **{name: value})) != body:
                return name, value
        return None

    @abstractmethod
    def build_body(self, prompt: Prompt, can: Capabilities) -> dict[str, Any]: ...

    @abstractmethod
    def read_answer(self, answer: dict[str, Any], prompt: Prompt) -> Completion: ...


def _changes(exc: ModelError, can: Capabilities) -> Iterator[tuple[str, Any]]:
    """Yield fields of Capabilities and their new values after a refusal, what the server named first."""
    guesses = _GUESSES if exc.code == "bad_request" else ()
    for name in dict.fromkeys((*exc.unsupported, *guesses)):
        if name == "limit_name":
            other = "max_tokens" if can.limit_name == "max_completion_tokens" else "max_completion_tokens"
            yield from ((name, other), (name, ""))
        else:
            yield name, False


def arrange_messages(prompt: Prompt, can: Capabilities) -> list[PromptMessage]:
    """Return the prompt's messages as the model takes them. A user speaks first, also if staff wrote first."""
    messages = list(prompt.messages_with_notes())
    if not can.tools:
        messages = [_without_tools(message) for message in messages]
    if not can.images:
        messages = [_without_pictures(message) for message in messages]
    at = next((at for at, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))
    if at == len(messages) or messages[at].role is not Role.USER:
        messages.insert(at, PromptMessage(role=Role.USER, text=START_OF_CONVERSATION))
    if not can.system_role and at:
        instructions = "\n\n".join(message.text for message in messages[:at])
        messages[: at + 1] = [replace(messages[at], text=f"{instructions}\n\n{messages[at].text}")]
    return messages if can.any_role_order and can.tools else _merge_same_roles(messages)


def _without_tools(message: PromptMessage) -> PromptMessage:
    """Describe a tool call and its result as text, for a model without tools."""
    if message.role is Role.TOOL:
        return PromptMessage(role=Role.USER, text=f"[Result of a tool:]\n{message.text}")
    if message.tool_requests:
        calls = "\n".join(f"[Used the tool {request.name}.]" for request in message.tool_requests)
        return PromptMessage(role=message.role, text=f"{message.text}\n{calls}".strip())
    return message


def _without_pictures(message: PromptMessage) -> PromptMessage:
    if not message.pictures:
        return message
    return replace(message, text=f"{message.text}\n{UNSEEN_IMAGES}", picture="", more_pictures=())


def _merge_same_roles(messages: Sequence[PromptMessage]) -> list[PromptMessage]:
    merged: list[PromptMessage] = []
    for message in messages:
        last = merged[-1] if merged else None
        is_open = last is not None and last.role is message.role and not last.tool_requests
        if last is not None and is_open and message.role is not Role.TOOL:
            text = "\n\n".join(filter(None, [last.text, message.text]))
            first, *more = (*last.pictures, *message.pictures) or ("",)
            merged[-1] = replace(message, text=text, picture=first, more_pictures=tuple(more))
        else:
            merged.append(message)
    return merged
