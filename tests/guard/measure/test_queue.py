"""What measures waits in a queue: its own arithmetic, on queues whose waits are known."""

import json
from random import Random

import jsonschema
import pytest

from measure import queue
from measure.queue import Served


def served(*times: tuple[float, float, float]) -> list[Served]:
    """Return transactions that arrived, began and ended then."""
    return [Served(arrived, arrived, began, ended) for arrived, began, ended in times]


def test_the_plan_is_the_same_each_time_and_arrives_at_the_rate() -> None:
    """Two machines measure the same arrivals; as many server connections are busy as is aimed at."""
    plan = queue.planned("exponential", 0.5, 100, queue.SERVICE_TIME)
    assert plan == queue.planned("exponential", 0.5, 100, queue.SERVICE_TIME)
    assert sum(takes for _, takes in plan) / 100 == pytest.approx(0.5 * queue.SERVERS, rel=0.05)
    assert {takes for _, takes in queue.planned("constant", 0.5, 1, queue.SERVICE_TIME)} == {queue.SERVICE_TIME}


def test_the_ideal_queue_is_first_come_first_served() -> None:
    """Three arrive at once for two servers: the third waits until the first server is free, and for what is extra."""
    found = served((0, 0, 3), (0, 0, 2), (0, 9, 10))
    assert queue.ideal_waits(found, 0, servers=2) == [0, 0, 2]
    assert queue.ideal_waits(found, 0.5, servers=2) == [0, 0, 2.5]


def test_an_interval_holds_the_percentile_of_what_was_drawn() -> None:
    """Of independent waits it is narrow, and the same each time."""
    random = Random(1)
    waits = [random.expovariate(1) for _ in range(30_000)]
    low, high = queue.interval(waits, 95)
    assert low < queue.percentile(sorted(waits), 95) < high
    assert high - low < 0.3
    assert [low, high] == queue.interval(waits, 95)


@pytest.mark.parametrize("service", queue.MODELS)
def test_a_queue_that_is_the_models_has_no_error_to_speak_of(service: str) -> None:
    """Arrivals that are led through the ideal queue itself wait as the model says, within what chance does."""
    found = [Served(after, after, 0, takes) for after, takes in queue.planned(service, 0.7, 400, queue.SERVICE_TIME)]
    for one, wait in zip(found, queue.ideal_waits(found, 0), strict=True):
        one.began, one.ended = one.arrived + wait, one.arrived + wait + one.ended
    held = sum(one.ended - one.began for one in found) / len(found)
    run = queue.result(0.7, found, service, held)
    assert run["ideal"]["value"] == pytest.approx(run["measured"]["value"], rel=0.001)
    assert abs(run["error"]["value"]) < 15
    assert not queue.unsafe(service, run)


def test_a_machine_that_is_too_busy_is_refused() -> None:
    """Where transactions are sent late, the wait is not PgBouncer's."""
    run = {"aimed_at": 0.7, "late": {"value": 3.0}, "measured": {"value": 20.0}}
    assert queue.unsafe("constant", run) == "constant at 0.7: sent up to 3.0 ms late, of waits of 20.0 ms"
    assert not queue.unsafe("constant", {**run, "late": {"value": 1.0}})


def test_what_is_published_is_as_its_schema_says() -> None:
    """And its chart draws what its runs hold."""
    published = json.loads(queue.FILE.read_text(encoding="utf-8"))
    jsonschema.validate(published, json.loads(queue.SCHEMA.read_text(encoding="utf-8")))
    assert published["chart"] == queue.chart(published["runs"])
