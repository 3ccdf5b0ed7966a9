"""The engine: everything between a page, the snippets it shows and the proofs that ran them.

Read it in this order; each module imports only the ones above it:

    problems.py       one mistake: where, what, what to do
    sources/          what people write: snippets, pages, proofs, transcripts
    evidence/         what was seen: the running proof, the ledger, digests, and how it is told
    guide.py          sources and evidence as they are on disk now
    symptoms.py       what a reader sees when something is broken, and the runbook for it
    glossary.py       each term, explained once
    charts.py         bars and curves as SVG
    measurements.py   what was measured, as pages draw on it
    catalogue.py      the manifest of all snippets, the raw files and archives that are published with it
    check.py          every mistake that can be found without running anything
    macros.py         what pages may call
    site/             what readers get besides pages, and how a site is made
    pytest_plugin.py  what joins a test run to the ledger and to the pages
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
