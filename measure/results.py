"""From rounds to the published file; what noise makes unsafe is not published."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import jsonschema

from measure import statistics
from measure.plan import QUERIES, SETUPS
from measure.rounds import Cell
from proven import ROOT
from proven.evidence.measurements import FOLDER, differs

FILE = ROOT / FOLDER / "reuse.json"
SCHEMA = ROOT / "docs" / "reuse.schema.json"
VERSION = 1
UNITS = {
    "p50": "ms",
    "p95": "ms",
    "p99": "ms",
    "throughput": "requests/s",
    "cpu_postgresql": "ms",
    "cpu_app": "ms",
    "cpu": "ms",
}
LABELS = {
    **{name: setup.says for name, setup in SETUPS.items()},
    **{name: query.says for name, query in QUERIES.items()},
    "plain": "without TLS",
    "tls": "with TLS",
    "p50": "p50",
    "throughput": "Throughput",
    "cpu_postgresql": "PostgreSQL",
    "cpu_pgbouncer": "PgBouncer",
    "cpu_app": "Django",
    "cpu": "CPU",
    "open": "open load",
    "closed": "closed load",
    "sessions": "Sessions",
    "backends": "Most backends",
}
# What is compared with what: one/other.
PAIRS = (
    ("none", "kept"),
    ("none", "checked"),
    ("none", "pool"),
    ("none", "pooler_kept"),
    ("checked", "kept"),
    ("pool", "kept"),
    ("pooler_kept", "kept"),
    ("pooler_none", "none"),
    ("pooler_none", "pooler_kept"),
    ("again", "kept"),
)
LABELS |= {f"{one}/{other}": f"{LABELS[one]} / {LABELS[other]}" for one, other in PAIRS}
LABELS |= {f"{one}-{other}": f"{LABELS[one]} less {LABELS[other]}" for one, other in PAIRS}
FEWEST = 6  # rounds that may be published at all
APART = 1.1  # how far two identical setups may be apart
WIDEST = 2.0  # from one end of an interval to the other, for what the page is about
BEHIND = 0.9  # of the open load: where fewer are answered, requests pile up, and their times mean nothing
# What the page concludes before all else.
HEADLINES = ("open.trivial.plain", "open.trivial.tls")
HEADER = f"  {'':26}{'p50 ms':>9}{'p95 ms':>9}{'req/s':>9}{'sessions':>10}{'backends':>10}{'cpu ms':>9}"
QUANTITY = re.compile(r'\{\s+"value":[^{}]*\}')

Quantity = dict[str, Any]
Tree = dict[str, Any]


def summarize(head: Tree, orders: dict[str, int], rounds: list[list[Cell]], taken: str = "") -> Tree:
    """Return what the rounds say, with the interval of every ratio, and the rounds themselves.

    `head` has the plan and the environment, `orders` what each query reads, `taken` the day, by default today.
    """
    tree: Tree = {
        "$schema": f"../../{SCHEMA.name}",
        "version": VERSION,
        "taken": taken or datetime.now(UTC).date().isoformat(),
        "plan": {**head["plan"], "rounds": len(rounds), "confidence": statistics.CONFIDENCE},
        "environment": head["environment"],
        "queries": {
            name: {"cost": {"value": QUERIES[name].cost, "unit": "ms"}, "orders": read, "rate": QUERIES[name].rate}
            for name, read in orders.items()
        },
        "labels": LABELS,
        "noise": _noise(rounds),
        "results": {},
        "ratios": {},
        "gains": {},
        "savings": {},
        "differences": {},
    }
    for path, cells in _blocks(rounds).items():
        results = _at(tree["results"], path)
        for setup in (name for name in SETUPS if name in cells):
            results[setup] = _quantities(cells[setup])
        for one, other in PAIRS:
            if one in cells and other in cells:
                for metric, unit in UNITS.items():
                    pair = [cell[metric] for cell in cells[one]], [cell[metric] for cell in cells[other]]
                    times, low, high = statistics.ratio(*pair)
                    gained = 1 / times, 1 / high, 1 / low
                    saved = 100 * (1 - 1 / times), 100 * (1 - 1 / low), 100 * (1 - 1 / high)
                    _at(tree["ratios"], f"{path}.{one}/{other}")[metric] = _quantity((times, low, high), "×")
                    _at(tree["gains"], f"{path}.{one}/{other}")[metric] = _quantity(gained, "×")
                    _at(tree["savings"], f"{path}.{one}/{other}")[metric] = _quantity(saved, "%")
                    less = _at(tree["differences"], f"{path}.{one}-{other}")
                    less[metric] = _quantity(statistics.difference(*pair), unit)
    tree["rounds"] = rounds
    return tree


def again(file: Path = FILE) -> Tree:
    """Return what the published rounds say now, after this module was edited."""
    tree = json.loads(file.read_text(encoding="utf-8"))
    orders = {name: query["orders"] for name, query in tree["queries"].items()}
    return summarize(tree, orders, tree["rounds"], tree["taken"])


def unsafe(tree: Tree) -> Iterator[str]:
    """Return why nothing may be concluded from a result; nothing where it may."""
    done = tree["plan"]["rounds"]
    if done < FEWEST:
        yield f"{done} rounds are too few: at least {FEWEST} are needed"
    yield from _another_load(tree)
    yield from _unlike_itself(tree["ratios"])
    yield from _undecided(tree["ratios"])


def _another_load(tree: Tree) -> Iterator[str]:
    """Return where requests failed, or came faster than they were answered."""
    for cell in (cell for cells in tree["rounds"] for cell in cells):
        if cell["failed"]:
            yield f"{_path(cell)}.{cell['setup']}: {cell['failed']:g} of {cell['requests']:g} requests failed"
    for path, setups in _leaves(tree["results"]):
        rate = tree["queries"][path.split(".")[1]]["rate"]
        for name, found in setups.items():
            if path.startswith("open.") and (answered := found["throughput"]["value"]) < BEHIND * rate:
                yield f"{path}.{name}: of {rate} requests per second {answered:.3g} were answered, so they piled up"


def _unlike_itself(ratios: Tree) -> Iterator[str]:
    """Return where the control says that noise alone makes a difference."""
    for path, pairs in _leaves(ratios):
        for metric in ("p50", "throughput", "cpu"):
            found = pairs.get("again/kept", {}).get(metric)
            if found and not (found["low"] <= APART and found["high"] >= 1 / APART):
                yield f"{path}: two identical setups differ in {metric} by {_said(found)}"


def _undecided(ratios: Tree) -> Iterator[str]:
    """Return where what the page concludes before all else cannot be concluded."""
    for path, pairs in _leaves(ratios):
        if path in HEADLINES:
            found = pairs["none/kept"]["p50"]
            if not differs(found, 1.0):
                yield f"{path}: p50 does not show whether reuse is worth anything: {_said(found)}"
            elif found["high"] > WIDEST * found["low"]:
                yield f"{path}: p50 shows only that the worth of reuse lies within {_said(found)}"


def check(tree: Tree) -> None:
    """Raise jsonschema's ValidationError where a result is not as its published schema says."""
    jsonschema.validate(tree, json.loads(SCHEMA.read_text(encoding="utf-8")))


def publish(tree: Tree, file: Path = FILE) -> None:
    """Check a result and write it, whole or not at all."""
    check(tree)
    part = file.with_suffix(".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(_text(tree), encoding="utf-8")
    part.replace(file)


def _text(tree: Tree) -> str:
    """Return a result as JSON with one quantity or round on each line, so that a diff can be read."""
    rounds = ",\n".join(f"  {json.dumps(cells, ensure_ascii=False)}" for cells in tree["rounds"])
    body = json.dumps({name: value for name, value in tree.items() if name != "rounds"}, indent=1, ensure_ascii=False)
    body = QUANTITY.sub(lambda found: " ".join(found[0].split()), body)
    return body.removesuffix("\n}") + f',\n "rounds": [\n{rounds}\n ]\n}}\n'


def told(tree: Tree) -> str:
    """Return the main numbers as text, for a terminal."""
    lines = []
    for path, setups in _leaves(tree["results"]):
        lines += ["", path, HEADER]
        for name, found in setups.items():
            values = [found[metric]["value"] for metric in ("p50", "p95", "throughput", "sessions", "backends", "cpu")]
            p50, p95, rate, sessions, backends, cpu = values
            row = f"{p50:9.2f}{p95:9.2f}{rate:9.1f}{sessions:10.3f}{backends:10d}{cpu:9.2f}"
            lines.append(f"  {LABELS[name]:26}{row}")
        ratio = _at(tree["ratios"], path)["none/kept"]["p50"]
        lines.append(f"  no reuse takes {_said(ratio)} as long as a kept connection (p50)")
    return "\n".join(lines)


def _noise(rounds: list[list[Cell]]) -> Tree:
    """Return what else the processors did meanwhile: in the median cell, and in the worst."""
    cells = [cell for cells in rounds for cell in cells]
    return {
        name: {
            kind: {"value": round(find(cell[name] for cell in cells), 1), "unit": "%"}
            for kind, find in (("median", median), ("most", max))
        }
        for name in ("generator", "others", "stolen")
    }


def _quantities(cells: list[Cell]) -> dict[str, Quantity]:
    """Return what one setup did in a block, over all rounds."""
    found = {
        metric: _quantity(statistics.typical([cell[metric] for cell in cells]), unit) for metric, unit in UNITS.items()
    }
    requests = sum(cell["requests"] for cell in cells)
    return found | {
        "cpu_pgbouncer": _quantity(statistics.mean([cell["cpu_pgbouncer"] for cell in cells]), "ms"),
        "sessions": {"value": round(sum(cell["sessions"] for cell in cells) / requests, 4), "unit": ""},
        "backends": {"value": max(cell["backends"] for cell in cells), "unit": ""},
    }


def _quantity(interval: statistics.Interval, unit: str) -> Quantity:
    value, low, high = (_rounded(number) for number in interval)
    return {"value": value, "low": low, "high": high, "unit": unit}


def _rounded(value: float) -> float:
    """Return a value with four significant digits: more than any of these numbers has."""
    return float(f"{value:.4g}")


def _blocks(rounds: list[list[Cell]]) -> dict[str, dict[str, list[Cell]]]:
    """Return each block's cells by setup, those of the first round first."""
    found: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cells in rounds:
        for cell in cells:
            total = sum(cell[part] for part in ("cpu_postgresql", "cpu_pgbouncer", "cpu_app"))
            found[_path(cell)][cell["setup"]].append({**cell, "cpu": total})
    return {path: found[path] for path in sorted(found)}


def _path(cell: Cell) -> str:
    return f"{cell['load']}.{cell['query']}.{'tls' if cell['tls'] else 'plain'}"


def _at(tree: Tree, path: str) -> Tree:
    """Return the part of a tree that a path leads to, made where there is none."""
    for key in path.split("."):
        tree = tree.setdefault(key, {})
    return tree


def _leaves(tree: Tree, depth: int = 3, path: str = "") -> Iterator[tuple[str, Tree]]:
    """Return each block's part of a tree with its path."""
    if not depth:
        yield path, tree
        return
    for key, part in tree.items():
        yield from _leaves(part, depth - 1, f"{path}.{key}" if path else key)


def _said(found: Quantity) -> str:
    return f"{found['value']:.3g} × ({found['low']:.3g} to {found['high']:.3g})"
