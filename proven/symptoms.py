"""What a reader sees when something is broken, and the runbook for it.

A runbook says each of its texts once, with {{ symptom("…") }}, or {{ sign("…") }} where the machine says nothing. The
table of all texts and the search both come from these calls. In a text, … stands for what differs each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from proven.guide import Guide
from proven.problems import Problem
from proven.sources.pages import Call, Page

CALLS = ("symptom", "sign")


@dataclass(frozen=True)
class Symptom:
    """A text and the pages that explain it; the first is the one to read first."""

    text: str
    said: bool  # by a machine, to the letter
    pages: tuple[Page, ...]


def listing(of: Guide) -> list[Symptom]:
    """Return each text once, in the order of the navigation."""
    found: dict[str, list[tuple[Page, Call]]] = {}
    for page, call in _calls(of):
        found.setdefault(str(call.given["text"]), []).append((page, call))
    symptoms = []
    for text, calls in found.items():
        ranked = sorted(calls, key=lambda each: bool(each[1].given.get("also")))
        pages = {page.path: page for page, _ in reversed(ranked)}
        symptoms.append(Symptom(text, calls[0][1].name == "symptom", tuple(reversed(pages.values()))))
    return sorted(symptoms, key=lambda symptom: (not symptom.said, of.place(symptom.pages[0])))


def problems(of: Guide) -> Iterator[Problem]:
    """Check that each text has exactly one page to read first."""
    first: dict[str, tuple[Page, Call]] = {}
    for page, call in _calls(of):
        if not call.given.get("also"):
            text = str(call.given["text"])
            before, _ = first.setdefault(text, (page, call))
            if before != page:
                message = f"{before.path} is to be read first for {text!r}: add also=True here"
                yield Problem(page.path, call.line, message)
    for page, call in _calls(of):
        if (text := str(call.given["text"])) not in first:
            yield Problem(page.path, call.line, f"no page is to be read first for {text!r}: leave also=True out on one")


def _calls(of: Guide) -> list[tuple[Page, Call]]:
    return [(page, call) for page in of.pages for call in page.calls if call.name in CALLS]
