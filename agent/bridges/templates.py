"""Message templates: as the platform has them, and as they are sent."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Template:
    """A template to send. `placeholders` are those of its body: numbers, or names; `header_placeholders` likewise.

    `header` is the kind of file that its header has (`image`, `video`, `document`), `text`, or empty. `buttons` are
    those that take a parameter: {index, type, parameter}.
    """

    name: str
    language: str
    parameters: list[str]
    placeholders: list[str] = field(default_factory=list)
    header: str = ""
    header_parameters: list[str] = field(default_factory=list)
    header_placeholders: list[str] = field(default_factory=list)
    buttons: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ListedTemplate:
    """A template as the platform has it. `unsupported`: why it cannot be sent, in words for staff; empty if it can.

    `header` is as of `Template`; `buttons` are those that take a parameter: {index, type, text}.
    """

    name: str
    language: str
    status: str
    category: str
    body: str
    placeholders: tuple[str, ...]
    header: str = ""
    header_text: str = ""
    header_placeholders: tuple[str, ...] = ()
    buttons: tuple[dict[str, Any], ...] = ()
    unsupported: str = ""
