"""Convert Markdown to WhatsApp's markup.

WhatsApp's markup (bold, italic, strikethrough, lists, quotes, code): https://faq.whatsapp.com/539178204879377
"""

import re
from dataclasses import dataclass

from whatsapp_agent.text.inline_markdown import convert_inline


def to_whatsapp(markdown: str) -> str:
    """Return Markdown, as models write it, in WhatsApp's markup.

    `*x*` and `_x_` stay as they are, because WhatsApp has them too; code and addresses are not touched. A text that
    would come out empty (a lone `***`) comes out as it was.
    """
    lines: list[str] = []
    source = _end_emphasis_with_lines(markdown.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    at = 0
    while at < len(source):
        if fence := _Fence.opened_by(source[at]):
            at = fence.copy(source, at + 1, lines)
        elif (end := _table_end(source, at)) > at:
            lines += _table_as_list(source[at:end])
            at = end
        else:
            text = source[at].removesuffix("\\") if at + 1 < len(source) else source[at]  # a hard line break
            for line in _convert_line(text).split("\n"):
                if line or (lines and lines[-1]):  # one blank line is enough
                    lines.append(line)
            at += 1
    whatsapp = "\n".join(lines).strip("\n")
    return whatsapp if whatsapp.strip() else markdown.strip()


_EMPHASIS = re.compile(
    r"(?P<code>`+[^`\n]*`+)|\\.|https?://[^\s*]*[^\s*_~]"
    r"|(?P<mark>(?<!\*)\*{2,3}(?!\*)|(?<!_)__(?!_)|(?<!~)~~(?!~))"
)
_BLOCK_MARKS = re.compile(r"[ \t]*(?:>[ \t]*)*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?")


def _end_emphasis_with_lines(source: list[str]) -> list[str]:
    """End bold and strikethrough at each line's end and begin them again: WhatsApp has none over several lines."""
    lines = list(source)
    opened: dict[str, tuple[int, int]] = {}  # by mark: the line that leaves it open, and where in it
    fence: _Fence | None = None
    for number, line in enumerate(source):
        if fence:
            fence = None if fence.is_closed_by(line) else fence
            continue
        fence = _Fence.opened_by(line)
        if fence or not line.strip() or _is_table_rule(line):
            opened.clear()
            continue
        found = [mark for mark in _EMPHASIS.finditer(line) if mark["mark"]]
        for mark in _LINE_MARKS:
            own = [each.start() for each in found if each["mark"] == mark]
            if len(own) % 2 == 0:
                continue
            if mark in opened and _may_close(line, own[0]):
                first, begin = opened.pop(mark)
                _emphasize_lines(lines, mark, first=first, begin=begin, last=number, end=own[0])
            elif _may_open(line, own[-1], mark):
                opened[mark] = (number, own[-1])
    return lines


_LINE_MARKS = ("**", "***", "__", "~~")


def _may_open(line: str, at: int, mark: str) -> bool:
    after = line[at + len(mark) :]
    return not after[:1].isspace() and not (mark == "__" and line[at - 1 : at].isalnum())


def _may_close(line: str, at: int) -> bool:
    before = line[:at]
    return not before.strip() or not before[-1].isspace()


def _emphasize_lines(lines: list[str], mark: str, *, first: int, begin: int, last: int, end: int) -> None:
    """Put `mark` around what it spans in each line, list and quote marks left out. A lone mark on its line goes."""
    for number in range(first, last):
        lines[number] = lines[number].rstrip().removesuffix("\\").rstrip()  # a hard line break, which would escape it
    text = lines[first]
    lines[first] = f"{text}{mark}" if text[begin + len(mark) :].strip() else text[:begin].rstrip()
    for number in range(first + 1, last + 1):
        line = lines[number]
        start = _BLOCK_MARKS.match(line)
        at = start.end() if start else 0
        if number == last and not line[at:end].strip():
            lines[number] = line[:end] + line[end + len(mark) :]
        elif number == last:
            lines[number] = f"{line[:at]}{mark}{line[at:]}"
        elif line[at:].strip():
            lines[number] = f"{line[:at]}{mark}{line[at:]}{mark}"


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

    def is_closed_by(self, line: str) -> bool:
        bare = line.strip()
        return bare.startswith(self.mark) and not bare.strip(self.mark[0])

    def copy(self, source: list[str], at: int, lines: list[str]) -> int:
        """Copy the code from `at` on to `lines`, always closed, without the language word; returns where it ended."""
        lines.append("```")
        while at < len(source):
            if self.is_closed_by(source[at]):
                at += 1
                break
            lines.append(source[at][min(self.indent, len(source[at]) - len(source[at].lstrip(" \t"))) :])
            at += 1
        while not lines[-1]:
            lines.pop()
        lines.append("```")
        return at


def _cells(row: str) -> list[str]:
    """Return the cells of a table row. An escaped bar, or one in code, is not a separator."""
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
    """Return where the table that begins at `at` ends; `at` if there is none."""
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
    """Return one line for each row, each cell with the name of its column: tables do not fit a phone."""
    names = [convert_inline(name, plain=True).replace("\n", " ") for name in _cells(rows[0])]
    if len(rows) == 2:
        return [" | ".join(names)]
    lines = []
    for row in rows[2:]:
        cells = [convert_inline(cell).replace("\n", " ") for cell in _cells(row)]
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
        return convert_inline(re.sub(r"(?<![^ \t])#+$", "", heading[1]).strip(), plain=True, bold=True)
    if bullet := _BULLET.match(line):
        return f"{bullet[1]}- {convert_inline(line[bullet.end() :])}"
    return convert_inline(line)
