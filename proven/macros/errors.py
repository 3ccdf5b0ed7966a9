"""Errors: what a reader sees when something is broken, and what explains it.

A page gives each of its texts where it explains it. Texts that no page explains at length are in docs/data/errors.json,
with a sentence each; that file also names the program that says each text. The list of all texts (atlas.py) and the
box have both. In a text, … stands for what differs each time.

    {{ symptom("query_wait_timeout") }}  an error's text, by which a reader finds this page
    {{ sign("Requests are slow.") }}     the same where no error is raised
    {{ ask() }}                          the box into which readers paste their error
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from proven.guide import Guide
from proven.macros import calls
from proven.macros.calls import Bound, check, macro, unanswered
from proven.macros.place import Block, Place
from proven.problems import Problem, nearest
from proven.sources import characters, data
from proven.sources.pages import Page

ASK = "overrides/partials/ask.html"
SCRIPT = "javascripts/symptoms.js"
FILE = data.ERRORS
ROW = {"by", "text", "says", "proof", "unprovoked"}  # what a row may have; by and text it must have


@dataclass(frozen=True)
class Cause:
    """Where one cause of a text is explained, and the sign by which it is told from the others."""

    page: Page
    heading: str  # the anchor of the part that explains it; "" for the page
    when: str


@dataclass(frozen=True)
class Symptom:
    """A text and its causes; the first is the likeliest."""

    text: str
    said: bool  # by a program, literally; otherwise it is a sign that a reader notices
    causes: tuple[Cause, ...]
    told: dict[str, Any]  # what errors.json says about it: by, says, unprovoked

    @property
    def pages(self) -> tuple[Page, ...]:
        """The pages that explain it, beginning with the one to read first."""
        return tuple({cause.page.path: cause.page for cause in self.causes}.values())


def _within_code(_: Guide, text: str, **__: object) -> Iterator[str]:
    if "`" in text:
        yield f"symptom() shows {text!r} as code: leave its backticks out"


@macro(says=("text",), wrong=_within_code)
def symptom(_: Place, text: str, also: bool = False, when: str = "", at: str = "") -> str:  # noqa: ARG001
    """Show the text of an error.

    `also` says that another cause is likelier, `when` is the sign of this one, `at` the heading that explains it.
    """
    return f"`{text}`"


@macro(says=("text",))
def sign(_: Place, text: str, also: bool = False, when: str = "", at: str = "") -> str:  # noqa: ARG001
    """Show what a reader notices where no error is raised."""
    return text


@macro()
def ask(at: Place) -> Block:
    """Show the box into which readers paste their error; symptoms.js answers."""
    box = (at.guide.root / ASK).read_text(encoding="utf-8").strip()
    return [*characters.lines(box), f'<script type="module" src="{at.up}{SCRIPT}"></script>']


@lru_cache(maxsize=1)  # several checks and lists ask for it
def listing(guide: Guide) -> list[Symptom]:
    """Return each text once: those of pages in the order of the navigation, then those that only errors.json has."""
    told = {each["text"]: each for each in data_of(guide)}
    found: dict[str, list[tuple[Page, Bound]]] = {}
    for page, call in _texts(guide):
        found.setdefault(call.given["text"], []).append((page, call))
    listed = []
    for text, those in found.items():
        ranked = sorted(those, key=lambda each: bool(each[1].given["also"]))
        causes = {(page.path, call.given["at"]): _cause(page, call) for page, call in reversed(ranked)}
        said = those[0][1].name == "symptom"
        listed.append(Symptom(text, said, tuple(reversed(causes.values())), told.get(text, {})))
    listed.sort(key=lambda symptom: (not symptom.said, guide.place(symptom.pages[0])))
    return [*listed, *(Symptom(text, True, (), each) for text, each in told.items() if text not in found)]


def _cause(page: Page, call: Bound) -> Cause:
    return Cause(page, call.given["at"], call.given["when"])


@lru_cache(maxsize=1)
def data_of(guide: Guide) -> list[dict[str, Any]]:
    """Return what errors.json says of each text."""
    return data.read(guide.root, FILE)["texts"]


@lru_cache(maxsize=1)
def heard_of(guide: Guide) -> dict[str, dict[str, Any]]:
    """Return how each text was reported when it was provoked."""
    return data.read(guide.root, data.SAID)["texts"]


@check
def _without_answers(guide: Guide) -> Iterator[Problem]:
    """Check that each page to which a text leads says what it answers: the box shows that below the link."""
    for page, _ in _texts(guide):
        yield from unanswered(page, "the table of error texts")


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


@check
def _told_apart(guide: Guide) -> Iterator[Problem]:
    """Check that each cause of a text with several has its sign: the box asks for it."""
    known = {symptom.text: symptom for symptom in listing(guide)}
    for page, call in _texts(guide):
        given = call.given
        several = len(known[given["text"]].causes) > 1
        if several and not given["when"]:
            yield Problem(page.path, call.line, f"{given['text']!r} has several causes: say when= it is this one")
        elif given["when"] and not several:
            yield Problem(page.path, call.line, f"{given['text']!r} has one cause: leave when= out")


@check
def _explained(guide: Guide) -> Iterator[Problem]:
    """Check that errors.json explains each text that no page does, and has each text of a page."""
    if not data_of(guide):
        return
    all_heard = heard_of(guide)
    for found in listing(guide):
        heard = found.text in all_heard
        if found.said and not found.told:
            page, call = next((page, call) for page, call in _texts(guide) if call.given["text"] == found.text)
            yield Problem(page.path, call.line, f"{FILE} does not say who says {found.text!r}")
        elif not found.causes and not found.told.get("says"):
            yield Problem(FILE, _line(guide, found.text), f"neither a page nor says explains {found.text!r}")
        elif (proof := found.told.get("proof")) and proof not in guide.proofs:
            message = f"no proof is called {proof!r}{nearest(proof, guide.proofs)}"
            yield Problem(FILE, _line(guide, found.text), message)
        elif not (heard or found.told.get("proof") or found.told.get("unprovoked")) and found.said:
            message = f"{found.text!r} needs a provocation, proof: the one on its page, or unprovoked: why not"
            yield Problem(FILE, _line(guide, found.text), message)
        elif heard and found.told.get("unprovoked"):
            yield Problem(FILE, _line(guide, found.text), f"{found.text!r} was provoked: leave unprovoked out")


@check
def _rows(guide: Guide) -> Iterator[Problem]:
    """Check that each row of errors.json names what says its text, has no misspelt key, and appears once."""
    seen = set()
    for row in data_of(guide):
        text, line = row["text"], _line(guide, row["text"])
        if "by" not in row:
            yield Problem(FILE, line, f"{text!r}: say who says it, by")
        for key in sorted(row.keys() - ROW):
            yield Problem(FILE, line, f"{text!r}: a row has no {key!r}{nearest(key, ROW)}")
        if text in seen:
            yield Problem(FILE, line, f"{text!r} has two rows: leave one out")
        seen.add(text)


def _line(guide: Guide, text: str) -> int:
    """Return the line of errors.json on which a text's last row stands."""
    row = f'"text": {json.dumps(text, ensure_ascii=False)}'
    return (guide.root / FILE).read_text(encoding="utf-8").rpartition(row)[0].count("\n") + 1


def _texts(guide: Guide) -> list[tuple[Page, Bound]]:
    return calls.named(guide, "symptom", "sign")
