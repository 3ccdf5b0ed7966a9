"""What was measured: JSON files under docs/data/measurements/, from which pages draw their numbers.

A name is a path into them: "reuse.open.trivial.plain.none.p50" is in reuse.json; no key holds a dot. It leads to a
number, a text, or a quantity, {"value": 12.2, "low": 11.4, "high": 13.1, "unit": "ms"}: low and high are the ends of
the interval in which the truth lies, with the confidence that the file states. "labels" say how pages call its keys.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from proven import charts
from proven.guide import Guide
from proven.problems import Problem, nearest

FOLDER = "docs/data/measurements"
NO_BREAK = "\N{NO-BREAK SPACE}"
# The macros that draw on measurements, with the arguments that name a part of what their path leads to.
CALLS = {"measured": "", "verdict": "", "measurements": "columns", "bars": "metric", "lines": ""}


class UnknownError(LookupError):
    """Raised where nothing of a name was measured."""


def find(root: Path, path: str) -> Any:
    """Return what a name leads to. Raises UnknownError with the nearest names."""
    name, *keys = path.split(".")
    file = root / FOLDER / f"{name}.json"
    if not file.is_file():
        known = [known.stem for known in (root / FOLDER).glob("*.json")]
        raise UnknownError(f"no file in {FOLDER}/ is called {name + '.json'!r}{nearest(name, known)}")
    node = _read(file, file.stat().st_mtime_ns)
    for depth, key in enumerate(keys, start=1):
        if not isinstance(node, dict) or key not in node:
            known = list(node) if isinstance(node, dict) else []
            raise UnknownError(f"{'.'.join([name, *keys[:depth]])!r} was not measured{nearest(key, known)}")
        node = node[key]
    return node


def label(root: Path, path: str, key: str) -> str:
    """Return what a key is called in the file that a name leads into."""
    return str(find(root, path.partition(".")[0]).get("labels", {}).get(key, key))


def shown(found: Any, interval: bool = True) -> str:
    """Return a number, a text or a quantity as prose has it: "9.4 × (8.9 to 10.1)", on one line.

    A ratio that may as well be 1 has a "≈" before it.
    """
    if isinstance(found, str):
        return found
    if isinstance(found, bool) or not isinstance(found, dict | int | float):
        raise UnknownError("this is no number that a page can show: name one in it")
    if not isinstance(found, dict):
        return charts.number(found)
    if "value" not in found:
        raise UnknownError(f"this holds {', '.join(found)}: name one of them")
    text = f"{charts.number(found['value'])}{NO_BREAK}{found.get('unit', '')}".strip()
    if interval and found.get("low") != found.get("high"):
        text += f"{NO_BREAK}({charts.number(found['low'])}{NO_BREAK}to{NO_BREAK}{charts.number(found['high'])})"
        if found.get("unit") == "×" and not differs(found, 1.0):
            text = f"≈{NO_BREAK}{text}"
    return text


def differs(found: dict[str, Any], nothing: float) -> int:
    """Return 1 where a quantity's whole interval is above what stands for no difference, -1 where below, else 0."""
    return (found["low"] > nothing) - (found["high"] < nothing)


def nothing(found: dict[str, Any]) -> float:
    """Return what stands for no difference: 1 for a ratio, 0 for all else."""
    return 1.0 if found.get("unit") == "×" else 0.0


def rows(root: Path, path: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Return one row for each part of what a name leads to, with these quantities of it. The name's end heads them."""
    found: list[dict[str, str]] = []
    heading = label(root, path, path.rpartition(".")[2])
    for key, parts in _parts(root, path).items():
        row = {heading: label(root, path, key)}
        for column in columns:
            quantity = _part(parts, column, f"{path}.{key}")
            unit = quantity["unit"]
            text = shown(quantity).replace(f"{NO_BREAK}{unit}", "", 1) if unit else shown(quantity)
            row[label(root, path, column) + (f", {unit}" if unit else "")] = text
        found.append(row)
    return found


def bars(root: Path, paths: tuple[str, ...], metric: str) -> tuple[dict[str, list[charts.Bar]], str]:
    """Return a bar for each part of what each name leads to, grouped by name, and their unit."""
    groups: dict[str, list[charts.Bar]] = {}
    unit = ""
    shared = set(paths[0].split(".")).intersection(*(path.split(".") for path in paths))
    for path in paths:
        heading = ", ".join(label(root, path, key) for key in path.split(".") if key not in shared)
        groups[heading] = []
        for key, parts in _parts(root, path).items():
            quantity = _part(parts, metric, f"{path}.{key}")
            unit = quantity.get("unit", "")
            bar = charts.Bar(label(root, path, key), quantity["value"], quantity.get("low"), quantity.get("high"))
            groups[heading].append(bar)
    return groups, unit


def lines(root: Path, path: str) -> list[charts.Series]:
    """Return the series that a name leads to: {"key": {"drawn": "line" or "points", "points": [[x, y], …]}}."""
    return [
        charts.Series(label(root, path, key), [tuple(point) for point in _part(parts, "points", path)], parts["drawn"])
        for key, parts in _parts(root, path).items()
    ]


def problems(of: Guide) -> Iterator[Problem]:
    """Check that each name on a page leads to something."""
    for page in of.pages:
        for call in page.calls:
            if call.name in CALLS:
                given = call.given
                try:
                    for path in [given["path"], *given.get("paths", ())]:
                        _check(of.root, call.name, str(path), given)
                except UnknownError as error:
                    yield Problem(page.path, call.line, f"{call.name}(): {error}")
                except ValueError as error:
                    yield Problem(page.path, call.line, f"{FOLDER}/ holds what is no JSON: {error}")


def _check(root: Path, name: str, path: str, given: dict[str, Any]) -> None:
    if name == "measured":
        shown(find(root, path))
    elif name == "verdict":
        _interval(root, path)
    elif name == "measurements":
        rows(root, path, tuple(given["columns"]))
    elif name == "bars":
        bars(root, (path,), given["metric"])
    else:
        lines(root, path)


def verdict(root: Path, path: str) -> int:
    """Return differs() of the quantity that a name leads to."""
    found = _interval(root, path)
    return differs(found, nothing(found))


def _interval(root: Path, path: str) -> dict[str, Any]:
    found = find(root, path)
    if not isinstance(found, dict) or "low" not in found:
        raise UnknownError(f"{path!r} has no interval, so that nothing can be told from it")
    return found


def _parts(root: Path, path: str) -> dict[str, Any]:
    found = find(root, path)
    if not isinstance(found, dict) or "value" in found:
        raise UnknownError(f"{path!r} has no parts that could be rows or bars")
    return found


def _part(parts: Any, key: str, path: str) -> Any:
    if not isinstance(parts, dict) or key not in parts:
        known = list(parts) if isinstance(parts, dict) else []
        raise UnknownError(f"{f'{path}.{key}'!r} was not measured{nearest(key, known)}")
    return parts[key]


@cache
def _read(file: Path, _changed: int) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
