"""Which proofs concern a snippet or a page, and which places on pages a failed proof makes untrue."""

from collections.abc import Iterable
from pathlib import Path

from proven.guide import Guide
from proven.macros import calls
from proven.problems import Problem, nearest
from proven.sources import proofs, snippets
from proven.sources.proofs import Proof


def proofs_of(guide: Guide, only: str) -> set[str]:
    """Return the proofs that concern a snippet, a page, a folder of either, a module of proofs, or a proof by name.

    Raises LookupError, with what to do, where nothing does.
    """
    only = only.removeprefix("./")
    if only in guide.proofs:
        return {only}
    if not (guide.root / only).exists():
        known = [
            *guide.proofs,
            *(snippet.place for snippet in guide.snippets.values()),
            *(page.path for page in guide.pages),
        ]
        raise LookupError(f"no snippet, page or proof is called {only!r}{nearest(only, known)}")
    paths = {path for path, snippet in guide.snippets.items() if Path(snippet.place).is_relative_to(only)}
    shown = {path: calls.where_shown(guide, path) for path in guide.snippets}
    paths |= {path for path in shown if any(Path(page.path).is_relative_to(only) for page, _ in shown[path])}
    names = {name for page, _, name in calls.claiming(guide) if Path(page.path).is_relative_to(only)}
    names = names.union(*(guide.proofs_of_snippet(path) for path in paths))
    if names or Path(only).is_relative_to("tests"):
        return names
    raise LookupError(f"no proof concerns {only}: add one under {proofs.FOLDER}/")


def made_untrue(guide: Guide, proof: Proof, ran: Iterable[str], what: str) -> list[Problem]:
    """Return what a failed proof makes untrue: the sentences that claim it, and the blocks with a snippet that it ran.

    `what` says how it failed. A proof that no page names is a problem at its own place.
    """
    untrue: dict[tuple[str, int], list[str]] = {}  # at each place, claims first
    for page, call, name in calls.claiming(guide):
        if name == proof.name:
            untrue.setdefault((page.path, call.line), []).append("this claim")
    for path in ran:
        for page, call in calls.where_shown(guide, path):
            untrue.setdefault((page.path, call.line), []).append(f"{snippets.FOLDER}/{path}")
    if not untrue:
        return [Problem(proof.path, proof.line, what)]
    found = []
    for (page_path, line), (first, *others) in untrue.items():
        more = f" and {len(others)} more" if others else ""
        found.append(Problem(page_path, line, f"{first}{more}: {what}"))
    return found
