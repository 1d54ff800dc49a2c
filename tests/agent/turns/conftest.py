"""What tests of turns share: each API in turn, and tools that misbehave."""

import pytest
from pydantic import Field

from commands import registry
from commands.registry import READERS, Arguments, Result, chat_command
from messaging import control


@pytest.fixture(params=["chat", "responses"])
def api(request, settings) -> str:
    """The same test in each API."""
    settings.OPENAI_API = request.param
    return request.param


@pytest.fixture
def odd_tools(monkeypatch):
    """A tool that has a mistake in it, one that writes too much, and one during which a person takes over."""

    class Nothing(Arguments):
        size: int = Field(default=10)

    monkeypatch.setattr(registry, "registered_commands", dict(registry.registered_commands))
    monkeypatch.setattr(registry, "commands_by_word", dict(registry.commands_by_word))

    @chat_command("breaking", "Breaks.", allowed=READERS)
    def breaking(call, arguments: Nothing) -> Result:
        raise ZeroDivisionError

    @chat_command("talking", "Says a lot.", allowed=READERS, reads_only=True)
    def talking(call, arguments: Nothing) -> Result:
        return Result("x" * arguments.size)

    @chat_command("calling", "Calls a person.", allowed=READERS, reads_only=True)
    def calling(call, arguments: Nothing) -> Result:
        control.take_over(conversation=call.conversation)
        return Result("Somebody comes.")
