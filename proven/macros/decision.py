"""A few questions that lead to what was measured: templates/decision.yaml as a picture, as text, and in numbers.

{{ decision() }}    the questions, drawn with links and then written out
{{ leaf("pool") }}  what was counted at one end of them
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from proven.evidence import measurements
from proven.evidence.measurements import UnknownError, shown
from proven.guide import Guide
from proven.macros.calls import macro
from proven.macros.markup import figure, inline, table, unsearched
from proven.macros.place import Block, Place
from proven.problems import nearest

QUESTIONS = Path(__file__).parent / "templates/decision.yaml"
MATRIX = "runners"
COLUMNS = ("most", "opened", "left", "lost")
STEP = 84  # from one question to the next, in a drawing 360 wide


def _wrong(guide: Guide, key: str = "") -> Iterator[str]:
    """Say which leaf was not measured, and which says something other than what was measured."""
    found = _read()
    leaves = found["leaves"]
    for asked in [
        *(question["leaf"] for question in found["questions"]),
        found["otherwise"],
        key or found["otherwise"],
    ]:
        if asked not in leaves:
            yield f"{QUESTIONS.name} has no leaf {asked!r}{nearest(asked, leaves)}"
    for strategy in [key] if key in leaves else leaves:
        yield from _unmeasured(guide.root, strategy, leaves[strategy])


def _unmeasured(root: Path, strategy: str, of: dict[str, Any]) -> Iterator[str]:
    for runner in of["for"]:
        path = f"{MATRIX}.{strategy}.{runner}"
        try:
            opened = measurements.find(root, f"{path}.opened")
        except UnknownError as error:
            yield str(error)
            continue
        if opened != of["opened"]:
            yield f"{path}.opened is {opened}, and its leaf says {of['opened']}"


@macro(wrong=_wrong)
def decision(at: Place) -> Block:  # noqa: ARG001  (what it draws is the same everywhere)
    """Draw the questions, each leaf a link to its part of the page; below it the same as text."""
    found = _read()
    ends: list[dict[str, Any]] = [*found["questions"], {"asks": [], "answer": "", "leaf": found["otherwise"]}]
    steps: list[dict[str, Any]] = [
        {**step, "y": STEP * number, **found["leaves"][step["leaf"]]} for number, step in enumerate(ends)
    ]
    lines = [figure(inline("decision.svg", steps=steps, step=STEP, others={"yes": "no", "no": "yes"})), ""]
    for number, step in enumerate(steps[:-1], start=1):
        on = "" if number < len(steps) - 1 else f", or [{steps[-1]['says']}](#{steps[-1]['heading']})"
        answer = f"*{step['answer'].capitalize()}*: [{step['says']}](#{step['heading']})"
        lines += [f"{number}. {' '.join(step['asks'])} {answer}{on or ', or go on'}."]
    return lines


@macro(wrong=_wrong)
def leaf(at: Place, key: str) -> Block:
    """Show what was counted with one strategy, for the runners for which it is the answer."""
    root = at.guide.root
    rows = []
    for runner in _read()["leaves"][key]["for"]:
        cells = measurements.find(root, f"{MATRIX}.{key}.{runner}")
        row = {measurements.label(root, MATRIX, column): shown(cells[column]) for column in COLUMNS}
        rows.append({"Runner": measurements.label(root, MATRIX, runner), **row})
    return unsearched("measurements", table(rows))


def _read() -> Any:
    return yaml.load(QUESTIONS.read_text(encoding="utf-8"), yaml.CSafeLoader)
