"""What a tool said, as problems: one line each, with annotations where GitHub Actions reads them."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from proven import ROOT
from proven.problems import Problem, report

# The ways in which tools name a place: as compilers do, as GitHub Actions reads it, and within a file by its keys.
PLACES = (
    re.compile(r"^(?:ERROR |hadolint:)?(?P<path>[^\s:]+):(?P<line>\d+)(?::[\d-]+)*:? *(?P<message>.+)$"),
    re.compile(r"^::(?:error|warning|notice) .*?file=(?P<path>[^,:]+),line=(?P<line>\d+).*?::(?P<message>.+)$"),
    re.compile(r"^ *(?P<path>[^\s:]+)::(?P<message>\$.+)$"),
)


def parse(output: str, root: Path = ROOT) -> list[Problem]:
    """Return the problems that a tool's output names."""
    found = []
    for line in output.splitlines():
        match = next(filter(None, (place.match(line) for place in PLACES)), None)
        if match:
            path = Path(match["path"])
            name = path.relative_to(root) if path.is_relative_to(root) else path
            found.append(Problem(name.as_posix(), int(match.groupdict().get("line", 1)), match["message"]))
    return found


def refuse(problems: Iterable[Problem]) -> None:
    """Fail the test that found problems, with nothing else in its report."""
    if text := report(problems):
        pytest.fail(text, pytrace=False)
