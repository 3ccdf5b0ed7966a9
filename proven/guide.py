"""The guide as it is on disk now: snippets, pages, proofs and the ledger, read together."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from proven import ROOT
from proven.evidence import ledger, seen
from proven.evidence.ledger import Ledger
from proven.evidence.seen import Seen
from proven.problems import Problem, ProblemError
from proven.sources import configuration, data, pages, proofs, reach, snippets, transcripts
from proven.sources.pages import Page
from proven.sources.proofs import Proof
from proven.sources.snippets import Snippet


@dataclass(frozen=True, eq=False)
class Guide:
    """Everything that pages and checks ask about. `broken` says what could not be read."""

    root: Path
    snippets: dict[str, Snippet]
    broken: tuple[Problem, ...]
    pages: tuple[Page, ...]
    proofs: dict[str, Proof]
    ledger: Ledger  # only runs at the present digests
    history: Ledger  # all runs, for saying what was proven before an edit
    seen: Seen = field(default_factory=dict)  # which proofs failed under which controls
    # The paths from docs/ of the pages in mkdocs.yml, in its order, each with the headings above it.
    navigation: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def place(self, page: Page) -> int:
        """Return where a page stands in the navigation; past its end for a page that is not in it."""
        names = list(self.navigation)
        return names.index(page.name) if page.name in names else len(names)

    def proofs_in(self, tests: str) -> list[Proof]:
        """Return the proofs of a module or folder, in the order of files and lines, or the one of this name."""
        if tests in self.proofs:
            return [self.proofs[tests]]
        folder = f"{tests.rstrip('/')}/"
        chosen = (proof for proof in self.proofs.values() if f"{proof.path}/".startswith(folder))
        return sorted(chosen, key=lambda proof: (proof.path, proof.line))

    def proofs_of_snippet(self, path: str) -> set[str]:
        """Return the proofs that ran a snippet, or whose source names it."""
        ran = {run.proof for run in self.history.runs if path in run.snippets}
        return (ran & set(self.proofs)) | {p.name for p in self.proofs.values() if path in p.strings}


@contextmanager
def _uncollected() -> Iterator[None]:
    """Stop the garbage collector while the guide is read, and exempt what was read: hardly any of it is garbage."""
    gc.disable()
    try:
        yield
    finally:
        _exempt()
        gc.enable()


@cache  # what `make serve` made since the first time may be garbage
def _exempt() -> None:
    gc.freeze()


@_uncollected()
def read(root: Path = ROOT) -> Guide:
    """Read the guide. Never raises for a mistake in it: check.py reports them all."""
    found: dict[str, Snippet] = {}
    broken = []
    for path in snippets.paths(root):
        try:
            found[path] = snippets.read(path, root)
        except ProblemError as error:
            broken.append(error.problem)
    tests, unread = proofs.read(root)
    broken += [*transcripts.broken(root), *unread, *data.problems(root)]
    try:
        history = ledger.read(root)
    except ProblemError as error:
        history = Ledger([])
        broken.append(error.problem)
    return Guide(
        root,
        found,
        tuple(broken),
        tuple(pages.read_all(root)),
        tests,
        history.current(tests, found),
        history,
        seen.read(root),
        _navigation(root / configuration.FILE),
    )


def renewed(guide: Guide) -> Guide:
    """Return a guide with the evidence that its ledgers hold now. Raises ProblemError where one cannot be read."""
    history = ledger.read(guide.root)
    return replace(guide, ledger=history.current(guide.proofs, guide.snippets), history=history)


def remembered(root: Path = ROOT) -> Guide:
    """Return the guide as it was last read, or read it again where one of its files was edited since."""
    return _remembered(root, tuple(_edits(root)))


@lru_cache(maxsize=1)
def _remembered(root: Path, _: tuple[tuple[str, int, int], ...]) -> Guide:
    return read(root)


def _edits(root: Path) -> Iterator[tuple[str, int, int]]:
    """Return each file that the guide is read from, with its time of modification and its size."""
    files = [root / configuration.FILE, root / ledger.LOCAL, root / reach.PLUGINS]
    for folder in (snippets.FOLDER, pages.FOLDER, reach.FOLDER):
        files += [Path(above, name) for above, _, names in os.walk(root / folder) for name in names]
    for file in files:
        try:
            found = file.stat()
        except FileNotFoundError:  # not written yet, or gone meanwhile
            continue
        yield str(file), found.st_mtime_ns, found.st_size


def _navigation(file: Path) -> dict[str, tuple[str, ...]]:
    try:
        settings = configuration.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError):  # handmade.py and MkDocs say what is wrong with it
        settings = {}
    if not isinstance(settings, dict):
        return {}
    return dict(_entries(settings.get("nav") or [], ()))


def _entries(nav: list[Any], above: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for entry in nav:
        for name, inside in entry.items() if isinstance(entry, dict) else [("", entry)]:
            if isinstance(inside, list):
                yield from _entries(inside, (*above, name))
            else:
                yield inside, above
