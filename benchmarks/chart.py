"""Line charts as SVG, panels one above the other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, GAP = 900, 190, 60, 150, 60
COLOURS = ("#1f6f54", "#8a4b08", "#2b5c9e", "#a03060", "#777777")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """`series` by label. `marks` are values of x with a tick below; `is_log`: both axes are logarithmic."""

    title: str
    series: Mapping[str, Points]
    max_y: float = 0.0  # 0: what the largest value needs
    marks: Sequence[float] = ()
    x_ticks: Sequence[float] = field(default=())
    y_ticks: Sequence[float] = field(default=())
    is_log: bool = False


def draw(panels: Sequence[Panel]) -> str:
    height = len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for row, panel in enumerate(panels):
        parts += _draw_panel(panel, top=40 + row * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _draw_panel(panel: Panel, *, top: float) -> list[str]:
    points = [point for series in panel.series.values() for point in series]
    x_ticks = panel.x_ticks or _round_ticks(max(x for x, _ in points))
    y_ticks = panel.y_ticks or _round_ticks(panel.max_y or max(y for _, y in points))
    to_x = _scale(x_ticks, LEFT, WIDTH - RIGHT, is_log=panel.is_log)
    to_y = _scale(y_ticks, top + HEIGHT, top, is_log=panel.is_log)
    lines = [f'<text x="{LEFT}" y="{top - 12:g}" font-weight="bold">{escape(panel.title)}</text>']
    for value in y_ticks:
        y = to_y(value)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in x_ticks:
        lines.append(f'<text x="{to_x(value):.1f}" y="{top + HEIGHT + 18:g}" text-anchor="middle">{value:g}</text>')
    for value in panel.marks:
        x = to_x(value)
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEIGHT:g}" y2="{top + HEIGHT + 5:g}" stroke="#555"/>')
    for number, (label, series) in enumerate(panel.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in series)
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>')
        y = top + 12 + 18 * number
        lines.append(f'<text x="{WIDTH - RIGHT + 12}" y="{y:g}" fill="{colour}">{escape(label)}</text>')
    return lines


def _scale(ticks: Sequence[float], first: float, last: float, *, is_log: bool):  # type: ignore[no-untyped-def]
    """Return a function from a value to its place between the outermost ticks; what is beyond stays at the edge."""
    low, high = (math.log(ticks[0]), math.log(ticks[-1])) if is_log else (ticks[0], ticks[-1])

    def place(value: float) -> float:
        at = math.log(max(value, ticks[0])) if is_log else value
        return first + (last - first) * min(max((at - low) / (high - low), 0.0), 1.0)

    return place


def _round_ticks(largest: float) -> list[float]:
    """Return five values from 0 to a round one that is not less."""
    magnitude = 10 ** math.floor(math.log10(max(largest, 1e-9)))
    top = next(magnitude * step for step in (1, 2, 4, 5, 8, 10, 20) if magnitude * step >= largest)
    return [top * step / 4 for step in range(5)]
