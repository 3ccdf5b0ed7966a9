"""How a ledger is stored in its file: what many runs share is stored once, and the runs of a proof are one line.

    tools      other programs that a run used: "Chromium": "156.0.8078.108"
    parts      what proofs rest on in tests/: "tests/proofs/pooled.py::start", by a digest of its text
    rests      the parts that one proof rests on, together: all its cases do
    snippets   what they ran, with its SHA-256: ["postgres/usage.sql", "…"]
    stacks     versions: {"PostgreSQL": "18.6", …}
    runs       a line for each proof, case, and what it rested on and ran, with how it ended on which stacks: "passed":
               {"3f2a1b0c": ["2026-11-28", 0.41]}, the day and how many seconds it took; for what was not run, also why

So a diff shows what ran anew, and nothing else.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from proven import whole

# What a line says besides how its runs ended.
SHARED = ("proof", "case", "rests", "snippets")


def read(file: Path) -> Iterator[dict[str, Any]]:
    """Return each run that a file holds.

    Raises ValueError, TypeError, KeyError or AttributeError where something else is in it.
    """
    found = json.loads(file.read_text(encoding="utf-8"))
    rests = {key: {found["parts"][digest]: digest for digest in digests} for key, digests in found["rests"].items()}
    for line in found["runs"]:
        snippets = {}
        for key, words in line["snippets"].items():
            path, digest = found["snippets"][key]
            snippets[path] = [digest, *words]
        shared = {"proof": line["proof"], "case": line.get("case", "")}
        shared |= {"parts": rests[line["rests"]], "snippets": snippets}
        for outcome in sorted(line.keys() - set(SHARED)):
            for key, (date, seconds, *reason) in line[outcome].items():
                run = {"outcome": outcome, "date": date, "seconds": seconds, "stack": found["stacks"][key]}
                yield shared | run | {"reason": "".join(reason)}


def tools(file: Path) -> dict[str, str]:
    """Return the other programs that the runs of a file used, by name; nothing where there is no such file."""
    return dict(json.loads(file.read_text(encoding="utf-8"))["tools"]) if file.exists() else {}


def write(file: Path, runs: list[dict[str, Any]], tools: dict[str, str]) -> None:
    """Write runs to a file, with the other programs that they used."""
    tables: dict[str, dict[str, Any]] = {"parts": {}, "rests": {}, "snippets": {}, "stacks": {}}

    def key(table: str, value: Any) -> str:
        """Put a value into a table, and return its key there."""
        short = _short(json.dumps(value, sort_keys=True))
        tables[table][short] = value
        return short

    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for run in runs:
        tables["parts"] |= {digest: name for name, digest in run["parts"].items()}
        words = {key("snippets", [path, digest]): words for path, (digest, *words) in sorted(run["snippets"].items())}
        rests = key("rests", sorted(run["parts"].values()))
        line = {"proof": run["proof"], "rests": rests, "snippets": words}
        line |= {"case": run["case"]} if run["case"] else {}
        line = lines.setdefault((run["proof"], run["case"], json.dumps(line)), line)
        ended = [run["date"], run["seconds"], *filter(None, [run["reason"]])]
        line.setdefault(run["outcome"], {})[key("stacks", run["stack"])] = ended
    found = [f'"tools": {json.dumps(tools, sort_keys=True)}']
    found += [f"{json.dumps(name)}: {{\n{_lines(table)}\n}}" for name, table in tables.items()]
    rows = ",\n".join(json.dumps(lines[key], sort_keys=True) for key in sorted(lines))
    whole.write(file, "{\n" + ",\n".join([*found, f'"runs": [\n{rows}\n]']) + "\n}\n")


@cache  # thousands of runs share a few dozen stacks
def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _lines(table: dict[str, Any]) -> str:
    """Return a table, sorted by its values."""
    entries = sorted((json.dumps(value, sort_keys=True), key) for key, value in table.items())
    return ",\n".join(f"{json.dumps(key)}: {value}" for value, key in entries)
