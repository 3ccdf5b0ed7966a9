"""What measures distance: its own arithmetic, and that what is published is what the round trips were counted for."""

import json
from typing import Any

from measure import distance, statistics


def test_a_round_says_what_each_way_waited_for() -> None:
    """The chart holds a point for each distance, and the line of the round trips that were counted."""
    found = summary()
    assert found["waits"]["ms10"]["kept"] == {"value": 11.0, "low": 11.0, "high": 11.0, "unit": "ms"}
    assert found["chart"]["kept"]["points"][-1] == [41.0, 41.0, 41.0, 41.0]
    assert found["chart"]["checked_counted"]["points"] == [[0, 0], [41.0, 82.0]]


def test_noise_is_not_published() -> None:
    """Where something else than the wire is waited for, nothing is written."""
    tree = summary()
    assert list(distance.unsafe(tree)) == []
    waits = tree["waits"]
    waits["ms40"]["kept"]["value"] = 61.5
    waits["ms10"]["checked"]["high"] += 10.6
    assert list(distance.unsafe(tree)) == [
        "kept: the longest wire adds 1.50 round trips, and 1 were counted",
        "ms10.checked: 22.0 to 32.6 ms: run fewer other programs meanwhile",
    ]


def test_what_is_published_is_the_round_trips_that_were_counted() -> None:
    """And its intervals are those of its own rounds."""
    tree = json.loads(distance.FILE.read_text(encoding="utf-8"))
    assert distance.summarize(tree["rounds"]) == {name: tree[name] for name in ("waits", "chart")}
    assert list(distance.unsafe(tree)) == []


def summary() -> dict[str, Any]:
    """Return what steady rounds say: of wires on which nothing but round trips is waited for."""
    trips = dict(zip(distance.DISTANCES, (0.2, 0.7, 2.2, 11.0, 41.0), strict=True))
    ways = distance.ROUND_TRIPS.items()
    cells = {key: {way: (trip, trip * count) for way, count in ways} for key, trip in trips.items()}
    return distance.summarize([cells] * statistics.FEWEST)
