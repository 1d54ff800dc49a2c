"""Parse an exported chat: lines into messages, with everything that could not be read.

`heads` says where a message begins; further lines of a message have no head.
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
from messaging.imports.heads import Head, head_of, is_like_head
from messaging.imports.phrases import plain, without_marks
from whatsapp_agent.errors import InvalidInput
from whatsapp_agent.text.sanitize import storable

DATE_ORDERS = ("dmy", "mdy", "ymd")
_BEFORE_LINES = re.compile(r"(^|\()\u200e+", re.MULTILINE)  # iOS writes it before its own words, as in a poll
# Of a length that is limited, or with no two neighbours that repeat and can match the same characters.
IOS_ATTACHED = re.compile(r"<[^<>:\n]{2,40}:(?P<name>[^<>\n]+\.\w{2,5})>")
ANDROID_ATTACHED = re.compile(r"(?P<name>\S[^\n]{0,250}\.\w{2,5})\s\((?P<words>[^()\n]{3,40})\)")
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
    head: Head
    lines: list[str]


def parse_chat(lines: Iterable[tuple[str, str]], *, date_order: str = "") -> Chat:
    """Parse lines, each with why it may be misread ("" if it is not). Raises InvalidInput if there is no message.

    An export has one form of heads, that of its first one: what looks otherwise was written or quoted by people.
    """
    unreadable: list[Unreadable] = []
    raws: list[_Raw] = []
    for number, (line, problem) in enumerate(lines, start=1):
        if problem:
            unreadable.append(Unreadable(number, problem))
        head = head_of(line)
        if head and (not raws or _is_of_form(head, raws[0].head)):
            raws.append(_Raw(number, head, [head.rest]))
        elif raws:
            raws[-1].lines.append(line)
            form = raws[0].head.form
            if head.form == form if head else is_like_head(line, is_bracketed=form[0]):
                unreadable.append(Unreadable(number, _not_understood()))
        elif without_marks(line).strip():
            unreadable.append(Unreadable(number, _("it stands before the first message")))
    if not raws:
        raise InvalidInput(_("This is no exported chat: it has no line that begins with a date and a time."))
    heads = [raw.head for raw in raws]
    order, is_sure = (date_order, True) if date_order else _date_order(heads)
    dated, wrong = _dated(raws, order)
    if not dated:
        raise InvalidInput(_why_undated(heads, order))
    entries = [_entry(raw, at) for raw, at in dated]
    unreadable += [*wrong, *_uncertain_hours(dated)]
    return Chat(entries, sorted(unreadable, key=lambda each: each.line), order, is_sure)


def _is_of_form(head: Head, first: Head) -> bool:
    """Return whether a head looks as the first one does; words that are not known are a form, too."""
    return head.form == first.form and (not head.unknown_words or bool(first.unknown_words))


def _not_understood() -> str:
    return _("The date is not understood; the line was kept as part of the previous message.")


def _dated(raws: Sequence[_Raw], order: str) -> tuple[list[tuple[_Raw, datetime]], list[Unreadable]]:
    """Return the messages whose time exists, and why the others have none. Nobody has exported a date to come."""
    dated: list[tuple[_Raw, datetime]] = []
    wrong = []
    latest = datetime.now() + timedelta(days=1)  # noqa: DTZ005  clocks and zones differ
    for raw in raws:
        at = _time_of(raw.head, order)
        if at is None and (year := _foreign_year(raw.head)):
            wrong.append(
                Unreadable(raw.line, _("its year, %(year)s, is of a calendar that is not known") % {"year": year})
            )
        elif at is None:
            wrong.append(Unreadable(raw.line, _("its date or time does not exist (%(order)s)") % {"order": order}))
        elif at <= latest:
            dated.append((raw, at))
        elif dated:
            dated[-1][0].lines += [raw.head.line, *raw.lines[1:]]
            reason = _("The date is in the future; the line was kept as part of the previous message.")
            wrong.append(Unreadable(raw.line, reason))
        else:
            wrong.append(Unreadable(raw.line, _("its date is in the future")))
    return dated, wrong


def _uncertain_hours(dated: Sequence[tuple[_Raw, datetime]]) -> Iterator[Unreadable]:
    """Yield the messages beside whose hour stand words that may mean another one.

    Words beside an hour above 12 mean no part of the day.
    """
    heads = [raw.head for raw, _at in dated]
    of_24_hours = {words for head in heads if int(head.parts["hour"]) > 12 for words in head.unknown_words}
    for raw, at in dated:
        if words := ", ".join(each for each in raw.head.unknown_words if each not in of_24_hours):
            reason = _("it is read as %(time)s: it is not known what %(words)r means")
            yield Unreadable(raw.line, reason % {"time": f"{at:%H:%M}", "words": words})


def _why_undated(heads: Sequence[Head], order: str) -> str:
    if year := next(filter(None, map(_foreign_year, heads)), None):
        return _(
            "The years of this chat, such as %(year)s, are of a calendar that is not known. Export it again from a "
            "phone that shows the Gregorian calendar."
        ) % {"year": year}
    if all(_time_of(head, order) for head in heads):
        return _("All dates of this chat are in the future when it is read as %(order)s.") % {"order": order}
    return _("No date of this chat exists when it is read as %(order)s. Give --date-order.") % {"order": order}


# --- dates --------------------------------------------------------------------------------------------------------


def _time_of(head: Head, order: str) -> datetime | None:
    parts = [int(head.parts[name]) for name in ("a", "b", "c")]  # of any script
    day, month, year = (parts[order.index(letter)] for letter in "dmy")
    hour, minute = int(head.parts["hour"]), int(head.parts["minute"])
    for words in filter(None, (head.parts["after"], head.parts["before"])):
        if hour <= 12 and (known := hour_of_day(hour, words)) is not None:
            hour = known
            break
    try:
        return datetime(  # noqa: DTZ001  the phone's time; the zone is the session's
            _year_of(year), month, day, hour, minute, int(head.parts["second"] or "0")
        )
    except ValueError:
        return None


def _year_of(year: int) -> int:
    """Return a year of the Christian era; 0, which does not exist, for a year of another than the Buddhist one."""
    if year < 100:
        latest = datetime.now().year + 1  # noqa: DTZ005
        return next((each for each in (year + 2000, year + 1957) if 2000 <= each <= latest), year + 2000)
    if year > 2400:
        year -= 543
    return year if year >= 2000 else 0


def _foreign_year(head: Head) -> int | None:
    """Return a year that is of neither the Christian nor the Buddhist era, as 1405 in Iran or 1448 in Arabia."""
    years = (int(head.parts[name]) for name in ("a", "c") if len(head.parts[name]) > 2)
    return next((year for year in years if not (1900 <= year <= 2099 or 2500 <= year <= 2650)), None)


def _date_order(heads: Sequence[Head]) -> tuple[str, bool]:
    """Decide from all dates what day and month are; the second value is False if it is a guess."""
    if sum(len(head.parts["a"]) == 4 for head in heads) * 2 > len(heads):
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
    first = heads[0].parts
    is_american = (
        first["sign"] == "/"
        and len(first["c"]) == 2
        and any(each.parts["after"] for each in heads)
        and not any(each.parts["a"].startswith("0") or each.parts["b"].startswith("0") for each in heads)
    )
    return ("mdy" if is_american else "dmy"), first["sign"] == "." or times["dmy"] == times["mdy"]


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
    if raw.head.parts["bracket"] is None or not text.startswith("\u200e") or len(raw.lines) > 1:
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
            filter(None, (entry.text[: found.start()].strip(f" \n{phrases.MARKS}"), entry.text[found.end() :].strip()))
        ).lstrip("\u200e")
        if entry.kind == Kind.DOCUMENT and " • " in entry.text:  # "Offer.pdf • 3 pages"
            entry.text = ""
    elif (
        words.endswith(")")
        and (found := ANDROID_ATTACHED.fullmatch(without_marks(first).strip()))
        and (plain(found["words"]) in phrases.ATTACHED_PLAIN or OWN_NAME.match(found["name"]))
    ):
        entry.filename = storable(found["name"].strip()[:255])
        entry.kind, entry.text = kind_of(entry.filename), caption


_OMITTED_DOCUMENTS = tuple(phrase for phrase, kind in phrases.OMITTED_PLAIN.items() if kind is Kind.DOCUMENT)


def without_marks_but_lrm(text: str) -> str:
    return text.lstrip("\u200e")


def kind_of(filename: str) -> Kind:
    return next((kind for pattern, kind in KIND_OF_NAME if pattern.search(filename)), Kind.DOCUMENT)


# --- lines --------------------------------------------------------------------------------------------------------


ENCODINGS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def count_lines(content: bytes) -> int:
    """Return how many lines end in `content`, in the way of `decode_lines`, without splitting it."""
    encoding, content = _encoding_of(content)
    if encoding != "utf-8":
        text = content.decode(encoding, "replace")
        return text.count("\n" if "\n" in text else "\r")
    return content.count(b"\n" if b"\n" in content else b"\r")


def decode_lines(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield each line, and why it may be misread ("" if it is not). Every line may have its own encoding."""
    encoding, content = _encoding_of(content)
    if encoding != "utf-8":
        text = content.decode(encoding, "replace")
        for line in text.split("\n" if "\n" in text else "\r"):
            yield line.rstrip("\r"), _("its encoding is damaged") if "\ufffd" in line else ""
        return
    for raw in content.split(b"\n" if b"\n" in content else b"\r"):
        raw = raw.rstrip(b"\r")
        try:
            yield raw.decode(), ""
        except UnicodeDecodeError:
            try:
                yield raw.decode("cp1252"), ""
            except UnicodeDecodeError:
                yield raw.decode("utf-8", "replace"), _("its encoding is neither UTF-8 nor Windows-1252")


def _encoding_of(content: bytes) -> tuple[str, bytes]:
    """Return the encoding of the whole, and the content without the mark that says so."""
    marked = next((mark for mark in ENCODINGS if content.startswith(mark)), b"")
    content = content.removeprefix(marked)
    head = content[:2000]
    even, odd = head[::2].count(0), head[1::2].count(0)
    guessed = "utf-16-le" if odd * 3 > len(head) else "utf-16-be" if even * 3 > len(head) else "utf-8"
    return ENCODINGS.get(marked, guessed), content
