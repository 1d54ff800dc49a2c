"""Parse untrusted payloads: bytes to JSON, JSON to typed values. Errors name the field, never its value."""

import json
import re
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, NoReturn

from whatsapp_agent.errors import UnreadableWebhookRequest
from whatsapp_agent.text.sanitize import storable_json

# In characters, as our tables hold them; WhatsApp's own are far shorter.
MAX_ID_LENGTH = 255
MAX_SESSION_NAME_LENGTH = 100
MAX_NAME_LENGTH = 200
MAX_MIME_TYPE_LENGTH = 100
EARLIEST_S = 1_230_768_000  # 2009, the year of WhatsApp: an earlier time is a wrong one
LATEST_S = 4_102_444_800  # 2100
UNITS_PER_S = (1, 10**3, 10**6, 10**9)  # within the two limits a number is plausible in one of them at most
MAX_CLOCK_SKEW = timedelta(minutes=5)
TRUE = frozenset({"true", "1"})

_DECIMAL = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,9})?")


class WrongShape(Exception):
    """A payload lacks what it must have, or has it in another type. Says which field, never its value."""


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def read_json(body: bytes) -> Any:
    """Return the JSON value in `body` with its texts cleaned. Raises UnreadableWebhookRequest if it is not JSON."""
    try:
        value = _DECODER.decode(body.decode("utf-8-sig"))
        # Raw NUL and surrogates are neither JSON nor UTF-8: unsafe characters come only as \u escapes.
        return storable_json(value) if b"\\u" in body else value
    except (ValueError, RecursionError) as exc:
        raise UnreadableWebhookRequest from exc


def listed(value: Any) -> list[Any]:
    """Return a list as it is. Raises WrongShape if it is none."""
    if not isinstance(value, list):
        raise WrongShape("the answer is no list")
    return value


class Fields:
    """The members of one JSON object by type.

    What a message is known by and what it says must be right (`needed`, `text`, `object`), else WrongShape is raised;
    what merely accompanies it is left out when it is wrong (the others). `path` says where in the payload we are.
    """

    __slots__ = ("_path", "_raw")

    def __init__(self, raw: Any, path: str = "") -> None:
        if not isinstance(raw, dict):
            raise WrongShape(f"{path or 'the event'} is no object")
        self._raw = raw
        self._path = path

    def _named(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def __contains__(self, name: str) -> bool:
        return self._raw.get(name) is not None

    def needed(self, name: str, *, longest: int = MAX_ID_LENGTH) -> str:
        """A text that must be there, and neither empty nor longer than `longest`."""
        value = self._raw.get(name)
        if not isinstance(value, str) or not value:
            raise WrongShape(f"{self._named(name)} is missing or no text")
        if len(value) > longest:
            raise WrongShape(f"{self._named(name)} is too long")
        return value

    def text(self, name: str) -> str:
        """A text of any length; empty when it is missing or null."""
        value = self._raw.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise WrongShape(f"{self._named(name)} is no text")
        return value

    def object(self, name: str) -> "Fields":
        """An object that must be there."""
        if name not in self:
            raise WrongShape(f"{self._named(name)} is missing")
        return Fields(self._raw[name], self._named(name))

    def maybe_object(self, name: str) -> "Fields | None":
        value = self._raw.get(name)
        return Fields(value, self._named(name)) if isinstance(value, dict) else None

    def objects(self, name: str) -> list["Fields"]:
        """The objects of a list; what is no object among them is left out."""
        value = self._raw.get(name)
        if not isinstance(value, list):
            return []
        return [Fields(inner, self._named(name)) for inner in value if isinstance(inner, dict)]

    def short(self, name: str, *, longest: int = MAX_ID_LENGTH) -> str | None:
        """A text cut at `longest`; None when it is missing, empty or no text."""
        value = self._raw.get(name)
        return value[:longest] if isinstance(value, str) and value else None

    def names(self) -> list[str]:
        """Return the names of the members that are not null."""
        return [name for name, value in self._raw.items() if value is not None]

    def listed(self, name: str) -> list[Any]:
        """Return the items of a list, whatever they are; none when it is missing or no list."""
        value = self._raw.get(name)
        return value if isinstance(value, list) else []

    def flag(self, name: str) -> bool:
        """Whether it is true, also one that is written as a text or a number."""
        value = self._raw.get(name)
        return value.strip().lower() in TRUE if isinstance(value, str) else value == 1

    def maybe_flag(self, name: str) -> bool | None:
        """True or false; None when it is missing or anything else."""
        value = self._raw.get(name)
        return value if isinstance(value, bool) else None

    def number(self, name: str) -> float | None:
        """A finite number; None when there is none."""
        value = self._raw.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if isfinite(number) else None

    def decimal(self, name: str) -> float | None:
        """A finite number, also one that is written as text; None when there is none."""
        value = self._raw.get(name)
        if not isinstance(value, str):
            return self.number(name)
        return float(value) if _DECIMAL.fullmatch(value) else None

    def integer(self, name: str) -> int | None:
        """A whole number of at most 18 digits, also one that is written as text; None when there is none."""
        value = self._raw.get(name)
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18 else None

    def time(self, name: str) -> datetime | None:
        """A point in time; None if it is missing or implausible.

        Read from seconds, milliseconds, microseconds or nanoseconds since 1970 (a number, a text of digits, or a 64-bit
        integer as Baileys writes it, `{low, high}`), or from an ISO 8601 text with its zone.
        """
        value = self._raw.get(name)
        if isinstance(value, dict):
            value = _int64(value)
        if isinstance(value, str):
            value = value.strip()
            if not _NUMBER.fullmatch(value):
                return _iso_time(value)
            value = float(value)
        return _time_of_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def past_time(self, name: str) -> datetime | None:
        """Like `time`, for what has happened: None as well if it lies in the future."""
        at = self.time(name)
        return at if at is not None and at <= datetime.now(UTC) + MAX_CLOCK_SKEW else None


def _time_of_number(value: float) -> datetime | None:
    for units in UNITS_PER_S:
        if EARLIEST_S * units <= value < LATEST_S * units:
            return datetime.fromtimestamp(value / units, tz=UTC)
    return None


def _iso_time(value: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(value.upper())
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo and 2009 <= at.year < 2100 else None


def _int64(value: dict[str, Any]) -> int | None:
    low, high = value.get("low"), value.get("high", 0)
    if type(low) is not int or type(high) is not int:
        return None
    return (high << 32) + (low & 0xFFFF_FFFF) if abs(high) < 2**31 else None
