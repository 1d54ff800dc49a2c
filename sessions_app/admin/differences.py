"""How two versions of a profile differ, as staff read it: texts line by line, other values before and after."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.utils.translation import gettext as _

from sessions_app.models import AgentProfile
from sessions_app.profiles import FieldChange

CONTEXT_LINES = 1
MAX_LINES = 400  # of a text on each side; more are compared as one piece


class DiffLine(NamedTuple):
    """A line of a text: `sign` is + for a new one, - for a removed one, empty for one that stays, … for a gap."""

    sign: str
    text: str


class Difference(NamedTuple):
    """A field that differs, with its name as staff know it."""

    label: str
    lines: Sequence[DiffLine]


def describe_values(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the values of a version with the names of their fields as staff know them."""
    return [(_label(name), _text(value)) for name, value in values.items()]


def describe_changes(changes: Sequence[FieldChange]) -> list[Difference]:
    """Return the changes as the page shows them."""
    return [Difference(_label(change.name), _lines(change)) for change in changes]


def _label(name: str) -> str:
    try:
        return str(getattr(AgentProfile._meta.get_field(name), "verbose_name", name))
    except FieldDoesNotExist:  # an old version has what profiles no longer have
        return name


def _lines(change: FieldChange) -> list[DiffLine]:
    before, after = _text(change.before).splitlines() or [""], _text(change.after).splitlines() or [""]
    if len(before) > MAX_LINES or len(after) > MAX_LINES:
        return [DiffLine("-", "\n".join(before)), DiffLine("+", "\n".join(after))]
    lines: list[DiffLine] = []
    for tag, left, left_end, right, right_end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += _shortened(before[left:left_end])
        else:
            lines += [DiffLine("-", line) for line in before[left:left_end]]
            lines += [DiffLine("+", line) for line in after[right:right_end]]
    return lines


def _shortened(same: Sequence[str]) -> list[DiffLine]:
    """Return the lines that stay, without those in the middle."""
    if len(same) <= 2 * CONTEXT_LINES + 1:
        return [DiffLine("", line) for line in same]
    ends = [*same[:CONTEXT_LINES], *same[-CONTEXT_LINES:]]
    shown = [DiffLine("", line) for line in ends]
    return [*shown[:CONTEXT_LINES], DiffLine("…", ""), *shown[CONTEXT_LINES:]]


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case list():
            return "\n".join(map(str, value)) or "-"
        case bool():
            return _("yes") if value else _("no")
        case _:
            return str(value)
