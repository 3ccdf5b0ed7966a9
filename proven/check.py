"""Every mistake that can be found without running anything.

Each names its file, its line and what to do.

    python -m proven.check              the guide holds together
    python -m proven.check --proven     and everything on it has a passing proof at its present digest
"""

import argparse
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from proven import ROOT
from proven.evidence import ledger, levels, seen
from proven.evidence.ledger import Run
from proven.guide import Guide, read
from proven.macros import calls
from proven.problems import Problem, nearest, report
from proven.sources import allowed, handmade, held, proofs, published, snippets
from proven.sources.controls import Each, Edit, absent

MAY_BE_WITHOUT = 0.05  # of all proofs


@lru_cache(maxsize=1)  # Zensical asks again for every page
def problems(guide: Guide) -> list[Problem]:
    """Return everything that is wrong with pages, snippets and proofs as they stand."""
    found = list(guide.broken)
    for page in guide.pages:
        found += page.problems
        found += handmade.problems(page.path, page.text, guide.root)
        found += allowed.problems(page.path, page.text)
    found += published.problems(guide.root)
    found += calls.problems(guide)
    found += _orphans(guide)
    found += _proofs(guide)
    found += _controls(guide)
    return sorted(set(found))


def unproven(guide: Guide) -> list[Problem]:
    """Return every snippet and claim on a page that has no passing proof at its present digest."""
    found = []
    for path, snippet in guide.snippets.items():
        shown = calls.where_shown(guide, path)
        if why := why_unproven(guide, path):
            found += [Problem(page.path, call.line, why) for page, call in shown]
        if snippet.text.strip() and not shown and not guide.proofs_of_snippet(path):
            found.append(Problem(snippet.place, 1, f"no proof runs this snippet: add one under {proofs.FOLDER}/"))
    for page, call, name in calls.claiming(guide):
        if name in guide.proofs and not guide.ledger.of_proof(name):
            proof = guide.proofs[name]
            message = f"{name} ({proof.path}:{proof.line}) {_state(guide, name)}: make prove ONLY={name}"
            found.append(Problem(page.path, call.line, message))
        for run in guide.ledger.never_ran(name):
            message = (
                f"{name} passed, but its case [{run.case}] has run on no stack ({run.reason}): run it, or delete it"
            )
            found.append(Problem(page.path, call.line, message))
    return sorted(set(found))


def unfailing(guide: Guide) -> list[Problem]:
    """Return every proof never seen to fail under its present control, and everything that has no control."""
    found, without = [], [proof for proof in guide.proofs.values() if proof.without]
    for proof in guide.proofs.values():
        if not proof.controls and not proof.without:
            message = f"{proof.name} states no control: above it, say under which change it fails (CONTRIBUTING.md)"
            found.append(Problem(proof.path, proof.line, message))
        for control in seen.unseen(proof, guide.seen, guide.snippets):
            message = f"{proof.name} was not seen to fail when {control}: make controls ONLY={proof.name}"
            found.append(Problem(proof.path, control.line, message))
    found += held.problems(guide.snippets, guide.proofs.values())
    if len(without) > len(guide.proofs) * MAY_BE_WITHOUT:
        message = f"{len(without)} of {len(guide.proofs)} proofs have no control: add one to this proof, or to another"
        found.append(Problem(without[-1].path, without[-1].line, message))
    return sorted(found)


def why_unproven(guide: Guide, path: str) -> str | None:
    """Return why a snippet has no passing proof, or None where it has one. An empty file needs none."""
    snippet = guide.snippets[path]
    if not snippet.text.strip():
        return None
    if runs := guide.ledger.of_snippet(path):
        return next((why for run in runs if (why := _without_level(snippet.place, run, run.words(path)))), None)
    names = sorted(guide.proofs_of_snippet(path))
    if not names:
        return f"{snippet.place} is proven by nothing: add a proof under {proofs.FOLDER}/"
    states = "; ".join(f"{name} {_state(guide, name)}" for name in names[:3])
    return f"{snippet.place} has no passing proof at its present digest ({states}): make prove ONLY={snippet.place}"


def _without_level(place: str, run: Run, words: list[str]) -> str | None:
    """Return what is wrong with how far a run is said to prove a snippet, or None."""
    wrong = [why for word in words if (why := levels.wrong(word))] if words else ["it says no level of proof"]
    if not wrong:
        return None
    return f"how far {run.proof} proves {place} is not said: {wrong[0]}: make prove ONLY={run.proof}"


def _state(guide: Guide, proof: str) -> str:
    runs = guide.ledger.runs_of(proof)
    if any(run.outcome == "failed" for run in runs):
        return "failed"
    edited = sorted(ledger.outdated(guide.history.runs_of(proof), guide.proofs, guide.snippets))
    if edited and not runs:
        return f"has passed before, and since then {', '.join(edited[:3])} was edited"
    return "has not run"


def _orphans(guide: Guide) -> Iterator[Problem]:
    """Check that every snippet is shown and every transcript has its snippet."""
    for path, snippet in guide.snippets.items():
        if snippet.text.strip() and not calls.where_shown(guide, path):
            yield Problem(snippet.place, 1, "no page shows this snippet: call it from one, or delete it")
    known = {Path(snippets.FOLDER, path).with_suffix("") for path in snippets.paths(guide.root)}
    for file in sorted((guide.root / snippets.FOLDER).rglob("*.out")):
        path = file.relative_to(guide.root)
        if path.parent / path.name.split(".")[0] not in known:
            yield Problem(path.as_posix(), 1, "this transcript belongs to no snippet: delete it")


def _proofs(guide: Guide) -> Iterator[Problem]:
    """Check that each module proves the page it is named after."""
    known = {page.path for page in guide.pages}
    for module in sorted({proof.path for proof in guide.proofs.values()}):
        page = proofs.page_of(module)
        if page not in known:
            yield Problem(module, 1, f"this module proves {page}, which is not there{nearest(page, known)}")


def _controls(guide: Guide) -> Iterator[Problem]:
    """Check that each control changes something of the snippets that it edits."""
    for proof in guide.proofs.values():
        for control in proof.controls:
            for change in control.changes:
                if isinstance(change, Edit):
                    snippet = guide.snippets.get(change.snippet)
                    if not snippet or change.old not in snippet.text:
                        missing = absent(change.old, f"{snippets.FOLDER}/{change.snippet}")
                        yield Problem(proof.path, control.line, missing)
                elif isinstance(change, Each):
                    yield from (Problem(proof.path, control.line, why) for why in held.stale(change, guide.snippets))


def main() -> int:
    """Print the problems, and return the exit status: 0 where there are none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--proven", action="store_true", help="also refuse what no proof shows, and proofs never seen to fail"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args()
    guide = read(options.root)
    found = problems(guide) + ([*unproven(guide), *unfailing(guide)] if options.proven else [])
    if found:
        print(report(found), file=sys.stderr)
        print(f"{len(set(found))} problems", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
