"""What the version matrix shows of a ledger."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from proven import guide
from proven.evidence.ledger import Ledger, Run
from proven.sources import proofs
from tests.guard.project import FILES, Macros, make

PAGE = "# Answers\n\n{{ matrix('tests/proofs/test_index.py', 'Oracle', 'Python') }}\n"
# One proof that these tests let run, and one that they do not.
MODULE = {
    "tests/proofs/test_index.py": FILES["tests/proofs/test_index.py"]
    + """

def test_other() -> None:
    \"\"\"It is 43.\"\"\"
"""
}


RunOf = tuple[str, str, dict[str, str]]  # case, outcome, stack


def matrix(root: Path, *runs: RunOf, parts: str = "Oracle Python", others: tuple[RunOf, ...] = ()) -> list[str]:
    """Return the table's rows for runs of the first proof, and for those of the other one."""
    of = guide.read(make(root, {"docs/index.md": PAGE, **MODULE}))
    proof, other = proofs.read(root)[0].values()
    made = [
        Run(of_one.name, case, of_one.parts, outcome, "2026-01-01", 0.0, on, {})
        for of_one, its in ((proof, runs), (other, others))
        for case, outcome, on in its
    ]
    page: Any = SimpleNamespace(page=SimpleNamespace(path="index.md"))
    seen = replace(of, ledger=Ledger(made), history=Ledger(made))
    lines = Macros(page, seen).matrix(proof.path, *parts.split()).splitlines()
    return [line for line in lines if line.startswith("|")]


def test_a_column_is_a_stack_in_the_order_of_versions(tmp_path: Path) -> None:
    """Version 10 comes after version 9, and a run that knows only one of the parts is in no column."""
    new, old = {"Oracle": "10", "Python": "3.11"}, {"Oracle": "9", "Python": "3.11"}
    rows = matrix(tmp_path, ("", "passed", new), ("", "passed", old), ("", "passed", {"Python": "3.12"}))
    assert rows == [
        "| What was seen | Oracle 9<br>Python 3.11 | Oracle 10<br>Python 3.11 |",
        "| --- | --- | --- |",
        "| [Answer](reference/proofs.md#test_answer). It is 42. | ✓ | ✓ |",
    ]


def test_one_failed_case_fails_the_cell(tmp_path: Path) -> None:
    """A proof passed on a stack when all its cases did."""
    on = {"Oracle": "9", "Python": "3.11"}
    assert matrix(tmp_path, ("a", "passed", on), ("b", "failed", on))[-1].endswith("| failed |")
    assert matrix(tmp_path, ("a", "passed", on), ("b", "passed", on))[-1].endswith("| ✓ |")
    assert matrix(tmp_path, ("a", "passed", on), ("b", "not run", on))[-1].endswith("| ✓ |")


def test_what_was_left_out_makes_neither_a_row_nor_a_column(tmp_path: Path) -> None:
    """A skipped proof has met nothing. Where others ran, its cell says so."""
    old, new = {"Oracle": "9", "Python": "3.11"}, {"Oracle": "10", "Python": "3.11"}
    rows = matrix(tmp_path, ("", "passed", new), ("", "not run", old))
    assert rows[0] == "| What was seen | Oracle 10<br>Python 3.11 |"
    assert matrix(tmp_path, ("a", "not run", new))[0] == "| What was seen |"
    rows = matrix(tmp_path, ("", "passed", new), ("", "not run", old), others=(("", "passed", old),))
    assert rows[2].endswith("| not run | ✓ |")


def test_of_parts_that_stand_in_for_each_other_the_first_counts(tmp_path: Path) -> None:
    """Both may be there, where a proof uses one beside the other."""
    both, one = {"Oracle": "9", "Sibyl": "2"}, {"Oracle": "9"}
    rows = matrix(tmp_path, ("", "passed", both), ("", "failed", one), parts="Sibyl|Oracle")
    assert rows[0] == "| What was seen | Oracle 9 | Sibyl 2 |"
    assert rows[-1].endswith("| failed | ✓ |")


def test_a_proof_that_met_none_of_the_parts_is_left_out(tmp_path: Path) -> None:
    """The page would fill with rows of nothing; one that was edited since it ran keeps its row."""
    rows = matrix(tmp_path, ("", "passed", {"Oracle": "9"}), parts="Oracle")
    assert [row.partition("]")[0] for row in rows[2:]] == ["| [Answer"]
