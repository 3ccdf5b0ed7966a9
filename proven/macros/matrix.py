"""On which versions proofs have passed.

{{ matrix("tests/proofs/a.py", "One", "Other") }}  the proofs of a module or a folder, or one by name, by these parts
"""

import re
from collections.abc import Iterator
from typing import Any

from proven.evidence import summary
from proven.evidence.ledger import NOT_RUN, Ledger, Run
from proven.guide import Guide
from proven.macros.calls import macro
from proven.macros.markup import in_words, proof_link, table, unsearched
from proven.macros.place import Block, Place
from proven.problems import nearest

Column = tuple[tuple[str, str], ...]  # the parts of a stack, each with its version


def _no_proofs(guide: Guide, tests: str, **_: Any) -> Iterator[str]:
    if not guide.proofs_in(tests):
        yield f"no proof is in {tests!r}{nearest(tests, {proof.path for proof in guide.proofs.values()})}"


@macro(wrong=_no_proofs)
def matrix(at: Place, tests: str, *components: str) -> Block:
    """Show which proofs of a module or a folder, or one by name, passed on which versions of these parts of a stack.

    Of alternatives, as in "psycopg2|psycopg", the first that a stack has counts. A proof that met none is left out.
    A proof that a stack left out met nothing there: where others ran, its cell says so.
    """
    chosen = at.guide.proofs_in(tests)
    names = {proof.name for proof in chosen}
    met = {run.proof for run in _ran(at.guide.history, names) if _column(run.stack, components)}
    outcomes: dict[Column, dict[str, set[str]]] = {}
    for run in _ran(at.guide.ledger, names):
        if column := _column(run.stack, components):
            outcomes.setdefault(column, {}).setdefault(run.proof, set()).add(run.outcome)
    columns = sorted(outcomes, key=lambda parts: [(name, summary.order(version)) for name, version in parts])
    rows: list[dict[str, Any]] = []
    for proof in [proof for proof in chosen if proof.name in met] or chosen:
        first = re.split(r"(?<=\.)\s", proof.says)[0].replace("|", "\\|")
        row = {"What was seen": f"[{in_words(proof.name)}]({proof_link(at, proof.name)}). {first}"}
        for column in columns:
            heading = "<br>".join(f"{name} {version}" for name, version in column)
            row[heading] = _cell(outcomes[column].get(proof.name, set()))
        rows.append(row)
    return unsearched("matrix", table(rows))


def _ran(ledger: Ledger, names: set[str]) -> Iterator[Run]:
    return (run for name in names for run in ledger.runs_of(name) if run.outcome != NOT_RUN)


def _column(stack: dict[str, str], components: tuple[str, ...]) -> Column | None:
    """Return the names and versions of these parts in a stack, or None where it lacks one."""
    names = [next((name for name in part.split("|") if name in stack), "") for part in components]
    return tuple((name, stack[name]) for name in names) if all(names) else None


def _cell(outcomes: set[str]) -> str:
    """Return what a matrix says of one proof on one stack; every case of it counts."""
    if "failed" in outcomes:
        return "failed"
    return "✓" if "passed" in outcomes else "not run"
