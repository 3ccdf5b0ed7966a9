"""Every mistake that can be found without running anything.

Each names its file, its line and what to do.

    python -m proven.check              the guide holds together
    python -m proven.check --proven     and everything on it has a passing proof at its present digest
"""

import argparse
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from proven import ROOT, glossary, guide, measurements, symptoms
from proven.evidence import levels
from proven.evidence.ledger import Run
from proven.guide import Guide
from proven.problems import Problem, nearest, report
from proven.sources import handmade, pages, proofs, snippets, transcripts
from proven.sources.pages import Call, Page

PICTURES = "docs/assets"
FACTS = "docs/data"


@lru_cache(maxsize=1)  # Zensical asks again for every page
def problems(of: Guide) -> list[Problem]:
    """Return everything that is wrong with pages, snippets and proofs as they stand."""
    found = list(of.broken)
    for page in of.pages:
        found += page.problems
        found += handmade.problems(page.path, page.text, of.root)
        for path, call in page.shown():
            found += _shown(of, page, path, call)
        for name, call in page.claims():
            if name not in of.proofs:
                found.append(Problem(page.path, call.line, f"no proof is called {name!r}{nearest(name, of.proofs)}"))
        found += _files(of, page, "picture", PICTURES, "*.svg")
        found += _files(of, page, "facts", FACTS, "*.json")
        found += _matrices(of, page)
    found += symptoms.problems(of)
    found += glossary.problems(of)
    found += measurements.problems(of)
    found += _orphans(of)
    found += _proofs(of)
    return sorted(set(found))


def unproven(of: Guide) -> list[Problem]:
    """Return every snippet and claim on a page that has no passing proof at its present digest."""
    found = []
    for page in of.pages:
        for path in of.snippets:
            for shown, call in page.shown():
                if guide.covers(shown, path) and (why := why_unproven(of, path)):
                    found.append(Problem(page.path, call.line, why))
        for name, call in page.claims():
            if name in of.proofs and not of.ledger.of_proof(name):
                proof = of.proofs[name]
                message = f"{name} ({proof.path}:{proof.line}) {_state(of, name)}: make prove ONLY={name}"
                found.append(Problem(page.path, call.line, message))
    for path, snippet in of.snippets.items():
        if snippet.text.strip() and not of.where_shown(path) and not of.proofs_of_snippet(path):
            found.append(Problem(snippet.place, 1, f"no proof runs this snippet: add one under {proofs.FOLDER}/"))
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
    before = any(run.proof == proof for run in of.history.runs)
    return "has passed before, but it or its snippet was edited since" if before and not runs else "has not run"


def _shown(of: Guide, page: Page, path: str, call: Call) -> Iterator[Problem]:
    """Check one snippet(…), project(…) or compute(…) call."""
    if call.name == "project":
        if not path.endswith("/") or not any(guide.covers(path, known) for known in of.snippets):
            folders = {f"{folder}/" for known in of.snippets for folder in Path(known).parents if folder.name}
            yield Problem(page.path, call.line, f"no folder of snippets is called {path!r}{nearest(path, folders)}")
        return
    snippet = of.snippets.get(path)
    if snippet is None:
        if not any(problem.path == f"{snippets.FOLDER}/{path}" for problem in of.broken):
            hint = nearest(path, of.snippets)
            yield Problem(page.path, call.line, f"no snippet is called {path!r}{hint}")
        return
    if call.name == "compute":
        functions = re.findall(r"^def (\w+)\(", snippet.text, re.MULTILINE)
        if (name := call.given["function"]) not in functions:
            yield Problem(page.path, call.line, f"{snippet.place} has no function {name!r}{nearest(name, functions)}")
        return
    region = call.given.get("region")
    if region is not None and region not in snippet.regions:
        hint = nearest(region, snippet.regions)
        yield Problem(page.path, call.line, f"{snippet.place} has no region {region!r}{hint}")
        return
    marked = call.given.get("highlight") or []
    for text in marked if isinstance(marked, list) else [marked]:
        if not isinstance(text, str) or not snippet.lines_of(text, region):
            yield Problem(page.path, call.line, f"{snippet.place} has nothing to highlight that reads {text!r}")
    named = call.given.get("transcript", False)
    recorded = transcripts.of_snippet(snippet, of.root)
    if named is not False and not recorded:
        out = transcripts.file_of(snippet)
        yield Problem(page.path, call.line, f"{out} is not there: make record ONLY={snippet.place}")
    elif not isinstance(named, bool) and named not in recorded:
        hint = nearest(named, recorded)
        yield Problem(page.path, call.line, f"{snippet.place} has no transcript called {named!r}{hint}")


def _files(of: Guide, page: Page, macro: str, folder: str, pattern: str) -> Iterator[Problem]:
    """Check that each picture(…), or each file of facts(…), is there."""
    for call in page.calls:
        if call.name == macro and not (of.root / folder / call.given["name"]).is_file():
            hint = nearest(call.given["name"], [file.name for file in (of.root / folder).glob(pattern)])
            yield Problem(page.path, call.line, f"no {macro} in {folder}/ is called {call.given['name']!r}{hint}")


def _matrices(of: Guide, page: Page) -> Iterator[Problem]:
    """Check that each matrix(…) names proofs."""
    for call in page.calls:
        if call.name == "matrix" and not of.proofs_in(call.given["tests"]):
            known = {proof.path for proof in of.proofs.values()}
            hint = nearest(call.given["tests"], known)
            yield Problem(page.path, call.line, f"no proof is in {call.given['tests']!r}{hint}")


def _orphans(of: Guide) -> Iterator[Problem]:
    """Check that every snippet is shown and every transcript has its snippet."""
    for path, snippet in of.snippets.items():
        if snippet.text.strip() and not of.where_shown(path):
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
        page = page_of(module)
        if page not in known:
            yield Problem(module, 1, f"this module proves {page}, which is not there{nearest(page, known)}")


def page_of(module: str) -> str:
    """Return the page that a module of proofs is named after.

    tests/proofs/how_to/test_size_connections.py proves docs/how-to/size-connections.md.
    """
    inner = Path(module).relative_to(proofs.FOLDER)
    name = inner.stem.removeprefix("test_")
    return (Path(pages.FOLDER) / inner.parent / f"{name}.md").as_posix().replace("_", "-")


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
