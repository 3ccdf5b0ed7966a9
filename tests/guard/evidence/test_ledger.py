"""The evidence of several machines, put together, and what it says of proofs that a stack left out."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proven import check, guide
from proven.evidence import ledger, stored
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
    (proof,) = proofs.read(root)[0].values()
    run = Run(proof.name, "", proof.parts, outcome, date, 0.0, {"Oracle": version}, {})
    file = root / name
    stored.write(file, [asdict(run)], {})
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


def test_runs_that_end_at_the_same_time_lose_nothing(root: Path) -> None:
    """Two of `make test` in one folder each add to what the other has written."""
    (proof,) = proofs.read(root)[0].values()
    known = {proof.name: proof}
    versions = [str(number) for number in range(20)]

    def end(version: str) -> None:
        run = Run(proof.name, "", proof.parts, "passed", "2026-01-02", 0.0, {"Oracle": version}, {})
        ledger.write(root / ledger.LOCAL, [run], known)

    with ThreadPoolExecutor(len(versions)) as runs:
        list(runs.map(end, versions))
    assert outcomes(root) == dict.fromkeys(versions, "passed")
    assert [file.name for file in (root / ledger.LOCAL).parent.iterdir()] == ["ledger.json"]


def test_a_case_that_ran_nowhere_is_refused_though_the_others_passed(root: Path) -> None:
    """With the reason; once it has passed on any stack, nothing is said of it."""
    (proof,) = proofs.read(root)[0].values()
    answer = guide.read(root).snippets["answer.py"]
    ran = {answer.path: [answer.digest, "ran"]}
    one = Run(proof.name, "one", proof.parts, "passed", "2026-01-02", 0.0, NEW, ran)
    other = replace(one, case="other", outcome=ledger.NOT_RUN, snippets={}, reason="needs TLS")
    ledger.write(root / ledger.LOCAL, [one, other], {proof.name: proof})
    (found,) = map(str, check.unproven(guide.read(root)))
    assert found == (
        "docs/index.md:3: test_answer passed, but its case [other] has run on no stack (needs TLS): "
        "run it, or delete it"
    )
    ledger.write(root / ledger.LOCAL, [replace(one, case="other", stack=OLD)], {proof.name: proof})
    assert check.unproven(guide.read(root)) == []


def test_runs_of_an_edited_proof_say_what_was_edited(root: Path) -> None:
    """They prove nothing of what is there now."""
    file = ledger_of(root, "a.json", "1")
    test = root / "tests/proofs/test_index.py"
    test.write_text(test.read_text().replace("It is 42.", "It is 43."))
    assert ledger.collect([file], root) == 1
    of = guide.read(root)
    assert of.ledger.runs == []
    edited = "tests/proofs/test_index.py::test_answer"
    assert ledger.outdated(of.history.runs, of.proofs, of.snippets) == {edited: {"test_answer"}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no such ledger: make test and make matrix write"),
        ("{}]", "not a ledger"),
        ("[]", "not a ledger"),
        ('{"runs": [{"a": 1}]}', "not a ledger"),
    ],
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
    return Run("test_answer", "", {}, outcome, "2030-01-01", 0.1, stack, {}, reason)


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


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Whatever runs have in common stands in the file once, and comes back with each."""
    file = tmp_path / "ledger.json"
    parts = {"tests/proofs/a.py::test_answer": "0a", "tests/proofs/a.py::helper": "0b"}
    snippets = {"answer.py": ["00", "ran", "started"], "empty.py": ["00", "ran"]}
    shared = Run("test_answer", "", parts, "passed", "2030-01-01", 0.1, NEW, snippets)
    runs = [
        shared,
        replace(shared, stack=OLD, seconds=0.2),
        replace(shared, case="a-b", date="2030-01-02"),
        replace(shared, case="c", outcome="not run", reason="needs 10"),
    ]
    known: dict[str, Any] = {"test_answer": SimpleNamespace(parts=parts)}
    ledger.write(file, runs, known)
    assert sorted(ledger.load(file), key=lambda run: run.key) == sorted(runs, key=lambda run: run.key)
    assert file.read_text().count("helper") == 1


def test_with_what_else_a_run_was_done_is_kept(tmp_path: Path) -> None:
    """The newest of each, whatever runs come after it."""
    file = tmp_path / "ledger.json"
    ledger.write(file, [], {}, tools={"Chromium": "155", "Other": "1"})
    ledger.write(file, [], {}, tools={"Chromium": "156"})
    ledger.write(file, [], {})
    assert stored.tools(file) == {"Chromium": "156", "Other": "1"}


def test_a_line_differs_only_where_its_proof_ran_anew(tmp_path: Path) -> None:
    """So that a commit shows what did."""
    file = tmp_path / "ledger.json"
    runs = [replace(run("passed", NEW), proof=f"test_{name}", case=name) for name in "abc"]
    known: dict[str, Any] = {run.proof: SimpleNamespace(parts={}) for run in runs}
    ledger.write(file, runs, known)
    before = file.read_text().splitlines()
    ledger.write(file, [replace(runs[1], date="2031-01-01"), replace(runs[2], stack=OLD)], known)
    after = file.read_text().splitlines()
    differs = [json.loads(line.rstrip(",")) for line in after if line not in before and '"proof"' in line]
    assert [line["proof"] for line in differs] == ["test_b", "test_c"]


def test_what_is_outdated_stays_until_it_runs_again(tmp_path: Path) -> None:
    """On the same stack, in whatever cases; or until all stacks ran. What was left out goes at once."""
    file = tmp_path / "ledger.json"
    edited: dict[str, Any] = {"test_answer": SimpleNamespace(parts={"tests/proofs/a.py::test_answer": "0a"})}
    old = [replace(run("passed", stack), case="gone") for stack in (NEW, OLD)]
    new = replace(run("passed", NEW), parts=edited["test_answer"].parts)
    left_out = run("not run", {"PostgreSQL": "14.1"}, "needs PostgreSQL 15")
    ledger.write(file, [*old, left_out], edited)
    ledger.write(file, [new], edited)
    assert sorted(run.case for run in ledger.load(file)) == ["", "gone"]
    ledger.write(file, [], edited, outdated=False)
    assert ledger.load(file) == [new]
