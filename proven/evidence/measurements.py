"""What was measured: JSON files under docs/data/measurements/, from which pages draw their numbers.

A name is a path into them: "reuse.open.trivial.plain.none.p50" is in reuse.json; no key holds a dot. It leads to a
number, a text, or a quantity, {"value": 12.2, "low": 11.4, "high": 13.1, "unit": "ms"}: low and high are the ends of
the interval in which the truth lies, with the confidence that the file states. "labels" say how pages call its keys.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from proven.problems import nearest

FOLDER = "docs/data/measurements"
NO_BREAK = "\N{NO-BREAK SPACE}"


class UnknownError(LookupError):
    """Raised for a name that was not measured, is not of the kind that is asked for, or leads into a broken file."""


def find(root: Path, path: str) -> Any:
    """Return what a name leads to. Raises UnknownError with the nearest names."""
    name, *keys = path.split(".")
    file = root / FOLDER / f"{name}.json"
    if "/" in name or not file.is_file():
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
        raise UnknownError("this is not a number that a page can show: name one in it")
    if not isinstance(found, dict):
        return number(found)
    if "value" not in found:
        raise UnknownError(f"this holds {', '.join(found)}: name one of them")
    text = f"{number(found['value'])}{NO_BREAK}{found.get('unit', '')}".strip()
    if interval and found.get("low") != found.get("high"):
        text += f"{NO_BREAK}({number(found['low'])}{NO_BREAK}to{NO_BREAK}{number(found['high'])})"
        if found.get("unit") == "×" and not differs(found, 1.0):
            text = f"≈{NO_BREAK}{text}"
    return text


def verdict(root: Path, path: str) -> int:
    """Return differs() of the quantity that a name leads to."""
    found = with_interval(root, path)
    return differs(found, 1.0 if found.get("unit") == "×" else 0.0)


def differs(found: dict[str, Any], nothing: float) -> int:
    """Return 1 where a quantity's whole interval is above the value for no difference, -1 where below, else 0."""
    return (found["low"] > nothing) - (found["high"] < nothing)


def number(value: float) -> str:
    """Return a number with three significant digits: "12.2", "1,148"."""
    if not value:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text.rstrip("0").rstrip(".") if "." in text else text


def with_interval(root: Path, path: str) -> dict[str, Any]:
    """Return the quantity that a name leads to. Raises UnknownError where it has no interval."""
    found = find(root, path)
    if not isinstance(found, dict) or "low" not in found:
        raise UnknownError(f"{path!r} has no interval to judge it by")
    return found


def parts(root: Path, path: str) -> dict[str, Any]:
    """Return the parts of what a name leads to, by their keys. Raises UnknownError where it has none."""
    found = find(root, path)
    if not isinstance(found, dict) or "value" in found:
        raise UnknownError(f"{path!r} has no parts that could be rows or bars")
    return found


def part(parts: Any, key: str, path: str) -> Any:
    """Return one of some parts. Raises UnknownError, with the nearest names, where it is not there."""
    if not isinstance(parts, dict) or key not in parts:
        known = list(parts) if isinstance(parts, dict) else []
        raise UnknownError(f"{f'{path}.{key}'!r} was not measured{nearest(key, known)}")
    return parts[key]


@cache
def _read(file: Path, _changed: int) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnknownError(f"{FOLDER}/{file.name} is not JSON: {error}") from None
