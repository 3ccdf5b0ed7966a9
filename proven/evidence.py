"""What the running proof loads and runs. The plugin clears it before each test and writes it down after.

Only what really handed a snippet to a server or an interpreter calls `ran`: the runners in tests/stack/.
"""

import re
from dataclasses import dataclass, field

from proven import snippets
from proven.snippets import Snippet

# How far a snippet was proven, the strongest first.
LEVELS = ("ran", "started", "checked", "read")
# What the weaker two must name, so that a reader can look for themselves: how it reads, and what to write.
AGAINST = {
    "checked": (r".+, .*\d.*", "NAME, REVISION"),
    "read": (r".+, \d{4}-\d{2}-\d{2}", "SOURCE, YYYY-MM-DD"),
}


@dataclass
class Evidence:
    """The snippets that the proof loaded, those that it ran and how, and the versions that it ran them on."""

    loaded: dict[str, Snippet] = field(default_factory=dict)
    words: dict[str, set[str]] = field(default_factory=dict)  # "ran", "checked: Compose Specification, 1.27.1"
    stack: dict[str, str] = field(default_factory=dict)
    variants: tuple[str, ...] = ()  # whose transcripts another stack than the default one may have, its own first

    def entries(self) -> dict[str, list[str]]:
        """Return what a ledger keeps of each snippet: its digest, and in words how far it was proven."""
        return {path: [found.digest, *sorted(self.words.get(path, ()))] for path, found in self.loaded.items()}

    def never_ran(self) -> list[str]:
        """Return the snippets that were loaded and nothing more."""
        return sorted(set(self.loaded) - set(self.words))


current = Evidence()


def begin() -> Evidence:
    """Forget the proof before."""
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
    text and the day. Raises ValueError where this is missing, and where something that ran has it.
    """
    word = f"{level}: {against}" if against else level
    if why := wrong(word):
        raise ValueError(f"{snippet.place}: {why}")
    current.loaded[snippet.path] = snippet
    current.words.setdefault(snippet.path, set()).add(word)


def level_of(word: str) -> str:
    """Return the level of proof in what a ledger says: "checked" of "checked: Compose Specification, 1.27.1"."""
    return word.partition(": ")[0]


def against(word: str) -> str:
    """Return what a snippet was compared with; nothing where it ran."""
    return word.partition(": ")[2]


def wrong(word: str) -> str | None:
    """Return what is wrong with what a ledger says of how far a snippet was proven, or None."""
    level = level_of(word)
    if level not in LEVELS:
        return f"{level!r} is not a level of proof: {', '.join(LEVELS)}"
    if level not in AGAINST:
        return f'what {level} was compared with nothing: leave against="{against(word)}" out' if against(word) else None
    pattern, form = AGAINST[level]
    if re.fullmatch(pattern, against(word)):
        return None
    return f'what was {level} says against="{form}", not against="{against(word)}"'


def on(**versions: str) -> None:
    """Note the versions that the running proof meets: on(PostgreSQL="18.6")."""
    current.stack.update(versions)
