"""WhatsApp's markup as HTML: *bold*, _italic_, ~struck~, `code`, ```code``` and links. Everything else is escaped.

Where no HTML is shown, as in lists and quotes, the same markup is left out.
"""

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

# Whole pieces in which no other markup counts. Each class excludes its own end, so that matching is linear.
_PIECE = re.compile(r"```([^`]+)```|`([^`\n]+)`|(https?://[^\s<>\"'`]+)", re.IGNORECASE)
_MARK = re.compile(
    r"(?<![\w*])\*(?=\S)([^*\n]+)(?<=\S)\*(?![\w*])|(?<!\w)_(?=\S)([^_\n]+)(?<=\S)_(?!\w)"
    r"|(?<![\w~])~(?=\S)([^~\n]+)(?<=\S)~(?![\w~])"
)
_TAGS = ("strong", "em", "s")
_TRAILING = ".,;:!?…*_~"


def whatsapp_html(text: str) -> SafeString:
    """Return a message's text as HTML."""
    parts: list[str] = []
    end = 0
    for match in _PIECE.finditer(text):
        parts.append(_marks(text[end : match.start()]))
        block, code, url = match.groups()
        parts.append(_link(url) if url else f"<code>{escape(block or code)}</code>")
        end = match.end()
    parts.append(_marks(text[end:]))
    return mark_safe("".join(parts))  # noqa: S308  every part is escaped


def without_markup(text: str) -> str:
    """Return a message's text without its marks. It is not escaped."""
    parts: list[str] = []
    end = 0
    for match in _PIECE.finditer(text):
        block, code, url = match.groups()
        parts += [_without_marks(text[end : match.start()]), block or code or url]
        end = match.end()
    parts.append(_without_marks(text[end:]))
    return "".join(parts)


def _without_marks(text: str) -> str:
    return _MARK.sub(lambda match: _without_marks(next(filter(None, match.groups()))), text)


def _marks(text: str) -> str:
    """Each level of nesting has used up one of the three marks, so this is at most four levels deep."""
    parts: list[str] = []
    end = 0
    for match in _MARK.finditer(text):
        parts.append(escape(text[end : match.start()]))
        tag, inner = next((tag, inner) for tag, inner in zip(_TAGS, match.groups(), strict=True) if inner is not None)
        parts.append(f"<{tag}>{_marks(inner)}</{tag}>")
        end = match.end()
    parts.append(escape(text[end:]))
    return "".join(parts)


def _link(url: str) -> str:
    """Return a link that sends no referrer to the other site; punctuation after it is not part of it."""
    address = url.rstrip(_TRAILING)
    if address.endswith(")") and "(" not in address:
        address = address[:-1]
    after = escape(url[len(address) :])
    shown = escape(address)
    return f'<a href="{shown}" target="_blank" rel="noopener noreferrer nofollow">{shown}</a>{after}'
