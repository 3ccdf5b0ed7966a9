"""Lists of pages, and files under docs/ that are shown as tables and drawings.

{{ section() }}                          the pages beside this one, each with what it answers
{{ facts("managed-poolers.json") }}      what was read elsewhere, each cell with its source and day
{{ due("managed-poolers.json") }}        by which day each of these is read again
{{ picture("life-of-a-connection.svg") }}  a drawing, in the page's own colours
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from proven.guide import Guide
from proven.macros.calls import macro
from proven.macros.markup import figure, inline, table, unsearched
from proven.macros.place import Block, Place
from proven.problems import nearest
from proven.sources import pages

PICTURES = "docs/assets"
FACTS = "docs/data"


@macro()
def section(at: Place) -> Block:
    """Show the pages beside this one, in the order and under the headings of the navigation, with their answers."""
    here = Path(pages.FOLDER, at.page)
    above = at.guide.navigation.get(at.page, ())
    lines: Block = []
    for page in sorted(at.guide.pages, key=at.guide.place):
        path = Path(page.path)
        if path.parent == here.parent and path != here:
            headings = at.guide.navigation.get(page.name, ())
            if headings != above:
                lines += [f"## {headings[-1]}", ""]
                above = headings
            lines += [f"[{page.title}]({path.name})", f":   {page.description}", ""]
    return lines


def _not_in(folder: str, what: str, pattern: str) -> Callable[[Guide, str], Iterator[str]]:
    """Return a check that a file is in a folder."""

    def wrong(guide: Guide, name: str) -> Iterator[str]:
        if not (guide.root / folder / name).is_file():
            known = [file.name for file in (guide.root / folder).glob(pattern)]
            yield f"no {what} in {folder}/ is called {name!r}{nearest(name, known)}"

    return wrong


@macro(wrong=_not_in(FACTS, "facts", "*.json"))
def facts(at: Place, name: str) -> Block:
    """Show a file of docs/data/ as a table: in each cell what was read, where, and on which day."""
    found = json.loads((at.guide.root / FACTS / name).read_text(encoding="utf-8"))
    rows = []
    for each in found["rows"]:
        cells = {heading: _fact(each["cells"][key]) for key, heading in found["columns"].items()}
        rows.append({found["about"]: f"**{each['name']}**", **cells})
    return unsearched("facts", table(rows))


@macro(wrong=_not_in(FACTS, "facts", "*.json"))
def due(at: Place, name: str) -> Block:
    """Show by which day the cells of such a file are to be read again, the nearest first."""
    found = json.loads((at.guide.root / FACTS / name).read_text(encoding="utf-8"))
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


@macro(wrong=_not_in(PICTURES, "picture", "*.svg"))
def picture(at: Place, name: str) -> str:
    """Show a drawing in the page itself, so that it takes the page's colours. Its <title> is its text."""
    svg = (at.guide.root / PICTURES / name).read_text(encoding="utf-8")
    return figure(svg)
