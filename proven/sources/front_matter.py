"""The front matter of a page: the YAML at its head, from which lists, cards and the tab of a browser are made."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from proven.problems import Problem, nearest

# As MkDocs matches it, with the empty lines below it, which MkDocs drops too.
BLOCK = re.compile(r"\A-{3}[ \t]*\n(.*?\n)(?:\.{3}|-{3})[ \t]*\n+", re.DOTALL)
# Other names change what a page does: `render_macros: false` shows calls as text, `template` leaves the theme.
NAMES = ("title", "description", "tags", "hide", "search")


def lines(text: str) -> int:
    """Return how many lines the front matter of a page takes."""
    match = BLOCK.match(text)
    return match[0].count("\n") if match else 0


def read(path: str, text: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return the names and values at the head of a page, and what is wrong with them."""
    match = BLOCK.match(text)
    if match is None:
        return {}, []
    try:
        found = yaml.load(match[1], yaml.CSafeLoader)
    except yaml.YAMLError as error:  # MkDocs shows front matter that it cannot parse as text on the page
        mark, why = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        return {}, [Problem(path, mark.line + 2 if mark else 1, f"the front matter is not YAML: {why}")]
    if not isinstance(found, dict):
        return {}, [Problem(path, 1, "the front matter holds no names with values: write them as 'title: Home'")]
    return found, [Problem(path, _line(match[1], name), why) for name, why in _wrong(found)]


def _wrong(found: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if "{{" in str(value) or "{%" in str(value):
            yield str(name), "a macro is called in the front matter, where nothing runs it"
        if name not in NAMES:
            yield str(name), f"the front matter may not say {name!r}{nearest(str(name), NAMES)}"
    for name, signs in (("title", "<>"), ("description", '<>"')):  # the theme puts both into HTML as they are
        value = found.get(name, "text")
        if not isinstance(value, str) or not value.strip():
            yield name, f"{name} is {value!r}, and has to be a text"
        for sign in signs:
            if sign in str(value):
                yield name, f"{name} holds {sign}, which would be read as HTML: say it without"


def _line(block: str, name: str) -> int:
    """Return the line of the page on which a name stands."""
    match = re.search(rf"^[\"']?{re.escape(name)}[\"']?\s*:", block, re.MULTILINE)
    return block.count("\n", 0, match.start()) + 2 if match else 1
