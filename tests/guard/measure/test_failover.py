"""What measures failovers: its own arithmetic, and that what is published is what its runs say."""

import json

from measure import failover


def test_requests_that_failed_before_the_fault_are_not_counted() -> None:
    """Those under way when the primary was struck are, as they may have waited for it."""
    heard = [
        (0.0, 1.0, "500"),
        (95.0, 105.0, "no answer within 10 s"),
        (101.0, 102.0, "answered"),
        (103.0, 103.1, "500"),
    ]
    assert failover.failed(heard, 100.0) == 2


def test_what_is_published_is_what_its_runs_say() -> None:
    """Of each fault there are runs enough, and the planned switchover behind PAUSE loses no request in any of them."""
    tree = json.loads(failover.FILE.read_text(encoding="utf-8"))
    assert failover.concluded(tree, tree["rounds"]) == tree
    assert set(tree["rounds"]) == set(failover.FAULTS)
    assert min(tree["runs"].values()) >= 10
    assert tree["runs"]["paused"] >= 20
    assert tree["paused"]["advised"]["failed"]["high"] == 0
