"""A page: a Markdown file under docs/, and the macros it calls, each with its line.

Pages are parsed here without being rendered, so that all mistakes are found at once, each with its line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes

from proven import ROOT
from proven.problems import Problem, ProblemError
from proven.sources import characters, front_matter

FOLDER = "docs"
NO_LANGUAGE = "a page holds {{ macro calls }} and no other template language"
TEMPLATE = re.compile(r"\{[{%#]")
CODE = re.compile(r"(?<!\\)(?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)")  # within a line
# Nothing is rendered with it for readers, so nothing has to be escaped.
TEMPLATES = jinja2.Environment()  # noqa: S701


@dataclass(frozen=True)
class Call:
    """One call on a page as it is written there; which macros there are, and what they take, is not known here."""

    name: str
    arguments: tuple[list[Any], dict[str, Any]] | None  # None where the name is not called
    line: int
    before: str  # what stands before it on its line, other calls as {{…}}
    after: str

    @property
    def alone(self) -> bool:
        """Whether nothing else stands on its lines."""
        return not self.before.strip() and not self.after.strip()

    @property
    def within(self) -> str:
        """What the call stands within, where its Markdown is not read as such: "code", "a link", "a title"."""
        before = CODE.sub("", self.before)
        if "`" in before:
            return "code"
        if re.search(r"\[[^\]]*$", before) and re.match(r"[^\[\]]*\]\(", self.after):
            return "a link"
        if re.search(r"<\w[^>]*$", before):
            return "an attribute"
        return "a title" if self.before.startswith("# ") else ""


@dataclass(frozen=True)
class Page:
    """A page's path from the project's root, its text, its macro calls, and what keeps it from being read."""

    path: str
    text: str = ""  # without front matter, each line where it was
    calls: tuple[Call, ...] = ()
    problems: tuple[Problem, ...] = ()
    description: str = ""  # from the front matter: the answer in one sentence

    @property
    def name(self) -> str:
        """The page's path from docs/, as links and the navigation have it."""
        return self.path.removeprefix(f"{FOLDER}/")

    @property
    def title(self) -> str:
        """The page's heading."""
        heading = re.search(r"^# (.+)$", self.text, re.MULTILINE)
        return heading[1] if heading else self.path


def url(path: str) -> str:
    """Return where a page is on the site, from the site's root: "how-to/see-connections/", "" for the home page."""
    return f"{path.removeprefix(f'{FOLDER}/').removesuffix('.md')}/".removesuffix("index/")


@cache  # `make serve` asks again for every page when one was edited
def parse(path: str, text: str) -> Page:
    """Find a page's macro calls, and everything else in it that Jinja would interpret."""
    skipped = front_matter.lines(text)
    body = "\n" * skipped + "\n".join(characters.lines(text)[skipped:])
    said, problems = front_matter.read(path, text)
    problems += characters.unseen(path, text)
    lines = characters.lines(body)
    while True:
        try:
            found = [*_calls(path, TEMPLATES.parse("\n".join(lines)))]
            break
        except jinja2.TemplateSyntaxError as error:
            line = _wrong(lines, error)
            problems.append(Problem(path, line, f"the macro call cannot be read: {error.message}"))
            lines[line - 1] = ""  # Jinja stops at the first mistake, and there may be others
    if "{#" in body or "{%" in body:  # comments and raw text are not in the tree
        problems += [
            Problem(path, line, NO_LANGUAGE)
            for line, kind, _ in TEMPLATES.lex("\n".join(lines))
            if kind in ("comment_begin", "raw_begin")
        ]
    calls = tuple(part for part in found if isinstance(part, Call))
    problems += [part for part in found if isinstance(part, Problem)]
    return Page(path, body, calls, tuple(problems), str(said.get("description", "")))


def read_all(root: Path = ROOT) -> list[Page]:
    """Return every page, sorted by path."""
    files = sorted(file for file in (root / FOLDER).rglob("*.md") if not file.is_symlink())
    return [_read(file, file.relative_to(root).as_posix()) for file in files]


def _read(file: Path, path: str) -> Page:
    try:
        return parse(path, characters.read(file, path))
    except ProblemError as error:
        return Page(path, problems=(error.problem,))


def opening(lines: list[str], line: int) -> int:
    """Return the line on which the Jinja tag around a line begins, or the line itself."""
    before = "\n".join(lines[: line - 1])
    begun, ended = (max(before.rfind(mark) for mark in marks) for marks in (("{{", "{%", "{#"), ("}}", "%}", "#}")))
    if begun > ended:
        return before.count("\n", 0, begun) + 1
    return line


def _wrong(lines: list[str], error: jinja2.TemplateSyntaxError) -> int:
    """Return the line that caused an error: Jinja reports an unclosed block at the end of the page."""
    statements = [number for number, line in enumerate(lines, start=1) if "{%" in line]
    if "end of template" in str(error.message) and statements:
        return statements[-1]
    line = opening(lines, error.lineno)
    above = [number for number, text in enumerate(lines, start=1) if TEMPLATE.search(text) and number <= line]
    return above[-1] if above else line


def _calls(path: str, tree: nodes.Template) -> Iterator[Call | Problem]:
    """Return each macro call, and a problem for anything else: a page computes nothing itself."""
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            yield Problem(path, statement.lineno, NO_LANGUAGE)
            continue
        for index, part in enumerate(statement.nodes):
            if not isinstance(part, nodes.TemplateData):
                yield _call(path, part, *_around(statement.nodes, index))


def _call(path: str, node: nodes.Expr, before: str, after: str) -> Call | Problem:
    """Return a call with its arguments, or what is wrong with it."""
    called = node.node if isinstance(node, nodes.Call) else node
    if not isinstance(called, nodes.Name):
        return Problem(path, node.lineno, NO_LANGUAGE)
    if not isinstance(node, nodes.Call):
        return Call(called.name, None, node.lineno, before, after)
    try:
        if node.dyn_args or node.dyn_kwargs:
            raise nodes.Impossible
        positional = [argument.as_const() for argument in node.args]
        by_name = {pair.key: pair.value.as_const() for pair in node.kwargs}
    except nodes.Impossible:
        return Problem(path, node.lineno, f"{called.name}() needs arguments that are written out")
    return Call(called.name, (positional, by_name), node.lineno, before, after)


def _around(parts: list[nodes.Expr], index: int) -> tuple[str, str]:
    """Return what stands on a call's line before it, and behind it."""
    texts = [part.data if isinstance(part, nodes.TemplateData) else "{{…}}" for part in parts]
    return "".join(texts[:index]).rpartition("\n")[2], "".join(texts[index + 1 :]).partition("\n")[0]
