"""Tables and drawings that are not there."""

from pathlib import Path

from tests.guard.project import PAGE, problems


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the folder in which it would have to be."""
    assert problems(tmp_path, {PAGE: '{{ facts("x.json") }}\n\n{{ picture("x.svg") }}\n'}) == [
        f"{PAGE}:1: no facts in docs/data/ is called 'x.json'",
        f"{PAGE}:3: no picture in docs/assets/ is called 'x.svg'",
    ]
