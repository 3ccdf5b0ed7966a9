"""Claims and proofs: the mark behind a sentence that claims behaviour, and every proof with what it ran on.

{{ proven("test_function_name") }}  the mark
{{ proofs() }}                      each proof that the page lists, by the page that it proves
{{ left_out() }}                    which proofs some stack left out, and why
{{ evidence() }}                    in one line, how much ran, on what and when
"""

from collections.abc import Iterator

from proven.evidence import seen, summary
from proven.evidence.ledger import Run
from proven.guide import Guide
from proven.macros.calls import macro
from proven.macros.markup import PROOFS_PAGE, counted, in_words, linked, proof_link, proofs_page, sentence
from proven.macros.place import Block, Place
from proven.problems import nearest
from proven.sources.proofs import Proof, page_of

PROJECT = "upstream"  # the example project: a proof that runs it runs most of its files
TOLD = 3  # controls of a proof that are told: a few have many, and the page has to load


def _unknown(guide: Guide, name: str, names: tuple[str, ...]) -> Iterator[str]:
    for each in (name, *names):
        if each not in guide.proofs:
            yield f"no proof is called {each!r}{nearest(each, guide.proofs)}"


@macro(claims=("name", "names"), links=True, wrong=_unknown)
def proven(at: Place, name: str, *names: str) -> str:
    """Mark a sentence as proven: a small link to the test, which says what it ran on."""
    marks = []
    for each in (name, *names):
        runs = at.guide.ledger.of_proof(each)
        link = proof_link(at, each)
        if runs:
            left_out = "".join(f" · without {run.case}" for run in at.guide.ledger.never_ran(each))
            says = f"{sentence(summary.of_proof(runs))} · {summary.newest(runs)}{left_out}"
            marks.append(f'[✓]({link} "{says}"){{ .proven aria-label="Proof: {in_words(each)}" }}')
        else:
            says = f"{each} has not passed since it was last edited"
            marks.append(f'[not yet proven]({link} "{says}"){{ .unproven }}')
    return "".join(marks)


@macro()
def proofs(at: Place) -> Block:
    """Show each proof that is listed here, by the page that it proves: what it shows, what it ran on, when."""
    by_page: dict[str, list[Proof]] = {}
    here = [proof for proof in at.guide.proofs.values() if proofs_page(proof.path) == at.page]
    for proof in sorted(here, key=lambda proof: (proof.path, proof.line)):
        by_page.setdefault(page_of(proof.path), []).append(proof)
    lines: Block = []
    for page in sorted((page for page in at.guide.pages if page.path in by_page), key=at.guide.place):
        chosen = by_page[page.path]
        lines += [
            f"## {page.title}",
            "",
            f"[The page]({at.link(page.name)}) · {_taken(at.guide, chosen)}",
            "{ .proof }",
            "",
        ]
        for proof in chosen:
            lines += [*_entry(at.guide, proof), ""]
    return lines


@macro()
def left_out(at: Place) -> Block:
    """Show which proofs were not run on some stack, and why, collapsed by reason."""
    runs: dict[str, list[Run]] = {}
    for run in at.guide.ledger.not_run():
        runs.setdefault(run.reason, []).append(run)
    if not runs:
        return ["Nothing was left out."]
    lines: Block = []
    for reason, found in sorted(runs.items()):
        names = sorted({run.proof for run in found})
        heading = f"{sentence(reason)}: {counted(len(names), 'proof')} on {summary.in_short(found)}"
        lines += [
            f'??? note "{heading}"',
            "",
            *(f"    - [{in_words(name)}]({proof_link(at, name)})" for name in names),
            "",
        ]
    return lines


@macro()
def evidence(at: Place) -> Block:
    """Say in one line how much ran, on what and when. It leads to the proofs."""
    runs = at.guide.ledger.passed()
    says = "Nothing has run yet."
    if runs:
        ran = f"{counted(len({run.proof for run in runs}), 'proof')}, {counted(len(runs), 'run')}"
        says = f"{ran} · {summary.in_short(runs)} · {_day(runs)}"
    return [says if at.page == PROOFS_PAGE else f"[{says}]({at.link(PROOFS_PAGE)})", "{ .proof }"]


def _taken(guide: Guide, chosen: list[Proof]) -> str:
    """Return how often some proofs ran, how long that took, and when."""
    runs = [run for proof in chosen for run in guide.ledger.of_proof(proof.name)]
    if not runs:
        return f"{counted(len(chosen), 'proof')}, none of which has run"
    took = f"{sum(run.seconds for run in runs):.1f} s"
    return f"{counted(len(chosen), 'proof')}, {counted(len(runs), 'run')}, {took} · {_day(runs)}"


def _entry(guide: Guide, proof: Proof) -> Block:
    """Return one proof for the page of proofs."""
    runs = guide.ledger.of_proof(proof.name)
    ran = "not proven at its present digest"
    if runs:
        on = [summary.in_full(runs)] if summary.in_full(runs) else []
        on += [linked(text) for text in summary.compared(summary.words_of(runs))]
        ran = " · ".join([*on, counted(len(runs), "run"), _day(runs)])
    return [
        f"**{in_words(proof.name)}**{{ #{proof.name} }}",
        " ".join([proof.says, *_fails(guide, proof)]),
        f"<small>{ran} · `{proof.path}:{proof.line}`{_files({path for run in runs for path in run.snippets})}</small>",
        "{ .entry }",
    ]


def _fails(guide: Guide, proof: Proof) -> Iterator[str]:
    """Return a sentence for each of the first controls under which a proof fails, and how many others there are.

    It says so where that was not seen yet.
    """
    unseen = seen.unseen(proof, guide.seen, guide.snippets)
    for control in proof.controls[:TOLD]:
        yield f"Fails when {control}{' (not seen yet)' if control in unseen else ''}."
    if others := proof.controls[TOLD:]:
        yield f"Fails under {counted(len(others), 'more change')}."
    if proof.without:
        yield f"Nothing can make it fail: {proof.without}."


def _files(paths: set[str]) -> str:
    """Return which snippets a proof ran, with one name for all files of the example project."""
    named = sorted({f"{PROJECT}/" if path.startswith(f"{PROJECT}/") else path for path in paths})
    return f" · runs {', '.join(f'`{path}`' for path in named)}" if named else ""


def _day(runs: list[Run]) -> str:
    """Return the day of the latest run; the stylesheet breaks no line in a <time>."""
    return f"<time>{summary.newest(runs)}</time>"
