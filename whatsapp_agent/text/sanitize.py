"""Text that PostgreSQL and UTF-8 can hold, and that turns no other text around."""

import re
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def storable(text: str, *, nul: str = "\ufffd") -> str:
    """Replace NUL characters by `nul` and lone surrogates by U+FFFD; join the two halves of a surrogate pair.

    Texts from bridges keep the mark, so that two different ids stay different. Of what models write, NUL is removed
    (`nul=""`): it means nothing there, and a text of nothing else is empty.
    """
    text = text.replace("\x00", nul)
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", _SURROGATE_PAIR.sub(_join, text))


def storable_json(value: Any, *, nul: str = "\ufffd") -> Any:
    """Make every text in a JSON value storable, member names too. Raises RecursionError for one nested too deeply."""
    if isinstance(value, str):
        return storable(value, nul=nul)
    if isinstance(value, dict):
        return {storable(name, nul=nul): storable_json(member, nul=nul) for name, member in value.items()}
    if isinstance(value, list):
        return [storable_json(item, nul=nul) for item in value]
    return value


def without_bidi_controls(text: str) -> str:
    """Leave out what embeds, overrides or isolates a direction: unclosed, it turns around what follows in the line.

    For a text of others within a line of ours. Letters keep their own direction, and so do the marks U+200E and U+200F.
    """
    return _BIDI_CONTROLS.sub("", text)


def _join(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")
