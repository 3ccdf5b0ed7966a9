"""Connects a test run with the ledger and the pages.

Each proof's evidence (evidence/running.py) travels with its report, also from a parallel worker. The controlling
process gathers it (outcome.py), writes the ledger, names the places on pages that a failure makes untrue, and ends
with one summary.
"""

import os
import platform
from collections import defaultdict
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from proven import ROOT, impact
from proven.controls import Controls
from proven.evidence import cpu, running
from proven.guide import Guide, read
from proven.outcome import Outcome
from proven.problems import ProblemError, annotation
from proven.sources import proofs, transcripts
from proven.sources.snippets import FOLDER, Snippet

# The name under which a proof's evidence travels in its report; see pytest_runtest_makereport.
EVIDENCE = "proven-evidence"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proven", "documentation whose every snippet has run")
    only = "run only the proofs of this snippet, page, module or proof, or of several, with commas between"
    group.addoption("--only", type=lambda text: text.split(","), default=[], help=only)
    group.addoption("--record", action="store_true", help="record transcripts and the committed ledger again")
    group.addoption("--controls", choices=("edited", "all"), help="demand that proofs fail under their controls")
    parser.addini("may_be_left_out", "why a proof may be left out under CI=true: parts of reasons", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SESSION] = Session(config)
    config.pluginmanager.register(config.stash[SESSION], "proven-session")
    if config.getoption("controls"):
        config.option.tbstyle = "native"  # nobody reads how a control fails, and quoting source costs a parse
        config.pluginmanager.register(Controls(config, config.stash[SESSION].guide), "proven-controls")


@pytest.fixture
def load() -> Callable[[str], Snippet]:
    """Load a snippet that this proof then runs: load("postgres/usage.sql")."""
    return running.load


@pytest.fixture
def transcript(request: pytest.FixtureRequest) -> Any:
    """Compare what a snippet printed with its transcript: transcript(snippet, output, volatile=[(r"\\d+", "N")])."""
    record = request.config.getoption("record")

    def settle(
        snippet: Snippet, output: str, volatile: list[transcripts.Normaliser] | None = None, case: str | None = None
    ) -> None:
        variants = running.current.variants
        transcripts.settle(snippet, output, volatile or [], record=record, case=case, variants=variants)

    return settle


class Session:
    """One test run: in a parallel worker it only gathers; in the controlling process it also writes and reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.outcome = Outcome()
        self.cpu: dict[str, float] = defaultdict(float)  # seconds that the proofs of each module took
        self.began = 0.0  # CPU time of this process when the module began
        self.names: set[str] = set()  # of the proofs that --only asks for

    # ---- choosing ----------------------------------------------------------------------------------------

    def pytest_collection(self, session: pytest.Session) -> None:
        only = session.config.getoption("only")
        try:
            self.names = {name for each in only for name in impact.proofs_of(self.guide(), each)}
        except LookupError as error:
            raise pytest.UsageError(error.args[0]) from None

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        # A module that has nothing to run need not be imported: that takes longer than most proofs.
        if not config.getoption("only") or not collection_path.is_relative_to(ROOT / proofs.FOLDER):
            return None
        if collection_path.is_dir() or under(collection_path, config.getoption("only")):
            return None
        wanted = {self.guide().proofs[name].path for name in self.names}
        return str(collection_path.relative_to(ROOT)) not in wanted or None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        only = config.getoption("only")
        if only:
            kept = [item for item in items if proof_name(item) in self.names or under(item.path, only)]
            config.hook.pytest_deselected(items=[item for item in items if item not in kept])
            items[:] = kept

    # ---- running one proof -------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        running.begin()
        self.began = self.began or cpu.seconds()
        try:
            return (yield)
        finally:
            if nextitem is None or nextitem.path != item.path:
                now = cpu.seconds()
                if proof_name(item):
                    self.cpu[item.path.stem] += now - self.began
                self.began = now

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        result = yield
        if not running.current.stack:  # it computes or compares, and meets no program whose version would tell
            running.on(Python=platform.python_version())
        never = running.current.never_ran()
        if proof_name(pyfuncitem) and never:
            pytest.fail(
                f"{pyfuncitem.name} loads {', '.join(f'{FOLDER}/{path}' for path in never)} and never runs it: "
                "pass it to a runner of tests/stack, or do not load it",
                pytrace=False,
            )
        if proof_name(pyfuncitem) and (changed := running.current.changed()):
            pytest.fail(
                f"{pyfuncitem.name} ran another text than {', '.join(f'{FOLDER}/{path}' for path in changed)} holds: "
                "hand a runner what load() gave, and change the file",
                pytrace=False,
            )
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        name = proof_name(item)
        if name and (report.when == "call" or report.failed or report.skipped):
            seen = running.current
            location = None
            if call.excinfo is not None and isinstance(call.excinfo.value, ProblemError):
                problem = call.excinfo.value.problem
                location = [problem.path, problem.line, problem.message]
                report.longrepr = str(problem)
            report.user_properties.append(
                (
                    EVIDENCE,
                    {
                        "proof": name,
                        "case": item.name.removeprefix(name).strip("[]"),
                        "snippets": seen.entries(),
                        "stack": dict(seen.stack),
                        "location": location,
                    },
                )
            )
        return report

    # ---- gathering ---------------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.worker:
            return
        for key, value in report.user_properties:
            if key == EVIDENCE and isinstance(value, dict):
                self.outcome.add(self.guide(), report, value)

    def _whole(self) -> bool:
        """Return whether this run was meant to run every proof: only then is a missing one a mistake."""
        option = self.config.option
        narrowed = option.only or option.keyword or option.markexpr or getattr(option, "lf", False)
        paths = [(self.config.invocation_params.dir / arg).resolve() for arg in self.config.args]
        return not narrowed and any(path in (ROOT, ROOT / "tests", ROOT / proofs.FOLDER) for path in paths)

    def guide(self) -> Guide:
        """Return the guide as it was when this run first asked."""
        if not hasattr(self, "_read"):
            self._read = read()
        return self._read

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for module, seconds in getattr(node, "workeroutput", {}).get("cpu", {}).items():
            self.cpu[module] += seconds

    # ---- writing -----------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.worker:
            self.config.workeroutput["cpu"] = dict(self.cpu)  # type: ignore[attr-defined]
            return
        outcome = self.outcome
        if not outcome.runs + outcome.left_out:
            return
        outcome.write(self.guide(), self.config.getoption("record"))
        if os.environ.get("CI") == "true":
            outcome.refuse_left_out(self.config.getini("may_be_left_out"))
        if self._whole() and not outcome.failures and exitstatus == pytest.ExitCode.OK:
            outcome.refuse_unproven(self.guide())
        if outcome.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # ---- reporting ---------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write, outcome = terminalreporter.write_line, self.outcome
        if outcome.failures or outcome.refused:
            terminalreporter.section("pages that are not true any more")
        for problem, proof in outcome.failures:
            write(f"{problem}  ({proof})", red=True)
        for problem in outcome.refused:
            write(str(problem), red=True)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            for problem in [*(problem for problem, _ in outcome.failures), *outcome.refused]:
                write(annotation(problem))
        if outcome.runs:
            terminalreporter.section("proven")
            for line in outcome.summary(self.guide(), self.cpu):
                write(line)


def proof_name(item: pytest.Item) -> str:
    """Return the test function's name where the item is a proof, else nothing."""
    inside = item.path.is_relative_to(ROOT / proofs.FOLDER)
    return getattr(item, "originalname", item.name) if inside else ""


def under(file: Path, only: list[str]) -> bool:
    """Return whether a file is, or lies below, one of those that were asked for."""
    return any("/" in each and file.is_relative_to(ROOT / each) for each in only)


SESSION = pytest.StashKey[Session]()
