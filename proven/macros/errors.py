"""Errors: what a reader sees when something is broken, and the runbook for it.

A runbook says each of its texts once. The table of all texts and the search both come from these calls. In a text, …
stands for what differs each time.

    {{ symptom("query_wait_timeout") }}  an error's text, by which a reader finds this runbook
    {{ sign("Requests are slow.") }}     the same where no error is raised
    {{ ask() }}                          the box into which readers paste their error
    {{ symptoms() }}                     every such text, with its runbook
"""

from collections.abc import Iterator
from dataclasses import dataclass

from proven.guide import Guide
from proven.macros import calls
from proven.macros.calls import Bound, check, macro, unanswered
from proven.macros.markup import bare, table, unsearched
from proven.macros.place import Block, Place
from proven.problems import Problem
from proven.sources import characters
from proven.sources.pages import Page

ASK = "overrides/partials/ask.html"
SCRIPT = "javascripts/symptoms.js"


@dataclass(frozen=True)
class Symptom:
    """A text and the pages that explain it; the first is the one to read first."""

    text: str
    said: bool  # by a program, literally; otherwise it is a sign that a reader notices
    pages: tuple[Page, ...]


def _within_code(_: Guide, text: str, **__: object) -> Iterator[str]:
    if "`" in text:
        yield f"symptom() shows {text!r} as code: leave its backticks out"


@macro(says=("text",), wrong=_within_code)
def symptom(_: Place, text: str, also: bool = False) -> str:  # noqa: ARG001
    """Show the text of an error. `also` says that another page is to be read first for it."""
    return f"`{text}`"


@macro(says=("text",))
def sign(_: Place, text: str, also: bool = False) -> str:  # noqa: ARG001
    """Show what a reader notices where no error is raised."""
    return text


@macro()
def ask(at: Place) -> Block:
    """Show the box into which readers paste their error; symptoms.js answers."""
    box = (at.guide.root / ASK).read_text(encoding="utf-8").strip()
    return [*characters.lines(box), f'<script type="module" src="{at.up}{SCRIPT}"></script>']


@macro()
def symptoms(at: Place) -> Block:
    """Show every text by which a runbook is found."""
    rows = []
    for found in listing(at.guide):
        links = [f'[{bare(page.title)}]({at.link(page.name)} "{page.description}")' for page in found.pages]
        text = f"`{found.text}`" if found.said else found.text
        rows.append({"What you see": text, "Runbook": ", or ".join(links)})
    return unsearched("texts", table(rows))


def listing(guide: Guide) -> list[Symptom]:
    """Return each text once, in the order of the navigation."""
    found: dict[str, list[tuple[Page, Bound]]] = {}
    for page, call in _texts(guide):
        found.setdefault(call.given["text"], []).append((page, call))
    listed = []
    for text, those in found.items():
        ranked = sorted(those, key=lambda each: bool(each[1].given["also"]))
        pages = {page.path: page for page, _ in reversed(ranked)}
        listed.append(Symptom(text, those[0][1].name == "symptom", tuple(reversed(pages.values()))))
    return sorted(listed, key=lambda symptom: (not symptom.said, guide.place(symptom.pages[0])))


@check
def _without_answers(guide: Guide) -> Iterator[Problem]:
    """Check that each page to which a text leads says what it answers: the box shows that below the link."""
    for page, _ in _texts(guide):
        if not page.description:
            yield unanswered(page, "the table of error texts")


@check
def _homes(guide: Guide) -> Iterator[Problem]:
    """Check that each text has exactly one page to read first."""
    first: dict[str, Page] = {}
    for page, call in _texts(guide):
        if not call.given["also"]:
            text = call.given["text"]
            before = first.setdefault(text, page)
            if before != page:
                message = f"{before.path} is to be read first for {text!r}: add also=True here"
                yield Problem(page.path, call.line, message)
    for page, call in _texts(guide):
        if (text := call.given["text"]) not in first:
            yield Problem(page.path, call.line, f"no page is to be read first for {text!r}: leave also=True out on one")


def _texts(guide: Guide) -> list[tuple[Page, Bound]]:
    return calls.named(guide, "symptom", "sign")
