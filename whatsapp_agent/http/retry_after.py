"""The `Retry-After` header."""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import inf
from time import time

MAX_RETRY_AFTER_S = 3600.0


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, an hour at most; None if the header is missing or unreadable.

    Formats: seconds or a date, https://www.rfc-editor.org/rfc/rfc9110#field.retry-after; OpenAI's servers also send
    `retry-after-ms`, which is more exact and is preferred. Header names may be in any case.
    """
    by_name = {name.lower(): value for name, value in headers.items()}
    wait_s = _number(by_name.get("retry-after-ms"), per_second=1000.0)
    if wait_s is None:
        wait_s = _number(by_name.get("retry-after"), per_second=1.0)
    if wait_s is None:
        wait_s = _seconds_until(by_name.get("retry-after", ""))
    return None if wait_s is None else min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def _number(text: str | None, *, per_second: float) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number / per_second if 0 <= number < inf else None


def _seconds_until(date: str) -> float | None:
    try:
        at = parsedate_to_datetime(date)
        return at.replace(tzinfo=at.tzinfo or UTC).timestamp() - time()
    except (ValueError, TypeError, OverflowError):
        return None
