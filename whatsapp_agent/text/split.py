"""Split or shorten texts that are longer than a WhatsApp message may be."""

import re
import unicodedata
from collections.abc import Iterator

WHATSAPP_LIMIT = 4096

_FENCE = "```"
_MIN_LIMIT_WITH_FENCES = 64  # below this a part has no room for closing and opening code again
_SENTENCE_ENDS = (". ", "! ", "? ", "… ", ".\n", "!\n", "?\n", "。", "！", "？", "؟ ", "। ")
_MIN_OVERLAP, _MAX_OVERLAP = 5, 400  # characters of a repeated end
_REPEATED_BEGINNING = 40
_WHOLE_SENTENCE = re.compile(r"[.!?…](?:[\"'”’»)\]*_]+)?(?=\s|$)|[。！？।](?:[”’»」』）]+)?|؟(?=\s|$)|(?<=\S)(?=\n)")
_EMPHASIS = re.compile(r"(?<![\w*_~`])([*_~`])(?=[^\s*_~`])[^\n]{0,1000}?(?<=[^\s*_~`])\1(?![\w*_~`])")
_SPACES = (" ", "\n", "\t", "\u3000")


def split_text(text: str, limit: int = WHATSAPP_LIMIT) -> list[str]:
    """Return parts of at most `limit` UTF-16 code units, none empty.

    WhatsApp does not say whether it counts characters or UTF-16 units; the units are never fewer, so they are safe.
    Cuts lie between paragraphs, else lines, sentences, words; only a longer word is cut in itself, and then not within
    an emoji or an accented letter, nor within bold, italic or struck text that fits into a part. Code that is cut is
    closed and opened again. Only whitespace is lost, and only
    at the cuts. A blank text has no parts.
    """
    if limit < 2:
        raise ValueError("limit must hold at least one character: 2")
    return list(_parts(text, limit))


def _parts(text: str, limit: int) -> Iterator[str]:
    fenced = limit >= _MIN_LIMIT_WITH_FENCES
    at = _skip_blank(text, 0)
    in_code = False
    while at < len(text):
        opening = f"{_FENCE}\n" if in_code else ""
        window = _prefix(text, at, limit - len(opening))
        if at + len(window) == len(text) and not (in_code and window.count(_FENCE) % 2 == 0):
            yield f"{opening}{window}".rstrip()
            return
        room = limit - len(opening)
        if fenced and (in_code or _FENCE in window):
            room -= len(_FENCE) + 1
        window = _prefix(text, at, room)
        cut = _best_cut(text, at, window)
        if not in_code:
            cut = _before_emphasis(text, at, cut, limit)
        part = text[at:cut]
        closes = in_code ^ (part.count(_FENCE) % 2 == 1) if fenced else False
        if closes:
            fence = part.rfind(_FENCE)  # what it opens is still open at the cut
            if fence > len(window) // 2 or (fence > 0 and not part[fence + 3 :].strip()):
                cut, closes = at + fence, False  # the code begins late in this part: let it begin with the next
                part = text[at:cut]
        if closes:
            if part.replace(_FENCE, "").strip():
                yield f"{opening}{part.rstrip()}\n{_FENCE}"
            at = cut + (text[cut : cut + 1] == "\n")
        else:
            if part.strip():
                yield f"{opening}{part.rstrip()}"
            at = _skip_blank(text, cut)
        in_code = closes


def _skip_blank(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _prefix(text: str, at: int, units: int) -> str:
    """Return as much of the text from `at` as fits in so many UTF-16 code units, at least one character."""
    window = text[at : at + units]
    if window.isascii():
        return window
    encoded = window.encode("utf-16-le", "surrogatepass")
    over = len(encoded) // 2 - units
    while over > 0:  # characters beyond the BMP are two units: drop as many characters as needed
        window = window[: -max(1, over // 2)]
        over = len(window.encode("utf-16-le", "surrogatepass")) // 2 - units
    return window or text[at]


def _best_cut(text: str, at: int, window: str) -> int:
    """Return where the part that begins at `at` ends: an index in `text` beyond `at`."""
    end = at + len(window)
    if end == len(text):
        return end
    early = len(window) // 4  # a cut before this would waste the part
    lookahead = text[at : end + 1]  # whitespace right behind the window is a good place too
    for place in ("\n\n", "\n"):
        if (found := lookahead.rfind(place)) > early:
            return at + found
    if (found := max(lookahead.rfind(place) + 1 for place in _SENTENCE_ENDS)) > early:
        return at + min(found, len(window))
    if (found := max(lookahead.rfind(space) for space in _SPACES)) > 0 and lookahead[:found].strip():
        return at + found
    return _between_characters(text, at, end)


def _before_emphasis(text: str, at: int, cut: int, limit: int) -> int:
    """`cut`, or where the marked text (bold, italic, struck, code) begins that it would cut, within its line."""
    if cut >= len(text):
        return cut
    begin = max(text.rfind("\n", at, cut) + 1, at)
    end = text.find("\n", cut, cut + limit)
    line = text[begin : end if end >= 0 else cut + limit]
    for span in _EMPHASIS.finditer(line):
        if begin + span.start() < cut < begin + span.end() and text[at : begin + span.start()].strip():
            return begin + span.start()
    return cut


def _between_characters(text: str, at: int, end: int) -> int:
    """`end`, or a little earlier, so that no backticks, emoji or accented letter is cut; never `at`."""
    cut = end
    for _ in range(32):
        if cut - 1 <= at or not _belongs_together(text, cut, since=at):
            break
        cut -= 1
    if not _belongs_together(text, cut, since=at):
        return cut
    while end - 1 > at and text[end - 1] == text[end] == "`" and cut < end:
        end -= 1
    return end


def _belongs_together(text: str, cut: int, *, since: int) -> bool:
    """Return whether the characters on both sides of `cut` are displayed as one; one begins at `since`."""
    before, after = text[cut - 1], text[cut]
    if before == after == "`" or before == "\u200d" or after == "\u200d":
        return True
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        return True
    if "\U0001f1e6" <= before <= "\U0001f1ff" and "\U0001f1e6" <= after <= "\U0001f1ff":  # flags are pairs
        start = cut
        while start > since and "\U0001f1e6" <= text[start - 1] <= "\U0001f1ff":
            start -= 1
        return (cut - start) % 2 == 1
    return (
        unicodedata.category(after) in {"Mn", "Mc", "Me"}
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U000e0020" <= after <= "\U000e007f"
    )


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters: the beginning and the end, and between them a note of how much was left out."""
    if len(text) <= limit:
        return text
    room = limit - len(_left_out(len(text), len(text)))
    if room < 2:
        return text[: max(limit, 0)]
    head = _between_characters(text, 0, room - room // 4)
    tail = len(text) - room // 4
    for _ in range(32):
        if tail == len(text) or not _belongs_together(text, tail, since=head):
            break
        tail += 1
    return f"{text[:head]}{_left_out(tail - head, len(text))}{text[tail:]}"


def _left_out(count: int, whole: int) -> str:
    return f"\n[… {count:,} of {whole:,} characters left out …]\n"


def end_at_sentence(text: str) -> str:
    """Return a text that was cut off up to its last whole sentence; with an ellipsis when it has none."""
    text = text.rstrip()
    ends = [match.end() for match in _WHOLE_SENTENCE.finditer(text)]
    if ends:
        return text[: ends[-1]].rstrip()
    return f"{text.rsplit(None, 1)[0] if len(text.split()) > 1 else text}…" if text else ""


def join_continuation(text: str, rest: str) -> str:
    """Join a text that was cut off and its continuation, which may repeat the end of it, or all of it."""
    if not text or not rest:
        return text or rest
    beginning = text[:_REPEATED_BEGINNING]
    if len(rest) >= len(text) and rest.startswith(beginning):
        return rest
    for size in range(min(len(text), len(rest), _MAX_OVERLAP), _MIN_OVERLAP - 1, -1):
        if text.endswith(rest[:size]):
            return text + rest[size:]
    before, after = text[-1], rest[0]
    is_new_word = (after.isupper() and not before.isupper()) or (before in ",;:!?…)" and after.isalnum())
    separates = not before.isspace() and (is_new_word or (before == "." and after.isalpha()))
    return f"{text} {rest}" if separates else text + rest
