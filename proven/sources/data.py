"""The JSON files under docs/data/ that the engine reads: what is broken in one is a problem with its line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from proven.problems import Problem

FOLDER = "docs/data"
DIGESTS, CONTROLS, ERRORS, SAID, TEXTS, TRANSLATED = (
    f"{FOLDER}/{name}.json" for name in ("digests", "controls", "errors", "said", "texts", "translated")
)
CELL = {"says", "gist", "source", "date", "again"}


def _digests(found: Any) -> bool:
    return all(isinstance(known, list) and all(isinstance(each, str) for each in known) for known in found.values())


def _controls(found: Any) -> bool:
    return all(isinstance(day, str) for days in found.values() for day in days.values())


def _errors(found: Any) -> bool:
    return all(isinstance(each["text"], str) for each in found["texts"])


def _said(found: Any) -> bool:
    return all(isinstance(heard.get("raised", {}), dict) for heard in found["texts"].values())


def _facts(found: Any) -> bool:
    columns = found["columns"].keys()
    return isinstance(found["about"], str) and all(
        isinstance(row["name"], str) and all(row["cells"][key].keys() >= CELL for key in columns)
        for row in found["rows"]
    )


# For each file: what it holds, a check of that, what stands in for a missing one, and what brings it back.
FORMS: dict[str, tuple[str, Callable[[Any], bool], Any, str]] = {
    DIGESTS: ("{snippet: [digest, …]}", _digests, {}, "restore it from git: nothing else has them"),
    CONTROLS: ("{proof: {digest: day}}", _controls, {}, "restore it, or delete it and run make controls ALL=1"),
    ERRORS: ('{"texts": [{"text": …}, …]}', _errors, {"texts": []}, "restore it from git, or fix it"),
    SAID: ('{"texts": {text: {…}}}', _said, {"texts": {}}, "restore it from git, or make record"),
    TEXTS: ('{"texts": [{"text": …}, …]}', _errors, {"texts": []}, "restore it from git, or make texts"),
    TRANSLATED: ('{"texts": [{"text": …}, …]}', _errors, {"texts": []}, "restore it from git, or make texts"),
}
FACTS = (
    '{"about": …, "columns": …, "rows": …}',
    _facts,
    {"about": "", "columns": {}, "rows": []},
    "fix it as its schema says",
)


def read(root: Path, path: str) -> Any:
    """Return what a file holds; nothing where it is missing or broken, which problems() reports."""
    return _read(root, path)[0]


def problems(root: Path) -> Iterator[Problem]:
    """Return a problem for each file that is broken, including those of facts."""
    facts = [f"{FOLDER}/{file.name}" for file in sorted((root / FOLDER).glob("*-poolers.json"))]
    for path in (*FORMS, *facts):
        if problem := _read(root, path)[1]:
            yield problem


def _read(root: Path, path: str) -> tuple[Any, Problem | None]:
    form, holds, nothing, cure = FORMS.get(path, FACTS)
    file = root / path
    if not file.exists():
        return nothing, None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return nothing, Problem(path, 1, f"it is not UTF-8: {cure}")
    except json.JSONDecodeError as error:
        return nothing, Problem(path, error.lineno, f"it is not JSON ({error.msg}): {cure}")
    try:
        right = holds(found)
    except (TypeError, KeyError, AttributeError, IndexError):
        right = False
    return (found, None) if right else (nothing, Problem(path, 1, f"it does not hold {form}: {cure}"))
