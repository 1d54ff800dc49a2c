"""Parse an exported chat: lines into messages, with everything that could not be read.

Formats, with either order of day and month, any of / . - or the signs for year and month between them, 24 hours, or 12
with words for the part of the day on either side (`day_parts`), in digits of any script:

    [27/11/2026, 09:30:15] Ana: Hello           iOS
    27/11/2026, 09:30 - Ana: Hello              Android

Some languages write the time first. Further lines of a message have no such head. Marks of direction and narrow spaces
(U+200E, U+200F, U+202F) may stand anywhere in a head.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

from django.utils.translation import gettext as _

from agent.bridges.events import Kind
from messaging.imports import phrases
from messaging.imports.day_parts import hour_of_day
from messaging.imports.phrases import plain, without_marks
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.sanitize import storable

DATE_ORDERS = ("dmy", "mdy", "ymd")
M = f"[{phrases.MARKS}]*"
S = f"[ \u00a0\u202f\u2009{phrases.MARKS}]"
_WORDS = r"['’]?[^\W\d_][^\d\[\]:/<>\n\u2013]{0,28}?"
_DATE = (
    rf"(?P<a>\d{{1,4}}){M}(?P<sign>[./-]|{S}?[年년]){S}?{M}(?P<b>\d{{1,2}}){M}(?:[./-]|{S}?[月월]){S}?{M}(?P<c>\d{{1,4}})"
    rf"{M}(?:\.|{S}?[日일]|{S}?г\.)?"
)
_TIME = (
    rf"(?:(?P<before>{_WORDS}){S}*)?(?P<hour>\d{{1,2}}){M}(?:[:.]|{S}?h{S}?){M}(?P<minute>\d{{2}})"
    rf"(?:{M}[:.]{M}(?P<second>\d{{2}}))?(?:{S}*(?P<after>{_WORDS}))?"
)
_END = rf"{M}(?:(?P<end>\]){S}*|{S}+[-\u2013]{S}+)(?P<rest>.*)"
_HEADS = [
    re.compile(rf"{M}(?P<bracket>\[)?{M}{first}[,،]?{S}+{second}{_END}", re.IGNORECASE | re.DOTALL)
    for first, second in ((_DATE, _TIME), (_TIME, _DATE))
]
# What begins as a head does and is none: the date or the time is written in a way that is not known.
_LIKE_HEAD = re.compile(
    rf"{M}(?P<bracket>\[)?{M}(?=(?:[^\d\n]*\d+){{4,6}})[^\]\n]{{9,45}}?(?:\]{S}|{S}-{S})[^:\n]{{1,60}}: "
)
_BEFORE_LINES = re.compile(r"(^|\()\u200e+", re.MULTILINE)  # iOS writes it before its own words, as in a poll
IOS_ATTACHED = re.compile(rf"{M}<{M}[^<>:\n]{{2,30}}:{M}\s*(?P<name>[^<>\n]+\.\w{{2,5}})>", re.IGNORECASE)
ANDROID_ATTACHED = re.compile(rf"{M}(?P<name>\S[^\n]{{0,250}}\.\w{{2,5}}){M}\s\({M}(?P<words>[^()\n]{{3,40}})\)")
MAX_CLOCK_WORD = 5  # beside a time, as "klo", "saat", "Uhr" or "hrs"
MAX_PHRASE_CHARS = 500  # of a line that WhatsApp itself has written; a file's name may stand in it
OWN_NAME = re.compile(r"(IMG|VID|AUD|PTT|STK|DOC|GIF)-\d{8}-WA\d+\.", re.IGNORECASE)
KIND_OF_NAME = (
    (re.compile(r"^(PTT)|\.opus$|-AUDIO-.*\.opus$", re.IGNORECASE), Kind.VOICE),
    (re.compile(r"^STK|-STICKER-|\.webp$", re.IGNORECASE), Kind.STICKER),
    (re.compile(r"\.(jpe?g|png|heic)$", re.IGNORECASE), Kind.IMAGE),
    (re.compile(r"\.(mp4|3gp|mov|gif)$", re.IGNORECASE), Kind.VIDEO),
    (re.compile(r"\.(mp3|m4a|aac|ogg|amr)$", re.IGNORECASE), Kind.AUDIO),
    (re.compile(r"\.vcf$", re.IGNORECASE), Kind.CONTACT),
)


@dataclass(slots=True)
class Entry:
    """One message of the export. `author` is "" for what WhatsApp itself says."""

    line: int
    at: datetime  # of the phone, without a zone
    author: str
    text: str = ""
    kind: Kind = Kind.TEXT
    filename: str = ""
    is_edited: bool = False
    is_deleted: bool = False
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unreadable:
    line: int
    reason: str


@dataclass(slots=True)
class Chat:
    entries: list[Entry]
    unreadable: list[Unreadable]
    date_order: str
    is_order_sure: bool

    @property
    def messages(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.author]

    @property
    def authors(self) -> list[str]:
        """Return who wrote, who wrote most first."""
        return [name for name, _ in Counter(entry.author for entry in self.messages).most_common()]


@dataclass(slots=True)
class _Raw:
    line: int
    head: re.Match[str]
    lines: list[str]


def parse_chat(lines: Iterable[tuple[str, str]], *, date_order: str = "") -> Chat:
    """Parse lines, each with why it may be misread ("" if it is not). Raises InvalidInput if there is no message."""
    unreadable: list[Unreadable] = []
    raws: list[_Raw] = []
    is_bracketed: bool | None = None
    for number, (line, problem) in enumerate(lines, start=1):
        if problem:
            unreadable.append(Unreadable(number, problem))
        head = head_of(line)
        if head and is_bracketed is None:
            is_bracketed = head["bracket"] is not None
        if head and (head["bracket"] is not None) == is_bracketed:
            raws.append(_Raw(number, head, [head["rest"]]))
        elif raws:
            raws[-1].lines.append(line)
            if head is None and _is_like_head(line, is_bracketed=is_bracketed):
                unreadable.append(
                    Unreadable(number, "is it a message? Its date is not understood: part of the one before")
                )
        elif without_marks(line).strip():
            unreadable.append(Unreadable(number, "it stands before the first message"))
    if not raws:
        raise InvalidInput(_("This is no exported chat: it has no line that begins with a date and a time."))
    heads = [raw.head for raw in raws]
    order, is_sure = (date_order, True) if date_order else _date_order(heads)
    has_24_hours = any(int(head["hour"]) > 12 for head in heads)
    entries = []
    for raw in raws:
        at = _time_of(raw.head, order)
        if at is None:
            unreadable.append(Unreadable(raw.line, f"its date or time does not exist ({order})"))
            continue
        if not has_24_hours and (words := raw.head["after"]) and hour_of_day(1, words) is None:
            unreadable.append(Unreadable(raw.line, f"it is read as {at:%H:%M}: it is not known what {words!r} means"))
        entries.append(_entry(raw, at))
    if not entries:
        raise InvalidInput(
            _("No date of this chat exists when it is read as %(order)s. Give --date-order.") % {"order": order}
        )
    return Chat(entries, sorted(unreadable, key=lambda each: each.line), order, is_sure)


def head_of(line: str) -> re.Match[str] | None:
    """Return the match of what stands before a message's text; None if the line does not begin one."""
    if not any(each.isdigit() for each in line[:12]):
        return None
    head = next(filter(None, (pattern.fullmatch(line) for pattern in _HEADS)), None)
    if head is None or (head["bracket"] is None) != (head["end"] is None):
        return None
    words = [plain(each) for each in (head["before"], head["after"]) if each]
    if any(len(each) > MAX_CLOCK_WORD and hour_of_day(1, each) is None for each in words):
        return None
    return head


def _is_like_head(line: str, *, is_bracketed: bool | None) -> bool:
    if not without_marks(line[:4]).lstrip("[")[:1].isdigit():
        return False
    found = _LIKE_HEAD.match(line)
    return found is not None and (found["bracket"] is not None) == is_bracketed


# --- dates --------------------------------------------------------------------------------------------------------


def _time_of(head: re.Match[str], order: str) -> datetime | None:
    parts = [int(head[name]) for name in ("a", "b", "c")]  # of any script
    day, month, year = (parts[order.index(letter)] for letter in "dmy")
    hour, minute = int(head["hour"]), int(head["minute"])
    for words in filter(None, (head["after"], head["before"])):
        if hour <= 12 and (known := hour_of_day(hour, words)) is not None:
            hour = known
            break
    try:
        return datetime(  # noqa: DTZ001  the phone's time; the zone is the session's
            _year_of(year), month, day, hour, minute, int(head["second"] or "0")
        )
    except ValueError:
        return None


def _year_of(year: int) -> int:
    """Return a year of the Christian era; 0, which does not exist, for a year of another than the Buddhist one."""
    if year < 100:
        soon = datetime.now().year + 1 - 2000  # noqa: DTZ005
        return year + 2000 if year <= soon or year + 1957 > soon + 2000 else year + 1957
    if year > 2400:
        year -= 543
    return year if year >= 2000 else 0


def _date_order(heads: Sequence[re.Match[str]]) -> tuple[str, bool]:
    """Decide from all dates what day and month are; the second value is False if it is a guess."""
    if sum(len(head["a"]) == 4 for head in heads) * 2 > len(heads):
        return "ymd", True
    times = {order: [_time_of(head, order) for head in heads] for order in ("dmy", "mdy")}
    impossible = {order: each.count(None) for order, each in times.items()}
    if impossible["dmy"] != impossible["mdy"]:
        return min(impossible, key=lambda order: impossible[order]), True
    soon = datetime.now() + timedelta(days=2)  # noqa: DTZ005
    wrong = {order: _unlikely(times[order], soon) for order in times}
    if wrong["dmy"] != wrong["mdy"]:
        return min(wrong, key=lambda order: wrong[order]), True
    span = {order: _span(times[order]) for order in times}
    if span["dmy"] * 3 < span["mdy"] or span["mdy"] * 3 < span["dmy"]:  # days that follow each other
        return min(span, key=lambda order: span[order]), True
    head = heads[0]
    is_american = (
        head["sign"] == "/"
        and len(head["c"]) == 2
        and any(each["after"] for each in heads)
        and not any(each["a"].startswith("0") or each["b"].startswith("0") for each in heads)
    )
    return ("mdy" if is_american else "dmy"), head["sign"] == "." or times["dmy"] == times["mdy"]


def _unlikely(times: Sequence[datetime | None], soon: datetime) -> int:
    """Count the steps back in time, and the times in the future."""
    known = [each for each in times if each is not None]
    back = sum(later < earlier - timedelta(hours=3) for earlier, later in pairwise(known))  # clocks are set back
    return back + sum(each > soon for each in known)


def _span(times: Sequence[datetime | None]) -> float:
    known = [each for each in times if each is not None]
    return (max(known) - min(known)).total_seconds() if known else 0.0


# --- messages -----------------------------------------------------------------------------------------------------


def _entry(raw: _Raw, at: datetime) -> Entry:
    first, *further = raw.lines
    author, separator, text = first.partition(": ")
    if not separator and first.rstrip().endswith(":"):  # a message that begins with an empty line
        author, separator, text = first.rstrip()[:-1], ":", ""
    author = without_marks(author).strip().removeprefix("~").strip(" \u00a0\u202f")
    body = "\n".join([text, *further]).rstrip()
    if not separator or not author or _is_system(author) or _is_ios_system(raw, text):
        return Entry(raw.line, at, author="", text="\n".join(raw.lines).strip())
    entry = Entry(raw.line, at, author=storable(author[:200]), text=body)
    _read_edit(entry)
    _read_deletion(entry)
    _read_media(entry)
    if found := phrases.LOCATION.match(without_marks(entry.text).strip()):
        entry.kind = Kind.LOCATION
        entry.details = {"location": {"latitude": float(found[1]), "longitude": float(found[2])}}
        entry.text = ""
    entry.text = storable(_BEFORE_LINES.sub(r"\1", entry.text).lstrip("\u200e\ufeff"))
    return entry


@lru_cache(maxsize=1000)
def _is_system(author: str) -> bool:
    """Return whether what stands before a colon is a sentence of WhatsApp's, and no name."""
    if len(author) > 100:
        return True
    words = plain(author)
    return any(each in words for each in phrases.SYSTEM_PLAIN)


def _is_ios_system(raw: _Raw, text: str) -> bool:
    """On iOS these lines have an author, the group or the contact, and begin with U+200E."""
    if raw.head["bracket"] is None or not text.startswith("\u200e") or len(raw.lines) > 1:
        return False
    words = plain(text)
    return any(each in words for each in phrases.SYSTEM_PLAIN) and words not in phrases.OMITTED_PLAIN


def _read_edit(entry: Entry) -> None:
    before, opening, mark = entry.text.rpartition("<")
    if opening and plain(mark.rstrip(f" {phrases.MARKS}").removesuffix(">")) in phrases.EDITED_PLAIN:
        entry.is_edited, entry.text = True, before.rstrip(f" \u00a0{phrases.MARKS}\n")


def _read_deletion(entry: Entry) -> None:
    if len(entry.text) > MAX_PHRASE_CHARS:
        return
    words = plain(entry.text)
    by_admin = words.startswith("this message was deleted by admin")
    if words in phrases.DELETED_PLAIN or by_admin:
        entry.is_deleted, entry.text = True, ""


def _read_media(entry: Entry) -> None:
    first, _, caption = entry.text.partition("\n")
    words = plain(first) if len(first) <= MAX_PHRASE_CHARS else ""
    if kind := phrases.OMITTED_PLAIN.get(words):
        entry.kind, entry.text = kind, caption
        return
    for phrase in _OMITTED_DOCUMENTS:  # "Offer.pdf • 3 pages document omitted"
        if words.endswith(f" {phrase}"):
            name = re.split(r"\s*[•\u200e]", without_marks_but_lrm(first), maxsplit=1)[0].strip()
            entry.kind, entry.filename, entry.text = Kind.DOCUMENT, storable(name[:255]), caption
            return
    if "<" in entry.text and (found := IOS_ATTACHED.search(entry.text)):
        entry.filename = storable(without_marks(found["name"]).strip()[:255])
        entry.kind = kind_of(entry.filename)
        entry.text = "\n".join(
            filter(None, (entry.text[: found.start()].strip(), entry.text[found.end() :].strip()))
        ).lstrip("\u200e")
        if entry.kind == Kind.DOCUMENT and " • " in entry.text:  # "Offer.pdf • 3 pages"
            entry.text = ""
    elif (found := ANDROID_ATTACHED.fullmatch(first.rstrip())) and (
        plain(found["words"]) in phrases.ATTACHED_PLAIN or OWN_NAME.match(without_marks(found["name"]))
    ):
        entry.filename = storable(without_marks(found["name"]).strip()[:255])
        entry.kind, entry.text = kind_of(entry.filename), caption


_OMITTED_DOCUMENTS = tuple(phrase for phrase, kind in phrases.OMITTED_PLAIN.items() if kind is Kind.DOCUMENT)


def without_marks_but_lrm(text: str) -> str:
    return text.lstrip("\u200e")


def kind_of(filename: str) -> Kind:
    return next((kind for pattern, kind in KIND_OF_NAME if pattern.search(filename)), Kind.DOCUMENT)


# --- lines --------------------------------------------------------------------------------------------------------


ENCODINGS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def decode_lines(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield each line, and why it may be misread ("" if it is not). Every line may have its own encoding."""
    marked = next((mark for mark in ENCODINGS if content.startswith(mark)), b"")
    content = content.removeprefix(marked)
    head = content[:2000]
    even, odd = head[::2].count(0), head[1::2].count(0)
    guessed = "utf-16-le" if odd * 3 > len(head) else "utf-16-be" if even * 3 > len(head) else "utf-8"
    encoding = ENCODINGS.get(marked, guessed)
    if encoding != "utf-8":
        for line in content.decode(encoding, "replace").split("\n"):
            yield line.rstrip("\r"), "its encoding is damaged" if "\ufffd" in line else ""
        return
    for raw in content.split(b"\n" if b"\n" in content else b"\r"):
        raw = raw.rstrip(b"\r")
        try:
            yield raw.decode(), ""
        except UnicodeDecodeError:
            try:
                yield raw.decode("cp1252"), ""
            except UnicodeDecodeError:
                yield raw.decode("utf-8", "replace"), "its encoding is neither UTF-8 nor Windows-1252"
