"""Which stacks the version matrix is made of."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from proven import ROOT, guide
from proven.evidence import ledger, stored
from proven.evidence.ledger import Run
from tests.guard.project import make
from tests.stack.matrix import Stack, edited, here, stacks


def test_the_newest_pgbouncer_meets_every_other_part() -> None:
    """An older one meets the PostgreSQL of Debian 12 and the one of `make test`."""
    found = list(stacks(["old", "new"], ["14", "15", "18"], ["django-next"]))
    assert found == [
        Stack("old", "15"),
        Stack("old", "18"),
        Stack("new", "14"),
        Stack("new", "15"),
        Stack("new", "18"),
        Stack("new", "18", django="django-next"),
        Stack("new", "18", driver="psycopg2"),
    ]


def test_who_asks_what_it_takes_is_told_and_starts_nothing() -> None:
    """As every command does; a matrix takes an hour."""
    asked = [sys.executable, "-m", "tests.stack.matrix", "--help"]
    said = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "`--only edited`" in said
    assert "PgBouncer of" not in said


def test_what_cannot_be_had_is_said() -> None:
    """With its name and the reason."""

    def fetch(name: str) -> str:
        if name == "15":
            raise RuntimeError("no network")
        return f"/{name}"

    said: list[str] = []
    assert here("PostgreSQL", ("14", "15"), fetch, said) == {"14": "/14"}
    assert said == ["not here  PostgreSQL 15: no network"]


@pytest.mark.parametrize(
    ("versions", "rests_on", "wanted"),
    [((), "now", True), (("9",), "now", True), (("9", "10"), "now", False), (("9", "10"), "before", True)],
)
def test_what_wants_to_run_again_is_found(
    versions: tuple[str, ...], rests_on: str, wanted: bool, tmp_path: Path
) -> None:
    """What never ran, what has met one stack alone, and what was edited since; and nothing else."""
    root = make(tmp_path)
    (proof,) = guide.read(root).proofs.values()
    parts = proof.parts if rests_on == "now" else dict.fromkeys(proof.parts, "another")
    runs = [Run(proof.name, "", parts, "passed", "2026-01-02", 0.0, {"Oracle": version}, {}) for version in versions]
    stored.write(root / ledger.LOCAL, [asdict(run) for run in runs], {})
    assert edited(guide.read(root)) == [proof.name] * wanted
