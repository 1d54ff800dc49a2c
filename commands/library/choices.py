"""Offer the contact choices below the agent's answer: as buttons where the bridge has them, else as numbered lines."""

import re
from typing import Annotated, Any

from django.utils.translation import gettext_noop
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from commands.registry import READERS, Arguments, Call, Result, chat_command
from messaging.menus.limits import MAX_BUTTON_LENGTH, MAX_BUTTONS
from messaging.menus.service import numbered

SEPARATORS = re.compile(r"[;|\n]")


def _joined(given: Any) -> Any:
    """Return a list, which models may give, as it would be typed."""
    return "; ".join(given) if isinstance(given, list) and all(isinstance(each, str) for each in given) else given


def _split(typed: str) -> list[str]:
    return [choice for part in SEPARATORS.split(typed) if (choice := " ".join(part.split()))]


def _checked(typed: str) -> str:
    choices = _split(typed)
    if not 2 <= len(choices) <= MAX_BUTTONS or len({choice.casefold() for choice in choices}) < len(choices):
        raise PydanticCustomError("choices", "must be two or three different choices, separated by a semicolon")
    if max(map(len, choices)) > MAX_BUTTON_LENGTH:
        raise PydanticCustomError("choices", "may have 20 characters each")
    return "; ".join(choices)


class ChoicesArguments(Arguments):
    choices: Annotated[str, BeforeValidator(_joined), AfterValidator(_checked)] = Field(
        max_length=200, description=gettext_noop("Two or three choices of at most 20 characters, separated by ;")
    )


@chat_command(
    "choices",
    gettext_noop("Offer choices below the answer."),
    allowed=READERS,
    tool="offer_choices",
    tool_description=(
        "Offer the contact two or three short choices below your answer, which asks for one of them. They are shown "
        "with it: do not list them yourself. What the contact chooses comes as the next message."
    ),
    examples=("/choices Today; Tomorrow",),
    reads_only=True,
)
def offer_choices(call: Call, arguments: ChoicesArguments) -> Result:  # noqa: ARG001  they are shown with the answer
    choices = _split(arguments.choices)
    return Result(numbered(choices), {"choices": choices, "shown": "below your answer"})
