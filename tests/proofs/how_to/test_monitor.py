"""Proves docs/how-to/monitor.md: what common metrics show while an application is locked out, and while it is not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from proven.sources.controls import control, here
from tests.stack.console import pool
from tests.stack.database import Database, fresh
from tests.stack.wait import until

SHARE = "select 100.0 * (select count(*) from pg_stat_activity) / current_setting('max_connections')::int"
ACTIVE = "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid()"
IN_STATES = "select count(*) from pg_stat_activity where datname = %s"


@pytest.fixture
def small(cluster) -> Iterator[Database]:
    """A database on a server with ten slots, seven of them for ordinary roles."""
    with fresh(cluster(max_connections=10).server) as database:
        yield database


def locked_out(database: Database) -> bool:
    """Assert that the server refuses the application; return True."""
    with pytest.raises(psycopg.OperationalError, match="slots are reserved"):
        database.connect()
    return True


@control(here("sessions(small)", "pass"))
def test_the_share_of_everything_is_high_when_empty_and_past_all_when_full(small, sessions) -> None:
    """All rows over max_connections: 60 to 100 % before any application connects, over 100 % when it is locked out."""
    with small.server.connect() as admin:
        assert 60 <= admin.execute(SHARE).fetchone()[0] <= 100
        for _ in range(6):
            sessions(small)
        assert locked_out(small)
        assert admin.execute(SHARE).fetchone()[0] > 100


@control(here("sessions(small)", "pass"))
def test_an_application_is_locked_out_while_nothing_is_active(small, sessions) -> None:
    """Idle sessions hold every slot, and the count of active sessions is 0."""
    for _ in range(7):
        sessions(small)
    with small.server.connect() as admin:
        assert locked_out(small)
        until("nothing is active", lambda: admin.execute(ACTIVE).fetchone() == (0,))  # autovacuum may be, for a moment


@control(here("sessions(other)", "pass"))
def test_another_database_takes_the_slots_as_well(small, sessions) -> None:
    """An application is locked out while its own database has no connection at all."""
    with fresh(small.server) as other:
        for _ in range(7):
            sessions(other)
        with small.server.connect() as admin:
            assert locked_out(small)
            until("nobody is there", lambda: admin.execute(IN_STATES, [small.name]).fetchone() == (0,))


@control(here("default_pool_size=1", "default_pool_size=2"), fails_with="five wait: not within")
def test_who_waits_behind_pgbouncer_is_not_in_postgresql(database, pooler) -> None:
    """Five clients wait for the only server connection: PgBouncer counts them, and PostgreSQL sees one session."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    with bouncer.connect(database) as holder, ThreadPoolExecutor(5) as clients:
        holder.execute("begin")

        def ask() -> None:
            with bouncer.connect(database) as client:
                client.execute("select 1")

        waiting = [clients.submit(ask) for _ in range(5)]
        until("five wait", lambda: pool(bouncer, database)["cl_waiting"] == 5)
        until("and have done so for a second", lambda: pool(bouncer, database)["maxwait"] >= 1)
        assert len(database.backends()) == 1
        holder.execute("rollback")
        assert [each.result() for each in waiting] == [None] * 5
