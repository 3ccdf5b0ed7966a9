"""Lists of pages, and files under docs/ that are shown as tables and drawings.

{{ section() }}                          the pages beside this one, each with what it answers
{{ facts("managed-poolers.json") }}      what was read elsewhere, each cell with its source and day
{{ due("managed-poolers.json") }}        by which day each of these is read again
{{ picture("life-of-a-connection.svg") }}  a drawing, in the page's own colours
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from proven.guide import Guide
from proven.macros import calls
from proven.macros.calls import check, macro, unanswered
from proven.macros.markup import figure, inline, table, unsearched
from proven.macros.place import Block, Place
from proven.problems import Problem, nearest
from proven.sources import data, pages
from proven.sources.pages import Page

PICTURES = "docs/assets"
FACTS = data.FOLDER
# What a browser would run or fetch in a drawing that is part of the page.
RUNS = re.compile(r"<(?:script|foreignObject|!ENTITY)|\bon\w+\s*=|(?:href|src)\s*=\s*[\"'](?!#)|@import", re.IGNORECASE)


@macro()
def section(at: Place) -> Block:
    """Show the pages beside this one, in the order and under the headings of the navigation, with their answers."""
    above = at.guide.navigation.get(at.page, ())
    lines: Block = []
    for page in _beside(at.guide, f"{pages.FOLDER}/{at.page}"):
        headings = at.guide.navigation.get(page.name, ())
        if headings and headings != above:
            lines += [f"## {headings[-1]}", ""]
            above = headings
        lines += [f"[{page.title}]({Path(page.path).name})", f":   {page.description}", ""]
    return lines


def _beside(guide: Guide, path: str) -> list[Page]:
    """Return the pages in a page's folder but itself, in the order of the navigation."""
    folder = Path(path).parent
    found = (page for page in guide.pages if Path(page.path).parent == folder and page.path != path)
    return sorted(found, key=guide.place)


@check
def _without_answers(guide: Guide) -> Iterator[Problem]:
    """Check that a page which lists others finds some, and that each of these says what it answers."""
    for page, call in calls.named(guide, "section"):
        listed = _beside(guide, page.path)
        if not listed:
            yield Problem(page.path, call.line, "section() lists the pages beside this one, and there are none")
        for each in listed:
            yield from unanswered(each, page.path)


def _not_in(folder: str, what: str, pattern: str) -> Callable[[Guide, str], Iterator[str]]:
    """Return a check that a file is in a folder."""

    def wrong(guide: Guide, name: str) -> Iterator[str]:
        known = [file.name.replace(".schema.", ".") for file in (guide.root / folder).glob(pattern)]
        if name not in known:  # as listed there, so that no name leads out of the folder
            yield f"no {what} in {folder}/ is called {name!r}{nearest(name, known)}"

    return wrong


@macro(wrong=_not_in(FACTS, "facts", "*-poolers.json"))
def facts(at: Place, name: str) -> Block:
    """Show a file of docs/data/ as a table: in each cell what was read, where, and on which day."""
    found = data.read(at.guide.root, f"{FACTS}/{name}")
    rows = []
    for each in found["rows"]:
        cells = {heading: _fact(each["cells"][key]) for key, heading in found["columns"].items()}
        rows.append({found["about"]: f"**{each['name']}**", **cells})
    return unsearched("facts", table(rows))


@macro(wrong=_not_in(FACTS, "facts", "*-poolers.json"))
def due(at: Place, name: str) -> Block:
    """Show by which day the cells of such a file are to be read again, the nearest first."""
    found = data.read(at.guide.root, f"{FACTS}/{name}")
    days: dict[str, dict[str, list[str]]] = {}
    for each in found["rows"]:
        for key, heading in found["columns"].items():
            day = days.setdefault(each["cells"][key]["again"], {})
            day.setdefault(each["name"], []).append(heading.lower())
    rows = [
        {"By": day, "Read again": "; ".join(f"{who}: {', '.join(what)}" for who, what in days[day].items())}
        for day in sorted(days)
    ]
    return unsearched("due", table(rows))


def _fact(cell: dict[str, str | None]) -> str:
    """Return a cell of what was read elsewhere; what could not be confirmed says so."""
    source = str(cell["source"])
    gist = str(cell["gist"]).replace('"', "”")
    return inline(
        "fact.md.jinja", says=cell["says"], host=urlsplit(source).hostname, source=source, gist=gist, date=cell["date"]
    )


def _wrong_picture(guide: Guide, name: str) -> Iterator[str]:
    missing = list(_not_in(PICTURES, "picture", "*.svg")(guide, name))
    svg = "" if missing else (guide.root / PICTURES / name).read_text(encoding="utf-8", errors="replace")
    yield from missing
    if found := RUNS.search(svg):
        yield f"{PICTURES}/{name}: {found[0]!r} in a drawing is run, or fetched, where it is shown: take it out"


@macro(wrong=_wrong_picture)
def picture(at: Place, name: str) -> str:
    """Show a drawing in the page itself, so that it takes the page's colours. Its <title> is its text."""
    svg = (at.guide.root / PICTURES / name).read_text(encoding="utf-8")
    return figure(svg)
