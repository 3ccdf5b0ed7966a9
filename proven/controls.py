"""`pytest --controls`: run each proof with its control in force; it must fail, in an assertion of its own.

All fixtures are set up anew for it, session-scoped ones too, because they may hold what the control changes.
"""

import re
import signal
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from traceback import walk_tb
from types import FrameType

import pytest
from _pytest.runner import runtestprotocol

from proven import ROOT
from proven.evidence import running, seen
from proven.guide import Guide, read
from proven.in_force import in_force
from proven.problems import Problem, ProblemError
from proven.sources import proofs, snippets
from proven.sources.controls import Control, Each
from proven.sources.proofs import Proof

HANGS: int = 100  # seconds after which a proof under a control is taken to hang
SEEN = "proven-control"
RAISED = pytest.StashKey[tuple[str, BaseException]]()
CASES = pytest.StashKey[list[pytest.Function]]()
# An assertion that quotes one of these fails because the control broke a program, not for what the proof claims.
BROKEN = re.compile(r"\b(?:NameError|SyntaxError|IndentationError|ImportError|ModuleNotFoundError)\b")


class Watched:
    """Records what holds_under() has to know about a running test."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None]:
        """End a proof that hangs, as a deadline does; such a failure does not count."""

        def hangs(_: int, __: FrameType | None) -> None:
            raise TimeoutError(f"the proof hangs: not within {HANGS} s")

        before = signal.signal(signal.SIGALRM, hangs)
        signal.alarm(HANGS)
        try:
            return (yield)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Note what a test raised first, and in which phase."""
        if call.excinfo:
            item.stash.setdefault(RAISED, (call.when, call.excinfo.value))


class Controls(Watched):
    """A run of proofs under their controls."""

    def __init__(self, config: pytest.Config, guide: Callable[[], Guide]) -> None:
        self.all = config.getoption("controls") == "all"
        self.worker = hasattr(config, "workerinput")
        self.guide = guide
        self.seen: seen.Seen = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the proofs whose controls are due, each represented by its first case."""
        guide, kept = self.guide(), {}
        for item in items:
            proof = guide.proofs.get(getattr(item, "originalname", ""))
            if isinstance(item, pytest.Function) and proof and item.path == ROOT / proof.path and self._due(proof):
                kept.setdefault(proof.name, item).stash.setdefault(CASES, []).append(item)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept.values()])
        items[:] = kept.values()

    def _due(self, proof: Proof) -> list[Control]:
        guide = self.guide()
        return list(proof.controls) if self.all else seen.unseen(proof, guide.seen, guide.snippets)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> bool:
        """Run a proof under each control that is due, and report those under which it does not fail."""
        guide, ended, wrong = self.guide(), {}, []
        proof = guide.proofs[item.originalname]
        report = pytest.TestReport(item.nodeid, item.location, {}, "passed", None, "call")
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for control in self._due(proof):
            why = holds_under_all(item.stash[CASES], control, proof.path)
            if why.startswith("Skipped: "):
                report.outcome, report.longrepr = "skipped", (proof.path, proof.line, why)
                continue
            if why:
                message = f"{proof.name} does not fail when {control}: {why}"
                wrong.append(str(Problem(proof.path, control.line, message)))
            today = datetime.now(UTC).date().isoformat()
            ended[seen.digest(proof, control, guide.snippets)] = "" if why else today
        if wrong:
            report.outcome, report.longrepr = "failed", "\n".join(wrong)
        report.user_properties.append((SEEN, {proof.name: ended}))
        item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what was seen, in the process that controls the workers."""
        for key, value in report.user_properties:
            if key == SEEN and isinstance(value, dict) and not self.worker:
                self.seen |= value

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Store what was seen of proofs that were not edited since. A run in which no control is due succeeds."""
        if not self.worker:
            now = read()
            seen.remember(self.seen, now.proofs.values(), now.snippets)
        if not self.all and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK


def holds_under_all(cases: list[pytest.Function], control: Control, path: str) -> str:
    """Return why a proof does not fail as it must under a control; of one that stands for many edits, under which."""
    family = next((change for change in control.changes if isinstance(change, Each)), None)
    if family is None:
        return holds_under(cases, control, path)
    others = tuple(change for change in control.changes if change is not family)
    text = (ROOT / snippets.FOLDER / family.snippet).read_text(encoding="utf-8")
    wrong = []
    for key, edit in family.edits(text):
        why = holds_under(cases, replace(control, changes=(edit, *others)), path)
        if why.startswith("Skipped: "):
            return why
        wrong += [f"with another {key} {why}"] if why else []
    return "; ".join(wrong)


def holds_under(cases: list[pytest.Function], control: Control, path: str) -> str:
    """Return why none of a proof's cases fails as it must under a control; nothing where one does."""
    why = ""
    for case in cases:
        try:
            with in_force(control, case.function, path):
                running.begin()
                if RAISED in case.stash:
                    del case.stash[RAISED]
                runtestprotocol(case, log=False, nextitem=None)
        except ProblemError as error:
            return error.problem.message
        when, error = case.stash.get(RAISED, ("", None))
        if not (why := improper(when, error, control.fails_with)):
            return ""
    return why


def improper(when: str, error: BaseException | None, fails_with: str) -> str:
    """Return why a failure does not count; nothing for an assertion's, or for the error that the control names."""
    if error is None:
        return "it passes"
    said = f"{type(error).__name__}: {error}".strip()
    short = " ".join(said.split())[:200]
    if isinstance(error, pytest.skip.Exception):
        return f"Skipped: {error}"
    if when != "call":
        return f"it fails in its {when}, with {short}"
    if fails_with and fails_with in said:
        return ""
    if BROKEN.search(said):
        return f"it fails as something is broken, with {short}"
    return "" if asserts(error) else f"it fails with {short}, which the control does not name"


def asserts(error: BaseException) -> bool:
    """Return whether an error is from an assertion of the tests, or pytest.raises, or a comparison with a snippet."""
    if isinstance(error, BaseExceptionGroup):  # Hypothesis raises one for several errors
        return all(map(asserts, error.exceptions))
    # pytest.fail and pytest.raises raise in pytest itself.
    files = [Path(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__)]
    file = next((file for file in reversed(files) if "_pytest" not in file.parts), ROOT)
    if isinstance(error, ProblemError):  # else a server or an interpreter refused something
        says_so = any(file.is_relative_to(ROOT / folder) for folder in (proofs.FOLDER, "tests/lint"))
        return error.untrue or says_so or isinstance(error.__context__, pytest.fail.Exception)  # what a script printed
    return file.is_relative_to(ROOT / "tests") and isinstance(error, AssertionError | pytest.fail.Exception)
