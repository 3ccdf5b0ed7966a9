"""The rounds, each written down as it ends, so that a later call goes on where this one stopped."""

import json
import os
import random
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from measure import clocks, load
from measure.lane import Lane
from measure.plan import QUERIES, SETUPS, Block, Plan
from proven import ROOT

FOLDER = ROOT / "build" / "measure"
SLACK = 3.0  # seconds that a measurement may take longer than its load: k6 has to start
Cell = dict[str, Any]
Lanes = dict[tuple[str, bool], Lane]
PARTS = ("postgresql", "pgbouncer", "app")


class Journal:
    """The rounds of one plan in one environment, in a file with JSON on each line."""

    def __init__(self, plan: Plan, environment: dict[str, Any], folder: Path = FOLDER) -> None:
        """Read what there is. Rounds of another plan or environment, whose numbers differ, do not count."""
        self.file = folder / f"{plan.name}.jsonl"
        self.head: dict[str, Any] = {
            "plan": asdict(plan),
            "setups": {name: asdict(setup) for name, setup in SETUPS.items()},
            "queries": {name: asdict(query) for name, query in QUERIES.items()},
            "environment": environment,
        }
        self.rounds: list[list[Cell]] = []
        self.orders: dict[str, int] = {}
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        if lines:
            head = json.loads(lines[0])
            orders = head.pop("orders")
            if head == json.loads(json.dumps(self.head)):
                self.orders = orders
                self.rounds = [json.loads(line) for line in lines[1:]]

    def begin(self, orders: dict[str, int]) -> None:
        """Start over, with the number of orders that each query's reports read."""
        self.orders = orders
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._write([{**self.head, "orders": orders}])

    def add(self, cells: list[Cell]) -> None:
        """Write one round down."""
        self.rounds.append(cells)
        self._write([{**self.head, "orders": self.orders}, *self.rounds])

    def _write(self, lines: list[Any]) -> None:
        part = self.file.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        part.replace(self.file)  # whole, whenever it is interrupted

    def forget(self) -> None:
        """Delete the file: the next call starts over."""
        self.file.unlink(missing_ok=True)


def measure(plan: Plan, lanes: Lanes, orders: dict[str, int], bar: "tqdm[Any]") -> list[Cell]:
    """Measure every block once, in random order, and in each every setup right after the other, in random order too."""
    blocks = list(plan.blocks())
    random.shuffle(blocks)
    cells = []
    for block in blocks:
        for setup in random.sample(block.setups, len(block.setups)):
            bar.set_postfix_str(f"{block.load}, {QUERIES[block.query].says}, {setup}")
            cells.append(_cell(plan, block, setup, lanes[setup, block.tls], orders[block.query]))
            bar.update()
    return cells


def _cell(plan: Plan, block: Block, setup: str, lane: Lane, orders: int) -> Cell:
    """Measure one setup under one load."""
    lane.warm(plan.seconds[block.load] + SLACK)
    rate = QUERIES[block.query].rate if block.load == "open" else None
    before, machine, own, begun = lane.read(), clocks.machine(), clocks.own(), time.monotonic()
    with lane.watched() as peak:
        found = load.send(lane.url(orders), plan.seconds[block.load], rate, plan.clients)
    busy, stolen = (now - then for now, then in zip(clocks.machine(), machine, strict=True))
    own, took = clocks.own() - own, time.monotonic() - begun
    lane.settle()
    after = lane.read()
    spent = {part: getattr(after, part) - getattr(before, part) for part in PARTS}
    processors = (os.cpu_count() or 1) * took
    requests = found["requests"]
    return {
        "load": block.load,
        "query": block.query,
        "tls": block.tls,
        "setup": setup,
        **{name: round(value, 4) for name, value in found.items()},
        "sessions": after.sessions - before.sessions,
        "backends": peak[0],
        **{f"cpu_{part}": round(seconds * 1000 / requests, 4) for part, seconds in spent.items()},
        # Of all processors, in per cent: what k6 used, what other programs did, and what the host gave to others.
        "generator": round(own * 100 / processors, 2),
        "others": round(max(busy - own - sum(spent.values()), 0.0) * 100 / processors, 2),
        "stolen": round(stolen * 100 / processors, 2),
    }
