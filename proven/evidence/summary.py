"""What proofs ran on, in a few words or in full."""

import re
from collections.abc import Iterable

from proven.evidence import levels
from proven.evidence.ledger import Run

# In the order in which readers ask; whatever else is in a stack follows.
COMPONENTS = ("PostgreSQL", "PgBouncer", "Odyssey", "Django", "psycopg", "psycopg2", "Gunicorn", "Python")
# What a line under a snippet names, if the proof met it: the rest makes no difference to most readers.
NAMED = COMPONENTS[:4]
MANY = 3
# How a page says how far something was proven; what follows is a stack, or what it was compared with.
RUNS = levels.LEVELS[:2]
SAYS = {"ran": "ran", "started": "started with these settings", "checked": "checked against", "read": "read in"}


def stacks(runs: Iterable[Run]) -> list[dict[str, str]]:
    """Return each stack that runs met, once: thousands of runs share a few dozen."""
    return list({run.stack_key: run.stack for run in runs}.values())


def distinct(runs: Iterable[Run], path: str) -> list[Run]:
    """Return one run for each stack and each way in which they prove a snippet: hundreds say the same."""
    return list({(run.stack_key, *run.words(path)): run for run in runs}.values())


def versions(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Return every version that runs met, oldest first, by the component's name."""
    met: dict[str, list[str]] = {}
    for name, version in set().union(*(stack.items() for stack in stacks(runs))):
        met.setdefault(name, []).append(version)
    known = [name for name in COMPONENTS if name in met] + sorted(set(met) - set(COMPONENTS))
    return {name: sorted(met[name], key=order) for name in known}


def in_short(runs: Iterable[Run]) -> str:
    """Return the series of what matters most: "PostgreSQL 15 and 18, PgBouncer 1.26"."""
    met = versions(runs)
    named = [name for name in met if name in NAMED] or list(met)
    return ", ".join(f"{name} {_some(list(dict.fromkeys(series(name, v) for v in met[name])))}" for name in named)


def how_far(runs: Iterable[Run], path: str) -> list[str]:
    """Return how far runs prove a snippet, the strongest first: ["ran on PostgreSQL 18", "read in …, 2026-11-22"].

    That it started is left out where it also ran on the same versions.
    """
    words = [(run, word) for run in runs for word in run.words(path)]
    found: list[str] = []
    met: set[str] = set()
    for level in RUNS:
        at = [run for run, word in words if word == level]
        here = {f"{name} {series(name, v)}" for name, seen in versions(at).items() if name in NAMED for v in seen}
        if at and (not found or here - met):
            found.append(" on ".join(filter(None, [SAYS[level], in_short(at)])))
        met |= here
    return found + compared(word for _, word in words)


def level(runs: list[Run], path: str) -> str:
    """Return how far these runs prove a snippet: the strongest word counts."""
    met = {levels.level_of(word) for word in {word for run in runs for word in run.words(path)}}
    return next((level for level in levels.LEVELS if level in met), "unproven")


def of_proof(runs: list[Run]) -> str:
    """Return what a proof ran on or, where it ran no snippet and compared some, with what."""
    words = words_of(runs)
    if words and words.isdisjoint(RUNS):
        return " · ".join(compared(words))
    return " on ".join(filter(None, [SAYS["ran"], in_short(runs)]))


def words_of(runs: Iterable[Run]) -> set[str]:
    """Return how far runs prove their snippets, in the ledger's words."""
    return {word for run in runs for _, *words in run.snippets.values() for word in words}


def compared(words: Iterable[str]) -> list[str]:
    """Return what snippets were compared with, in words: descriptions before texts."""
    named = sorted({word for word in words if levels.level_of(word) in levels.AGAINST})
    return [f"{SAYS[levels.level_of(word)]} {levels.against(word)}".strip() for word in named]


def in_full(runs: Iterable[Run], named: tuple[str, ...] = ()) -> str:
    """Return every version, of all components or those named: "PostgreSQL 15.18, 18.6 · PgBouncer 1.26.1"."""
    met = versions(runs).items()
    return " · ".join(f"{name} {', '.join(found)}" for name, found in met if not named or name in named)


def series(name: str, version: str) -> str:
    """Return the series of a version: "18" of PostgreSQL 18.6, "1.26" of PgBouncer 1.26.1."""
    return ".".join(version.split(".")[: 1 if name == "PostgreSQL" else 2])


def newest(runs: Iterable[Run]) -> str:
    """Return the day of the latest run."""
    return max(run.date for run in runs)[:10]


def order(version: str) -> list[int]:
    """Return the numbers in a version, for sorting versions."""
    return [int(number) for number in re.findall(r"\d+", version)]


def _some(found: list[str]) -> str:
    if len(found) > MANY:
        return f"{found[0]} to {found[-1]}, {len(found)} versions"
    *others, last = found
    return f"{', '.join(others)} and {last}" if others else last
