"""Environment files: NAME=value, as a shell, Docker and django-environ all read it."""

import re

from proven import ROOT
from proven.problems import Problem
from tests.lint import files
from tests.lint.findings import refuse

VARIABLE = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
# What one of those readers takes for part of the value, and another does not.
AMBIGUOUS = re.compile(r"""^["']|^\s|\s$|\s\#""")


def test_every_reader_sees_the_same_values() -> None:
    """Each line is a comment or a variable, once, with a value that needs no quoting."""
    refuse(
        problem
        for path in files.matching("*.env", "*.env.*")
        for problem in problems(path, (ROOT / path).read_text(encoding="utf-8"))
    )


def problems(path: str, text: str) -> list[Problem]:
    """Return the lines that are not plain variables."""
    found = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        variable = VARIABLE.fullmatch(line)
        if variable is None:
            found.append(Problem(path, number, "not a variable: write NAME=value, and comments on lines of their own"))
        elif AMBIGUOUS.search(variable["value"]):
            found.append(Problem(path, number, "quotes, outer spaces and comments become part of the value"))
        elif variable["name"] in seen:
            message = f"{variable['name']} has a value on line {seen[variable['name']]} already"
            found.append(Problem(path, number, message))
        else:
            seen[variable["name"]] = number
    return found
