"""Parse the contact cards that people share: vCard texts, https://www.rfc-editor.org/rfc/rfc6350"""

import re
from typing import Any

from agent.bridges.addresses import phone_as_written, phone_of_digits
from agent.bridges.parsing import MAX_NAME_LENGTH

MAX_CARD_CHARS = 100_000  # a card may hold a photo
_FOLDED = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(r"(?:[\w-]+\.)?(?P<name>[\w-]+)(?P<parameters>(?:;[^:\n]*)?):(?P<value>[^\r\n]*)")
_WAID = re.compile(r"(?:^|;)waid=\+?([0-9]+)", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)")


def read_card(text: str, *, name: str | None = None) -> dict[str, Any]:
    """Return {name, phone} of a vCard; the phone is E.164 or None. `name` serves if the card has none.

    A card has several numbers: the one WhatsApp knows (`waid`) comes before one that was typed.
    """
    written: list[str] = []
    known: list[str] = []
    full_name = ""
    for line in _LINE.finditer(_FOLDED.sub("", text[:MAX_CARD_CHARS])):
        match line["name"].upper():
            case "FN":
                full_name = full_name or _ESCAPED.sub(_unescaped, line["value"]).strip()
            case "TEL":
                written.append(line["value"].removeprefix("tel:"))
                known += _WAID.findall(line["parameters"])
    phones = [*map(phone_of_digits, known), *map(phone_as_written, written)]
    return {
        "name": (full_name or name or "")[:MAX_NAME_LENGTH] or None,
        "phone": next((phone for phone in phones if phone), None),
    }


def _unescaped(match: re.Match[str]) -> str:
    return " " if match[1] in "nN" else match[1]
