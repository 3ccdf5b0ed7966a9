"""A mistake, shown on the page in its place: `make serve` goes on with one, and its writer sees where it is."""

import re
from collections.abc import Iterable

from proven import guide, pages, snippets
from proven.guide import Guide
from proven.pages import Page
from proven.problems import Problem

TEMPLATE = re.compile(r"\{[{%#]")


def shown(page: Page, of: Guide, found: Iterable[Problem]) -> str:
    """Return a page's text with each of its mistakes in its place, and below its title what concerns every page.

    Nothing is left in it that a template's language would stumble over.
    """
    told = _by_line(page, found)
    everywhere = [p for p in of.broken if not p.path.startswith(f"{snippets.FOLDER}/")]
    lines = []
    for number, line in enumerate(_lines(page), start=1):
        indent = line[: len(line) - len(line.lstrip())]
        if number in told:
            lines += [indent + row if row else "" for row in box(told[number])]
            # A block that was typed by hand stays below what is said of it.
            line = indent + plain(line.strip()) if TEMPLATE.search(line) else line
        lines.append(line)
        if everywhere and line.startswith("# "):
            lines += box(everywhere)
            everywhere = []
    return "\n".join(lines)


def box(problems: Iterable[Problem]) -> list[str]:
    """Return problems as an admonition, in Markdown."""
    return ["", '!!! failure "This is broken"', *(row for p in problems for row in ("", f"    {plain(str(p))}")), ""]


def plain(text: str) -> str:
    """Return a text that neither Markdown nor HTML nor a template's language makes anything of."""
    return re.sub(r"[^\w\s.,:;/-]|_", lambda character: f"&#{ord(character[0])};", text)


def _by_line(page: Page, found: Iterable[Problem]) -> dict[int, list[Problem]]:
    """Return what is wrong with a page, by line; a snippet that cannot be read is told of where it is shown."""
    told: dict[int, list[Problem]] = {}
    for problem in found:
        if problem.path == page.path:
            told.setdefault(problem.line, []).append(problem)
        for path, call in page.shown():
            if guide.covers(path, problem.path.removeprefix(f"{snippets.FOLDER}/")):
                told.setdefault(call.line, []).append(problem)
    lines = _lines(page)
    for line in told:
        lines[line - 1] = ""
    # Jinja stops at the first mistake. Without its line there may be another.
    while rest := pages.parse(page.path, "\n".join(lines)).problems:
        for problem in rest:
            # What is never closed may be noticed far below.
            line = next(n for n in range(min(problem.line, len(lines)), 0, -1) if TEMPLATE.search(lines[n - 1]))
            told.setdefault(line, []).append(problem)
            lines[line - 1] = ""
    return told


def _lines(page: Page) -> list[str]:
    return pages.visible(page.text).splitlines() or [""]
