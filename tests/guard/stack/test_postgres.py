"""Tests of the PostgreSQL that proofs start."""

import os
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from tests.stack import postgres
from tests.stack.postgres import Cluster
from tests.stack.wait import until


def test_a_killed_server_starts_again_when_its_processes_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them that is slow to notice its end would have PostgreSQL refuse: its shared memory is still in use."""
    seen = []
    counted = postgres.attached

    def attached(data: Path) -> int:
        seen.append(counted(data))
        os.kill(backend, SIGCONT)
        return seen[-1]

    with ExitStack() as ends:
        cluster = Cluster()
        ends.callback(cluster.stop)
        session = ends.enter_context(closing(cluster.server.connect()))
        backend = session.info.backend_pid
        os.kill(backend, SIGSTOP)
        ends.enter_context(suppress(ProcessLookupError))
        ends.callback(os.kill, backend, SIGCONT)
        os.kill(cluster.leash.pid, SIGKILL)
        until("it ends", cluster.leash.ended)
        until("only the stopped one is left", lambda: counted(cluster.data) == 1)
        monkeypatch.setattr(postgres, "attached", attached)
        cluster.restart()
        assert (seen[0], seen[-1]) == (1, 0)
        assert cluster.server.quiet()
