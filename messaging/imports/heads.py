"""What stands before the text of a message in an exported chat: its date and time.

With either order of day and month, any of / . - or the signs for year and month between them, 24 hours, or 12 with
words for the part of the day on either side (`day_parts`), in digits of any script:

    [27/11/2026, 09:30:15] Ana: Hello           iOS
    27/11/2026, 09:30 - Ana: Hello              Android

Some languages write the time first. Marks of direction and narrow spaces (U+200E, U+200F, U+202F) may stand anywhere.

Strangers write the lines. So that none takes long, a head has a limited length, marks are removed before it is
matched, and nothing in the patterns that repeats without a limit stands beside what can match the same characters.
"""

import re
from dataclasses import dataclass

from messaging.imports.day_parts import is_known
from messaging.imports.phrases import MARKS, without_marks

MAX_HEAD_CHARS = 200  # with its marks
S = "[ \u00a0\u202f\u2009]"
_WORDS = r"['’]?[^\W\d_][^\d\[\]:/<>\n\u2013]{0,28}?"
_DATE = (
    rf"(?P<a>\d{{1,4}})(?P<sign>[./-]|{S}?[年년]){S}?(?P<b>\d{{1,2}})(?:[./-]|{S}?[月월]){S}?(?P<c>\d{{1,4}})"
    rf"(?:\.|{S}?[日일]|{S}?г\.)?"
)
_TIME = (
    rf"(?:(?P<before>{_WORDS}){S}{{0,4}})?(?P<hour>\d{{1,2}})(?:[:.]|{S}?h{S}?)(?P<minute>\d{{2}})"
    rf"(?:[:.](?P<second>\d{{2}}))?(?:{S}{{0,4}}(?P<after>{_WORDS}))?"
)
_BETWEEN = rf"(?:[,،]{S}{{0,4}}|{S}{{1,4}})"
_END = rf"(?:(?P<end>\])|{S}{{1,4}}[-\u2013]{S})"
_DATE_FIRST, _TIME_FIRST = (
    re.compile(rf"(?P<bracket>\[)?{first}{_BETWEEN}{second}{_END}", re.IGNORECASE)
    for first, second in ((_DATE, _TIME), (_TIME, _DATE))
)
# What begins as a head does and is none: the date or the time is written in a way that is not known.
_LIKE_HEAD = re.compile(
    rf"(?P<bracket>\[)?(?=\d)(?=(?:[^\d\n]*\d+){{4,6}})[^\]\n]{{9,45}}?(?:\]{S}|{S}-{S})[^:\n]{{1,60}}: "
)


@dataclass(frozen=True, slots=True)
class Head:
    parts: re.Match[str]  # a, b, c (of the date), before, hour, minute, second, after
    line: str
    rest: str  # of the line
    is_time_first: bool
    unknown_words: tuple[str, ...]  # beside the time; they may mean another hour

    @property
    def form(self) -> tuple[bool, bool]:
        """Return what is the same in all heads of an export."""
        return self.parts["bracket"] is not None, self.is_time_first


def head_of(line: str) -> Head | None:
    """Return what stands before a message's text; None if the line does not begin one."""
    if not any(each.isdigit() for each in line[:12]):
        return None
    beginning = without_marks(line[:MAX_HEAD_CHARS])
    date_first = _DATE_FIRST.match(beginning)
    parts = date_first or _TIME_FIRST.match(beginning)
    if parts is None or (parts["bracket"] is None) != (parts["end"] is None):
        return None
    unknown = tuple(words for words in (parts["before"], parts["after"]) if words and not is_known(words))
    return Head(parts, line, line[_position(line, parts.end()) :], date_first is None, unknown)


def is_like_head(line: str, *, is_bracketed: bool) -> bool:
    """Return whether a line that has no head seems to begin a message."""
    found = _LIKE_HEAD.match(without_marks(line[:MAX_HEAD_CHARS]))
    return found is not None and (found["bracket"] is not None) == is_bracketed


def _position(line: str, count: int) -> int:
    """Return where in the line its first `count` characters that are no marks end."""
    if line.isascii():
        return count
    positions = (position for position, each in enumerate(line, start=1) if each not in MARKS)
    return next(position for number, position in enumerate(positions, start=1) if number == count)
