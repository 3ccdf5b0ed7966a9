"""What the running proof loads and runs. The plugin clears it before each test, and reports it afterwards.

Only code that really handed a snippet to a server or an interpreter calls `ran`: the runners in tests/stack/.
"""

from dataclasses import dataclass, field

from proven.evidence import levels
from proven.sources import snippets
from proven.sources.snippets import Snippet


@dataclass
class Evidence:
    """The snippets that the proof loaded, those that it ran and how, and the versions that it ran them on."""

    loaded: dict[str, Snippet] = field(default_factory=dict)
    words: dict[str, set[str]] = field(default_factory=dict)  # "ran", "checked: Compose Specification, 1.27.1"
    stack: dict[str, str] = field(default_factory=dict)
    variants: tuple[str, ...] = ()  # whose transcripts hold on a stack other than the default one, its own first

    def entries(self) -> dict[str, list[str]]:
        """Return what a ledger keeps of each snippet: its digest, and in words how far it was proven."""
        return {path: [found.digest, *sorted(self.words.get(path, ()))] for path, found in self.loaded.items()}

    def never_ran(self) -> list[str]:
        """Return the snippets that were loaded and nothing more."""
        return sorted(set(self.loaded) - set(self.words))

    def changed(self) -> list[str]:
        """Return the snippets whose text a proof changed before it ran them: that says nothing about the file."""
        return sorted(path for path, found in self.loaded.items() if found.digest != snippets.read(path).digest)


current = Evidence()


def begin() -> Evidence:
    """Begin the next proof, with no evidence yet."""
    global current  # noqa: PLW0603
    current = Evidence()
    return current


def load(path: str) -> Snippet:
    """Return a snippet for the running proof, which must then run it."""
    snippet = snippets.read(path)
    current.loaded[path] = snippet
    return snippet


def ran(snippet: Snippet, level: str = "ran", against: str = "") -> None:
    """Note that the running proof executed a snippet, and how far that proves it.

    What was not run names what it was compared with: `ran(snippet, "checked", against="Compose Specification, 1.27.1")`
    with a machine-readable description and its revision, `ran(snippet, "read", against="https://…, 2026-11-22")` with a
    text and the day. Raises ValueError where this is missing, or is given for something that ran.
    """
    word = f"{level}: {against}" if against else level
    if why := levels.wrong(word):
        raise ValueError(f"{snippet.place}: {why}")
    current.loaded[snippet.path] = snippet
    current.words.setdefault(snippet.path, set()).add(word)


def on(**versions: str) -> None:
    """Note the versions that the running proof meets: on(PostgreSQL="18.6")."""
    current.stack.update(versions)
