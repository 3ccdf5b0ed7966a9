"""A mistake, shown on the page in its place: `make serve` goes on in spite of it, and its writer sees where it is."""

import re
from collections.abc import Iterable

from proven.guide import Guide
from proven.macros import calls
from proven.problems import Problem
from proven.sources import characters, pages, snippets
from proven.sources.pages import Page

TAGS = re.compile(r"\{[{%#]|<")


def shown(page: Page, guide: Guide, found: Iterable[Problem]) -> str:
    """Return a page's text with each of its mistakes in its place, and below its title what concerns every page.

    The result has no Jinja tag that cannot be rendered.
    """
    by_line = _by_line(page, guide, found)
    everywhere = [p for p in guide.broken if not p.path.startswith(f"{snippets.FOLDER}/")]
    lines = []
    for number, line in enumerate(_lines(page), start=1):
        if number in by_line:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [indent + row if row else "" for row in box(by_line[number])]
            # A line with tags, Jinja's or HTML's, is shown as it was typed, and every other line is rendered.
            lines.append(indent + plain(line.strip()) if TAGS.search(line) else line)
        else:
            lines.append(line)
        if everywhere and line.startswith("# "):
            lines += box(everywhere)
            everywhere = []
    return "\n".join(lines)


def box(problems: Iterable[Problem]) -> list[str]:
    """Return problems as an admonition, in Markdown."""
    return ["", '!!! failure "This is broken"', *(row for p in problems for row in ("", f"    {plain(str(p))}")), ""]


def plain(text: str) -> str:
    """Return a text with every character escaped that Markdown, HTML or Jinja would interpret."""
    return re.sub(r"[^\w\s.,:;/-]|_", lambda character: f"&#{ord(character[0])};", text)


def _by_line(page: Page, guide: Guide, found: Iterable[Problem]) -> dict[int, list[Problem]]:
    """Return what is wrong with a page, by line. A snippet that cannot be read is wrong wherever it is shown."""
    lines = _lines(page)
    by_line: dict[int, list[Problem]] = {}
    for problem in found:
        shown = [call.line for where, call in calls.where_shown(guide, _snippet(problem)) if where is page]
        for line in [problem.line] if problem.path == page.path else shown:
            by_line.setdefault(pages.opening(lines, line), []).append(problem)
    return by_line


def _snippet(problem: Problem) -> str:
    return problem.path.removeprefix(f"{snippets.FOLDER}/")


def _lines(page: Page) -> list[str]:
    return characters.lines(page.text) or [""]
