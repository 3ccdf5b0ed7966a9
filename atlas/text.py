"""One text as it is compared: with … for what differs each time, however its program writes that."""

import re
from dataclasses import dataclass

# What C and Python write for what differs: %s, %.*s, %zu, %(name)s, {name!r}, {}. And addresses, which move.
DIFFERS = re.compile(
    r"%(?:\(\w+\))?[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z)?[a-zA-Z]|\{[^{}]*\}|https?://\S+"
)


@dataclass(frozen=True, order=True)
class Text:
    """What one program says, and how it comes to say it."""

    by: str
    text: str
    how: str  # the SQLSTATE, the function that is called or the exception that is raised


def plain(text: str) -> str:
    """Return a text on one line, with … for what differs."""
    return re.sub(r"\s+", " ", DIFFERS.sub("…", text.replace("%%", "%"))).strip()
