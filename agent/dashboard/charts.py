"""Bar charts as SVG that the server draws: no script, no inline style, readable in light and dark."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, log10
from typing import Any

WIDTH, HEIGHT = 720, 180
LEFT, RIGHT, TOP, BOTTOM = 44, 4, 8, 22  # room for the scale and the times
MAX_TIMES = 8  # below the bars


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: a key of the rows, its name, and its colour."""

    key: str
    label: str
    colour: str


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle: the part of a bar that belongs to one series."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """All of a time; its link leads to the rows behind it."""

    parts: Sequence[Part]
    link: str
    label: str
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Chart:
    """A stacked bar chart with its scale, and the same figures as a table."""

    title: str
    bars: Sequence[Bar]
    series: Sequence[Series]
    scale: Sequence[tuple[float, int]]
    times: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    bottom: float = HEIGHT - BOTTOM


def draw(
    title: str,
    *,
    rows: Sequence[Mapping[str, Any]],
    series: Sequence[Series],
    starts: Sequence[datetime],
    label: Callable[[datetime], str],
    links: Sequence[str],
) -> Chart:
    """Return a chart with a bar for each time in `starts`, also where there is no row; a row has `at` in seconds.

    `links` leads from each bar to the rows behind it.
    """
    by_start = {int(row["at"]): row for row in rows}
    values = [[int(by_start.get(int(start.timestamp()), {}).get(each.key, 0)) for each in series] for start in starts]
    top = _nice_top(max((sum(each) for each in values), default=0))
    room = HEIGHT - TOP - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / max(len(starts), 1)
    bars = []
    for at, (start, counts, link) in enumerate(zip(starts, values, links, strict=True)):
        y, parts = float(HEIGHT - BOTTOM), []
        for each, count in zip(series, counts, strict=True):
            height = room * count / top
            y -= height
            if count:
                parts.append(
                    Part(
                        x=round(LEFT + at * step, 2),
                        y=round(y, 2),
                        width=round(max(step - min(2.0, step / 5), 0.5), 2),
                        height=round(height, 2),
                        colour=each.colour,
                        title=f"{label(start)}: {count} {each.label}",
                    )
                )
        bars.append(Bar(parts=parts, link=link, label=label(start), values=counts))
    every = max(ceil(len(starts) / MAX_TIMES), 1)
    return Chart(
        title=title,
        bars=bars,
        series=series,
        scale=[(round(HEIGHT - BOTTOM - room * share, 2), int(top * share)) for share in (0.0, 0.5, 1.0)],
        times=[(round(LEFT + at * step, 2), label(starts[at])) for at in range(0, len(starts), every)],
    )


def starts_of(since: datetime, until: datetime, *, bucket: str) -> list[datetime]:
    """Return the beginnings of the hours or days from `since`, which is one, up to `until`; in the zone of `since`."""
    starts, start = [], since
    while start < until:
        starts.append(start)
        if bucket == "day":
            local = (start.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=since.tzinfo)
            start = local
        else:
            start = (start.astimezone(tz=None) + timedelta(hours=1)).astimezone(since.tzinfo)
    return starts


def _nice_top(most: int) -> int:
    """Return the end of the scale: an even number of one or two digits and zeros, at least `most`."""
    if most <= 2:
        return 2
    unit = 10 ** max(int(log10(most)) - 1, 0)
    top = ceil(most / unit) * unit
    return top + top % 2
