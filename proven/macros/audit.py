"""What the audit finds: its rules, drawn from the table in snippets/audit/audit.py.

{{ rule("listen", "test_function_name", belief="Whoever listens hears.") }}  a rule, with the proofs that it is right
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from proven.evidence.measurements import UnknownError, find, shown
from proven.guide import Guide
from proven.macros import calls, claims
from proven.macros.calls import check, macro
from proven.macros.code import module
from proven.macros.markup import sentence
from proven.macros.place import Block, Place
from proven.problems import Problem, nearest
from proven.sources import pages

FILE = "audit/audit.py"


def _rules(guide: Guide) -> dict[str, Any]:
    return module(guide, FILE).RULES if FILE in guide.snippets else {}


def _page(rule: Any) -> str:
    return f"{rule.page.rstrip('/')}.md"


def _wrong(guide: Guide, name: str, names: tuple[str, ...], **_: Any) -> Iterator[str]:
    rules = _rules(guide)
    if name not in rules:
        yield f"the audit has no rule {name!r}{nearest(name, rules)}"
    elif f"{pages.FOLDER}/{_page(rules[name])}" not in {page.path for page in guide.pages}:
        yield f"snippets/{FILE} leads from {name!r} to {_page(rules[name])}, which is no page"
    if not names:
        yield 'no proof says that the rule is right: name one, as in rule("listen", "test_function_name", belief=…)'
    for proof in names:
        if proof not in guide.proofs:
            yield f"no proof is called {proof!r}{nearest(proof, guide.proofs)}"


@macro(claims=("names",), says=("belief",), wrong=_wrong)
def rule(at: Place, name: str, *names: str, belief: str) -> Block:
    """Show a rule: what is believed, what happens, the proofs of that, what to do instead, and how sure the rule is."""
    found = _rules(at.guide)[name]
    marks = claims.proven(at, *names)
    seen = "met in no [real package](#how-often-it-is-right) yet"
    with suppress(UnknownError):
        right = find(at.guide.root, f"audit.rules.{name}")
        if right["found"]:
            counted = f"{shown(right['right'])} of {shown(right['found'])}"
            seen = f"{counted} right in [real packages](#how-often-it-is-right)"
    title = next(page.title for page in at.guide.pages if page.name == _page(found))
    return [
        f"### {name}",
        "",
        f"“{belief}” {sentence(found.breaks)}. {marks}",
        "",
        f"**Instead:** {found.instead}. [{title}]({at.link(_page(found))})",
        "",
        f"{sentence(found.sure)} · {seen}",
        "{ .proof }",
    ]


@check
def _each_rule_once(guide: Guide) -> Iterator[Problem]:
    """Check that the page of the audit shows each of its rules, and none twice."""
    called = calls.named(guide, "rule")
    shown_rules = Counter(call.given["name"] for _, call in called)
    for page, call in called[:1]:
        for name in _rules(guide):
            if shown_rules[name] != 1:
                times = "not shown" if not shown_rules[name] else "shown twice"
                yield Problem(page.path, call.line, f"the rule {name!r} of snippets/{FILE} is {times}")
