"""Proves docs/runbooks/too-many-open-files.md: a PgBouncer that may open few files."""

import re
import resource
from contextlib import ExitStack

import psycopg
import psycopg2
import pytest

from proven import evidence
from tests.proofs.heard import heard
from tests.stack import pgbouncer
from tests.stack.wait import until

FEW = 20
LIMITS = r"kernel file descriptor limit: (\d+) \(hard: \d+\); max_client_conn: (\d+), max expected fd use: (\d+)"


@pytest.fixture
def limited(database, pooler, monkeypatch):
    """Start PgBouncer as a service does that may open so many files: limited(20)."""
    command = pgbouncer.find()

    def start(files: int, **settings: object):
        limit = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh"]
        monkeypatch.setattr(pgbouncer, "find", lambda: [*limit, *command])
        return pooler(database, pool_mode="transaction", max_client_conn=500, **settings)

    return start


@pytest.fixture
def few(database, limited):
    """A PgBouncer that may open few files, and clients that take all of them."""
    bouncer = limited(FEW)
    with ExitStack() as opened:
        while "Too many open files" not in bouncer.leash.said():
            try:
                opened.enter_context(bouncer.connect(database, connect_timeout=2))
            except psycopg.OperationalError:
                until("the log says why", lambda: "Too many open files" in bouncer.leash.said())
        yield bouncer


def test_past_the_limit_of_open_files_a_client_is_not_answered(few, database) -> None:
    """Its connection is taken and nothing comes back; PgBouncer's log has the reason, long before max_client_conn."""
    assert "accept() failed: Too many open files" in few.leash.said()
    assert heard(psycopg.connect, few.url(database), connect_timeout=2) == "connection timeout expired"
    assert heard(psycopg2.connect, few.url(database), connect_timeout=2) == "timeout expired"
    assert "no more connections allowed" not in few.leash.said()


def test_pgbouncer_takes_the_limit_that_its_service_sets(limited, load) -> None:
    """Started with the number of the snippet, it may open as many files."""
    snippet = load("pgbouncer/limits.conf")
    (files,) = re.findall(r"^LimitNOFILE=(\d+)$", snippet.text, re.MULTILINE)
    if int(files) > resource.getrlimit(resource.RLIMIT_NOFILE)[1]:
        pytest.skip(f"needs to be allowed to open {files} files")
    evidence.ran(snippet, "checked", against=f"the limit that PgBouncer reads, {pgbouncer.version()}")
    assert f"kernel file descriptor limit: {files} " in limited(int(files)).leash.said()


def test_pgbouncer_tells_its_limit_and_what_it_expects(limited) -> None:
    """When it starts: what the kernel allows, and what max_client_conn and the pools may come to."""
    bouncer = limited(FEW)
    limit, clients, expected = map(int, re.search(LIMITS, bouncer.leash.said()).groups())
    assert limit == FEW
    assert clients == 500
    assert expected > clients
