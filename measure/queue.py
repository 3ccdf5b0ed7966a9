"""Measure how long transactions wait in PgBouncer's queue, beside what the model predicts.

`python -m measure.queue` writes docs/data/measurements/queue.json. Transactions arrive at random moments whatever
became of those before them (an open loop), and each holds a server connection for a time that was drawn beforehand.
pg_sleep holds it, so that only server connections are scarce, as in the model. A query that computes would also wait
for a processor, and take longer the more of them run.

Each wait is from the moment the transaction was to arrive, whenever it was sent, to the moment its backend began.
Both times are by the machine's clock. The same arrivals are afterwards run through a queue that costs nothing: where
that agrees with the measurement, the rest of the model's error is chance, or the model's own.

On a machine that does other work as well, a server that waits for a processor holds its connection for longer, and
the queue grows. So this takes real-time priority where it may, as root; it needs a small part of a processor.
"""

import argparse
import asyncio
import bisect
import heapq
import json
import os
import platform
import selectors
import sys
import time
from contextlib import ExitStack, suppress
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
SCHEMA = ROOT / "docs/queue.schema.json"
SERVERS = 4
SERVICE_TIME = 0.020  # a sleep is rounded up to a whole millisecond: of 20 ms that is little
# Utilisation, and for how many seconds: the fuller a queue is, the longer a chance crowd lasts.
RUNS = {0.5: 150, 0.7: 200, 0.85: 350, 0.95: 600}
MODELS = {"exponential": queueing.mmc_wait_percentile, "constant": queueing.mdc_wait_percentile}
LABELS = {
    **{f"at{used * 100:.0f}": f"{used:.0%}".replace("%", " %") for used in RUNS},
    "utilisation": "utilisation",
    "measured": "p95 wait",
    "model": "the model says",
    "ideal": "the same arrivals, ideal queue",
    "error": "the model's error",
    "exponential": "aimed at",
    "exponential_measured": "measured, times vary",
    "exponential_model": "M/M/c",
    "constant": "aimed at",
    "constant_measured": "measured, times alike",
    "constant_model": "M/D/c",
}
BLOCKS = 30  # of waits, resampled whole for an interval: waits near in time are alike
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
        """Open `count` more."""
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
    """Send transactions as planned, each (seconds from the start, service time), and return all of them."""
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


def planned(service: str, used: float, seconds: float, held: float) -> list[tuple[float, float]]:
    """Return when transactions arrive, and how long each is to sleep; the same at every call.

    held: how long one was found to hold its server connection on average, in seconds: a little longer than its sleep
    """
    random = Random(f"{service} {used}")  # noqa: S311
    rate, after, plan = used * SERVERS / held, 0.0, []
    while (after := after + random.expovariate(rate)) < seconds:
        plan.append((after, SERVICE_TIME if service == "constant" else random.expovariate(1 / SERVICE_TIME)))
    return plan


def ideal_waits(found: list[Served], extra: float, servers: int = SERVERS) -> list[float]:
    """Return how long the same arrivals, each served for what it took and `extra`, wait in a queue of no other cost."""
    free, waits = [0.0] * servers, []
    for one in found:
        begins = max(one.arrived, free[0])
        heapq.heapreplace(free, begins + one.ended - one.began + extra)
        waits.append(begins - one.arrived)
    return waits


def percentile(sorted_waits: list[float], percent: float) -> float:
    """Return the wait that this percentage of them stays within."""
    return sorted_waits[min(len(sorted_waits) - 1, int(len(sorted_waits) * percent / 100))]


def interval(waits: list[float], percent: float) -> list[float]:
    """Return the 95 % interval of a percentile, by a block bootstrap: whole blocks, resampled 500 times."""
    size = len(waits) // BLOCKS
    blocks = [sorted(waits[number * size : (number + 1) * size]) for number in range(BLOCKS)]
    random, found = Random(1), []  # noqa: S311
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


def result(used: float, found: list[Served], service: str, held: float) -> dict[str, Any]:
    """Return what one run measured, and what the model and the ideal queue make of it.

    held: how long a transaction held its server connection on average, in seconds, as PgBouncer counted it
    """
    waits = [one.began - one.arrived for one in found]
    rate = len(found) / (found[-1].arrived - found[0].arrived)
    extra = held - sum(one.ended - one.began for one in found) / len(found)  # on the way from PgBouncer and back
    p95 = percentile(sorted(waits), 95)
    low, high = interval(waits, 95)
    predicted = MODELS[service](rate, held, SERVERS)
    return {
        "aimed_at": used,
        "transactions": len(found),
        "utilisation": quantity(100 * queueing.utilisation(rate, held, SERVERS), "%"),
        "held": quantity(1000 * held, "ms"),
        "late": quantity(1000 * percentile(sorted(one.sent - one.arrived for one in found), 95), "ms"),
        "measured": quantity(1000 * p95, "ms", 1000 * low, 1000 * high),
        "model": quantity(1000 * predicted, "ms"),
        "ideal": quantity(1000 * percentile(sorted(ideal_waits(found, extra)), 95), "ms"),
        "error": quantity(100 * (predicted / p95 - 1), "%", 100 * (predicted / high - 1), 100 * (predicted / low - 1)),
    }


def quantity(value: float, unit: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Return a number as pages read it."""
    within = {} if low is None or high is None else {"low": round(low, 2), "high": round(high, 2)}
    return {"value": round(value, 2), **within, "unit": unit}


def chart(runs: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the model's curve and the measured points of both kinds, by utilisation.

    Up to 90 %: what is beyond is so much larger that the rest could not be seen.
    """
    drawn = {}
    for service, measured in runs.items():
        held = sum(run["held"]["value"] for run in measured.values()) / len(measured) / 1000
        curve = [[used, MODELS[service](used / 100 * SERVERS / held, held, SERVERS)] for used in range(40, 91)]
        drawn[f"{service}_model"] = {"drawn": "line", "points": [[used, round(1000 * p95, 2)] for used, p95 in curve]}
        points = [
            [run["utilisation"]["value"], *(run["measured"][which] for which in ("value", "low", "high"))]
            for run in measured.values()
            if run["utilisation"]["value"] <= 90
        ]
        drawn[f"{service}_measured"] = {"drawn": "points", "points": points}
    return drawn


def unsafe(service: str, run: dict[str, Any]) -> str:
    """Return why a run says nothing, or "": the machine was too busy to send transactions on time."""
    late, wait = run["late"]["value"], run["measured"]["value"]
    if late > wait / 10:
        return f"{service} at {run['aimed_at']}: sent up to {late} ms late, of waits of {wait} ms"
    return ""


def both(
    pooled: dict[str, PgBouncer], database: Database, used: float, seconds: float, held: dict[str, float]
) -> dict[str, dict[str, Any]]:
    """Run both kinds of service times at one utilisation, at the same time, each through a PgBouncer of its own.

    held: what planned() takes, by service, from the previous run; afterwards, from this one
    """

    async def run() -> list[list[Served]]:
        plans = {service: planned(service, used, seconds, held[service]) for service in pooled}
        return await asyncio.gather(*(open_loop(pooled[each].url(database), plan) for each, plan in plans.items()))

    before = {service: busy(bouncer, database) for service, bouncer in pooled.items()}
    with asyncio.Runner(loop_factory=punctual) as runner:
        found = dict(zip(pooled, runner.run(run()), strict=True))
    results = {}
    for service, bouncer in pooled.items():
        held[service] = (busy(bouncer, database) - before[service]) / len(found[service])
        results[service] = result(used, found[service], service, held[service])
    return results


def punctual() -> asyncio.AbstractEventLoop:
    """Return an event loop that wakes up on time: the usual one rounds up to whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def busy(bouncer: PgBouncer, database: Database) -> float:
    """Return for how many seconds server connections have been held. PgBouncer adds the wait to a transaction."""
    (row,) = [row for row in bouncer.show("stats") if row["database"] == database.name]
    return float(row["total_xact_time"] - row["total_wait_time"]) / 1e6


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
        "priority": "usual" if os.sched_getscheduler(0) == os.SCHED_OTHER else "real-time",
    }


def measure(shorter: int = 1) -> dict[str, Any]:
    """Run everything, each run for its seconds divided by `shorter`, and return what is written."""
    cluster = Cluster(max_connections=50)
    try:
        with fresh(cluster.server) as database, ExitStack() as started:
            pooled = {}
            for service in MODELS:
                pooled[service] = PgBouncer(
                    database,
                    pool_mode="transaction",
                    default_pool_size=SERVERS,
                    min_pool_size=SERVERS,
                    max_client_conn=2000,
                    query_wait_timeout=0,
                )
                started.callback(pooled[service].stop)
                pooled[service].connect(database).close()  # the first client waits for a login to PostgreSQL
            ran_on, left = environment(database), sum(RUNS.values()) / shorter
            runs: dict[str, dict[str, dict[str, Any]]] = {service: {} for service in MODELS}
            held = dict.fromkeys(MODELS, SERVICE_TIME)
            for used, seconds in RUNS.items():
                print(f"utilisation {used:.0%}, {left / 60:.0f} min left", file=sys.stderr)
                for service, run in both(pooled, database, used, seconds / shorter, held).items():
                    runs[service][f"at{used * 100:.0f}"] = run
                left -= seconds / shorter
            return {
                "$schema": f"../../{SCHEMA.name}",
                "measured": datetime.now(UTC).date().isoformat(),
                "environment": ran_on,
                "labels": LABELS,
                "servers": SERVERS,
                "confidence": "95 %, by a bootstrap of blocks",
                "runs": runs,
                "chart": chart(runs),
            }
    finally:
        cluster.stop()


def main() -> None:
    """Measure, and write the file unless the machine was too busy to tell."""
    parser = argparse.ArgumentParser(description="Measure waits in PgBouncer's queue beside the model's.")
    parser.add_argument("--quick", action="store_true", help="about a minute, printed and not written")
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # which the servers that it starts inherit
    found = measure(22 if (quick := parser.parse_args().quick) else 1)
    jsonschema.validate(found, json.loads(SCHEMA.read_text(encoding="utf-8")))
    if quick:
        print(json.dumps(found, indent=2))
        return
    if reasons := [
        reason for service, runs in found["runs"].items() for run in runs.values() if (reason := unsafe(service, run))
    ]:
        sys.exit("nothing was written, because the machine was too busy:\n" + "\n".join(reasons))
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
