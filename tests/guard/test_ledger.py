"""What the ledger says of proofs that a stack left out."""

import json
from pathlib import Path

from proven import ledger
from proven.ledger import Ledger, Run

NEW, OLD = {"Oracle": "10", "Python": "3.11"}, {"Oracle": "9", "Python": "3.11"}


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
