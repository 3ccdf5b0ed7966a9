"""Charts as SVG, in the classes of the site's stylesheet, so that they take the page's colours.

Each has its title as <title>, and every number that it draws in <desc>, for readers who see no picture.

    bars({"plain": [Bar("no reuse", 12.2, 11.4, 13.1)]}, title="…", unit="ms")
    lines([Series("M/M/c", curve), Series("measured", points, "points")], title="…", x="utilisation", y="wait, ms")
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from proven.evidence.measurements import number
from proven.macros.markup import inline

WIDTH = 360  # no wider: a phone shows it with text of 11 px
# A character of the small type is about this wide, in whatever font the reader has.
CHARACTER = 7.0
ROW, BAR = 26, 14
LEFT, RIGHT, TOP, HEIGHT = 52, 12, 14, 190  # of the area in which lines are drawn
STYLES = ("strong", "other", "faint")
Scale = Callable[[float], float]  # from a value to where it is drawn


@dataclass(frozen=True)
class Bar:
    """One bar: what it stands for, its length, and the interval in which the truth lies, where that is known."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """What belongs together in one chart: points of (x, y), or of (x, y, low, high) with the interval of y."""

    name: str
    points: list[tuple[float, ...]]
    drawn: Literal["line", "points"] = "line"


def bars(groups: dict[str, list[Bar]], *, title: str, unit: str = "") -> str:
    """Return horizontal bars, in groups that each have a heading, or "" for none. All share one scale from zero."""
    every = [bar for group in groups.values() for bar in group]
    names = min(max(len(bar.name) for bar in every) * CHARACTER + 8, WIDTH / 2)
    longest = max(_top(bar) for bar in every)
    room = WIDTH - names - CHARACTER * (max(len(number(bar.value)) for bar in every) + len(unit) + 2)
    scale = room / longest if longest else 0.0
    rows: list[dict[str, Any]] = []
    y = 0.0
    for heading, group in groups.items():
        if heading:
            y += ROW + (6 if rows else 0)
            rows.append({"heading": heading, "y": y - 9})
        for bar in group:
            rows.append(_row(bar, unit, names, y + ROW / 2, scale))
            y += ROW
    said = [f"{heading}: {_said(group, unit)}" if heading else _said(group, unit) for heading, group in groups.items()]
    return _svg("bars.svg", title, " ".join(said), y + 4, rows=rows)


def lines(series: list[Series], *, title: str, x: str, y: str) -> str:
    """Return curves and points over one pair of axes, both labelled; the y axis begins at zero."""
    xs = [point[0] for one in series for point in one.points]
    ys = [value for one in series for point in one.points for value in point[1:]]
    along, up = ticks(min(xs), max(xs)), ticks(0.0, max(ys))
    width, bottom = WIDTH - LEFT - RIGHT, TOP + HEIGHT

    def at(value: float) -> float:
        return LEFT + width * (value - along[0]) / (along[-1] - along[0])

    def height(value: float) -> float:
        return bottom - HEIGHT * (value - up[0]) / (up[-1] - up[0])

    drawn = [_drawn(one, style, at, height) for one, style in zip(series, _styles(series), strict=True)]
    said = " ".join(f"{one.name}: {_route(one)}." for one in series)
    return _svg(
        "lines.svg",
        title,
        f"{y} by {x}. {said}",
        bottom + 52 + 20 * len(series),
        left=LEFT,
        across=width,
        middle=-TOP - HEIGHT / 2,
        bottom=bottom,
        up=[(height(tick), number(tick)) for tick in up],
        along=[(at(tick), number(tick)) for tick in along],
        x_says=x,
        y_says=y,
        series=drawn,
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that cover the range between two numbers: about `about` of them."""
    span = (high - low) or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / about))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda size: abs(span / size - about))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 10) for count in range(first, max(last, first + 1) + 1)]


def _row(bar: Bar, unit: str, left: float, middle: float, scale: float) -> dict[str, Any]:
    """Return what is drawn of a bar that begins at `left`."""
    length = max(bar.value * scale, 1.0)
    interval = ""
    if bar.low is not None and bar.high is not None:
        interval = _whisker(left + bar.low * scale, middle, left + bar.high * scale, middle)
    return {
        "heading": "",
        "name": bar.name,
        "y": middle + 4,
        "bar": f"M{left:g} {middle - BAR / 2:g}h{length:.1f}v{BAR}h{-length:.1f}z",
        "interval": interval,
        "end": left + max(_top(bar) * scale, 1.0) + 6,
        "says": f"{number(bar.value)} {unit}".strip(),
    }


def _drawn(one: Series, style: str, at: Scale, height: Scale) -> dict[str, Any]:
    """Return what is drawn of a series: the route of its line, or its points with their intervals."""
    if one.drawn == "line":
        route = "M" + "L".join(f"{at(point[0]):.1f} {height(point[1]):.1f}" for point in one.points)
        return {"name": one.name, "style": style, "route": route}
    points = [
        (at(x), height(y), _whisker(at(x), height(interval[0]), at(x), height(interval[1])) if interval else "")
        for x, y, *interval in one.points
    ]
    return {"name": one.name, "style": style, "route": "", "points": points}


def _styles(series: list[Series]) -> list[str]:
    """Return a style for each series. Lines and points are counted apart: a curve and its points share a style."""
    seen = {"line": 0, "points": 0}
    found = []
    for one in series:
        found.append(STYLES[seen[one.drawn] % len(STYLES)])
        seen[one.drawn] += 1
    return found


def _top(bar: Bar) -> float:
    return bar.value if bar.high is None else max(bar.value, bar.high)


def _whisker(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return the path of an interval: a line with a stroke across at each end."""
    stroke = "v8m0 -4" if y == to_y else "h8m-4 0"
    start = f"M{x:.1f} {y - 4:.1f}" if y == to_y else f"M{x - 4:.1f} {y:.1f}"
    end = f"M{to_x:.1f} {to_y - 4:.1f}v8" if y == to_y else f"M{to_x - 4:.1f} {to_y:.1f}h8"
    return f"{start}{stroke}L{to_x:.1f} {to_y:.1f}{end}"


def _said(group: Iterable[Bar], unit: str) -> str:
    return "; ".join(f"{bar.name} {_value(bar.value, bar.low, bar.high)} {unit}".strip() for bar in group) + "."


def _route(series: Series) -> str:
    return ", ".join(f"{_value(*point[1:])} at {number(point[0])}" for point in series.points)


def _value(value: float, low: float | None = None, high: float | None = None) -> str:
    if low is None or high is None:
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def _svg(template: str, title: str, text: str, height: float, **drawn: Any) -> str:
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    return inline(template, name=name, title=title, text=text, width=WIDTH, height=height, **drawn)
