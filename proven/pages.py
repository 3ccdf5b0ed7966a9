"""A page: a Markdown file under docs/, and the macros it calls, each with its line.

Pages are read twice: here, without rendering them, so that every mistake is found at once and named by its line;
and by the site's macros, which ask only on which line they stand.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes

from proven import ROOT
from proven.problems import Problem

FOLDER = "docs"
# What pages may call; macros.py defines each.
MACROS = ("snippet", "project", "proven", "proofs", "compute", "picture")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
# Code that a reader would see and that no proof runs. The fence may stand in a list, a quote or an admonition.
HAND_TYPED = [
    (re.compile(r"^[\s>]*(?:[-*+]\s+|\d+[.)]\s+)*(?:```|~~~)"), "a code block is typed by hand"),
    (re.compile(r"<pre\b", re.IGNORECASE), "HTML <pre> is typed by hand"),
]
INDENTED = re.compile(r"^(?: {4}|\t)\s*\S")
# An indented line belongs to the block above it when that is a list, an admonition, a tab or a footnote.
NESTING = re.compile(r"^\s*(?:[-*+]\s|\d+[.)]\s|!!!|\?\?\?|===|\[\^|:\s)")


@dataclass(frozen=True)
class Call:
    """One macro call on a page. Arguments that are not constants are None."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    line: int


@dataclass(frozen=True)
class Page:
    """A page's path from the project's root, its macro calls, and what is wrong with its text."""

    path: str
    calls: tuple[Call, ...] = ()
    problems: tuple[Problem, ...] = ()
    unknown: dict[str, int] = field(default_factory=dict)  # names that nothing defines: line

    def shown(self) -> list[tuple[str, Call]]:
        """Return the snippets that the page shows or computes with, with their calls."""
        return [(str(c.args[0]), c) for c in self.calls if c.name in ("snippet", "project", "compute") and c.args]

    def claims(self) -> list[tuple[str, Call]]:
        """Return the proofs that the page's claims name, with their calls."""
        return [(str(name), c) for c in self.calls if c.name == "proven" for name in c.args]


def front_matter_lines(text: str) -> int:
    """Return how many lines the YAML at the head of a page takes."""
    match = FRONT_MATTER.match(text)
    return match[0].count("\n") if match else 0


def parse(path: str, text: str) -> Page:
    """Find a page's macro calls and the code typed by hand in it."""
    skipped = front_matter_lines(text)
    lines = text.splitlines()
    body = "\n" * skipped + "\n".join(lines[skipped:])
    problems = list(_hand_typed(path, lines, skipped))
    try:
        tree = jinja2.Environment().parse(body)
    except jinja2.TemplateSyntaxError as error:
        problems.append(Problem(path, error.lineno, f"the macro call cannot be read: {error.message}"))
        return Page(path, problems=tuple(problems))
    calls = tuple(_call(node) for node in tree.find_all(nodes.Call) if isinstance(node.node, nodes.Name))
    defined = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
    used = {
        node.name: node.lineno for node in tree.find_all(nodes.Name) if node.ctx == "load" and node.name not in defined
    }
    return Page(path, calls, tuple(problems), used)


def read_all(root: Path = ROOT) -> list[Page]:
    """Return every page, sorted by path."""
    files = sorted((root / FOLDER).rglob("*.md"))
    return [parse(file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")) for file in files]


def _call(node: nodes.Call) -> Call:
    assert isinstance(node.node, nodes.Name)
    return Call(
        node.node.name,
        tuple(_constant(arg) for arg in node.args),
        {pair.key: _constant(pair.value) for pair in node.kwargs},
        node.lineno,
    )


def _constant(node: nodes.Expr) -> Any:
    try:
        return node.as_const()
    except nodes.Impossible:
        return None


def _hand_typed(path: str, lines: list[str], skipped: int) -> list[Problem]:
    """Return a problem for each code block that does not come from a snippet."""
    found: list[Problem] = []
    what_to_do = "put the code in a file under snippets/ and call {{ snippet(…) }}"
    nested = after_blank = False
    in_fence = ""
    for number, line in enumerate(lines[skipped:], start=skipped + 1):
        stripped = line.lstrip(" \t>")
        if in_fence:
            if stripped.startswith(in_fence):
                in_fence = ""
            continue
        for pattern, what in HAND_TYPED:
            if pattern.search(line):
                found.append(Problem(path, number, f"{what}: {what_to_do}"))
                fence = re.search(r"```|~~~", line)
                in_fence = fence[0] if fence and pattern is HAND_TYPED[0][0] else ""
        if not line.strip():
            after_blank = True
            continue
        if not line[0].isspace():
            nested = bool(NESTING.match(line))
        elif not nested and after_blank and INDENTED.match(line):
            found.append(Problem(path, number, f"an indented code block is typed by hand: {what_to_do}"))
            nested = True  # one message a block
        after_blank = False
    return found
