"""Charts as inline SVG: no script, no network, colours from the page's own light or dark theme.

Every number a chart shows is also in a table of the page; a chart is for the shape.
"""

import math
from collections.abc import Callable, Sequence
from html import escape

from msgspec import Struct

LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 28.0

Tick = tuple[float, str]


class Line(Struct, frozen=True):
    """One series; `style` is a class of the page's stylesheet (s1, s2, ..)."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]
    filled: bool = False


class Frame(Struct, frozen=True):
    """The drawing's size; close to its size on the page, so that letters keep theirs."""

    width: float
    height: float

    def x(self, share: float) -> float:
        return round(LEFT + (self.width - LEFT - RIGHT) * share, 1)

    def y(self, share: float) -> float:
        return round(TOP + (self.height - TOP - BOTTOM) * (1.0 - share), 1)


HALF = Frame(480.0, 190.0)
FULL = Frame(1000.0, 270.0)


class Axis(Struct, frozen=True):
    """A scale from data to 0..1 with the ticks to draw."""

    place: Callable[[float], float]
    ticks: tuple[Tick, ...]


def linear(low: float, high: float, ticks: Sequence[Tick]) -> Axis:
    span = (high - low) or 1.0
    return Axis(lambda value: (value - low) / span, tuple(ticks))


def logarithmic(low: float, high: float, ticks: Sequence[Tick]) -> Axis:
    bottom, span = math.log10(low), (math.log10(high) - math.log10(low)) or 1.0
    return Axis(lambda value: (math.log10(max(value, low)) - bottom) / span, tuple(ticks))


def nice(highest: float) -> tuple[float, list[Tick]]:
    """A round top at or above `highest`, with four or five even ticks."""
    if highest <= 0:
        return 1.0, [(0.0, "0"), (1.0, "1")]
    rough = highest / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    top = step * math.ceil(highest / step - 1e-9)
    count = round(top / step)
    return top, [(step * n, f"{step * n:,g}") for n in range(count + 1)]


def over_time(lines: Sequence[Line], seconds: float, title: str) -> str:
    """Counts per second against the seconds of the run."""
    highest = max((y for line in lines for _, y in line.points), default=0.0)
    top, y_ticks = nice(highest)
    step = next(step for step in (1, 2, 5, 10, 30, 60, 300, 600, 3_600) if seconds / step <= 9)
    x_ticks = [(float(at), f"{at} s") for at in range(0, int(seconds) + 1, step)]
    return _svg(HALF, lines, linear(0.0, seconds, x_ticks), linear(0.0, top, y_ticks), title)


def percentiles(lines: Sequence[Line], title: str) -> str:
    """Milliseconds (log) against 1/(1-q) (log): a step to the right is a ten times rarer wait."""
    values = [y for line in lines for _, y in line.points if y > 0]
    low = 10.0 ** math.floor(math.log10(min(values, default=1.0)))
    high = max(10.0 ** math.ceil(math.log10(max(values, default=10.0))), low * 10)
    marks = [low * 10**n for n in range(round(math.log10(high / low)) + 1)]
    y_axis = logarithmic(low, high, [(mark, _wait(mark)) for mark in marks])
    rarest = max((1.0 / (1.0 - x) for line in lines for x, _ in line.points), default=100.0)
    names = ((2.0, "p50"), (10.0, "p90"), (100.0, "p99"), (1e3, "p99.9"), (1e4, "p99.99"))
    x_ticks = [tick for tick in names if tick[0] <= rarest]
    shown = [
        Line(line.label, line.style, [(1.0 / (1.0 - x), y) for x, y in line.points])
        for line in lines
    ]
    return _svg(FULL, shown, logarithmic(1.0, max(rarest, 10.0), x_ticks), y_axis, title)


def _wait(ms: float) -> str:
    return f"{ms / 1_000:g} s" if ms >= 1_000 else f"{ms:g} ms"


def _svg(frame: Frame, lines: Sequence[Line], x_axis: Axis, y_axis: Axis, title: str) -> str:
    floor, far = frame.y(0.0), frame.x(1.0)
    parts = [
        f'<svg class="chart" viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" '
        f'aria-label="{escape(title)}" direction="ltr">'
    ]
    for value, label in y_axis.ticks:
        y = frame.y(y_axis.place(value))
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{far}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 8:g}" y="{y + 4:.1f}">{label}</text>')
    for value, label in x_axis.ticks:
        x = frame.x(x_axis.place(value))
        parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text class="tick mid" x="{x}" y="{floor + 19}">{label}</text>')
    parts.extend(_path(frame, line, x_axis, y_axis) for line in lines)
    parts.append("</svg>")
    return "".join(parts)


def _path(frame: Frame, line: Line, x_axis: Axis, y_axis: Axis) -> str:
    spots = [(frame.x(x_axis.place(x)), frame.y(y_axis.place(y))) for x, y in line.points]
    if not spots:
        return ""
    drawn = "M" + "L".join(f"{x:g} {y:g}" for x, y in spots)
    name = f"<title>{escape(line.label)}</title>"
    stroke = f'<path class="line {line.style}" d="{drawn}">{name}</path>'
    if not line.filled:
        return stroke
    floor = frame.y(0.0)
    closed = f"{drawn}L{spots[-1][0]:g} {floor:g}L{spots[0][0]:g} {floor:g}Z"
    return f'<path class="area {line.style}" d="{closed}"/>{stroke}'
