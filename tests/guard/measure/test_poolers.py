"""What measures poolers: its own arithmetic, and that what is published is what its rounds say."""

import copy
import json
from typing import Any

from measure import poolers, statistics


def test_a_round_says_what_each_pooler_costs() -> None:
    """Each number has an interval, and what the machine does to all of them in a round makes it wider, and no more."""
    told = poolers.loads(steady())
    assert told["kept"]["odyssey"]["latency"] == {"value": 2.0, "low": 2.0, "high": 2.0, "unit": "ms"}
    assert told["alone"][poolers.DIRECT]["cpu"]["value"] == 0.0
    assert list(poolers.unsafe({**told, "memory": {}})) == []


def test_noise_is_not_published() -> None:
    """Where PostgreSQL alone is now fast and now slow, no pooler can be compared with it."""
    rounds = steady()
    for number, each in enumerate(rounds):
        each["alone"][poolers.DIRECT]["throughput"] *= 1 + number
    (why,) = poolers.unsafe({**poolers.loads(rounds), "memory": {}})
    assert why.startswith("alone: without a pooler ")
    assert why.endswith(" transactions/s: run nothing else beside")


def test_what_is_published_is_what_its_rounds_say() -> None:
    """For every load and pooler, and with the memory of each that is measured."""
    tree = json.loads(poolers.FILE.read_text(encoding="utf-8"))
    assert poolers.loads(tree["rounds"]) == {load: tree[load] for load in poolers.LOADS}
    assert list(poolers.unsafe(tree)) == []
    assert tree["count"] == len(tree["rounds"])
    sizes = [f"at{clients}" for clients in poolers.IDLE]
    assert [(name, list(found)) for name, found in tree["memory"].items()] == [
        (name, sizes) for name in poolers.MEASURED
    ]


def test_what_the_page_says_without_a_number_holds() -> None:
    """A query costs PgBouncer least; opened for each transaction, only connections to it are cheaper than PostgreSQL's.

    An idle client costs it and Odyssey less than 50 KiB.
    """
    tree = json.loads(poolers.FILE.read_text(encoding="utf-8"))
    others = [name for name in poolers.COMPARED if name != "newest"]
    assert all(tree["kept"]["newest"]["cpu"]["high"] < tree["kept"][name]["cpu"]["low"] for name in others)
    direct, latency = (
        tree["opened"][poolers.DIRECT]["latency"],
        {n: tree["opened"][n]["latency"] for n in poolers.COMPARED},
    )
    assert latency["newest"]["high"] < direct["low"]
    assert all(latency[name]["high"] > direct["low"] for name in others)
    each = {
        name: (sizes["at1000"]["high"] - sizes["at10"]["low"]) * 1024 / 990 for name, sizes in tree["memory"].items()
    }
    assert max(each["newest"], each["odyssey"]) < 50


def steady() -> list[dict[str, Any]]:
    """Return what rounds say in which nothing but the poolers differs."""
    cells = {name: {"throughput": 500.0, "latency": 2.0, "cpu": 50.0} for name in poolers.COMPARED}
    cells[poolers.DIRECT] = {"throughput": 1000.0, "latency": 1.0, "cpu": 0.0}
    return [{load: copy.deepcopy(cells) for load in poolers.LOADS} for _ in range(statistics.FEWEST)]
