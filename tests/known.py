"""Which proofs have passed here, and need not run again while nothing has changed that they can see.

`pytest --unless-known`, as `make test` calls it, leaves those out and says how many. What a proof can see is what it
rests on in tests/ (proven/sources/reach.py), every snippet, what starts the servers, the engine, the programs, and the
variables that choose them; for a proof whose module reads the guide's own files, also those. None is known in a fresh
clone, in CI, on somebody's own server, or a day after it passed.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from proven import ROOT, whole
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
# A module that names one of these reads files of the guide by itself.
READS = re.compile(r"^from proven import .*\b(?:ROOT|guide)\b", re.MULTILINE)
GUIDE = ("docs", "mkdocs.yml", "overrides", "tests")


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
        self.saw: dict[str, str] = {}  # by proof, a digest of all that it can see, as this run began
        self.passed: dict[str, str] = {}  # the name of each proof that passes, by node id
        self.failed: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Recall what is known, before the workers start."""
        if self.config.getoption("unless_known") and not self.worker and may_be_known(os.environ):
            self.saw = all_that_is_seen(self.config.stash[SESSION].guide().proofs)
            known = recall(FILE, datetime.now(UTC)).items()
            self.left_out = frozenset(node for node, (name, saw, _) in known if self.saw.get(name) == saw)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a parallel worker what to leave out: all have to agree."""
        node.workerinput["known"] = sorted(self.left_out)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what is known."""
        if left_out := [item for item in items if item.nodeid in self.left_out]:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item.nodeid not in self.left_out]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which proofs passed, and what failed."""
        seen = dict(report.user_properties).get(EVIDENCE)
        if report.failed:
            self.failed.add(report.nodeid)
        elif isinstance(seen, dict) and report.when == "call" and report.passed:
            self.passed[report.nodeid] = seen["proof"]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keep what passed, where the run began by looking at what proofs can see; forget what failed in any case."""
        if not self.worker:
            new = {node: [name, self.saw[name]] for node, name in self.passed.items() if name in self.saw}
            if new or self.failed:
                remember(FILE, new, self.failed, datetime.now(UTC))
            if self.left_out and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
                session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many were left out, and how to run them."""
        if self.left_out:
            terminalreporter.section("known")
            terminalreporter.write_line(
                f"proofs    {len(self.left_out)} not run again: they passed here within a day, and nothing that they "
                "can see has changed; make test ALL=1 runs all"
            )


def all_that_is_seen(proofs: Mapping[str, Proof]) -> dict[str, str]:
    """Return by name, for each proof, a digest of all that it can see."""
    variables = sorted(item for item in os.environ.items() if item[0].startswith("PROVEN_"))
    each = digest(*contents(SEEN), repr(variables), *programs.versions())
    guide = digest(*contents(GUIDE))
    return {
        name: digest(each, json.dumps(sorted(proof.parts.items())), guide if reads(proof) else "")
        for name, proof in proofs.items()
    }


def may_be_known(environment: Mapping[str, str]) -> bool:
    """Return whether to count on what passed before: CI runs all, and a server that is not ours may have changed."""
    return environment.get("CI") != "true" and not environment.get("DATABASE_URL")


def recall(file: Path, now: datetime) -> dict[str, list[str]]:
    """Return what passed within a day: by node id the proof's name, what it saw, and when that was."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {node: entry for node, entry in known.items() if datetime.fromisoformat(entry[2]) > now - LASTS}
    except (OSError, ValueError, TypeError, AttributeError, LookupError):
        return {}  # there is no such file, or something else is in it: all proofs run, and it is written anew


def remember(file: Path, passed: Mapping[str, list[str]], failed: Iterable[str], now: datetime) -> None:
    """Add what passed, by node id the proof's name and what it saw, and drop what failed."""
    with whole.alone(file.parent):
        known = recall(file, now) | {node: [*entry, now.isoformat()] for node, entry in passed.items()}
        kept = {node: known[node] for node in known.keys() - set(failed)}
        whole.write(file, json.dumps(kept, indent=0, sort_keys=True))


def reads(proof: Proof) -> bool:
    """Return whether anything that a proof rests on is in a module that reads files of the guide."""
    return any(_reads(path) for path in {part.partition("::")[0] for part in proof.parts})


@cache
def _reads(path: str) -> bool:
    return bool(READS.search((ROOT / path).read_text(encoding="utf-8")))


def contents(paths: Iterable[str], root: Path = ROOT) -> Iterator[str]:
    """Return the names of all files in some folders, or of some files, each followed by a digest of its bytes."""
    for path in paths:
        top = root / path
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(root).as_posix()
                yield hashlib.sha256(file.read_bytes()).hexdigest()


def digest(*texts: str) -> str:
    """Return a digest of some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
