"""Tables and drawings that are not there."""

from pathlib import Path

import pytest

from tests.guard.project import Mistake, refused

REFUSED: dict[str, Mistake] = {
    "unknown facts": ('{{ facts("x.json") }}\n', 1, "no facts in docs/data/ is called 'x.json'"),
    "unknown picture": ('{{ picture("x.svg") }}\n', 1, "no picture in docs/assets/ is called 'x.svg'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_not_there_is_refused(case: str, tmp_path: Path) -> None:
    """In the folder in which it would have to be."""
    refused(tmp_path, REFUSED[case])
