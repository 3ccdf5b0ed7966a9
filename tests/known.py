"""Which proofs have passed here, and need not run again while nothing has changed that they can see.

`pytest --unless-known`, as `make test` calls it, leaves those out and says how many. What a proof can see is what it
rests on in tests/ (proven/sources/reach.py), every snippet, what starts the servers, the engine, the programs and
packages, and the variables that choose them; for a proof whose module reads files by itself, the whole tree. None is
known in a fresh clone, in CI, on somebody's own server, or a day after it passed.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from proven import ROOT, guide, whole
from proven.pytest_plugin import EVIDENCE, SESSION
from proven.sources.proofs import Proof
from tests import programs

FILE = ROOT / "build" / "known" / "proofs.json"
LASTS = timedelta(days=1)
# What every proof can see, besides what it rests on.
SEEN = (
    *("snippets", "proven", "setup", "atlas", "measure", "tests/stack", "tests/programs.py", "tests/known.py"),
    *("conftest.py", "pyproject.toml", "requirements.lock"),
)
# A module that names one of these reads files by itself.
READS = re.compile(r"^from proven import .*\b(?:ROOT|guide)\b|\b__file__\b", re.MULTILINE)
BUILT = {".git", ".venv", "build", "site", ".cache", ".pytest_cache", ".ruff_cache", ".rumdl_cache"}
VARIABLES = ("PROVEN_", "DOCKER_", "LD_")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option that `make test` gives."""
    said = "leave out proofs that passed here within a day, where nothing has changed that they can see"
    parser.getgroup("proven").addoption("--unless-known", action="store_true", help=said)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note what passes; under a control nothing counts."""
    if not config.getoption("controls"):
        config.pluginmanager.register(Known(config), "known-proofs")


class Known:
    """What is known in one test run: its controlling process recalls and keeps it, and tells the workers."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.left_out: frozenset[str] = frozenset(getattr(config, "workerinput", {}).get("known", ()))
        self.here = 0  # how many of them this run would else have run
        self.saw: dict[str, str] = {}  # by proof, a digest of all that it can see, as this run began
        self.passed: dict[str, str] = {}  # the name of each proof that passes, by node id
        self.failed: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Recall what is known, before the workers start."""
        option = self.config.option
        if option.unless_known and not option.record and not self.worker and may_be_known(os.environ):
            found = self.config.stash[SESSION].guide()
            self.saw = all_that_is_seen(found.proofs)
            known = recall(FILE, datetime.now(UTC)).items()
            same = {node: name for node, (name, saw, _) in known if self.saw.get(name) == saw}
            # The ledger may have lost it meanwhile, and the page with it.
            self.left_out = frozenset(node for node, name in same.items() if found.ledger.of_proof(name))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a parallel worker what to leave out: all have to agree."""
        node.workerinput["known"] = sorted(self.left_out)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is known."""
        left_out = [item for item in items if item.nodeid in self.left_out]
        self.here = len(left_out)
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item.nodeid not in self.left_out]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Hear from a parallel worker how many it left out: all do the same."""
        self.here = getattr(node, "workeroutput", {}).get("known", self.here)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which proofs passed, and what failed."""
        seen = dict(report.user_properties).get(EVIDENCE)
        if report.failed:
            self.failed.add(report.nodeid)
        elif isinstance(seen, dict) and report.when == "call" and report.passed:
            self.passed[report.nodeid] = seen["proof"]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keep what passed, unless what it can see was edited meanwhile; forget what failed in any case."""
        if self.worker:
            self.config.workeroutput["known"] = self.here  # type: ignore[attr-defined]
            return
        passed = {node: name for node, name in self.passed.items() if name in self.saw}
        now = all_that_is_seen(guide.read().proofs) if passed else {}
        new = {node: [name, now[name]] for node, name in passed.items() if now.get(name) == self.saw[name]}
        if new or self.failed:
            remember(FILE, new, self.failed, datetime.now(UTC))
        if self.here and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many were left out, and how to run them."""
        if self.here:
            terminalreporter.section("known")
            terminalreporter.write_line(
                f"proofs    {self.here} not run again: they passed here within a day, and nothing that they "
                "can see has changed; make test ALL=1 runs all"
            )


def all_that_is_seen(proofs: Mapping[str, Proof]) -> dict[str, str]:
    """Return by name, for each proof, a digest of all that it can see."""
    variables = sorted(item for item in os.environ.items() if item[0].startswith(VARIABLES))
    each = digest(*contents(SEEN), repr(variables), *programs.versions())
    tree = digest(*contents(sorted(file.name for file in ROOT.iterdir() if file.name not in BUILT)))
    readers = {path for path in {path for proof in proofs.values() for path in modules(proof)} if reads(path)}
    return {
        name: digest(each, json.dumps(sorted(proof.parts.items())), "" if readers.isdisjoint(modules(proof)) else tree)
        for name, proof in proofs.items()
    }


def may_be_known(environment: Mapping[str, str]) -> bool:
    """Return whether to count on what passed before: CI runs all, and a server that is not ours may have changed."""
    return environment.get("CI") != "true" and not environment.get("DATABASE_URL")


def recall(file: Path, now: datetime) -> dict[str, list[str]]:
    """Return what passed within a day: by node id the proof's name, what it saw, and when that was."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {
            node: [name, saw, at]
            for node, (name, saw, at) in known.items()
            if now - LASTS < datetime.fromisoformat(at) <= now
        }
    except (OSError, ValueError, TypeError, AttributeError, LookupError):
        return {}  # there is no such file, or something else is in it: all proofs run, and it is written anew


def remember(file: Path, passed: Mapping[str, list[str]], failed: Iterable[str], now: datetime) -> None:
    """Add what passed, by node id the proof's name and what it saw, and drop what failed."""
    with whole.alone(file.parent):
        known = recall(file, now) | {node: [*entry, now.isoformat()] for node, entry in passed.items()}
        kept = {node: known[node] for node in known.keys() - set(failed)}
        whole.write(file, json.dumps(kept, indent=0, sort_keys=True))


def modules(proof: Proof) -> set[str]:
    """Return the modules that a proof rests on."""
    return {part.partition("::")[0] for part in proof.parts}


def reads(path: str) -> bool:
    """Return whether a module reads files by itself."""
    return bool(READS.search((ROOT / path).read_text(encoding="utf-8")))


def contents(paths: Iterable[str], root: Path = ROOT) -> Iterator[str]:
    """Return for each file in some folders, or for some files, its name, whether it may be run, and its digest."""
    for path in paths:
        top = root / path
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts:
                yield f"{file.relative_to(root).as_posix()} {os.access(file, os.X_OK)}"
                yield hashlib.sha256(file.read_bytes()).hexdigest()


def digest(*texts: str) -> str:
    """Return a digest of some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
