"""The engine: everything between a page, the snippets it shows and the proofs that ran them.

Read it in this order. A module imports from the lines above its own, never from those below:

    whole.py          files that several runs write, whole at any time
    problems.py       one mistake: where, what, what to do
    sources/          what people write: snippets, pages, proofs, transcripts
    evidence/         what was seen: the running proof, the ledger, digests, measurements, and how it is said
    guide.py          sources and evidence, read together as they are on disk now
    macros/           what pages may call: one file per family, with its macros, its checks and what it renders
    check.py          every mistake that can be found without running anything
    impact.py         which proofs concern a page or a snippet, and what a failed one makes untrue
    site/             what readers get besides pages, and how a site is made
    outcome.py        what a run of proofs found: the ledger, the pages that are no longer true, the summary
    in_force.py       the changes of a control, for as long as a proof runs under it
    controls.py       proofs with a control in force, under which they must fail
    pytest_plugin.py  what pytest calls while it runs proofs
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
