"""Which values of settings files are held by a proof: it fails when that value alone is changed.

A control that changes one value and nothing else in its file holds it. A value that may be anything is named in an
each(…), with the reason.
"""

from collections.abc import Iterable, Iterator

import yaml

from proven.problems import Problem, nearest
from proven.sources import settings
from proven.sources.controls import Control, Each, Edit, meets
from proven.sources.proofs import Proof
from proven.sources.snippets import FOLDER, Snippet


def problems(snippets: dict[str, Snippet], proofs: Iterable[Proof]) -> Iterator[Problem]:
    """Return a problem for each value that nothing holds and that no control says is free."""
    controls = [control for proof in proofs for control in proof.controls]
    for path, snippet in snippets.items():
        values = settings.values(path, snippet.text) if settings.holds(path) else []
        changing = [control for control in controls if any(_of(change) == path for change in control.changes)]
        held = set().union(*(_held(control, snippet, values) for control in changing))
        free = {
            pattern
            for each in changing
            for change in each.changes
            if isinstance(change, Each)
            for pattern in change.free
        }
        for value in values:
            if value.key not in held and not meets(value.key, free):
                line = snippet.source_line(snippet.text.count("\n", 0, value.begin) + 1)
                yield Problem(snippet.place, line, _unheld(value))


def stale(change: Each, snippets: dict[str, Snippet]) -> Iterator[str]:
    """Return what is wrong with a control that changes each value of a file."""
    if change.snippet not in snippets or not settings.holds(change.snippet):
        yield f"this control changes nothing: {FOLDER}/{change.snippet} is no file of settings"
        return
    known = [value.key for value in settings.values(change.snippet, snippets[change.snippet].text)]
    for pattern in (*change.to, *change.free):
        if not any(meets(key, (pattern,)) for key in known):
            yield f"no value of {FOLDER}/{change.snippet} is called {pattern}{nearest(pattern, known)}"


def _unheld(value: settings.Value) -> str:
    said = " ".join(value.text.split())[:40] or "nothing"
    return (
        f"{value.key} is {said}, and no control gives it alone another value: state one above a proof that then fails, "
        "edit(…) for this, each(…) for all of the file, which can also say why it is free"
    )


def _of(change: object) -> str:
    return change.snippet if isinstance(change, Edit | Each) else ""


def _held(control: Control, snippet: Snippet, before: list[settings.Value]) -> set[str]:
    """Return the keys of the values that a control holds in a snippet: for an each(…), those of all its edits."""
    text = snippet.text
    for change in control.changes:
        if isinstance(change, Each) and change.snippet == snippet.path:
            return {key for key, _ in change.edits(snippet.text)}
        if isinstance(change, Edit) and change.snippet == snippet.path:
            text = text.replace(change.old, change.new)
    try:
        after = settings.values(snippet.path, text)
    except yaml.YAMLError:
        return set()
    if len(before) == len(after):
        changed = {one.key for one, other in zip(before, after, strict=True) if one.text != other.text}
    else:
        changed = {value.key for value in before} - {value.key for value in after}
    return changed if len(changed) == 1 else set()
