"""What imports what in the engine. The order is in pyproject.toml, and in words in proven/__init__.py."""

import re
from pathlib import Path

import pytest

from proven import ROOT
from proven.problems import Problem
from tests.lint.findings import refuse
from tests.lint.test_tools import run

IMPORT = re.compile(r"^-? *(?P<module>proven[\w.]*) -> (?P<other>proven[\w.]*) \(l\.(?P<line>\d+)", re.MULTILINE)
WHY = (
    "imports {} against the order in proven/__init__.py: move what both need below them. "
    "A file rests on those below it alone, so that each can be read and changed without those above"
)


def test_an_import_goes_down_the_list_and_in_no_circle() -> None:
    """So that the engine can be read from its beginning to its end."""
    refuse(problems())


def problems(root: Path = ROOT) -> list[Problem]:
    """Return each import that goes up; a circle of files in one folder fails the test with what would open it."""
    result = run("lint-imports --no-cache --no-logo", [], root)
    found = []
    for each in IMPORT.finditer(result.stdout):
        path = Path(*each["module"].split("."))
        file = path / "__init__.py" if (root / path).is_dir() else path.with_suffix(".py")
        found.append(Problem(file.as_posix(), int(each["line"]), WHY.format(each["other"])))
    if result.returncode and not found:
        pytest.fail(result.stdout + result.stderr, pytrace=False)
    return found
