"""Every error: the texts of all pages and of docs/data/errors.json in one list, with how each was reported.

How a text was reported when it was provoked is in said.json, and which programs have it is in texts.json.

    {{ every_error("PgBouncer") }}  every text of one program, with what explains it
    {{ signs() }}                   every sign, with its page
    {{ left_out() }}                what the list leaves out, and why
    {{ in_language("German", "de") }}  every text that PostgreSQL says in another language
    {{ provoked() }}                how many of the texts were provoked
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from proven.guide import Guide
from proven.macros.calls import macro
from proven.macros.errors import FILE, Symptom, data_of, heard_of, listing
from proven.macros.markup import bare, table, unsearched
from proven.macros.place import Block, Place
from proven.problems import nearest
from proven.sources import data

ELSEWHERE = ("Managed poolers", "Other programs and systems")  # which are not run here
LOGS = {"pooler": "in PgBouncer's log", "server": "in PostgreSQL's log"}


def _by_nobody(guide: Guide, by: str) -> Iterator[str]:
    known = {symptom.told.get("by", "") for symptom in listing(guide)}
    if by not in known:
        yield f"no text of {FILE} is by {by!r}{nearest(by, known)}"


@macro(wrong=_by_nobody)
def every_error(at: Place, by: str) -> Block:
    """Show every text of one program: the text, what it is raised as, and what explains it."""
    heard, programs = heard_of(at.guide), _programs(at.guide)
    rows = []
    for found in listing(at.guide):
        if found.said and found.told.get("by") == by:
            raised = _raised(heard.get(found.text, {})) or found.told.get("unprovoked", "")
            row = {
                "What you see": f"`{found.text}`",
                "Raised as": raised,
                "In": ", ".join(programs.get(found.text, ())),
            }
            if by in ELSEWHERE:
                del row["In"]
            rows.append(row | {"Why": _why(at, found)})
    return ['<div class="texts" markdown>', "", *table(rows), "", "</div>"]


def _raised(heard: dict[str, Any]) -> str:
    """Return the SQLSTATE, the exceptions with what raises each, the logs that have it, and what some say instead."""
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
    """Show the rules that leave out texts of the programs here, and how many each leaves out."""
    why: dict[str, list[str]] = {}
    for each in data.read(at.guide.root, data.TEXTS)["texts"]:
        if "out" in each:
            why.setdefault(each["out"], []).append(each["by"])
    rows = [
        {"Left out": reason, "Of": ", ".join(sorted(set(those))), "Texts": str(len(those))}
        for reason, those in why.items()
    ]
    return unsearched("rules", table(sorted(rows, key=lambda row: -int(row["Texts"]))))


def _unspoken(guide: Guide, language: str, code: str) -> Iterator[str]:
    known = {each["in"] for each in data.read(guide.root, data.TRANSLATED)["texts"]}
    if not code.replace("-", "").isalpha():
        yield f'{code!r} is no code of a language, as in lang="de"'
    if language not in known:
        yield f"{data.TRANSLATED} has nothing in {language!r}{nearest(language, known)}"


@macro(wrong=_unspoken)
def in_language(at: Place, language: str, code: str) -> Block:
    """Show every text of the atlas in another language, with the English one.

    Screen readers and browsers go by the language's code.
    """
    texts = [each for each in data.read(at.guide.root, data.TRANSLATED)["texts"] if each["in"] == language]
    said = f"In {language}"
    rows = [{said: f"`{each['text']}`{{ lang={code} }}", "In English": f"`{each['row']}`"} for each in texts]
    return unsearched("texts", table(rows))


@macro()
def provoked(at: Place) -> str:
    """Say how many of the texts that programs here can say were provoked: "210 of 240"."""
    heard = heard_of(at.guide)
    rows = [each for each in data_of(at.guide) if each["by"] not in ELSEWHERE]
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


@lru_cache(maxsize=1)  # each list of one program's texts asks for it
def _programs(guide: Guide) -> dict[str, list[str]]:
    """Return the versions of its program that have each text; another program may have the same one."""
    found: dict[str, set[str]] = {}
    whose = {each["text"]: each["by"] for each in data_of(guide)}
    for each in data.read(guide.root, data.TEXTS)["texts"]:
        row = each.get("row")
        if row and (each["by"] == whose.get(row) or each["by"] not in whose.values()):
            found.setdefault(each["row"], set()).update(each["in"])
    return {text: sorted(versions) for text, versions in found.items()}
