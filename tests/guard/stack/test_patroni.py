"""A host's processes are met as one: also those that have left their parent and its session, as PostgreSQL does."""

import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stack import patroni
from tests.stack.leash import Leash
from tests.stack.wait import until


def test_all_of_a_hosts_processes_end_with_the_first() -> None:
    """Be it that one has a session of its own, and was stopped."""
    try:
        patroni.check()
    except RuntimeError as error:
        pytest.skip(str(error))
    leash = Leash("host")
    try:
        leash.run([*patroni.apart(), "sh", "-c", "setsid sleep 600 & wait"], stop=signal.SIGKILL)

        def both() -> list[int]:
            with suppress(OSError, IndexError):  # the first is not there yet
                return sorted(patroni.processes(leash.pid))
            return []

        until("both have started", lambda: len(both()) == 2)
        stopped = both()[-1]
        until("it sleeps", lambda: "sleep" in Path(f"/proc/{stopped}/comm").read_text())
        patroni.send(leash.pid, signal.SIGSTOP)
        until("it is stopped", lambda: "State:\tT" in Path(f"/proc/{stopped}/status").read_text())
        leash.halt()
        until("it is gone", lambda: not Path(f"/proc/{stopped}").exists())
    finally:
        leash.stop()
