"""Texts of bounded length."""

ELLIPSIS = "…"


def truncate(text: str, limit: int, *, ending: str = ELLIPSIS) -> str:
    """Return `text` in at most `limit` characters; what is cut ends with `ending`."""
    return text if len(text) <= limit else f"{text[: max(limit - len(ending), 0)]}{ending}"[:limit]
