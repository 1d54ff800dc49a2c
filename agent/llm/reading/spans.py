"""Helpers for removing parts of a text: where code ends, and how to join what stands on both sides of a gap."""

import re
from bisect import bisect_right


class CodeSpans:
    """Finds where code ends that begins at a run of backticks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts: dict[int, list[int]] = {}
        for run in re.finditer("`+", text):
            self._starts.setdefault(len(run[0]), []).append(run.start())

    def end(self, start: int, length: int) -> int:
        """Return where the code ends, closing backticks included; -1 if it is not closed. One line, unless fenced."""
        starts = self._starts.get(length, [])
        at = bisect_right(starts, start)
        if at == len(starts) or (length < 3 and "\n" in self._text[start : starts[at]]):
            return -1
        return starts[at] + length


def join_around_gap(before: str, after: str) -> str:
    """Join the texts on both sides of something that was removed, with the wider of their separators."""
    left, right = before.rstrip(), after.lstrip()
    if not left or not right:
        return left + right
    gap = before[len(left) :], after[: len(after) - len(right)]
    lines = min(2, max(space.count("\n") for space in gap))
    separator = "\n" * lines or (" " if any(gap) else "")
    return f"{left}{separator}{right}"
