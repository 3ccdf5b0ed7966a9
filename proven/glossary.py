"""The glossary: docs/reference/glossary.md explains each term once.

    *server connection*{ #server-connection }
    :   One from PgBouncer to PostgreSQL. …

Where a page meets a term first it says {{ term("server connection") }}: a link, with the explanation as its tooltip.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from proven.guide import Guide
from proven.problems import Problem, nearest
from proven.sources.pages import FOLDER

PAGE = "reference/glossary.md"
ENTRY = re.compile(r"^\*(?P<name>[^*\n]+)\*\{ #(?P<anchor>[\w-]+) \}\n:   (?P<text>.+)$", re.MULTILINE)
MARKUP = re.compile(r"\[([^]]+)\]\([^)]*\)|[*`]|\{\{.*?\}\}")


def terms(of: Guide) -> dict[str, tuple[str, str]]:
    """Return each term's anchor and its explanation as plain text."""
    page = next((page.text for page in of.pages if page.path == f"{FOLDER}/{PAGE}"), "")
    found = ENTRY.finditer(page)
    return {entry["name"]: (entry["anchor"], MARKUP.sub(r"\1", entry["text"]).strip()) for entry in found}


def problems(of: Guide) -> Iterator[Problem]:
    """Check that each term is explained, once, and used by some page."""
    known = terms(of)
    used = set()
    for page in of.pages:
        for call in page.calls:
            if call.name == "term":
                used.add(name := str(call.given["name"]))
                if name not in known:
                    message = f"the glossary does not explain {name!r}{nearest(name, known)}"
                    yield Problem(page.path, call.line, message)
    glossary = Path(FOLDER, PAGE).as_posix()
    text = next((page.text for page in of.pages if page.path == glossary), "")
    for entry in ENTRY.finditer(text):
        line = text[: entry.start()].count("\n") + 1
        if entry["name"] not in used:
            yield Problem(glossary, line, f"no page uses {entry['name']!r}: call {{{{ term(…) }}}}, or delete it")
