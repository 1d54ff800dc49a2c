"""Exponential backoff."""


def backoff_s(failures: int, *, base_s: float, max_s: float) -> float:
    """Return the pause after this many failures in a row (1 or more): `base_s`, doubled each time, at most `max_s`."""
    return float(min(base_s * 2.0 ** min(max(failures - 1, 0), 30), max_s))
