"""The evidence of several machines, put together."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from proven import ledger, proofs
from proven.ledger import Run
from tests.guard.project import make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The project of one proof."""
    return make(tmp_path)


def ledger_of(root: Path, name: str, version: str, outcome: str = "passed", date: str = "2026-01-02") -> Path:
    """Write a ledger of one run of the one proof there is, and return its file."""
    (proof,) = proofs.listing(root)
    run = Run(proof.name, "", proof.digest, outcome, date, 0.0, {"Oracle": version}, {})
    file = root / name
    file.write_text(json.dumps([asdict(run)]))
    return file


def outcomes(root: Path) -> dict[str, str]:
    """Return what the machine's own ledger says, by the version that the proof ran on."""
    return {run.stack["Oracle"]: run.outcome for run in ledger.load(root / ledger.LOCAL)}


def test_each_stack_keeps_its_run(root: Path) -> None:
    """What ran on different stacks on different machines is there side by side."""
    assert ledger.collect([ledger_of(root, "a.json", "1"), ledger_of(root, "b.json", "2")], root) == 2
    assert outcomes(root) == {"1": "passed", "2": "passed"}


def test_the_newest_run_counts_wherever_it_is(root: Path) -> None:
    """Neither the order of the files nor what this machine ran before decides."""
    newer = ledger_of(root, "newer.json", "1", "failed", "2026-01-03")
    older = ledger_of(root, "older.json", "1")
    ledger.collect([newer, older], root)
    assert outcomes(root) == {"1": "failed"}
    ledger.collect([older], root)
    assert outcomes(root) == {"1": "failed"}


def test_runs_of_an_edited_proof_are_dropped(root: Path) -> None:
    """They say nothing of what is there now."""
    file = ledger_of(root, "a.json", "1")
    test = root / "tests/proofs/test_index.py"
    test.write_text(test.read_text().replace("It is 42.", "It is 43."))
    assert ledger.collect([file], root) == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "no such ledger; make test writes"), ("{}]", "not a ledger"), ('[{"a": 1}]', "not a ledger")],
)
def test_what_is_no_ledger_is_refused_by_its_name(text: str | None, says: str, tmp_path: Path) -> None:
    """The one who puts ledgers together learns which file it was."""
    file = tmp_path / "other.json"
    if text:
        file.write_text(text)
    result = subprocess.run([sys.executable, "-m", "proven.ledger", file], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"ledger: {file}: {says}" in result.stderr
    assert "Traceback" not in result.stderr
