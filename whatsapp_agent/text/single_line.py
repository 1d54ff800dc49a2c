"""Texts of one line: names, labels and reasons, which must not break a line of a log or a prompt, hide characters, or
turn around the text that follows them."""

import re
import unicodedata

from django.utils.translation import gettext as _

from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.sanitize import storable

# Controls, line and paragraph separators, bidirectional marks, and what is drawn as nothing. The zero-width joiner and
# non-joiner are allowed where emoji and Persian or Indic words are spelled with them: not beside Latin letters.
_NOT_ALLOWED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    "|(?<![^\x00-\u02ff\\s])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\u02ff\\s])"
)
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})  # not Cn: newer emoji than Python knows are there
_VARIATION_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef\u180b-\u180d\u180f]")
# Characters that are drawn as nothing but belong to no category of invisible ones: fillers and a blank Braille cell.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def single_line_error(text: str) -> str | None:
    """Return what is wrong with a text that must be one line; None if it is fine. An empty text is."""
    if _NOT_ALLOWED.search(text):
        return _("Line breaks, control characters, bidirectional marks and zero-width characters are not allowed.")
    if text and not has_visible_text(text):
        return _("Must contain a visible character.")
    return None


def as_line(text: str, *, max_length: int) -> str:
    """Return what was typed, on one line. Raises InvalidInput for a longer one: it is never cut."""
    line = " ".join(storable(text).split())
    if len(line) > max_length:
        raise InvalidInput(_("A line has at most %(limit)s characters.") % {"limit": max_length})
    return line


def has_visible_text(text: str) -> bool:
    """Return whether a text shows anything: spaces, controls, zero-width and filler characters are not seen."""
    return any(
        character not in _BLANKS
        and unicodedata.category(character) not in _INVISIBLE_CATEGORIES
        and not _VARIATION_SELECTOR.match(character)
        for character in text
    )


def without_marks(text: str) -> str:
    """Return a text without its invisible marks, which phone numbers copied from WhatsApp or a web page have."""
    return "".join(character for character in text if unicodedata.category(character) != "Cf")
