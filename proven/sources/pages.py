"""A page: a Markdown file under docs/, and the macros it calls, each with its line.

Pages are read twice: here, without rendering them, so that every mistake is found at once and named by its line;
and by the site's macros, which ask only on which line they stand.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import nodes

from proven import ROOT
from proven.problems import Problem, nearest

FOLDER = "docs"
# What pages may call, with which arguments; macros.py says what each gives.
MACROS: dict[str, Callable[..., None]] = {
    "snippet": lambda path, region=None, title=None, highlight=None, transcript=False: None,
    "project": lambda folder: None,
    "proven": lambda name, *names: None,
    "compute": lambda path, function, *args, **kwargs: None,
    "picture": lambda name: None,
    "facts": lambda name: None,
    "proofs": lambda: None,
    "matrix": lambda tests, *components: None,
    "symptom": lambda text, also=False: None,
    "sign": lambda text, also=False: None,
    "ask": lambda: None,
    "symptoms": lambda: None,
    "section": lambda: None,
    "term": lambda name, shown=None: None,
    "evidence": lambda: None,
    "left_out": lambda: None,
    "catalogue": lambda: None,
    "calculator": lambda: None,
    "measured": lambda path, interval=True: None,
    "verdict": lambda path, more, less, same: None,
    "measurements": lambda path, *columns: None,
    "bars": lambda path, *paths, metric, title: None,
    "lines": lambda path, title, x, y: None,
}
# The macros that give whole blocks, and those that show snippets, with the argument that names them.
BLOCKS = (
    "snippet",
    "project",
    "facts",
    "proofs",
    "left_out",
    "matrix",
    "catalogue",
    "calculator",
    "ask",
    "symptoms",
    "section",
    "measurements",
)
SHOWN = {"snippet": "path", "project": "folder", "compute": "path"}
# What MkDocs takes for a page, or publishes as it is, and nothing here would read.
OTHER_PAGES = (".htm", ".html", ".markdown", ".mdown", ".mkd", ".mkdn")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
TEMPLATE = re.compile(r"\{[{%#]")
# Nothing is rendered from it, so nothing has to be escaped.
TEMPLATES = jinja2.Environment()  # noqa: S701
# As MkDocs finds it, with the empty lines after it, which it drops too.
FRONT_MATTER = re.compile(r"\A-{3}[ \t]*\n(.*?\n)(?:\.{3}|-{3})[ \t]*\n+", re.DOTALL)

DESCRIPTION = re.compile(r"^description: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """One macro call on a page, and its arguments by the names that MACROS gives them."""

    name: str
    given: dict[str, Any]
    line: int


@dataclass(frozen=True)
class Page:
    """A page's path from the project's root, its text, its macro calls, and what is wrong with them."""

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

    def shown(self) -> list[tuple[str, Call]]:
        """Return the snippets that the page shows or computes with, with their calls."""
        return [(str(call.given[SHOWN[call.name]]), call) for call in self.calls if call.name in SHOWN]

    def claims(self) -> list[tuple[str, Call]]:
        """Return the proofs that the page's claims name, with their calls."""
        claims = [call for call in self.calls if call.name == "proven"]
        return [(str(name), call) for call in claims for name in (call.given["name"], *call.given.get("names", ()))]


def url(path: str) -> str:
    """Return where a page is on the site, from the site's root: "how-to/see-connections/", "" for the home page."""
    return f"{path.removeprefix(f'{FOLDER}/').removesuffix('.md')}/".removesuffix("index/")


def front_matter_lines(text: str) -> int:
    """Return how many lines the YAML at the head of a page takes."""
    match = FRONT_MATTER.match(text)
    return match[0].count("\n") if match else 0


@cache  # `make serve` asks again for every page when one was edited
def parse(path: str, text: str) -> Page:
    """Find a page's macro calls, and whatever else a template's language would make of it."""
    skipped = front_matter_lines(text)
    lines = text.splitlines()
    body = "\n" * skipped + "\n".join(lines[skipped:])
    problems = [
        Problem(path, number, "a macro is called in the front matter, where nothing runs it")
        for number, line in enumerate(lines[:skipped], start=1)
        if "{{" in line or "{%" in line
    ]
    problems += _front_matter(path, text)
    lines = visible(body).splitlines()
    while True:
        try:
            found = [*_calls(path, TEMPLATES.parse("\n".join(lines)))]
            break
        except jinja2.TemplateSyntaxError as error:
            line = _wrong(lines, error)
            problems.append(Problem(path, line, f"the macro call cannot be read: {error.message}"))
            lines[line - 1] = ""  # Jinja stops at the first mistake, and there may be others
    calls = tuple(part for part in found if isinstance(part, Call))
    problems += [part for part in found if isinstance(part, Problem)]
    description = DESCRIPTION.search("\n".join(lines[:skipped]))
    return Page(path, body, calls, tuple(problems), description[1] if description else "")


def read_all(root: Path = ROOT) -> list[Page]:
    """Return every page, sorted by path."""
    files = sorted(file for file in (root / FOLDER).rglob("*") if file.suffix in (".md", *OTHER_PAGES))
    return [_read(file, file.relative_to(root).as_posix()) for file in files]


def _read(file: Path, path: str) -> Page:
    if file.suffix in OTHER_PAGES:
        return Page(path, problems=(Problem(path, 1, "a page is Markdown, and its name ends in .md: rename it"),))
    try:
        return parse(path, file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return Page(path, problems=(Problem(path, 1, "not UTF-8 text: a page is something to read"),))


def opening(lines: list[str], line: int) -> int:
    """Return the line on which that begins which a template's language made of a line; it may be far above."""
    before = "\n".join(lines[: line - 1])
    begun, ended = (max(before.rfind(mark) for mark in marks) for marks in (("{{", "{%", "{#"), ("}}", "%}", "#}")))
    if begun > ended:
        return before.count("\n", 0, begun) + 1
    return line


def _wrong(lines: list[str], error: jinja2.TemplateSyntaxError) -> int:
    """Return the line that is to blame for an error, which Jinja may notice only where the page ends."""
    statements = [number for number, line in enumerate(lines, start=1) if "{%" in line]
    if "end of template" in str(error.message) and statements:
        return statements[-1]
    line = opening(lines, error.lineno)
    above = [number for number, text in enumerate(lines, start=1) if TEMPLATE.search(text) and number <= line]
    return above[-1] if above else line


def _front_matter(path: str, text: str) -> Iterator[Problem]:
    """Check the YAML at the head of a page: what MkDocs cannot read it shows to the reader."""
    if match := FRONT_MATTER.match(text):
        try:
            if not isinstance(yaml.safe_load(match[1]), dict):
                yield Problem(path, 1, "the front matter holds no names with values: write them as 'title: Home'")
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 2 if error.problem_mark else 1
            yield Problem(path, line, f"the front matter is not YAML: {error.problem}")


def visible(text: str) -> str:
    """Return a page without its comments, each line where it was: what stands in one shows a reader nothing."""
    return COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), text)


def _calls(path: str, tree: nodes.Template) -> Iterator[Call | Problem]:
    """Return each macro call, and a problem for anything else: a page computes nothing itself."""
    for statement in tree.body:
        if not isinstance(statement, nodes.Output):
            yield Problem(path, statement.lineno, "a page holds {{ macro calls }} and no other template language")
            continue
        for index, part in enumerate(statement.nodes):
            if not isinstance(part, nodes.TemplateData):
                found = _call(path, part)
                yield found
                if isinstance(found, Call) and found.name in BLOCKS and not _alone(statement.nodes, index):
                    yield Problem(path, found.line, f"{found.name}() gives a block: put the call on a line of its own")


def _call(path: str, node: nodes.Expr) -> Call | Problem:
    """Return a call with its arguments bound to their names, or what is wrong with it."""
    called = node.node if isinstance(node, nodes.Call) else node
    if isinstance(called, nodes.Name) and called.name not in MACROS:
        hint = nearest(called.name, MACROS)
        return Problem(path, node.lineno, f"no macro or variable is called {called.name!r}{hint}")
    if not isinstance(node, nodes.Call) or not isinstance(called, nodes.Name):
        return Problem(path, node.lineno, "a page holds {{ macro calls }} and no other template language")
    signature = inspect.signature(MACROS[called.name])
    try:
        if node.dyn_args or node.dyn_kwargs:
            raise nodes.Impossible
        positional = [argument.as_const() for argument in node.args]
        bound = signature.bind(*positional, **{pair.key: pair.value.as_const() for pair in node.kwargs})
    except nodes.Impossible:
        return Problem(path, node.lineno, f"{called.name}() needs arguments that are written out")
    except TypeError as error:
        wrong = [pair.key for pair in node.kwargs if pair.key not in signature.parameters]
        hint = nearest(wrong[0], signature.parameters) if wrong else ""
        return Problem(path, node.lineno, f"{called.name}() cannot be called so: {error}{hint}")
    return Call(called.name, bound.arguments, node.lineno)


def _alone(parts: list[nodes.Expr], index: int) -> bool:
    """Return whether nothing but space stands on a call's line before and after it."""
    texts = [part.data if isinstance(part, nodes.TemplateData) else "{{…}}" for part in parts]
    before, after = "".join(texts[:index]), "".join(texts[index + 1 :])
    return not before.rpartition("\n")[2].strip() and not after.partition("\n")[0].strip()
