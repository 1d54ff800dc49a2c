"""Texts on their way out: Markdown becomes WhatsApp's markup, and what is too long is split or shortened.

WhatsApp's markup (bold, italic, strikethrough, lists, quotes, code): https://faq.whatsapp.com/539178204879377
"""

import html
import re
from collections import deque
from dataclasses import dataclass, field

# --- Markdown ----------------------------------------------------------------------------------------------------


def to_whatsapp(markdown: str) -> str:
    """A model's Markdown as WhatsApp shows it.

    `*x*` and `_x_` stay as they are, because WhatsApp has them too; code and addresses are not touched. A text that
    would come out empty (a lone `***`) comes out as it was.
    """
    lines: list[str] = []
    source = markdown.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    at = 0
    while at < len(source):
        if fence := _Fence.opened_by(source[at]):
            at = fence.copy(source, at + 1, lines)
        elif (end := _table_end(source, at)) > at:
            lines += _table_as_list(source[at:end])
            at = end
        else:
            spoken = source[at].removesuffix("\\") if at + 1 < len(source) else source[at]  # a hard line break
            for line in _convert_line(spoken).split("\n"):
                if line or (lines and lines[-1]):  # one blank line is enough
                    lines.append(line)
            at += 1
    whatsapp = "\n".join(lines).strip("\n")
    return whatsapp if whatsapp.strip() else markdown.strip()


@dataclass(slots=True)
class _Fence:
    mark: str
    indent: int

    @classmethod
    def opened_by(cls, line: str) -> "_Fence | None":
        bare = line.lstrip(" \t")
        if not bare.startswith(("```", "~~~")):
            return None
        info = bare.lstrip(bare[0])
        if "`" in info:  # ```code``` on one line
            return None
        return cls(mark=bare[0] * (len(bare) - len(info)), indent=len(line) - len(bare))

    def copy(self, source: list[str], at: int, lines: list[str]) -> int:
        """Copy the code from `at` on to `lines`, always closed, without the language word; returns where it ended."""
        lines.append("```")
        while at < len(source):
            bare = source[at].strip()
            if bare.startswith(self.mark) and not bare.strip(self.mark[0]):
                at += 1
                break
            lines.append(source[at][min(self.indent, len(source[at]) - len(source[at].lstrip(" \t"))) :])
            at += 1
        while not lines[-1]:
            lines.pop()
        lines.append("```")
        return at


def _cells(row: str) -> list[str]:
    """The cells of a table's row; a bar that is escaped or in code divides nothing."""
    cells: list[str] = []
    cell: list[str] = []
    in_code = False
    for piece in re.findall(r"\\.|[`|]|[^\\`|]+|\\$", row.strip()):
        if piece == "|" and not in_code:
            cells.append("".join(cell).strip())
            cell = []
        else:
            in_code ^= piece == "`"
            cell.append("|" if piece == r"\|" else piece)
    cells.append("".join(cell).strip())
    return cells[row.strip().startswith("|") : len(cells) - (len(cells) > 1 and not cells[-1])]


def _table_end(source: list[str], at: int) -> int:
    """Where the table that begins at `at` ends, or `at` when none does."""
    if "|" not in source[at] or at + 1 == len(source) or not _is_table_rule(source[at + 1]):
        return at
    if len(_cells(source[at])) != len(_cells(source[at + 1])):
        return at
    end = at + 2
    while end < len(source) and "|" in source[end]:
        end += 1
    return end


def _is_table_rule(line: str) -> bool:
    return "-" in line and "|" in line and not line.strip(" \t|:-")


def _table_as_list(rows: list[str]) -> list[str]:
    """One line a row, each cell with the name of its column: tables do not fit a phone."""
    names = [_convert_inline(name, plain=True).replace("\n", " ") for name in _cells(rows[0])]
    if len(rows) == 2:
        return [" | ".join(names)]
    lines = []
    for row in rows[2:]:
        cells = [_convert_inline(cell).replace("\n", " ") for cell in _cells(row)]
        named = names + [""] * (len(cells) - len(names))
        pairs = [f"{name}: {cell}" if name else cell for name, cell in zip(named, cells, strict=False) if cell]
        lines.append(f"- {'; '.join(pairs)}")
    return lines


_QUOTE = re.compile(r"[ \t]{0,3}((?:>[ \t]*)+)")
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}[ \t]+(.*)")
_BULLET = re.compile(r"([ \t]*)[*+][ \t]+(?=\S)")


def _convert_line(line: str) -> str:
    line = line.rstrip()
    if quote := _QUOTE.match(line):
        return f"{'> ' * quote[1].count('>')}{_convert_line(line[quote.end() :])}".rstrip()
    marks = line.replace(" ", "").replace("\t", "")
    if len(marks) >= 3 and marks[0] in "-*_" and not marks.strip(marks[0]):
        return ""
    if heading := _HEADING.match(line):
        title = _convert_inline(re.sub(r"(?<![^ \t])#+$", "", heading[1]).strip(), plain=True)
        return f"*{title}*" if title else ""
    if bullet := _BULLET.match(line):
        return f"{bullet[1]}- {_convert_inline(line[bullet.end() :])}"
    return _convert_inline(line)


_PIECE = re.compile(
    r"""
      \\(?P<escaped>[!-/:-@\[-`{-~])
    | (?P<code>`+)
    | <(?P<autolink>(?:https?://|mailto:)[^\s<>]{1,2000})>
    | (?P<url>(?:https?://|www\.)[^\s<>`|\]]+)
    | <(?P<tag>/?(?:br|p|b|strong|i|em|s|del|strike|code))[ ]?/?>
    | (?P<entity>&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,31});)
    | (?P<bracket>!?\[|\])
    | (?P<run>\*+|_+|~+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TAGS = {"br": "\n", "p": "\n", "b": "*", "strong": "*", "i": "_", "em": "_", "s": "~", "del": "~", "strike": "~"}
_TAGS["code"] = "`"
_URL_TAIL = "*~.,;:!?'\""
_MAX_URL_LENGTH = 2000
_DEEPEST = 20  # emphasis within emphasis; what is deeper stays as it was written


@dataclass(slots=True)
class _Run:
    """Some `*`, `_` or `~` that may open or close emphasis; `before` and `after` are what is printed in its place."""

    mark: str
    left: int  # how many are not yet paired
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before}{self.mark * self.left}{self.after}"


@dataclass(slots=True)
class _Opener:
    run: _Run
    size: int
    holds_bold: bool = False


@dataclass(slots=True)
class _Inline:
    """One line on its way. `plain` drops the bold marks, for a line that is bold as a whole."""

    plain: bool
    out: list[str | _Run] = field(default_factory=list)
    openers: dict[str, list[_Opener]] = field(default_factory=lambda: {"*": [], "_": [], "~": []})


def _convert_inline(text: str, *, plain: bool = False) -> str:
    line = _Inline(plain=plain)
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
                    line.out.append(url)
                    at = link_end
                else:
                    closing[label_end] = (link_end, f" ({url})" if url and not url.startswith("#") else "")
            else:
                line.out.append(found[0])
        elif kind == "run":
            _take_run(line, text, found)
        elif kind == "url":
            bare = found[0].rstrip(_URL_TAIL)
            bare = bare.rstrip("_") if bare.endswith("__") else bare
            line.out.append(bare)
            at = start + len(bare)
        elif kind == "tag":
            mark = _TAGS[found["tag"].lower().lstrip("/")]
            line.out.append("" if plain and mark == "*" else mark)
        elif kind == "entity":
            line.out.append(html.unescape(found[0]).replace("\xa0", " "))
        else:
            line.out.append(found["escaped"] or found["autolink"].removeprefix("mailto:"))
    line.out.append(text[at:])
    return "".join(map(str, line.out))


def _pairs(text: str, opening: str, closing: str) -> dict[int, int]:
    """Where each bracket closes."""
    pairs: dict[int, int] = {}
    waiting: list[int] = []
    for found in re.finditer(rf"\\.|{re.escape(opening)}|{re.escape(closing)}", text):
        if found[0] == opening:
            waiting.append(found.start())
        elif found[0] == closing and waiting:
            pairs[waiting.pop()] = found.start()
    return pairs


def _runs_of_backticks(text: str) -> dict[int, deque[int]]:
    """Where runs of backticks begin, by their length."""
    runs: dict[int, deque[int]] = {}
    for found in re.finditer("`+", text):
        runs.setdefault(len(found[0]), deque()).append(found.start())
    return runs


def _next_run(runs: dict[int, deque[int]], after: int, length: int) -> int:
    """The next run of this very length, or -1. Asked from left to right only."""
    starts = runs.get(length, deque())
    while starts and starts[0] <= after:
        starts.popleft()
    return starts[0] if starts else -1


def _code(content: str, ticks: int) -> str:
    """WhatsApp knows one backtick and three; what was in two gets whichever can hold it."""
    if ticks == 2 and content.startswith(" ") and content.endswith(" ") and content.strip():
        content = content[1:-1]
    marks = "```" if ticks == 3 or "`" in content else "`"
    return f"{marks}{content}{marks}"


def _link(text: str, at: int, brackets: dict[int, int], parentheses: dict[int, int]) -> tuple[int, int, str] | None:
    """The link whose `[` is at `at`: where its label ends, where it ends, its address. None when it is none."""
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
    """Pair a run of marks with the ones that wait for it, and let what is left of it wait in turn."""
    start, end = found.span()
    mark, size = found[0][0], len(found[0])
    before, after = text[start - 1 : start], text[end : end + 1]
    can_close = bool(before.strip())
    can_open = bool(after.strip())
    if mark == "_":  # not in snake__case
        can_close = can_close and not after.isalnum()
        can_open = can_open and not before.isalnum()
    if size > 3 or (mark == "_" and size == 1) or (mark == "~" and size != 2):
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
        waiting += [_Opener(run, part) for part in {1: (1,), 2: (2,), 3: (2, 1)}.get(run.left, ())]
        del waiting[:-_DEEPEST]


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
    opener.run.after = printed + opener.run.after
    run.left -= opener.size
    run.before += printed
