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

from proven import ROOT, guide
from proven.evidence import ledger, levels
from proven.evidence.ledger import Run
from proven.guide import Guide
from proven.macros import calls
from proven.problems import Problem, nearest, report
from proven.sources import handmade, proofs, snippets, transcripts


@lru_cache(maxsize=1)  # Zensical asks again for every page
def problems(of: Guide) -> list[Problem]:
    """Return everything that is wrong with pages, snippets and proofs as they stand."""
    found = list(of.broken)
    for page in of.pages:
        found += page.problems
        found += handmade.problems(page.path, page.text, of.root)
    found += calls.problems(of)
    found += _orphans(of)
    found += _proofs(of)
    return sorted(set(found))


def unproven(of: Guide) -> list[Problem]:
    """Return every snippet and claim on a page that has no passing proof at its present digest."""
    found = []
    for path, snippet in of.snippets.items():
        shown = calls.where_shown(of, path)
        if why := why_unproven(of, path):
            found += [Problem(page.path, call.line, why) for page, call in shown]
        if snippet.text.strip() and not shown and not of.proofs_of_snippet(path):
            found.append(Problem(snippet.place, 1, f"no proof runs this snippet: add one under {proofs.FOLDER}/"))
    for page, call, name in calls.claiming(of):
        if name in of.proofs and not of.ledger.of_proof(name):
            proof = of.proofs[name]
            message = f"{name} ({proof.path}:{proof.line}) {_state(of, name)}: make prove ONLY={name}"
            found.append(Problem(page.path, call.line, message))
    return sorted(set(found))


def why_unproven(of: Guide, path: str) -> str | None:
    """Return why a snippet has no passing proof, or None where it has one. An empty file needs none."""
    snippet = of.snippets[path]
    if not snippet.text.strip():
        return None
    if runs := of.ledger.of_snippet(path):
        return next((why for run in runs if (why := _without_level(snippet.place, run, run.words(path)))), None)
    names = sorted(of.proofs_of_snippet(path))
    if not names:
        return f"{snippet.place} is proven by nothing: add a proof under {proofs.FOLDER}/"
    states = "; ".join(f"{name} {_state(of, name)}" for name in names[:3])
    return f"{snippet.place} has no passing proof at its present digest ({states}): make prove ONLY={snippet.place}"


def _without_level(place: str, run: Run, words: list[str]) -> str | None:
    """Return what is wrong with how far a run says that it proves a snippet, or None."""
    wrong = [why for word in words if (why := levels.wrong(word))] if words else ["it says no level of proof"]
    if not wrong:
        return None
    return f"how far {run.proof} proves {place} is not said: {wrong[0]}: make prove ONLY={run.proof}"


def _state(of: Guide, proof: str) -> str:
    runs = [run for run in of.ledger.runs if run.proof == proof]
    if any(run.outcome == "failed" for run in runs):
        return "failed"
    before = [run for run in of.history.runs if run.proof == proof]
    edited = sorted(ledger.outdated(before, of.proofs, of.snippets))
    return (
        f"has passed before, and since then {', '.join(edited[:3])} was edited"
        if edited and not runs
        else "has not run"
    )


def _orphans(of: Guide) -> Iterator[Problem]:
    """Check that every snippet is shown and every transcript has its snippet."""
    for path, snippet in of.snippets.items():
        if snippet.text.strip() and not calls.where_shown(of, path):
            yield Problem(snippet.place, 1, "no page shows this snippet: call it from one, or delete it")
    known = {Path(transcripts.file_of(snippet)).with_suffix("") for snippet in of.snippets.values()}
    for file in sorted((of.root / snippets.FOLDER).rglob("*.out")):
        path = file.relative_to(of.root)
        if path.parent / path.name.split(".")[0] not in known:
            yield Problem(path.as_posix(), 1, "this transcript belongs to no snippet: delete it")


def _proofs(of: Guide) -> Iterator[Problem]:
    """Check that proofs have names of their own, and that each module proves the page it is named after."""
    seen: dict[str, str] = {}
    for proof in proofs.listing(of.root):
        if proof.name in seen:
            yield Problem(proof.path, proof.line, f"{seen[proof.name]} has a proof of this name already: rename one")
        seen[proof.name] = f"{proof.path}:{proof.line}"
    known = {page.path for page in of.pages}
    for module in sorted({proof.path for proof in of.proofs.values()}):
        page = proofs.page_of(module)
        if page not in known:
            yield Problem(module, 1, f"this module proves {page}, which is not there{nearest(page, known)}")


def main() -> int:
    """Print the problems and return how many kinds of exit the shell should see: 0 for none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proven", action="store_true", help="also refuse what has no passing proof")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args()
    of = guide.read(options.root)
    found = problems(of) + (unproven(of) if options.proven else [])
    if found:
        print(report(found), file=sys.stderr)
        print(f"{len(set(found))} problems", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
