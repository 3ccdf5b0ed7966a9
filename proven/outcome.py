"""What a run of proofs found: the ledger that it writes, the pages that are no longer true, and its summary."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proven import ROOT, check, impact
from proven.evidence import digests, ledger, stored, summary
from proven.evidence.ledger import Run
from proven.guide import Guide, renewed
from proven.macros import calls
from proven.problems import Problem
from proven.sources import proofs

# How many of the modules that took the most CPU are named.
DEAREST = 5


class Outcome:
    """What the reports of all proofs of a run say, gathered in the process that controls its workers."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.left_out: list[Run] = []
        self.failures: list[tuple[Problem, str]] = []  # each with the proof that failed
        self.refused: list[Problem] = []
        self.tools: dict[str, str] = {}  # other programs that this run used, each with its version

    def add(self, guide: Guide, report: pytest.TestReport, seen: dict[str, Any]) -> None:
        """Add a proof's report, with what it has seen: its case, its snippets, its stack, and where it failed."""
        proof = guide.proofs.get(seen["proof"])
        if proof is None:
            return
        if report.failed:
            where = f"{proof.path}:{proof.line} {report.nodeid.rpartition('::')[2]}"
            untrue = impact.made_untrue(guide, proof, seen["snippets"], _why(report, seen["location"]))
            self.failures += [(problem, where) for problem in untrue]
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        (self.left_out if report.skipped else self.runs).append(
            Run(
                seen["proof"],
                seen["case"],
                proof.parts,
                ledger.NOT_RUN if report.skipped else report.outcome,
                datetime.now(UTC).date().isoformat(),
                round(report.duration, 3),
                seen["stack"],
                {path: [digest, *words] for path, (digest, *words) in seen["snippets"].items() if words},
                reason.removeprefix("Skipped: ") if report.skipped else "",
            )
        )

    def write(self, guide: Guide, record: bool) -> None:
        """Write the ledger of this machine; with `record` the committed one too, unless something failed."""
        ran = [*self.runs, *(self._placed(run) for run in self.left_out)]
        ledger.write(ROOT / ledger.LOCAL, ran, guide.proofs, tools=self.tools)
        if record and not self.failures:
            tools = stored.tools(ROOT / ledger.LOCAL)
            ledger.write(ROOT / ledger.COMMITTED, ran, guide.proofs, tools=tools)
            digests.remember(self.runs)

    def refuse_left_out(self, but_for: Iterable[str]) -> None:
        """Refuse each proof that was left out, except for these reasons."""
        left_out = [line for line in self.not_run if not any(reason in line for reason in but_for)]
        self.refused += [Problem(proofs.FOLDER, 1, f"not run under CI=true: {line}") for line in left_out]

    def refuse_unproven(self, guide: Guide) -> None:
        """Refuse what has no passing proof, after a run of all proofs."""
        self.refused += check.unproven(renewed(guide))

    @property
    def not_run(self) -> list[str]:
        """What was left out, each with the reason."""
        return [f"{run.proof}: {run.reason}" for run in self.left_out]

    def summary(self, guide: Guide, cpu: dict[str, float]) -> Iterator[str]:
        """Return the lines that a run ends with. `cpu` is the CPU time of each module's proofs, in seconds."""
        passed = sum(run.outcome == "passed" for run in self.runs)
        each = sum(cpu.values()) / len(self.runs) * 1000
        yield f"proofs    {passed} of {len(self.runs)} passed, {each:.0f} ms of CPU each"
        dearest = sorted(cpu, key=lambda module: -cpu[module])[:DEAREST]
        yield f"dearest   {', '.join(f'{module} {cpu[module]:.1f} s' for module in dearest)}"
        now = renewed(guide)
        seen = [path for path, snippet in now.snippets.items() if snippet.text.strip()]
        shown = [path for path in seen if calls.where_shown(now, path)]
        done = [path for path in seen if now.ledger.of_snippet(path)]
        yield f"snippets  {len(done)} proven, {len(shown)} shown, {len(seen)} in all"
        met = Counter(f"{name} {version}" for run in self.runs for name, version in run.stack.items())
        met.update(f"{name} {version}" for name, version in self.tools.items())
        yield f"stack     {', '.join(sorted(met))}"
        if self.not_run:
            yield f"not run   {len(self.not_run)}:"
            yield from (f"          {line}" for line in sorted(self.not_run))
        else:
            yield "not run   nothing for want of a program"

    def _placed(self, left_out: Run) -> Run:
        """Return what was left out with the stack that it would have met: what this run met in only one version."""
        met = summary.versions(self.runs)
        stack = {name: found[0] for name, found in met.items() if len(found) == 1}
        return replace(left_out, stack=stack | left_out.stack)


def _why(report: pytest.TestReport, location: list[Any] | None) -> str:
    """Return in one line why a proof failed: the snippet's line that is to blame, else what was raised."""
    if location:
        path, line, message = location
        return f"{path}:{line}: {message.splitlines()[0]}"
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message.splitlines()[0] if crash else str(report.longrepr).strip().splitlines()[-1])
