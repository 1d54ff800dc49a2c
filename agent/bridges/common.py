"""What several bridges have in common."""

import binascii
import hmac
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from agent.bridges.events import Kind
from agent.bridges.exchange import Refused
from agent.bridges.parsing import MAX_NAME_LENGTH, Fields, WrongShape
from whatsapp_agent.text.sanitize import storable
from whatsapp_agent.text.single_line import has_visible_text

PNG = b"\x89PNG\r\n\x1a\n"
UNANSWERED = frozenset({Kind.REACTION, Kind.UNKNOWN, Kind.UNSUPPORTED})


def is_same_secret(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode(errors="replace"))


def quote_name(session: str) -> str:
    """Return a session's name as a part of a path. Raises Refused if it would lead elsewhere."""
    if not session or session in {".", ".."}:
        raise Refused("This cannot be the name of a session.", code="invalid")
    return quote(storable(session), safe="")


def read_png(image: str) -> bytes | None:
    """Return the image of a `data:image/png;base64,…`, or of bare base64; None if it is empty."""
    if not image:
        return None
    try:
        content = b64decode(image.removeprefix("data:image/png;base64,"), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise WrongShape("the QR code is no base64") from exc
    if not content.startswith(PNG):
        raise WrongShape("the QR code is no PNG")
    return content


def read_place(raw: Fields, *, latitude: str = "latitude", longitude: str = "longitude") -> dict[str, Any]:
    """Return the details of a location. Coordinates may be written as text."""
    return {
        "latitude": raw.decimal(latitude),
        "longitude": raw.decimal(longitude),
        "name": raw.short("name", longest=MAX_NAME_LENGTH),
        "address": raw.short("address"),
    }


def is_answerable(kind: Kind, text: str, details: Mapping[str, Any]) -> bool:
    """Return whether an agent can answer what has this kind, text and details: not what says nothing."""
    if kind in UNANSWERED:
        return False
    says = {
        Kind.TEXT: False,
        Kind.LOCATION: is_place(details.get("location")),
        Kind.CONTACT: bool(details.get("contacts")),
        Kind.INTERACTIVE: bool(details.get("payload")),
    }
    return says.get(kind, True) or has_visible_text(text)


def is_place(location: Mapping[str, Any] | None) -> bool:
    """Return whether a location says anything of where it is."""
    return any(value is not None for value in (location or {}).values())
