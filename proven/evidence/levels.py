"""How far a snippet was proven, in the words of the ledger: "ran", "checked: Compose Specification, 1.27.1"."""

import re

# The strongest first.
LEVELS = ("ran", "started", "checked", "read")
# What the weaker two must name, so that a reader can check it: as a pattern, and as a message says it.
AGAINST = {
    "checked": (r".+, .*\d.*", "NAME, REVISION"),
    "read": (r".+, \d{4}-\d{2}-\d{2}", "SOURCE, YYYY-MM-DD"),
}


def level_of(word: str) -> str:
    """Return the level of proof in what a ledger says: "checked" of "checked: Compose Specification, 1.27.1"."""
    return word.partition(": ")[0]


def against(word: str) -> str:
    """Return what a snippet was compared with; nothing where it ran."""
    return word.partition(": ")[2]


def wrong(word: str) -> str | None:
    """Return what is wrong with how a ledger says how far a snippet was proven, or None."""
    level = level_of(word)
    if level not in LEVELS:
        return f"{level!r} is not a level of proof: {', '.join(LEVELS)}"
    if level not in AGAINST:
        return f'what {level} was compared with nothing: leave against="{against(word)}" out' if against(word) else None
    pattern, form = AGAINST[level]
    if re.fullmatch(pattern, against(word)):
        return None
    return f'what was {level} says against="{form}", not against="{against(word)}"'
