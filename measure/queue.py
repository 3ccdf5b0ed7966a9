"""Measure how long transactions wait in PgBouncer's queue, beside what the model predicts.

`python -m measure.queue` writes docs/data/measurements/queue.json. Transactions arrive at random moments whatever
became of those before them (an open loop), and each holds a server connection for a time that was drawn beforehand.
pg_sleep holds it: nothing else than the number of server connections is then scarce, as in the model. A query that
computes would also wait for a processor, and take longer the more of them run.

Each wait is from the moment the transaction was to arrive, whenever it was sent, to the moment its backend began.
Both clocks are the machine's. What arrived is afterwards led through a queue that costs nothing: where that agrees
with the measurement, what is left of the model's error is chance, or the model's own.
"""

import argparse
import asyncio
import bisect
import heapq
import json
import os
import platform
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

import jsonschema
import psycopg

from proven import ROOT
from snippets.sizing import queueing
from tests.stack import pgbouncer
from tests.stack.database import Database, fresh
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster

FILE = ROOT / "docs/data/measurements/queue.json"
SCHEMA = ROOT / "measure/queue.schema.json"
SERVERS = 4
SERVICE_TIME = 0.020  # a sleep is rounded up to a whole millisecond: of 20 ms that is little
# Utilisation, and for how many seconds: the fuller a queue is, the longer a chance crowd lasts.
RUNS = {0.5: 60, 0.7: 120, 0.85: 300, 0.95: 600}
PERCENTS = (50, 95, 99)
BLOCKS = 30  # in which waits are drawn again for an interval: what is near in time is alike
SLEEP = "select extract(epoch from statement_timestamp()), extract(epoch from clock_timestamp()) from pg_sleep(%s)"


@dataclass
class Served:
    """One transaction: when it was to arrive, was sent, began and ended, in seconds since 1970."""

    arrived: float
    sent: float = 0.0
    began: float = 0.0
    ended: float = 0.0


class Clients:
    """As many connections to PgBouncer as there are transactions at a time. They are opened before they are needed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.free: list[psycopg.AsyncConnection[tuple]] = []
        self.all: list[psycopg.AsyncConnection[tuple]] = []

    async def open(self, count: int) -> None:
        """Open some more."""
        for _ in range(count):
            connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True, prepare_threshold=None)
            self.all.append(connection)
            self.free.append(connection)

    async def serve(self, one: Served, service_time: float) -> None:
        """Let a transaction hold a server connection for so many seconds."""
        if not self.free:
            await self.open(1)
        connection = self.free.pop()
        one.sent = time.time()
        cursor = await connection.execute(SLEEP, [service_time])
        began, ended = await cursor.fetchone() or (0, 0)
        one.began, one.ended = float(began), float(ended)
        self.free.append(connection)

    async def close(self) -> None:
        """Close them all."""
        for connection in self.all:
            await connection.close()


async def open_loop(url: str, plan: list[tuple[float, float]]) -> list[Served]:
    """Send transactions when the plan says so, as (seconds from the start, service time), and return all of them."""
    clients = Clients(url)
    await clients.open(100)
    begin, running, found = time.time() + 0.5, set(), []
    for after, service_time in plan:
        one = Served(begin + after)
        late = one.arrived - time.time()
        if late > 0:
            await asyncio.sleep(late)
        task = asyncio.create_task(clients.serve(one, service_time))
        running.add(task)
        task.add_done_callback(running.discard)
        found.append(one)
    await asyncio.gather(*running)
    await clients.close()
    return found


def planned(service: str, used: float, seconds: float, servers: int = SERVERS) -> list[tuple[float, float]]:
    """Return when transactions arrive, and how long each holds a server connection; the same at every call."""
    random = Random(f"{service} {used}")
    rate, after, plan = used * servers / SERVICE_TIME, 0.0, []
    while (after := after + random.expovariate(rate)) < seconds:
        plan.append((after, SERVICE_TIME if service == "constant" else random.expovariate(1 / SERVICE_TIME)))
    return plan


def ideal_waits(found: list[Served], servers: int = SERVERS) -> list[float]:
    """Return how long the same arrivals would wait, each for as long as it took, in a queue that costs nothing."""
    free, waits = [0.0] * servers, []
    for one in found:
        begins = max(one.arrived, free[0])
        heapq.heapreplace(free, begins + one.ended - one.began)
        waits.append(begins - one.arrived)
    return waits


def percentile(sorted_waits: list[float], percent: float) -> float:
    """Return the wait that this percentage of them stays within."""
    return sorted_waits[min(len(sorted_waits) - 1, int(len(sorted_waits) * percent / 100))]


def interval(waits: list[float], percent: float) -> list[float]:
    """Return the 95 % interval of a percentile, by a bootstrap of blocks: drawn again 500 times, in whole blocks."""
    size = len(waits) // BLOCKS
    blocks = [sorted(waits[number * size : (number + 1) * size]) for number in range(BLOCKS)]
    random, found = Random(1), []
    highest = max(waits)
    for _ in range(500):
        drawn = random.choices(blocks, k=BLOCKS)
        low, high = 0.0, highest
        while high - low > 1e-5:
            middle = (low + high) / 2
            within = sum(bisect.bisect_right(block, middle) for block in drawn)
            low, high = (low, middle) if within >= BLOCKS * size * percent / 100 else (middle, high)
        found.append(high)
    found.sort()
    return [found[12], found[487]]


def result(service: str, used: float, found: list[Served], servers: int = SERVERS) -> dict[str, Any]:
    """Return what one run measured, and what the model and the ideal queue say of it. Times are in milliseconds."""
    waits = [one.began - one.arrived for one in found]
    rate = len(found) / (found[-1].arrived - found[0].arrived)
    held = sum(one.ended - one.began for one in found) / len(found)
    model = queueing.mdc_wait_percentile if service == "constant" else queueing.mmc_wait_percentile
    in_order, ideal = sorted(waits), sorted(ideal_waits(found, servers))
    late = sorted(one.sent - one.arrived for one in found)
    measured = {f"p{percent}": in_ms(percentile(in_order, percent)) for percent in PERCENTS}
    predicted = {f"p{percent}": in_ms(model(rate, held, servers, percent)) for percent in PERCENTS}
    return {
        "service": service,
        "aimed_at": used,
        "utilisation": round(queueing.utilisation(rate, held, servers), 4),
        "transactions": len(found),
        "rate": round(rate, 2),
        "held_ms": in_ms(held),
        "late_p95_ms": in_ms(percentile(late, 95)),
        "measured_ms": measured,
        "p95_interval_ms": [in_ms(bound) for bound in interval(waits, 95)],
        "model_ms": predicted,
        "ideal_queue_ms": {f"p{percent}": in_ms(percentile(ideal, percent)) for percent in PERCENTS},
        "p95_error": round(predicted["p95"] / measured["p95"] - 1, 4),
    }


def in_ms(seconds: float) -> float:
    """Return milliseconds, to a hundredth."""
    return round(1000 * seconds, 2)


def unsafe(run: dict[str, Any]) -> str:
    """Return why a run says nothing, or "": the machine was too busy to send what was to arrive."""
    late, wait = run["late_p95_ms"], run["measured_ms"]["p95"]
    if late > wait / 5:
        return f"{run['service']} at {run['aimed_at']}: sent up to {late} ms late, of waits of {wait} ms"
    return ""


async def both(pooled: dict[str, str], used: float, seconds: float) -> list[dict[str, Any]]:
    """Run both kinds of service times at one utilisation, at the same time, each through a PgBouncer of its own."""
    loops = [open_loop(url, planned(service, used, seconds)) for service, url in pooled.items()]
    return [
        result(service, used, found) for service, found in zip(pooled, await asyncio.gather(*loops), strict=True)
    ]


def environment(database: Database) -> dict[str, Any]:
    """Return what it ran on."""
    return {
        "PostgreSQL": database.server.version(),
        "PgBouncer": pgbouncer.version(),
        "Python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def measure(shorter: int = 1) -> dict[str, Any]:
    """Run everything, each run for its seconds divided by `shorter`, and return what is written."""
    cluster = Cluster(max_connections=50)
    try:
        with fresh(cluster.server) as database, ExitStack() as started:
            pooled = {}
            for service in ("exponential", "constant"):
                bouncer = PgBouncer(
                    database,
                    pool_mode="transaction",
                    default_pool_size=SERVERS,
                    min_pool_size=SERVERS,
                    max_client_conn=2000,
                    query_wait_timeout=0,
                )
                started.callback(bouncer.stop)
                pooled[service] = bouncer.url(database)
            ran_on, runs, left = environment(database), [], sum(RUNS.values()) / shorter
            for used, seconds in RUNS.items():
                print(f"utilisation {used:.0%}, {left / 60:.0f} min left", file=sys.stderr)
                runs += asyncio.run(both(pooled, used, seconds / shorter))
                left -= seconds / shorter
            return {
                "measured": datetime.now(UTC).date().isoformat(),
                "environment": ran_on,
                "servers": SERVERS,
                "service_time_ms": in_ms(SERVICE_TIME),
                "runs": runs,
            }
    finally:
        cluster.stop()


def main() -> None:
    """Measure, and write the file unless the machine was too busy to tell."""
    parser = argparse.ArgumentParser(description="Measure waits in PgBouncer's queue beside the model's.")
    parser.add_argument("--quick", action="store_true", help="about a minute; prints, and writes nothing")
    found = measure(18 if (quick := parser.parse_args().quick) else 1)
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    if quick:
        print(json.dumps(found, indent=2))
        return
    if reasons := [reason for run in found["runs"] if (reason := unsafe(run))]:
        sys.exit("not written, the machine was too busy:\n" + "\n".join(reasons))
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
