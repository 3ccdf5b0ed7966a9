"""One mistake, reported the same way everywhere: where it is, what is wrong, what to do."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, order=True)
class Problem:
    """A mistake at a line (counted from 1) of a file, named relative to the project."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class ProblemError(Exception):
    """Raised for a problem that ends what is being done."""

    def __init__(self, path: str, line: int, message: str, *, untrue: bool = False) -> None:
        self.problem = Problem(path, line, message)
        self.untrue = untrue  # nothing broke: what was compared is not as it is said to be
        super().__init__(str(self.problem))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that ends a message about an unknown name, or nothing when none comes near."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def annotation(problem: Problem) -> str:
    """Return the line that makes GitHub Actions show the problem beside the changed line.

    Source: GitHub's "Workflow commands", which also says how to escape.
    """
    text = problem.message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::error file={problem.path},line={problem.line}::{text}"


def report(problems: Iterable[Problem]) -> str:
    """Return the problems as text, one a line, with annotations where GitHub Actions reads them."""
    lines = []
    for problem in sorted(set(problems)):
        lines.append(str(problem))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            lines.append(annotation(problem))
    return "\n".join(lines)
