"""Poll for a state, with a deadline. Nothing in the tests sleeps in the hope that a state has come."""

import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
# Seconds after which what is waited for is taken to hang. Nothing that goes on takes as long, on however busy a
# machine, and no test tells by it how long anything takes.
DEADLINE = 120.0
# The part of the time waited so far that may pass before a state is noticed.
LATE = 0.1
# Under a control a state often never comes, which is told apart from an assertion that fails.
UNDER_A_CONTROL = 10.0


def until(what: str, probe: Callable[[], T | None], seconds: float | None = None) -> T:
    """Call `probe` until it returns something true, and return that. Raises TimeoutError, naming `what`."""
    seconds = DEADLINE if seconds is None else seconds
    began = time.monotonic()
    while True:
        value = probe()
        if value:
            return value
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        # In proportion: what takes long is asked for less often, and noticed soon enough.
        time.sleep(min(max(0.001, waited * LATE), 0.25))


@contextmanager
def limited(what: str, seconds: float = DEADLINE) -> Iterator[None]:
    """Raise TimeoutError, naming `what`, also where the main thread waits for an answer that never comes."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"{what}: not within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def free_port(lowest: int = 10_000, highest: int = 32_000) -> int:
    """Return a TCP port on 127.0.0.1 that nothing holds, below the range that outgoing connections take theirs from.

    Whoever takes it must still expect to find it taken, and try another.
    """
    numbers = random.SystemRandom()  # parallel workers may have seeded the other one alike
    for _ in range(100):
        port = numbers.randint(lowest, highest)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on 127.0.0.1 between {lowest} and {highest}")
