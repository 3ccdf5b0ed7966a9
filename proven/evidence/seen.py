"""Which proofs were seen to fail under their controls, in docs/data/controls.json: one line for each proof.

Each control is known by a digest of what it says, of all that its proof rests on, and of the snippets that it edits. So
an edit of any of them makes it unseen.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from proven import ROOT, whole
from proven.sources import data
from proven.sources.controls import Control, Each, Edit
from proven.sources.proofs import Proof
from proven.sources.snippets import Snippet

FILE = data.CONTROLS
Seen = dict[str, dict[str, str]]  # proof: {digest: the day on which it failed, or nothing where it does not}


def digest(proof: Proof, control: Control, snippets: dict[str, Snippet]) -> str:
    """Return a digest of a control together with what it is about."""
    edited = sorted({change.snippet for change in control.changes if isinstance(change, Edit | Each)})
    about = [snippets[path].digest if path in snippets else "" for path in edited]
    text = json.dumps([repr(control.changes), control.fails_with, sorted(proof.parts.items()), about])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(root: Path = ROOT) -> Seen:
    """Return what was seen; nothing where there is no such file."""
    return data.read(root, FILE)


def unseen(proof: Proof, seen: Seen, snippets: dict[str, Snippet]) -> list[Control]:
    """Return the controls under which a proof, as everything is now, was never seen to fail."""
    known = seen.get(proof.name, {})
    return [control for control in proof.controls if digest(proof, control, snippets) not in known]


def remember(new: Seen, proofs: Iterable[Proof], snippets: dict[str, Snippet], root: Path = ROOT) -> None:
    """Add what was seen, and drop what was edited since or no longer fails."""
    with whole.alone((root / FILE).parent):
        known = read(root)
        rows = []
        for proof in sorted(proofs, key=lambda proof: proof.name):
            now = {digest(proof, control, snippets) for control in proof.controls}
            days = {**known.get(proof.name, {}), **new.get(proof.name, {})}
            if kept := {key: days[key] for key in sorted(days) if key in now and days[key]}:
                rows.append(f"{json.dumps(proof.name)}: {json.dumps(kept)}")
        whole.write(root / FILE, "{\n" + ",\n".join(rows) + "\n}\n")
