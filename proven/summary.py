"""What proofs ran on, in a few words or in full."""

import re
from collections.abc import Iterable

from proven.ledger import Run

# In the order in which readers ask; whatever else is in a stack follows.
COMPONENTS = ("PostgreSQL", "PgBouncer", "Odyssey", "Django", "psycopg", "psycopg2", "Gunicorn", "Python")
# What a line under a snippet names, if the proof met it: the rest makes no difference to most readers.
NAMED = COMPONENTS[:4]
MANY = 3


def versions(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Return every version that runs met, oldest first, by the component's name."""
    met: dict[str, set[str]] = {}
    for run in runs:
        for name, version in run.stack.items():
            met.setdefault(name, set()).add(version)
    known = [name for name in COMPONENTS if name in met] + sorted(set(met) - set(COMPONENTS))
    return {name: sorted(met[name], key=order) for name in known}


def in_short(runs: Iterable[Run]) -> str:
    """Return the series of what matters most: "PostgreSQL 15 and 18, PgBouncer 1.26"."""
    met = versions(runs)
    named = [name for name in met if name in NAMED] or list(met)
    return ", ".join(f"{name} {_some(list(dict.fromkeys(series(name, v) for v in met[name])))}" for name in named)


def in_full(runs: Iterable[Run], named: tuple[str, ...] = ()) -> str:
    """Return every version, of all components or those named: "PostgreSQL 15.18, 18.6 · PgBouncer 1.26.1"."""
    met = versions(runs).items()
    return " · ".join(f"{name} {', '.join(found)}" for name, found in met if not named or name in named)


def series(name: str, version: str) -> str:
    """Return what people call a version by: PostgreSQL 18.6 is an 18, PgBouncer 1.26.1 is a 1.26."""
    return ".".join(version.split(".")[: 1 if name == "PostgreSQL" else 2])


def newest(runs: Iterable[Run]) -> str:
    """Return the day of the latest run."""
    return max(run.date for run in runs)[:10]


def order(version: str) -> list[int]:
    """Return what versions are sorted by."""
    return [int(number) for number in re.findall(r"\d+", version)]


def _some(found: list[str]) -> str:
    if len(found) > MANY:
        return f"{found[0]} to {found[-1]}, {len(found)} versions"
    *others, last = found
    return f"{', '.join(others)} and {last}" if others else last
