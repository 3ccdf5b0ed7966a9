"""Measured numbers: each is a name in docs/data/measurements/.

{{ measured("reuse.ratios.p50") }}                            a number with its interval
{{ verdict("reuse.ratios.p50", "more", "less", "as much") }}  the text that its interval allows
{{ measurements("reuse.open", "p50", "p95") }}                a table of numbers
{{ bars("reuse.open", metric="p50", title="Latency") }}       the same as a chart, of one name or several
{{ lines("sizing.wait", title="Wait", x="…", y="…") }}        curves and points
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from proven.evidence import measurements as seen
from proven.evidence.measurements import NO_BREAK, UnknownError, label, part, parts, shown
from proven.guide import Guide
from proven.macros import charts
from proven.macros.calls import macro
from proven.macros.charts import Bar, Series
from proven.macros.markup import figure, table, unsearched
from proven.macros.place import Block, Place


def rows(root: Path, path: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Return one row for each part of what a name leads to, with these quantities of it, headed by the name's end."""
    found: list[dict[str, str]] = []
    heading = label(root, path, path.rpartition(".")[2])
    for key, quantities in parts(root, path).items():
        row = {heading: label(root, path, key)}
        for column in columns:
            quantity = part(quantities, column, f"{path}.{key}")
            unit = quantity["unit"] if isinstance(quantity, dict) else ""  # a count has none
            text = shown(quantity).replace(f"{NO_BREAK}{unit}", "", 1) if unit else shown(quantity)
            row[label(root, path, column) + (f", {unit}" if unit else "")] = text
        found.append(row)
    return found


def grouped(root: Path, paths: tuple[str, ...], metric: str) -> tuple[dict[str, list[Bar]], str]:
    """Return a bar for each part of what each name leads to, grouped by name, and their unit."""
    groups: dict[str, list[Bar]] = {}
    unit = ""
    shared = set(paths[0].split(".")).intersection(*(path.split(".") for path in paths))
    for path in paths:
        heading = ", ".join(label(root, path, key) for key in path.split(".") if key not in shared)
        groups[heading] = []
        for key, quantities in parts(root, path).items():
            quantity = part(quantities, metric, f"{path}.{key}")
            unit = quantity.get("unit", "")
            bar = Bar(label(root, path, key), quantity["value"], quantity.get("low"), quantity.get("high"))
            groups[heading].append(bar)
    return groups, unit


def curves(root: Path, path: str) -> list[Series]:
    """Return the series that a name leads to: {"key": {"drawn": "line" or "points", "points": [[x, y], …]}}."""
    return [
        Series(
            label(root, path, key), [tuple(point) for point in part(quantities, "points", path)], quantities["drawn"]
        )
        for key, quantities in parts(root, path).items()
    ]


def _needs(name: str, find: Callable[..., Any]) -> Callable[..., Iterator[str]]:
    """Return a check that what a macro would show can be found."""

    def wrong(guide: Guide, **given: Any) -> Iterator[str]:
        try:
            find(guide.root, **given)
        except UnknownError as error:
            yield f"{name}(): {error}"

    return wrong


@macro(wrong=_needs("measured", lambda root, path, **_: shown(seen.find(root, path))))
def measured(at: Place, path: str, interval: bool = True) -> str:
    """Return a measured number, with its interval or without."""
    return shown(seen.find(at.guide.root, path), interval)


@macro(says=("more", "less", "same"), wrong=_needs("verdict", lambda root, path, **_: seen.with_interval(root, path)))
def verdict(at: Place, path: str, more: str, less: str, same: str) -> str:
    """Return the text for an interval that is wholly above "no difference", wholly below it, or neither."""
    return (same, more, less)[seen.verdict(at.guide.root, path)]


@macro(wrong=_needs("measurements", rows))
def measurements(at: Place, path: str, *columns: str) -> Block:
    """Show a table: a row for each part of what was measured, a column for each of these quantities."""
    return unsearched("measurements", table(rows(at.guide.root, path, columns)))


@macro(
    says=("title",), wrong=_needs("bars", lambda root, path, paths, metric, **_: grouped(root, (path, *paths), metric))
)
def bars(at: Place, path: str, *paths: str, metric: str, title: str) -> str:
    """Show one quantity of each part of what was measured as bars, grouped where there are several names."""
    groups, unit = grouped(at.guide.root, (path, *paths), metric)
    return figure(charts.bars(groups, title=title, unit=unit), title)


@macro(says=("title", "x", "y"), wrong=_needs("lines", lambda root, path, **_: curves(root, path)))
def lines(at: Place, path: str, title: str, x: str, y: str) -> str:
    """Show measured curves and points over one pair of axes."""
    return figure(charts.lines(curves(at.guide.root, path), title=title, x=x, y=y), title)
