"""Files under docs/data/ that are broken: each is one line, and nothing else ends for it."""

import shutil
from pathlib import Path

import pytest

from proven import ROOT
from proven.evidence import digests, ledger
from proven.problems import ProblemError
from proven.sources import data
from tests.guard.project import problems

FACTS = "docs/data/managed-poolers.json"
BROKEN = {
    "no JSON": ('{\n"a": }', 2, "it is not JSON (Expecting value): "),
    "half of it": ("{", 1, "it is not JSON (Expecting property name enclosed in double quotes): "),
    "not UTF-8": (b"\xff", 1, "it is not UTF-8: "),
    "a list": ("[1]", 1, "it does not hold {"),
    "null": ("null", 1, "it does not hold {"),
    "wrong types": ('{"a": 1, "texts": [{"text": 1}], "about": 1, "columns": {}, "rows": []}', 1, "it does not hold {"),
}


@pytest.mark.parametrize("path", [*data.FORMS, FACTS])
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_one_line_that_says_what_to_do(path: str, what: str, tmp_path: Path) -> None:
    """With the file, its line where there is one, and how to get it back."""
    text, line, message = BROKEN[what]
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    if path == FACTS:
        shutil.copy(ROOT / FACTS.replace(".json", ".schema.json"), file.parent)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (found,) = problems(tmp_path)
    assert found.startswith(f"{path}:{line}: {message}")
    assert any(cure in found for cure in ("restore it", "fix it"))


@pytest.mark.parametrize("text", ["[]", '{"runs": 1}', "null"])
def test_a_broken_ledger_is_one_line_too(text: str, tmp_path: Path) -> None:
    """It is deleted or restored."""
    file = tmp_path / ledger.COMMITTED
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (found,) = problems(tmp_path)
    assert found.startswith(f"{ledger.COMMITTED}:1: the ledger cannot be read (")


def test_digests_that_cannot_be_read_are_not_written_over(tmp_path: Path) -> None:
    """They are in no other file."""
    file = tmp_path / data.DIGESTS
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(ProblemError, match="restore it from git"):
        digests.remember([], tmp_path)
    assert file.read_text() == "{"
