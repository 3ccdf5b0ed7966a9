"""The engine: everything between a page, the snippets it shows and the proofs that ran them.

Read it in this order; each module imports only the ones above it:

    whole.py          a file that several runs write, whole at any time
    problems.py       one mistake: where, what, what to do
    configuration.py  what mkdocs.yml says
    snippets.py       a file under snippets/: text, regions, digest
    pages.py          a page under docs/: which macros it calls, on which line
    handmade.py       code that stands on a page itself, which no page may
    proofs.py         a test under tests/proofs/: name, place, digest
    ledger.py         which proof ran which snippet, at which digest, on which stack
    evidence.py       what the running proof loads and runs
    transcripts.py    captured output, compared or recorded
    guide.py          all of these as they are on disk now
    digests.py        every digest that a snippet has had
    symptoms.py       what a reader sees when something is broken, and the runbook for it
    glossary.py       each term, explained once
    charts.py         bars and curves as SVG
    measurements.py   what was measured, as pages draw on it
    summary.py        what proofs ran on, in a few words or in full
    badge.py          the README's badge
    catalogue.py      the manifest of all snippets, the raw files and archives that are published with it
    check.py          every mistake that can be found without running anything
    mistakes.py       a mistake, shown on the page in its place
    plain.py          a page's Markdown for those who read no HTML
    macros.py         what pages may call
    cards.py          the picture that a link to a page shows where it is shared
    publish.py        what a built site holds beside its pages
    serve.py          the site while it is written
    pytest_plugin.py  what joins a test run to the ledger and to the pages
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
