"""An engine in which a file imports what rests on it."""

import shutil
from pathlib import Path

import pytest

from proven import ROOT
from tests.lint.test_imports import problems


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The engine, to be changed."""
    shutil.copytree(ROOT / "proven", tmp_path / "proven", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_an_import_that_goes_up_is_refused_at_its_line(copy: Path) -> None:
    """With the reason, and where the order is."""
    file = copy / "proven/sources/pages.py"
    file.write_text(file.read_text().replace("from proven import ROOT\n", "from proven import ROOT, guide\n"))
    line = file.read_text().splitlines().index("from proven import ROOT, guide") + 1
    (problem,) = problems(copy)
    says = "imports proven.guide against the order in proven/__init__.py: move what both need below them."
    assert str(problem).startswith(f"proven/sources/pages.py:{line}: {says}")


def test_a_circle_in_one_folder_is_refused(copy: Path) -> None:
    """It names the import that would have to go."""
    with (copy / "proven/sources/snippets.py").open("a") as file:
        file.write("from proven.sources import transcripts\n")
    with pytest.raises(pytest.fail.Exception, match=r"No cycles are allowed in proven\.sources"):
        problems(copy)


def test_a_new_file_has_its_place_in_the_order(copy: Path) -> None:
    """Or nothing would say what it may import."""
    (copy / "proven/other.py").touch()
    with pytest.raises(pytest.fail.Exception, match="other"):
        problems(copy)
