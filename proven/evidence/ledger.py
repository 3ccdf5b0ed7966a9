"""The ledger: which proof ran which snippet, at which digest, on which stack, and how it ended.

Two files hold it. docs/data/ledger.json is committed: the evidence that a fresh clone shows. build/ledger.json
takes precedence over it: what was run here since. Both are written by stored.py.

    python -m proven.evidence.ledger FILE…       put what was run elsewhere into build/ledger.json
"""

import argparse
import sys
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from proven import ROOT, whole
from proven.evidence import stored
from proven.problems import ProblemError
from proven.sources import proofs
from proven.sources.proofs import Proof
from proven.sources.snippets import FOLDER, Snippet

COMMITTED = "docs/data/ledger.json"
LOCAL = "build/ledger.json"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Run:
    """One proof, run once on one stack."""

    proof: str  # the test function
    case: str  # its parameters as pytest names them, or ""
    parts: dict[str, str]  # what it rested on in tests/, its own lines included: "tests/proofs/x.py::test": digest
    outcome: str  # "passed", "failed" or "not run"
    date: str  # ISO 8601
    seconds: float
    stack: dict[str, str]  # {"PostgreSQL": "18.6", …}
    snippets: dict[str, list[str]]  # path: [digest, word, …]; the words are "ran", "checked: NAME, REVISION" …
    reason: str = ""  # why it was not run

    @cached_property
    def stack_key(self) -> tuple[str, ...]:
        """The versions of the stack, sorted: equal for equal stacks."""
        return tuple(f"{name} {version}" for name, version in sorted(self.stack.items()))

    def words(self, path: str) -> list[str]:
        """Return how far this run proves a snippet: [] for one that it did not run."""
        return self.snippets.get(path, [])[1:]

    @property
    def key(self) -> tuple[str, ...]:
        """What a later run of the same proof on the same stack replaces."""
        return (self.proof, self.case, *self.stack_key)


FIELDS = [field.name for field in fields(Run)]


class Ledger:
    """Some runs, by proof and by snippet."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs
        self._by_proof: dict[str, list[Run]] = {}
        for run in runs:
            self._by_proof.setdefault(run.proof, []).append(run)

    def current(self, proofs: dict[str, Proof], snippets: dict[str, Snippet]) -> "Ledger":
        """Return only what is bound to present digests: a proof or snippet that was edited has no runs."""
        digests = {path: snippet.digest for path, snippet in snippets.items()}
        known: dict[tuple[str, int, int], bool] = {}  # all stacks of a case share what they rested on and ran

        def counts(run: Run) -> bool:
            key = (run.proof, id(run.parts), id(run.snippets))
            if key not in known:
                rests = run.proof in proofs and run.parts == proofs[run.proof].parts
                known[key] = rests and all(digests.get(path) == found[0] for path, found in run.snippets.items())
            return known[key]

        return Ledger([run for run in self.runs if counts(run)])

    def runs_of(self, name: str) -> list[Run]:
        """Return the runs of one proof, however they ended."""
        return self._by_proof.get(name, [])

    def of_proof(self, name: str) -> list[Run]:
        """Return the runs of one proof, all its cases and stacks; nothing where any of them failed."""
        runs = [run for run in self.runs_of(name) if run.outcome != NOT_RUN]
        return runs if all(run.outcome == "passed" for run in runs) else []

    def never_ran(self, name: str) -> list[Run]:
        """Return a run, with the reason, of each case of a proof that every stack left out, where other cases ran."""
        runs = self.runs_of(name)
        ran = {run.case for run in runs if run.outcome != NOT_RUN}
        left_out = {run.case: run for run in runs if run.case not in ran}
        return [left_out[case] for case in sorted(left_out)] if ran else []

    def passed(self) -> list[Run]:
        """Return the runs of every proof of which none failed."""
        return [run for name in sorted({run.proof for run in self.runs}) for run in self.of_proof(name)]

    def not_run(self) -> list[Run]:
        """Return the proofs that a stack left out, each with the reason."""
        return [run for run in self.runs if run.outcome == NOT_RUN]

    def of_snippet(self, path: str) -> list[Run]:
        """Return the passed runs of every proof that ran one snippet."""
        return self._by_snippet.get(path, [])

    @cached_property
    def _by_snippet(self) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = {}
        for run in self.passed():
            for path in run.snippets:
                found.setdefault(path, []).append(run)
        return found


def load(file: Path) -> list[Run]:
    """Return the runs that a ledger file holds; none where there is no such file.

    Raises ProblemError where something else is in it.
    """
    if not file.exists():
        return []
    try:
        return [Run(**row) for row in stored.read(file)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        path = COMMITTED if file.match(COMMITTED) else LOCAL
        message = f"the ledger cannot be read ({error}): restore it, or delete it and run make record"
        raise ProblemError(path, getattr(error, "lineno", 1), message) from error


def merge(older: list[Run], newer: list[Run]) -> list[Run]:
    """Return both, where the newer run of the same proof on the same stack replaces the older one.

    A proof that fails or is skipped early does not know all of its stack. So a failure gives way to a later run that
    knows of no other version, even to one that was left out. What was left out is kept only where nothing else ran.
    """
    ran = {(run.proof, run.case): run for run in newer}

    def gives_way(run: Run) -> bool:
        later = ran.get((run.proof, run.case))
        return later is not None and run.outcome == "failed" and _same(run.stack, later.stack)

    left_out = [run for run in (*older, *newer) if run.outcome == NOT_RUN]
    merged = {run.key: run for run in older if run.outcome != NOT_RUN and not gives_way(run)}
    merged.update({run.key: run for run in newer if run.outcome != NOT_RUN})
    done: dict[tuple[str, str], list[Run]] = {}
    for run in merged.values():
        done.setdefault((run.proof, run.case), []).append(run)
    for run in left_out:
        if not any(_as_much(run, other) for other in done.get((run.proof, run.case), ())):
            merged[run.key] = run
    return sorted(merged.values(), key=lambda run: run.key)


def _same(failed: dict[str, str], later: dict[str, str]) -> bool:
    """Return whether two stacks agree on all versions that both have; a failure that knows of none agrees with all."""
    both = failed.keys() & later.keys()
    return all(failed[name] == later[name] for name in both) and bool(both or not failed)


def _as_much(run: Run, done: Run) -> bool:
    """Return whether a proof that was left out ran after all: on the same versions of what both stacks have."""
    return all(run.stack.get(name, version) == version for name, version in done.stack.items())


def read(root: Path = ROOT) -> Ledger:
    """Return the committed evidence with this machine's own runs over it."""
    committed, local = load(root / COMMITTED), load(root / LOCAL)
    return Ledger(merge(committed, local) if local else committed)


def write(
    file: Path,
    runs: list[Run],
    proofs: dict[str, Proof],
    outdated: bool = True,
    tools: dict[str, str] | None = None,
) -> None:
    """Add runs and tools to a ledger file, and drop runs of proofs that are gone or, without `outdated`, were edited.

    With it, the runs of a proof that was edited stay until it runs again on the same stack: they say what to run, and
    why. Runs that were left out say neither, and are dropped.
    """

    def current(run: Run) -> bool:
        return run.proof in proofs and run.parts == proofs[run.proof].parts

    again = {(run.proof, run.stack_key) for run in runs if current(run)}

    def stays(run: Run) -> bool:
        ran = run.proof in proofs and run.outcome != NOT_RUN
        return current(run) or (outdated and ran and (run.proof, run.stack_key) not in again)

    with whole.alone(file.parent):
        kept = [run for run in merge(load(file), runs) if stays(run)]
        rows = [{name: getattr(run, name) for name in FIELDS} for run in kept]
        stored.write(file, rows, {**stored.tools(file), **(tools or {})})


def outdated(runs: list[Run], proofs: dict[str, Proof], snippets: dict[str, Snippet]) -> dict[str, set[str]]:
    """Return why runs no longer count for existing proofs: what was edited since, and the proofs that it concerns."""
    found: dict[str, set[str]] = {}
    for run in runs:
        now = proofs[run.proof].parts if run.proof in proofs else run.parts
        edited = {name for name in run.parts.keys() | now.keys() if run.parts.get(name) != now.get(name)}
        for path, (digest, *_) in run.snippets.items():
            if path not in snippets or snippets[path].digest != digest:
                edited.add(f"{FOLDER}/{path}")
        for name in edited:
            found.setdefault(name, set()).add(run.proof)
    return found


def collect(files: list[Path], root: Path = ROOT) -> int:
    """Put the runs of other ledgers into this machine's own, and return how many it then holds.

    The newest counts, wherever it ran. Raises ValueError, with what to do, for a file that is no ledger.
    """
    runs = load(root / LOCAL)
    for file in files:
        if not file.exists():
            raise ValueError(f"{file}: there is no such ledger: make test and make matrix write {LOCAL}")
        try:
            runs += [Run(**row) for row in stored.read(file)]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{file}: not a ledger ({error}); make test writes one to {LOCAL}") from error
    write(root / LOCAL, sorted(runs, key=lambda run: run.date), proofs.read(root)[0])
    return len(load(root / LOCAL))


def main() -> None:
    """Put other ledgers into this machine's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a ledger that another run wrote")
    try:
        print(f"{LOCAL}: {collect(parser.parse_args().files)} runs")
    except ValueError as problem:
        sys.exit(f"ledger: {problem}")


if __name__ == "__main__":
    main()
