"""Errors: what a reader sees when something is broken, and what explains it.

A page says each of its texts where it explains it. Texts that no page explains at length are in docs/data/errors.json,
with a sentence each, and so is who says which text. The list of all, and the box, have both. In a text, … stands for
what differs each time. What was heard of each when it was provoked is in said.json, and which programs have it in
texts.json.

    {{ symptom("query_wait_timeout") }}  an error's text, by which a reader finds this page
    {{ sign("Requests are slow.") }}     the same where no error is raised
    {{ ask() }}                          the box into which readers paste their error
    {{ every_error("PgBouncer") }}       every such text of one program, with what explains it
    {{ signs() }}                        every sign, with its page
    {{ left_out() }}                     what the list leaves out, and why
    {{ provoked() }}                     how many of the texts were provoked
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proven.guide import Guide
from proven.macros import calls
from proven.macros.calls import Bound, check, macro, unanswered
from proven.macros.markup import bare, table, unsearched
from proven.macros.place import Block, Place
from proven.problems import Problem, nearest
from proven.sources import characters, data
from proven.sources.pages import Page

ASK = "overrides/partials/ask.html"
SCRIPT = "javascripts/symptoms.js"
FILE = data.ERRORS
SERVICES = "Managed poolers"  # nobody but their operators can run them
LOGS = {"pooler": "in PgBouncer's log", "server": "in PostgreSQL's log"}


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
    told: dict[str, Any]  # what errors.json has of it: by, says, unprovoked

    @property
    def pages(self) -> tuple[Page, ...]:
        """The pages that explain it, the one to read first in front."""
        return tuple({cause.page.path: cause.page for cause in self.causes}.values())


def _within_code(_: Guide, text: str, **__: object) -> Iterator[str]:
    if "`" in text:
        yield f"symptom() shows {text!r} as code: leave its backticks out"


@macro(says=("text",), wrong=_within_code)
def symptom(_: Place, text: str, also: bool = False, when: str = "", at: str = "") -> str:  # noqa: ARG001
    """Show the text of an error.

    `also` says that another cause is likelier, `when` by which sign this one is known, `at` which heading explains it.
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


def _by_nobody(guide: Guide, by: str) -> Iterator[str]:
    known = {symptom.told.get("by", "") for symptom in listing(guide)}
    if by not in known:
        yield f"no text of {FILE} is by {by!r}{nearest(by, known)}"


@macro(wrong=_by_nobody)
def every_error(at: Place, by: str) -> Block:
    """Show every text of one program: what it says, as what it is raised, and what explains it."""
    heard, programs = _heard(at.guide), _programs(at.guide)
    rows = []
    for found in listing(at.guide):
        if found.said and found.told.get("by") == by:
            raised = _raised(heard.get(found.text, {})) or found.told.get("unprovoked", "")
            row = {
                "What you see": f"`{found.text}`",
                "Raised as": raised,
                "In": ", ".join(programs.get(found.text, ())),
            }
            rows.append(
                {name: cell for name, cell in row.items() if name != "In" or by != SERVICES} | {"Why": _why(at, found)}
            )
    return ['<div class="texts" markdown>', "", *table(rows), "", "</div>"]


def _raised(heard: dict[str, Any]) -> str:
    """Return the SQLSTATE, the exceptions with who raises each, which log has it, and what some hear in its place."""
    classes: dict[str, list[str]] = {}
    for who, name in heard.get("raised", {}).items():
        if name and who != "psql" and not who.endswith("TLS"):
            classes.setdefault(f"`{name}`", []).append(who)
    parts = [f"`{heard['sqlstate']}`"] if heard.get("sqlstate") else []
    parts += [f"{name} ({', '.join(whose)})" for name, whose in classes.items()]
    parts += [LOGS[log] for log in heard.get("logged", ()) if log in LOGS]
    instead = heard.get("instead", {}) if classes else {}
    parts += [f"{who} says `{text}`" for who, text in instead.items()]
    return "<br>".join(parts)


@macro()
def left_out(at: Place) -> Block:
    """Show by which rules texts of the programs are no rows here, and how many each leaves out."""
    why: dict[str, list[str]] = {}
    for each in data.read(at.guide.root, data.TEXTS)["texts"]:
        if "out" in each:
            why.setdefault(each["out"], []).append(each["by"])
    rows = [
        {"Left out": reason, "Of": ", ".join(sorted(set(those))), "Texts": str(len(those))}
        for reason, those in why.items()
    ]
    return unsearched("rules", table(sorted(rows, key=lambda row: -int(row["Texts"]))))


@macro()
def provoked(at: Place) -> str:
    """Say how many of the texts that programs here can say were provoked: "210 of 240"."""
    heard = _heard(at.guide)
    rows = [each for each in _data(at.guide) if each["by"] != SERVICES]
    return f"{sum(each['text'] in heard or bool(each.get('proof')) for each in rows)} of {len(rows)}"


@macro()
def signs(at: Place) -> Block:
    """Show what a reader notices where no error is raised."""
    rows = [{"What you see": each.text, "Why": _why(at, each)} for each in listing(at.guide) if not each.said]
    return ['<div class="texts" markdown>', "", *table(rows), "", "</div>"]


def _why(at: Place, found: Symptom) -> str:
    """Return the causes of a text, each a link with its page's answer, or the sentence that explains it."""
    lines = []
    for cause in found.causes:
        link = at.link(cause.page.name) + (f"#{cause.heading}" if cause.heading else "")
        told = f": {cause.when}" if cause.when else ""
        lines.append(f'[{bare(cause.page.title)}]({link} "{cause.page.description}"){told}')
    return "<br>".join(lines) or str(found.told.get("says", ""))


def listing(guide: Guide) -> list[Symptom]:
    """Return each text once: those of pages in the order of the navigation, then those of errors.json alone."""
    told = {each["text"]: each for each in _data(guide)}
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


def _data(guide: Guide) -> list[dict[str, Any]]:
    """Return what errors.json says of each text."""
    return data.read(guide.root, FILE)["texts"]


def _heard(guide: Guide) -> dict[str, dict[str, Any]]:
    """Return what was heard of each text when it was provoked."""
    return data.read(guide.root, data.SAID)["texts"]


def _programs(guide: Guide) -> dict[str, list[str]]:
    """Return the versions of its program that have each text."""
    found: dict[str, set[str]] = {}
    for each in data.read(guide.root, data.TEXTS)["texts"]:
        if each.get("row"):
            found.setdefault(each["row"], set()).update(each["in"])
    return {text: sorted(versions) for text, versions in found.items()}


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


@check
def _told_apart(guide: Guide) -> Iterator[Problem]:
    """Check that of a text with several causes each has its sign: the box asks by it."""
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
    if not (guide.root / FILE).is_file():
        return
    all_heard = _heard(guide)
    for found in listing(guide):
        heard = found.text in all_heard
        if found.said and not found.told:
            page, call = next((page, call) for page, call in _texts(guide) if call.given["text"] == found.text)
            yield Problem(page.path, call.line, f"{FILE} does not say who says {found.text!r}")
        elif not found.causes and not found.told.get("says"):
            yield Problem(FILE, 1, f"neither a page nor says explains {found.text!r}")
        elif (proof := found.told.get("proof")) and proof not in guide.proofs:
            yield Problem(FILE, 1, f"no proof is called {proof!r}{nearest(proof, guide.proofs)}")
        elif not (heard or found.told.get("proof") or found.told.get("unprovoked")) and found.said:
            yield Problem(FILE, 1, f"{found.text!r} needs a provocation, the proof on its page, or why not: unprovoked")
        elif heard and found.told.get("unprovoked"):
            yield Problem(FILE, 1, f"{found.text!r} was provoked: leave unprovoked out")


def _texts(guide: Guide) -> list[tuple[Page, Bound]]:
    return calls.named(guide, "symptom", "sign")
