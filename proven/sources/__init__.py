"""What people write, read from the files.

configuration.py  what mkdocs.yml says
data.py           the JSON files under docs/data/
characters.py     the text of a file, without invisible characters
snippets.py       a file under snippets/: text, regions, digest
front_matter.py   the YAML at the head of a page
pages.py          a page under docs/: which macros it calls, on which line
allowed.py        what else may stand on a page: a short list of HTML, attributes and links
handmade.py       code typed into a page itself, which is refused
settings.py       the values in a file of settings
controls.py       under which change a proof must fail
published.py      which files lie in docs/ and snippets/, and what they may be called
syntax.py         Python's syntax trees, each made once
reach.py          what a test reaches in tests/: helpers, constants, fixtures
no_proof.py       what looks like a proof and is none
proofs.py         a test under tests/proofs/: name, place, what it rests on
held.py           which values of settings a control holds
transcripts.py    what a snippet printed, in a file beside it: compared or recorded
"""
