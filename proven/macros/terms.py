"""Terms: docs/reference/glossary.md explains each once.

    *server connection*{ #server-connection }
    :   One from PgBouncer to PostgreSQL. …

Where a page meets a term first, it links to that:

    {{ term("server connection") }}  a link, with the explanation as its tooltip
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from proven.guide import Guide
from proven.macros import calls
from proven.macros.calls import check, macro
from proven.macros.place import Place
from proven.problems import Problem, nearest
from proven.sources.pages import FOLDER

PAGE = "reference/glossary.md"
ENTRY = re.compile(r"^\*(?P<name>[^*\n]+)\*\{ #(?P<anchor>[\w-]+) \}\n:   (?P<text>.+)$", re.MULTILINE)
MARKUP = re.compile(r"\[([^]]+)\]\([^)]*\)|[*`]|\{\{.*?\}\}")


@lru_cache(maxsize=1)  # a page asks for each of its terms
def terms(guide: Guide) -> dict[str, tuple[str, str]]:
    """Return each term's anchor and its explanation as plain text."""
    return {
        entry["name"]: (entry["anchor"], MARKUP.sub(r"\1", entry["text"]).strip())
        for entry in ENTRY.finditer(_glossary(guide))
    }


def _unknown(guide: Guide, name: str, **_: object) -> Iterator[str]:
    if name not in terms(guide):
        yield f"the glossary does not explain {name!r}{nearest(name, terms(guide))}"


@macro(says=("shown",), links=True, wrong=_unknown)
def term(at: Place, name: str, shown: str | None = None) -> str:
    """Show a term as a link to the glossary, with its explanation as a tooltip."""
    anchor, text = terms(at.guide).get(name, ("", "not explained yet"))
    quoted = text.replace('"', "”")
    return f'[{shown or name}]({at.link(PAGE)}#{anchor} "{quoted}"){{ .term }}'


@check
def _unused(guide: Guide) -> Iterator[Problem]:
    """Check that each term that is explained is used by some page."""
    used = {call.given["name"] for _, call in calls.named(guide, "term")}
    text = _glossary(guide)
    for entry in ENTRY.finditer(text):
        if entry["name"] not in used:
            line = text[: entry.start()].count("\n") + 1
            message = f"no page uses {entry['name']!r}: call {{{{ term(…) }}}}, or delete it"
            yield Problem(f"{FOLDER}/{PAGE}", line, message)


def _glossary(guide: Guide) -> str:
    return next((page.text for page in guide.pages if page.name == PAGE), "")
