"""Convert the marks within a line of Markdown (emphasis, links, code, HTML) to WhatsApp's.

Not by markdown-it-py: CommonMark reads `**重点：**内容` and marks within addresses otherwise than models mean them, so
most of its rules had to be replaced. With them all tests held, but the code was longer and took 1.7 times as long.
"""

import html
import re
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field

_PIECE = re.compile(
    r"""
      \\(?P<escaped>[!-/:-@\[-`{-~])
    | (?P<code>`+)
    | <(?P<autolink>(?:https?://|mailto:)[^\s<>]{1,2000})>
    | (?P<url>(?:https?://|www\.)[^\s<>`|\]\\/?\#*~]+(?:[/?\#][^\s<>`|\]\\]{0,2000})?)
    | <(?P<tag>/?(?:br|p|b|strong|i|em|s|del|strike|code))[ ]?/?>
    | (?P<entity>&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});)
    | (?P<bracket>!?\[|\])
    | (?P<run>\*+|_+|~+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TAGS = {"br": "\n", "p": "\n", "b": "*", "strong": "*", "i": "_", "em": "_", "s": "~", "del": "~", "strike": "~"}
_TAGS["code"] = "`"
_ADDRESS_START = re.compile(r"https?://|www\.", re.IGNORECASE)
_PUNCTUATION = ".,;:!?'\""
_MAX_URL_LENGTH = 2000
_MAX_DEPTH = 20  # emphasis within emphasis; what is deeper stays as it was written


class _Url(str):
    """An address that is printed as it is: no mark may touch it, or it would become a part of the link."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class _Pair:
    """A mark that is printed where emphasis begins and where it ends."""

    mark: str


@dataclass(slots=True)
class _Run:
    """Some `*`, `_` or `~` that may open or close emphasis. `closed` is printed before what is left, `opened` after."""

    mark: str
    left: int  # how many are not yet paired
    closed: list[_Pair] = field(default_factory=list)
    opened: list[_Pair] = field(default_factory=list)


@dataclass(slots=True)
class _Opener:
    run: _Run
    size: int
    at: int
    holds_bold: bool = False


@dataclass(slots=True)
class _Inline:
    """One line being converted. `plain` drops the bold marks, for a line that is bold as a whole."""

    plain: bool
    out: list[str | _Run] = field(default_factory=list)
    openers: dict[str, list[_Opener]] = field(default_factory=lambda: {"*": [], "_": [], "~": []})
    tags: dict[str, list[_Run]] = field(default_factory=lambda: {"*": [], "_": [], "~": []})


def convert_inline(text: str, *, plain: bool = False, bold: bool = False) -> str:
    """Convert a line without its block marks; `bold` prints all of it in bold."""
    line = _Inline(plain=plain)
    whole = _Pair("*") if bold and text else None
    if whole:
        line.out.append(_Run("*", 0, opened=[whole]))
    brackets = _pairs(text, "[", "]")
    parentheses = _pairs(text, "(", ")")
    ticks = _runs_of_backticks(text)
    closing: dict[int, tuple[int, str]] = {}  # where a link's text ends: where to go on, and what to print there
    at = 0
    while found := _PIECE.search(text, at):
        start, end = found.span()
        line.out.append(text[at:start])
        at = end
        kind = found.lastgroup
        if kind == "code":
            if (closes := _next_run(ticks, start, len(found[0]))) >= 0:
                at = closes + len(found[0])
                line.out.append(_code(text[end:closes], len(found[0])))
            else:
                line.out.append(found[0])
        elif kind == "bracket":
            if found[0] == "]":
                at, printed = closing.get(start, (end, "]"))
                line.out.append(printed)
            elif link := _link(text, end - 1, brackets, parentheses):
                label_end, link_end, url = link
                label = text[end : min(label_end, end + _MAX_URL_LENGTH)].strip()
                if label in {"", url} or _same_page(label, url):
                    line.out.append(_Url(url))
                    at = link_end
                else:
                    closing[label_end] = (link_end, f" ({url})" if url and not url.startswith("#") else "")
            else:
                line.out.append(found[0])
        elif kind == "run":
            _take_run(line, text, found)
        elif kind == "url":
            address = _address(line, found[0])
            line.out.append(_Url(address))
            at = start + len(address)
        elif kind == "tag":
            _take_tag(line, found["tag"].lower())
        elif kind == "entity":
            line.out.append(html.unescape(found[0]).replace("\xa0", " "))
        elif kind == "autolink":
            line.out.append(_Url(found["autolink"].removeprefix("mailto:")))
        else:
            line.out.append(found["escaped"])
    line.out.append(text[at:])
    if whole:
        line.out.append(_Run("*", 0, closed=[whole]))
    return _print(_part_from_marks(line.out))


def _address(line: _Inline, found: str) -> str:
    """Return the address without what belongs to the text around it: punctuation, and marks that close emphasis."""
    waiting = sorted((opener for openers in line.openers.values() for opener in openers), key=lambda each: -each.at)
    for number, opener in enumerate(waiting):
        if (mark := opener.run.mark * opener.size) in {"**", "~~"} and mark in found:
            found, waiting = found.partition(mark)[0], waiting[:number]  # what was opened before is closed after it
            break
    while (address := found.rstrip(_PUNCTUATION)) and (mark := address[-1]) in "*_~":
        rest = address.rstrip(mark)
        size = len(address) - len(rest)
        is_within = mark * size in rest  # such as https://a.b/?q=**y**
        closed = next((each for each in waiting if each.run.mark == mark and each.size <= size), None)
        if closed and not (is_within and closed.size < size):
            waiting.remove(closed)
            found = address[: -closed.size]
        elif mark == "_" or is_within:
            break
        else:
            found = rest
    return address


def _part_from_marks(out: list[str | _Run]) -> list[str | _Run]:
    """Leave out marks that touch an address and that nothing closes; a space parts it from a word behind such marks."""
    out = [piece for piece in out if piece]
    spaces: set[int] = set()
    for at in [at for at, piece in enumerate(out) if isinstance(piece, _Url)]:
        for step in (-1, 1):
            near = at + step
            while 0 <= near < len(out) and _is_mark(piece := out[near]):
                if isinstance(piece, _Run):
                    piece.left = 0
                else:
                    out[near] = ""
                near += step
            beyond = out[near] if near != at + step and 0 <= near < len(out) else ""
            if isinstance(beyond, _Run) or (step < 0 and isinstance(beyond, _Url)):
                continue  # an address before these marks has got the space
            if (beyond[-1:] if step < 0 else beyond[:1]).isalnum():
                spaces.add(at if step < 0 else at + 1)
    return [part for at, piece in enumerate(out) for part in ([" ", piece] if at in spaces else [piece])]


def _is_mark(piece: str | _Run) -> bool:
    return isinstance(piece, _Run) or (not isinstance(piece, _Url) and not piece.strip("*_~"))


def _print(out: list[str | _Run]) -> str:
    """Print a line. A mark that would touch an address is moved to the other side of its word, or left out."""
    parts: list[str] = []
    size = 0
    urls: list[tuple[int, int]] = []
    begins: dict[_Pair, int] = {}
    spans: list[tuple[int, int, str]] = []  # where marks begin and end, the inner ones first
    for piece in out:
        if isinstance(piece, _Run):
            spans += [(begins[pair], size, pair.mark) for pair in piece.closed]
        if isinstance(piece, _Url):
            urls.append((size, size + len(piece)))
        parts.append(piece if isinstance(piece, str) else piece.mark * piece.left)
        size += len(parts[-1])
        if isinstance(piece, _Run):
            begins |= dict.fromkeys(piece.opened, size)
    text = "".join(parts)
    words = _words_around(text, urls)
    marks: list[tuple[int, int, int, int, str]] = []
    for order, (begin, end, mark) in enumerate(spans):
        first, last = _keep_off(text, words, begin, end)
        if (first, last) == (begin, end) or any(character.isalnum() for character in text[first:last]):
            marks.append((first, 1, -last, -order, mark))
            marks.append((last, 0, -first, order, mark))
    printed: list[str] = []
    at = 0
    for where, _, _, _, mark in sorted(marks):
        printed += (text[at:where], mark)
        at = where
    return "".join([*printed, text[at:]])


def _words_around(text: str, urls: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return where the words begin and end that hold addresses."""
    words: list[tuple[int, int]] = []
    for begin, end in urls:
        if words and begin < words[-1][1]:
            continue
        while begin > 0 and not text[begin - 1].isspace():
            begin -= 1
        while end < len(text) and not text[end].isspace():
            end += 1
        words.append((begin, end))
    return words


def _keep_off(text: str, words: list[tuple[int, int]], begin: int, end: int) -> tuple[int, int]:
    """Shrink what stands between two marks until neither is part of a word with an address."""
    at = bisect_right(words, (begin, len(text))) - 1
    while begin < end and 0 <= at < len(words) and words[at][0] <= begin < words[at][1]:
        begin = words[at][1]
        while begin < len(text) and text[begin].isspace():
            begin += 1
        at += 1
    at = bisect_left(words, (end, 0)) - 1
    while begin < end and at >= 0 and words[at][0] < end <= words[at][1]:
        end = words[at][0]
        while end > 0 and text[end - 1].isspace():
            end -= 1
        at -= 1
    return begin, max(begin, end)


def _pairs(text: str, opening: str, closing: str) -> dict[int, int]:
    """Return where each bracket closes."""
    pairs: dict[int, int] = {}
    waiting: list[int] = []
    for found in re.finditer(rf"\\.|{re.escape(opening)}|{re.escape(closing)}", text):
        if found[0] == opening:
            waiting.append(found.start())
        elif found[0] == closing and waiting:
            pairs[waiting.pop()] = found.start()
    return pairs


def _runs_of_backticks(text: str) -> dict[int, deque[int]]:
    """Return where runs of backticks begin, by length."""
    runs: dict[int, deque[int]] = {}
    for found in re.finditer("`+", text):
        runs.setdefault(len(found[0]), deque()).append(found.start())
    return runs


def _next_run(runs: dict[int, deque[int]], after: int, length: int) -> int:
    """Return the next run of this exact length, or -1. Call it from left to right only."""
    starts = runs.get(length, deque())
    while starts and starts[0] <= after:
        starts.popleft()
    return starts[0] if starts else -1


def _code(content: str, ticks: int) -> str:
    """Return code in one backtick or three: WhatsApp has no others."""
    if ticks == 2 and content.startswith(" ") and content.endswith(" ") and content.strip():
        content = content[1:-1]
    marks = "```" if ticks == 3 or "`" in content else "`"
    return f"{marks}{content}{marks}"


def _link(text: str, at: int, brackets: dict[int, int], parentheses: dict[int, int]) -> tuple[int, int, str] | None:
    """Return the link whose `[` is at `at`: where its label ends, where it ends, its URL; None if it is not one."""
    label_end = brackets.get(at)
    close = parentheses.get(label_end + 1) if label_end is not None else None
    if label_end is None or close is None or close - label_end > _MAX_URL_LENGTH:
        return None
    url, _, title = text[label_end + 2 : close].strip().partition(" ")
    if title.strip() and title.strip()[0] not in "\"'(":
        return None
    url = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", url.removeprefix("<").removesuffix(">"))
    return label_end, close + 1, url.removeprefix("mailto:").removeprefix("tel:")


def _same_page(label: str, url: str) -> bool:
    bare = url.removeprefix("https://").removeprefix("http://").rstrip("/")
    return label.rstrip("/") in {bare, bare.removeprefix("www.")}


def _take_run(line: _Inline, text: str, found: re.Match[str]) -> None:
    """Pair a run of marks with open ones before it; what is left of it may be closed later."""
    start, end = found.span()
    mark, size = found[0][0], len(found[0])
    before, after = text[start - 1 : start], text[end : end + 1]
    can_close = bool(before.strip())
    can_open = bool(after.strip())
    if mark == "_":  # not in snake__case
        can_close = can_close and (not after.isalnum() or _ADDRESS_START.match(text, end) is not None)
        can_open = can_open and not before.isalnum()
    if size > 3 or (mark == "~" and size != 2):
        line.out.append(found[0])
        return
    run = _Run(mark=mark, left=size)
    line.out.append(run)
    waiting = line.openers[mark]
    while can_close and run.left and waiting and waiting[-1].size <= run.left:
        opener = waiting.pop()
        if opener.size < run.left == 2:
            if not any(other.size == 2 for other in waiting):
                waiting.append(opener)
                break
            continue  # a `*` that nothing closes, within bold
        _pair(line, opener, run)
    if can_open:
        waiting += [_Opener(run, part, start) for part in {1: (1,), 2: (2,), 3: (2, 1)}.get(run.left, ())]
        del waiting[:-_MAX_DEPTH]


def _pair(line: _Inline, opener: _Opener, run: _Run) -> None:
    waiting = line.openers["*"] + line.openers["_"]
    if run.mark == "~":
        printed = "~"
    elif opener.size == 2:
        printed = "" if line.plain else "*"
        for other in waiting:
            other.holds_bold = True
    else:
        within_bold = line.plain or opener.holds_bold or any(other.size == 2 for other in waiting)
        printed = "_" if within_bold or run.mark == "_" else "*"
    opener.run.left -= opener.size
    run.left -= opener.size
    if printed:
        pair = _Pair(printed)
        opener.run.opened.insert(0, pair)
        run.closed.append(pair)


def _take_tag(line: _Inline, tag: str) -> None:
    """Print the mark of an HTML tag; one without its other end is printed too."""
    mark = _TAGS[tag.lstrip("/")]
    if mark in {"\n", "`"}:
        line.out.append(mark)
    elif not (line.plain and mark == "*"):
        run = _Run(mark, left=1)
        line.out.append(run)
        waiting = line.tags[mark]
        if not tag.startswith("/"):
            waiting.append(run)
        elif waiting:
            opener, pair = waiting.pop(), _Pair(mark)
            opener.left = run.left = 0
            opener.opened.append(pair)
            run.closed.append(pair)
