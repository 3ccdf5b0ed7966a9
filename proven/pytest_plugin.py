"""What joins a test run to the ledger and to the pages.

Each proof's evidence (evidence.py) travels with its report, also from a parallel worker. The controlling process
writes the ledger, points every failure at the pages it makes untrue, and ends with one summary.
"""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proven import ROOT, check, guide
from proven.evidence import digests, ledger, running, summary
from proven.evidence.ledger import Run
from proven.guide import Guide
from proven.problems import Problem, ProblemError, annotation, nearest
from proven.sources import proofs, transcripts
from proven.sources.snippets import FOLDER, Snippet

# Tests that another process runs in this one's name report here; see pytest_runtest_makereport.
EVIDENCE = "proven-evidence"
# Why a proof may be left out under CI=true. Reviewed: each entry says which job leaves it out and why.
ALLOWED_NOT_RUN = (
    "needs PostgreSQL 16",  # the jobs that run PostgreSQL 14 and 15 on purpose
    "needs PgBouncer 1.21",  # the jobs that run 1.18 on purpose
    "needs PgBouncer 1.22",
    "needs psycopg 3",  # the job that runs psycopg2 on purpose
    "needs Django 5.1",  # the one that runs Django 4.2: it has no pool
    "needs PostgreSQL with TLS",  # the embedded server has none; the matrix's other servers do
    "needs PostgreSQL without TLS",  # and those have it
    "needs kubectl",  # the files are compared with Kubernetes' schemas everywhere; kubectl is one more reader
    "needs systemctl",  # a container, whose init is another
    "needs gcloud",  # and with Google's descriptions, and with gcloud's own list of flags
    "needs Odyssey",  # a machine that is no Debian
    "no Prometheus and exporters",  # the job on Ubuntu, which lacks one; the matrix is on Debian
    "needs a Docker engine with Compose",  # a machine without, and the matrix, whose jobs are containers themselves
    "needs openssl",  # a machine with Python, git and make, and nothing else
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("proven", "documentation whose every snippet has run")
    group.addoption("--only", help="run only the proofs of this snippet, page, module or proof")
    group.addoption("--record", action="store_true", help="record transcripts and the committed ledger again")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SESSION] = Session(config)
    config.pluginmanager.register(config.stash[SESSION], "proven-session")


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
    """One test run: in a parallel worker it gathers, in the controlling process it also writes and reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.runs: list[Run] = []
        self.failures: list[tuple[Problem, str]] = []
        self.left_out: list[Run] = []
        self.proof_cpu = 0.0
        self.refused: list[Problem] = []
        self.names: set[str] = set()  # of the proofs that --only asks for

    # ---- choosing ----------------------------------------------------------------------------------------

    def pytest_collection(self, session: pytest.Session) -> None:
        only = session.config.getoption("only")
        self.names = selected(self._guide(), only) if only else set()

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        # A module that has nothing to run need not be imported: that takes longer than most proofs.
        if not config.getoption("only") or not collection_path.is_relative_to(ROOT / proofs.FOLDER):
            return None
        if collection_path.is_dir() or (ROOT / config.getoption("only")) in (collection_path, *collection_path.parents):
            return None
        wanted = {self._guide().proofs[name].path for name in self.names}
        return str(collection_path.relative_to(ROOT)) not in wanted or None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        only = config.getoption("only")
        if only:
            kept = [item for item in items if proof_name(item) in self.names or under(item, only)]
            config.hook.pytest_deselected(items=[item for item in items if item not in kept])
            items[:] = kept

    # ---- running one proof -------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        before = cpu_seconds()
        running.begin()
        try:
            return (yield)
        finally:
            if proof_name(item):
                self.proof_cpu += cpu_seconds() - before

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        result = yield
        never = running.current.never_ran()
        if proof_name(pyfuncitem) and never:
            pytest.fail(
                f"{pyfuncitem.name} loads {', '.join(f'{FOLDER}/{path}' for path in never)} and never runs it: "
                "hand it to a runner of tests/stack, or do not load it",
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
                self._gather(report, value)

    def _gather(self, report: pytest.TestReport, seen: dict[str, Any]) -> None:
        proof = self._guide().proofs.get(seen["proof"])
        if proof is None:
            return
        if report.failed:
            self.failures += dict.fromkeys(made_untrue(self._guide(), seen, report, proof))
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        (self.left_out if report.skipped else self.runs).append(
            Run(
                seen["proof"],
                seen["case"],
                proof.digest,
                ledger.NOT_RUN if report.skipped else report.outcome,
                datetime.now(UTC).date().isoformat(),
                round(report.duration, 3),
                seen["stack"],
                {path: [digest, *words] for path, (digest, *words) in seen["snippets"].items() if words},
                reason.removeprefix("Skipped: ") if report.skipped else "",
            )
        )

    def _placed(self, left_out: Run) -> Run:
        """Return what was left out with the stack that it would have met: of whatever this run met one version only."""
        met = summary.versions(self.runs)
        stack = {name: found[0] for name, found in met.items() if len(found) == 1}
        return replace(left_out, stack=stack | left_out.stack)

    @property
    def not_run(self) -> list[str]:
        """What was left out, each with the reason."""
        return [f"{run.proof}: {run.reason}" for run in self.left_out]

    def _whole(self) -> bool:
        """Return whether this run was to run every proof: only then is a missing one a mistake."""
        option = self.config.option
        narrowed = option.only or option.keyword or option.markexpr or getattr(option, "lf", False)
        paths = [(self.config.invocation_params.dir / arg).resolve() for arg in self.config.args]
        return not narrowed and any(path in (ROOT, ROOT / "tests", ROOT / proofs.FOLDER) for path in paths)

    def _guide(self) -> Guide:
        if not hasattr(self, "_read"):
            self._read = guide.read()
        return self._read

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.proof_cpu += getattr(node, "workeroutput", {}).get("proof_cpu", 0.0)

    # ---- writing -----------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.worker:
            self.config.workeroutput["proof_cpu"] = self.proof_cpu  # type: ignore[attr-defined]
            return
        if not self.runs + self.left_out:
            return
        known = self._guide().proofs
        ran = [*self.runs, *(self._placed(run) for run in self.left_out)]
        ledger.write(ROOT / ledger.LOCAL, ran, known)
        if self.config.getoption("record") and not self.failures:
            ledger.write(ROOT / ledger.COMMITTED, ran, known)
            digests.remember(self.runs)
        if os.environ.get("CI") == "true":
            left_out = [line for line in self.not_run if not any(reason in line for reason in ALLOWED_NOT_RUN)]
            self.refused += [Problem(proofs.FOLDER, 1, f"not run under CI=true: {line}") for line in left_out]
        if self._whole() and not self.failures and exitstatus == pytest.ExitCode.OK:
            self.refused += check.unproven(guide.read())
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # ---- telling -----------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter.write_line
        if self.failures or self.refused:
            terminalreporter.section("pages that are not true any more")
        for problem, proof in self.failures:
            write(f"{problem}  ({proof})", red=True)
        for problem in self.refused:
            write(str(problem), red=True)
        if os.environ.get("GITHUB_ACTIONS") == "true":
            for problem in [*(problem for problem, _ in self.failures), *self.refused]:
                write(annotation(problem))
        if self.runs:
            terminalreporter.section("proven")
            for line in self._summary():
                write(line)

    def _summary(self) -> Iterator[str]:
        passed = sum(run.outcome == "passed" for run in self.runs)
        each = self.proof_cpu / len(self.runs) * 1000
        yield f"proofs    {passed} of {len(self.runs)} passed, {each:.0f} ms of CPU each"
        now = guide.read()
        seen = [path for path, snippet in now.snippets.items() if snippet.text.strip()]
        shown = [path for path in seen if now.where_shown(path)]
        done = [path for path in seen if now.ledger.of_snippet(path)]
        yield f"snippets  {len(done)} proven, {len(shown)} shown, {len(seen)} in all"
        met = Counter(f"{name} {version}" for run in self.runs for name, version in run.stack.items())
        yield f"stack     {', '.join(sorted(met))}"
        if self.not_run:
            yield f"not run   {len(self.not_run)}:"
            yield from (f"          {line}" for line in sorted(self.not_run))
        else:
            yield "not run   nothing was left out"


def proof_name(item: pytest.Item) -> str:
    """Return the test function's name where the item is a proof, else nothing."""
    inside = item.path.is_relative_to(ROOT / proofs.FOLDER)
    return getattr(item, "originalname", item.name) if inside else ""


def under(item: pytest.Item, only: str) -> bool:
    """Return whether the item is in the test file or folder that was asked for."""
    path = ROOT / only
    return path.exists() and item.path.is_relative_to(path)


def selected(of: Guide, only: str) -> set[str]:
    """Return the proofs that concern a snippet, a page, a folder of either, or a proof by name.

    Raises pytest.UsageError where nothing does.
    """
    only = only.removeprefix("./")
    if only in of.proofs:
        return {only}
    if (of.root / only).is_dir() or (of.root / only).is_file():
        paths = [p for p, snippet in of.snippets.items() if Path(snippet.place).is_relative_to(only)]
        names = set().union(*(of.proofs_of_snippet(path) for path in paths))
        for page in of.pages:
            if Path(page.path).is_relative_to(only):
                names |= {name for name, _ in page.claims()}
                shown = [path for path in of.snippets for called, _ in page.shown() if guide.covers(called, path)]
                names = names.union(*(of.proofs_of_snippet(path) for path in shown))
        if names or Path(only).is_relative_to("tests"):
            return names
        raise pytest.UsageError(f"no proof concerns {only}: add one under {proofs.FOLDER}/")
    known = [*of.proofs, *(snippet.place for snippet in of.snippets.values()), *(page.path for page in of.pages)]
    raise pytest.UsageError(f"no snippet, page or proof is called {only!r}{nearest(only, known)}")


def made_untrue(
    of: Guide, seen: dict[str, Any], report: pytest.TestReport, proof: proofs.Proof
) -> Iterator[tuple[Problem, str]]:
    """Return a failed proof as problems at the pages that show its snippets or claim what it proves."""
    where = f"{proof.path}:{proof.line} {report.nodeid.rpartition('::')[2]}"
    if seen["location"]:
        path, line, message = seen["location"]
        what = f"{path}:{line}: {message.splitlines()[0]}"
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        what = crash.message.splitlines()[0] if crash else str(report.longrepr).strip().splitlines()[-1]
    told: dict[tuple[str, int], list[str]] = {}  # what it makes untrue, by the place: claims first
    for page, call in of.where_claimed(proof.name):
        told.setdefault((page.path, call.line), []).append("this claim")
    for path in seen["snippets"]:
        for page, call in of.where_shown(path):
            told.setdefault((page.path, call.line), []).append(f"{FOLDER}/{path}")
    for (page_path, call_line), (first, *others) in told.items():
        more = f" and {len(others)} more" if others else ""
        yield Problem(page_path, call_line, f"{first}{more}: {what}"), where
    if not told:
        yield Problem(proof.path, proof.line, what), where


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


SESSION = pytest.StashKey[Session]()
