"""`make measure` guarded: what it publishes is as its schema says, and noise is not published as a result."""

import copy
import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from measure import clocks, results, statistics
from measure.lane import Lane, orders_for
from measure.load import program, send
from measure.plan import FULL, QUERIES, QUICK
from measure.rounds import Cell, Journal
from proven.evidence import measurements
from tests.stack.upstream import Project

# The full plan with its cheapest query alone: each number has an interval, and each takes a while.
SMALL = dataclasses.replace(FULL, queries=("trivial",), encrypted=())
HEAD = {"plan": json.loads(json.dumps(dataclasses.asdict(SMALL))), "environment": {}}
ORDERS = {"trivial": 1}
TOOK = {"none": 12.0, "pooler_none": 6.0}  # ms; the other setups take 1.3


def planted(rounds: int = 8, noise: float = 0.05, **changes: Any) -> dict[str, Any]:
    """Return what rounds say in which each setup takes as long as we say, give or take some noise."""
    draw = random.Random(1)
    made: list[list[Cell]] = []
    for _ in range(rounds):
        slow = draw.uniform(0.7, 1.5)  # the machine, in this round: it is to cancel
        made.append([])
        for block in SMALL.blocks():
            for setup in block.setups:
                p50 = TOOK.get(setup, 1.3) * slow * draw.lognormvariate(0, noise)
                cell: Cell = {"load": block.load, "query": block.query, "tls": block.tls, "setup": setup}
                cell |= {"p50": p50, "p95": 2 * p50, "p99": 3 * p50, "throughput": QUERIES[block.query].rate}
                cell |= {"requests": 100, "failed": 0, "dropped": 0, "sessions": 100 * (setup == "none"), "backends": 8}
                cell |= {"cpu_postgresql": p50 / 2, "cpu_pgbouncer": 0.0, "cpu_app": 1.0}
                cell |= {"generator": 9.0, "others": 1.0, "stolen": 0.0}
                made[-1].append(cell | {name: value for name, value in changes.items() if name in cell})
    return results.summarize(HEAD, ORDERS, made)


@pytest.fixture(autouse=True, scope="module")
def few() -> Iterator[None]:
    """A tenth of the resamples: what is asked here does not hang on the second digit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 200)
        yield


@pytest.fixture(scope="module")
def quiet() -> dict[str, Any]:
    """What a quiet machine finds."""
    return planted()


# ---- statistics ----------------------------------------------------------------------------------------------


def test_the_truth_lies_in_the_interval_as_often_as_it_says() -> None:
    """Of intervals from seven lopsided rounds, 95 in 100 hold the true mean; 90 is what we ask of a sample of them."""
    draw = random.Random(7)
    held = 0
    for _ in range(200):
        _, low, high = statistics.typical([draw.lognormvariate(0.0, 0.3) for _ in range(7)])
        held += low <= 1.0 <= high
    assert 180 <= held < 200


def test_what_drifts_from_round_to_round_cancels() -> None:
    """Where each round is slower than the one before, and one setup always twice as slow as the other."""
    one, other = [2.0, 4.0, 8.0, 16.0], [1.0, 2.0, 4.0, 8.0]
    assert statistics.ratio(one, other) == pytest.approx((2.0, 2.0, 2.0))
    assert statistics.difference([3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0]) == (2.0, 2.0, 2.0)


def test_few_rounds_give_no_interval() -> None:
    """They would be sure of themselves for no reason."""
    with pytest.raises(ValueError, match="3 rounds are too few for an interval: measure 4"):
        statistics.mean([1.0, 2.0, 3.0])


# ---- what is published ---------------------------------------------------------------------------------------


def test_the_published_measurement_is_as_its_schema_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema is valid, and lies where the file says; the file's intervals are those of its own rounds."""
    tree = json.loads(results.FILE.read_text(encoding="utf-8"))
    assert (results.FILE.parent / tree["$schema"]).resolve() == results.SCHEMA
    jsonschema.Draft202012Validator.check_schema(json.loads(results.SCHEMA.read_text(encoding="utf-8")))
    results.check(tree)
    cells = {name: [] for name in ("none", "kept")}
    for cell in (cell for rounds in tree["rounds"] for cell in rounds):
        if (cell["load"], cell["query"], cell["tls"]) == ("open", "trivial", False) and cell["setup"] in cells:
            cells[cell["setup"]].append(cell["p50"])
    written = tree["ratios"]["open"]["trivial"]["plain"]["none/kept"]["p50"]
    monkeypatch.setattr(statistics, "RESAMPLES", 2000)
    found = statistics.ratio(cells["none"], cells["kept"])
    assert [written[name] for name in ("value", "low", "high")] == pytest.approx(found, rel=1e-3)


@pytest.mark.parametrize(
    "path",
    [
        "plan.rounds",
        "noise.others",
        "results.open.trivial.plain.kept.p50",
        "ratios.closed.trivial.plain.none/kept.cpu.low",
    ],
)
def test_a_file_with_something_missing_is_refused(quiet: dict[str, Any], tmp_path: Path, path: str) -> None:
    """And the one that is there stays as it was."""
    file = tmp_path / "reuse.json"
    complete(quiet)
    results.publish(quiet, file)
    before = file.read_text()
    *way, last = path.split(".")
    broken = node = copy.deepcopy(quiet)
    for key in way:
        node = node[key]
    del node[last]
    with pytest.raises(jsonschema.ValidationError, match=f"'{last}' is a (required property|dependency)"):
        results.publish(broken, file)
    assert file.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["reuse.json"]


def complete(tree: dict[str, Any]) -> None:
    """Give a planted result an environment."""
    names = ("PostgreSQL", "PgBouncer", "Django", "psycopg", "Gunicorn", "Python", "k6", "kernel", "processors")
    tree["environment"] = dict.fromkeys(names, "1")


# ---- what noise does not publish -----------------------------------------------------------------------------


def test_a_quiet_machine_finds_what_is_there(quiet: dict[str, Any]) -> None:
    """Nine times as long without reuse, and nothing between setups that do not differ."""
    assert list(results.unsafe(quiet)) == []
    ratios = quiet["ratios"]["open"]["trivial"]["plain"]
    assert ratios["none/kept"]["p50"]["low"] < 12.0 / 1.3 < ratios["none/kept"]["p50"]["high"]
    assert measurements.differs(ratios["none/kept"]["p50"], 1.0) == 1
    assert measurements.differs(ratios["checked/kept"]["p50"], 1.0) == 0
    saved = quiet["savings"]["open"]["trivial"]["plain"]["none/kept"]["p50"]
    assert saved["low"] < 100 * (1 - 1.3 / 12.0) < saved["high"]
    gained = quiet["gains"]["open"]["trivial"]["plain"]["none/kept"]["p50"]
    assert gained["low"] < 1.3 / 12.0 < gained["high"]


def test_noise_is_refused() -> None:
    """Where reuse may be worth twice as much as it may be."""
    (first, *_) = results.unsafe(planted(noise=0.5))
    assert first.startswith("open.trivial.plain: p50 shows only that the worth of reuse lies within ")


def test_no_difference_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a request takes as long with reuse as without, for all that can be seen."""
    monkeypatch.setitem(TOOK, "none", 1.3)
    (why,) = results.unsafe(planted())
    assert why.startswith("open.trivial.plain: p50 does not show whether reuse is worth anything: ")


def test_a_setup_that_differs_from_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the control slower makes others slower too, and nobody knows which."""
    monkeypatch.setitem(TOOK, "again", 1.3 * 1.4)
    (first, *_) = results.unsafe(planted())
    assert first.startswith("closed.trivial.plain: two identical setups differ in p50 by 1.39 ×")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rounds": 5}, "5 rounds are too few: at least 6 are needed"),
        ({"failed": 3}, "open.trivial.plain.none: 3 of 100 requests failed"),
        (
            {"throughput": 20.0},
            "open.trivial.plain.none: of 30 requests per second 20 were answered, so they piled up",
        ),
    ],
)
def test_another_load_than_the_one_that_was_meant_is_refused(changes: dict[str, Any], why: str) -> None:
    """Too few rounds, failed requests, and requests that pile up."""
    assert why in results.unsafe(planted(**changes))


# ---- the rounds ----------------------------------------------------------------------------------------------


def test_a_later_call_goes_on_after_the_last_whole_round(tmp_path: Path) -> None:
    """And does not where the plan or the machine is another."""
    journal = Journal(QUICK, {"Django": "5.2"}, tmp_path)
    journal.begin({"trivial": 1})
    journal.add([{"p50": 1.0}])
    again = Journal(QUICK, {"Django": "5.2"}, tmp_path)
    assert (again.rounds, again.orders) == ([[{"p50": 1.0}]], {"trivial": 1})
    assert Journal(QUICK, {"Django": "6.1"}, tmp_path).rounds == []
    assert Journal(FULL, {"Django": "5.2"}, tmp_path).rounds == []
    again.forget()
    assert Journal(QUICK, {"Django": "5.2"}, tmp_path).rounds == []


def test_a_plan_has_what_every_comparison_needs() -> None:
    """Whatever is compared is measured in the same block, and the quick plan leaves time for its minute."""
    for block in FULL.blocks():
        assert {setup for pair in results.PAIRS for setup in pair} - set(block.setups) <= {"again"}
    assert sum(QUICK.seconds[block.load] * len(block.setups) for block in QUICK.blocks()) * QUICK.rounds <= 35


# ---- the real thing, once ------------------------------------------------------------------------------------


def test_k6_that_gets_no_answer_says_so() -> None:
    """Nothing listens there: no number comes of it."""
    with pytest.raises(RuntimeError, match="requests of k6 failed: is the server running"):
        send("http://127.0.0.1:9/", 1, clients=1)
    assert program().endswith("k6")


@pytest.mark.skipif(not clocks.here(), reason="needs Linux, which reports the processor time of each process")
def test_what_one_setup_costs_is_counted(project: Project) -> None:
    """A second of load without reuse: a session for each request, and time of PostgreSQL's and of Django's."""
    lane = Lane(project, "none", None)
    try:
        assert orders_for(lane, 0.0) == 1
        assert 1 < orders_for(lane, 0.5) < orders_for(lane, 5.0)
        lane.warm(2.0)
        before = lane.read()
        with lane.watched() as peak:
            found = send(lane.url(1), 1, rate=10)
        lane.settle()
        after = lane.read()
    finally:
        lane.stop()
    assert found["failed"] == 0  # how many k6 had no time to send is the machine's choice
    assert after.sessions - before.sessions == found["requests"] > 0
    assert peak[0] >= 1
    assert after.postgresql > before.postgresql
    assert after.app > before.app
    assert after.pgbouncer == before.pgbouncer == 0.0
