"""What the running proof loads and runs. The plugin clears it before each test and writes it down after.

Only what really handed a snippet to a server or an interpreter calls `ran`: the runners in tests/stack/.
"""

from dataclasses import dataclass, field

from proven import snippets
from proven.snippets import Snippet

LEVELS = ("ran", "started", "checked", "read")


@dataclass
class Evidence:
    """The snippets that the proof loaded, those that it ran and how, and the versions that it ran them on."""

    loaded: dict[str, Snippet] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    stack: dict[str, str] = field(default_factory=dict)
    variants: tuple[str, ...] = ()  # whose transcripts another stack than the default one may have, its own first

    def never_ran(self) -> list[str]:
        """Return the snippets that were loaded and nothing more."""
        return sorted(set(self.loaded) - set(self.levels))


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


def ran(snippet: Snippet, level: str = "ran") -> None:
    """Note that the running proof executed a snippet, and how far that proves it."""
    if level not in LEVELS:
        raise ValueError(f"{level!r} is not a level of proof: {', '.join(LEVELS)}")
    current.loaded[snippet.path] = snippet
    # The strongest level counts when a proof runs a snippet more than once.
    before = current.levels.get(snippet.path, LEVELS[-1])
    current.levels[snippet.path] = min(before, level, key=LEVELS.index)


def on(**versions: str) -> None:
    """Note the versions that the running proof meets: on(PostgreSQL="18.6")."""
    current.stack.update(versions)
