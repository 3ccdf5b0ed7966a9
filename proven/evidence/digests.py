"""Every digest that a snippet has had, in docs/data/digests.json: one line for each snippet, the oldest digest first.

They distinguish a reader's copy of an older snippet from a copy that the reader edited. `make record` adds to them,
because nothing is published that was not recorded, and nothing deletes one.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from proven import ROOT, whole
from proven.evidence.ledger import Run
from proven.problems import ProblemError
from proven.sources import data

FILE = data.DIGESTS


def read(root: Path = ROOT) -> dict[str, list[str]]:
    """Return the digests by the snippet's path; nothing where there is no such file."""
    return data.read(root, FILE)


def remember(runs: Iterable[Run], root: Path = ROOT) -> None:
    """Add the digests of the snippets that some proofs ran. Those of a snippet that is gone stay."""
    with whole.alone((root / FILE).parent):
        if broken := next((each for each in data.problems(root) if each.path == FILE), None):
            raise ProblemError(broken.path, broken.line, broken.message)  # else all that it knew would be lost
        known = read(root)
        for run in runs:
            for path, (digest, *_) in run.snippets.items():
                if digest not in known.setdefault(path, []):
                    known[path].append(digest)
        rows = ",\n".join(f"{json.dumps(path)}: {json.dumps(known[path])}" for path in sorted(known))
        whole.write(root / FILE, f"{{\n{rows}\n}}\n")
