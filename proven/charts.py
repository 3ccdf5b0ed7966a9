"""Charts as SVG, in the classes of the site's stylesheet, so that they take the page's colours.

Each has its title as <title>, and every number that it draws as <desc>: a reader who sees no picture misses none.

    bars({"plain": [Bar("no reuse", 12.2, 11.4, 13.1)]}, title="…", unit="ms")
    lines([Series("M/M/c", curve), Series("measured", points, "points")], title="…", x="utilisation", y="wait, ms")
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH = 360  # no wider: a phone shows it with text of 11 px
# A character of the small type is about this wide, in whatever font the reader has.
CHARACTER = 7.0
ROW, BAR = 26, 14
LEFT, RIGHT, TOP, HEIGHT = 52, 12, 14, 190  # of the field in which lines are drawn
STYLES = ("strong", "other", "faint")


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
    shapes, y = [], 0.0
    for heading, group in groups.items():
        if heading:
            y += ROW + (6 if shapes else 0)
            shapes.append(f'<text x="0" y="{y - 9:g}">{escape(heading)}</text>')
        for bar in group:
            middle = y + ROW / 2
            length = max(bar.value * scale, 1.0)
            shapes += [
                f'<text class="small" x="0" y="{middle + 4:g}">{escape(bar.name)}</text>',
                f'<path class="strong" d="M{names:g} {middle - BAR / 2:g}h{length:.1f}v{BAR}h{-length:.1f}z"/>',
            ]
            if bar.low is not None and bar.high is not None:
                shapes.append(_whisker(names + bar.low * scale, middle, names + bar.high * scale, middle))
            end = names + max(_top(bar) * scale, 1.0) + 6
            says = f"{number(bar.value)} {unit}".strip()
            shapes.append(f'<text class="small" x="{end:.1f}" y="{middle + 4:g}">{escape(says)}</text>')
            y += ROW
    said = [f"{heading}: {_said(group, unit)}" if heading else _said(group, unit) for heading, group in groups.items()]
    return _svg(title, " ".join(said), y + 4, shapes)


def lines(series: list[Series], *, title: str, x: str, y: str) -> str:
    """Return curves and points over one pair of axes, both labelled; the y axis begins at zero."""
    xs = [point[0] for one in series for point in one.points]
    ys = [value for one in series for point in one.points for value in point[1:]]
    across, up = ticks(min(xs), max(xs)), ticks(0.0, max(ys))
    width, bottom = WIDTH - LEFT - RIGHT, TOP + HEIGHT

    def at(value: float) -> float:
        return LEFT + width * (value - across[0]) / (across[-1] - across[0])

    def height(value: float) -> float:
        return bottom - HEIGHT * (value - up[0]) / (up[-1] - up[0])

    shapes = []
    for tick in up:
        shapes += [
            f'<path class="grid" d="M{LEFT} {height(tick):.1f}h{width}"/>',
            f'<text class="small" x="{LEFT - 6}" y="{height(tick) + 4:.1f}" text-anchor="end">{number(tick)}</text>',
        ]
    for tick in across:
        shapes.append(
            f'<text class="small" x="{at(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{number(tick)}</text>'
        )
    shapes += [
        f'<text class="small" x="{LEFT + width / 2:g}" y="{bottom + 38}" text-anchor="middle">{escape(x)}</text>',
        f'<text class="small" x="{-TOP - HEIGHT / 2:g}" y="11" text-anchor="middle" transform="rotate(-90)">'
        f"{escape(y)}</text>",
    ]
    below = bottom + 60
    for one, style in zip(series, _styles(series), strict=True):
        if one.drawn == "line":
            route = "L".join(f"{at(point[0]):.1f} {height(point[1]):.1f}" for point in one.points)
            shapes.append(f'<path class="curve {style}" d="M{route}"/>')
            shapes.append(f'<path class="curve {style}" d="M{LEFT} {below - 4}h22"/>')
        else:
            for point in one.points:
                if len(point) == 4:
                    shapes.append(_whisker(at(point[0]), height(point[2]), at(point[0]), height(point[3])))
                shapes.append(f'<circle class="{style}" cx="{at(point[0]):.1f}" cy="{height(point[1]):.1f}" r="4"/>')
            shapes.append(f'<circle class="{style}" cx="{LEFT + 11}" cy="{below - 4}" r="4"/>')
        shapes.append(f'<text class="small" x="{LEFT + 30}" y="{below}">{escape(one.name)}</text>')
        below += 20
    said = " ".join(f"{one.name}: {_route(one)}." for one in series)
    return _svg(title, f"{y} by {x}. {said}", below - 8, shapes)


def number(value: float) -> str:
    """Return a number as a reader takes it in: three digits that count, and nothing that does not."""
    if not value:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text.rstrip("0").rstrip(".") if "." in text else text


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that cover what lies between two numbers, `about` as many as that."""
    span = (high - low) or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / about))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda size: abs(span / size - about))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 10) for count in range(first, max(last, first + 1) + 1)]


def _styles(series: list[Series]) -> list[str]:
    """Return a style for each series: lines and points count apart, so that a pair of them looks like one."""
    seen = {"line": 0, "points": 0}
    found = []
    for one in series:
        found.append(STYLES[seen[one.drawn] % len(STYLES)])
        seen[one.drawn] += 1
    return found


def _top(bar: Bar) -> float:
    return bar.value if bar.high is None else max(bar.value, bar.high)


def _whisker(x: float, y: float, to_x: float, to_y: float) -> str:
    """Return an interval: a line with a stroke across at each end."""
    stroke = "v8m0 -4" if y == to_y else "h8m-4 0"
    start = f"M{x:.1f} {y - 4:.1f}" if y == to_y else f"M{x - 4:.1f} {y:.1f}"
    end = f"M{to_x:.1f} {to_y - 4:.1f}v8" if y == to_y else f"M{to_x - 4:.1f} {to_y:.1f}h8"
    return f'<path class="whisker" d="{start}{stroke}L{to_x:.1f} {to_y:.1f}{end}"/>'


def _said(group: Iterable[Bar], unit: str) -> str:
    return "; ".join(f"{bar.name} {_value(bar.value, bar.low, bar.high)} {unit}".strip() for bar in group) + "."


def _route(series: Series) -> str:
    return ", ".join(f"{_value(*point[1:])} at {number(point[0])}" for point in series.points)


def _value(value: float, low: float | None = None, high: float | None = None) -> str:
    if low is None or high is None:
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def _svg(title: str, text: str, height: float, shapes: list[str]) -> str:
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-labelledby="{name}-title {name}-text"><title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-text">{escape(text)}</desc>{"".join(shapes)}</svg>'
    )
