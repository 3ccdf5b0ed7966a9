"""The evidence of several machines, put together, and what it says of proofs that a stack left out."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from proven.evidence import ledger
from proven.evidence.ledger import Ledger, Run
from proven.sources import proofs
from tests.guard.project import make

NEW, OLD = {"Oracle": "10", "Python": "3.11"}, {"Oracle": "9", "Python": "3.11"}


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
    result = subprocess.run([sys.executable, "-m", "proven.evidence.ledger", file], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"ledger: {file}: {says}" in result.stderr
    assert "Traceback" not in result.stderr


def run(outcome: str, stack: dict[str, str], reason: str = "") -> Run:
    """Return a run of one proof."""
    return Run("test_answer", "", "0", outcome, "2030-01-01", 0.1, stack, {}, reason)


def test_what_is_left_out_on_one_stack_stays_proven_on_another() -> None:
    """It neither proves nor refutes."""
    left_out = run("not run", OLD, "needs 10")
    both = Ledger(ledger.merge([run("passed", NEW)], [left_out]))
    assert both.of_proof("test_answer") == [run("passed", NEW)]
    assert both.not_run() == [left_out]
    assert Ledger([left_out]).of_proof("test_answer") == []


def test_what_ran_after_all_is_not_left_out() -> None:
    """In whatever order, and also where the proof was left out before it knew all of its stack."""
    for known in ({}, {"Oracle": "10"}, NEW, NEW | {"Java": "8"}):
        left_out, passed = run("not run", known, "needs openssl"), run("passed", NEW)
        assert ledger.merge([left_out], [passed]) == [passed]
        assert ledger.merge([passed], [left_out]) == [passed]


def test_a_ledger_without_reasons_is_read(tmp_path: Path) -> None:
    """Only what was left out has one, so that older files stay as they are."""
    file = tmp_path / "ledger.json"
    runs = [run("passed", NEW), run("not run", OLD, "needs 10")]
    known = {"test_answer": type("Proof", (), {"digest": "0"})()}
    ledger.write(file, runs, known)
    assert [set(row) & {"reason"} for row in json.loads(file.read_text())] == [set(), {"reason"}]
    assert ledger.load(file) == runs
