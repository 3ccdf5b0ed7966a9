"""Proves docs/runbooks/pgbouncer-max-client-conn.md: a PgBouncer at its limit of clients."""

import psycopg
import psycopg2
import pytest

from proven.sources.controls import control, edit, here
from tests.stack.console import console, pool

FULL = "FATAL:  no more connections allowed \\(max_client_conn\\)"


@pytest.fixture
def full(database, pooler):
    """A PgBouncer whose three places for clients are all taken, by idle clients."""
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=3)
    clients = [bouncer.connect(database) for _ in range(3)]
    yield bouncer
    for client in clients:
        client.close()


@control(edit("provoke/max_client_conn.py", "while True:", "while False:"))
def test_the_client_above_the_limit_is_refused(database, pooler, load, printed, transcript) -> None:
    """The limit counts connected clients, busy or not; the refusal comes at once and names the setting."""
    snippet = load("provoke/max_client_conn.py")
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=5)
    transcript(snippet, printed(snippet, DATABASE_URL=bouncer.url(database)))


@control(
    here("max_client_conn=3", "max_client_conn=30", of="tests.proofs.runbooks.test_pgbouncer_max_client_conn:full")
)
def test_both_drivers_say_max_client_conn(full, database) -> None:
    """The client is refused during login, so psycopg2 has the text too."""
    for driver in (psycopg, psycopg2):
        with pytest.raises(driver.OperationalError, match=FULL):
            driver.connect(full.url(database))


@control(
    here("max_client_conn=3", "max_client_conn=30", of="tests.proofs.runbooks.test_pgbouncer_max_client_conn:full")
)
@control(here("autocommit=False", "autocommit=True"))
def test_clients_that_do_nothing_count_and_hold_no_server_connection(full, database) -> None:
    """With every place taken, PostgreSQL has one session, an idle one, which PgBouncer opened to log clients in.

    A client with a transaction open does hold one.
    """
    with pytest.raises(psycopg.OperationalError, match=FULL):
        full.connect(database)
    assert len(database.backends()) == 1
    row = pool(full, database)
    assert (row["cl_active"], row["sv_active"], row["sv_idle"] + row["sv_used"]) == (3, 0, 1)
    full.set(max_client_conn=9)
    with full.connect(database, autocommit=False) as holder:
        holder.execute("select 1")
        assert pool(full, database)["sv_active"] == 1


@control(edit("pgbouncer_console/lists.sql", "show lists", "show mem"), fails_with="KeyError")
def test_the_console_still_lets_you_in_when_full(full, load) -> None:
    """The limit does not apply to the database pgbouncer; its lists show as many clients as are allowed, plus you."""
    output = console(full, load("pgbouncer_console/lists.sql"))
    lists = dict(line.replace(" ", "").split("|") for line in output.splitlines() if line.count("|") == 1)
    assert lists["used_clients"] == "4"
    limits = console(full, load("pgbouncer_console/limits.sql"))
    (row,) = [line for line in limits.splitlines() if "max_client_conn" in line]
    assert row.split("|")[1].strip() == "3"


@control(here("max_client_conn=4", "max_client_conn=40"))
def test_a_higher_max_client_conn_takes_effect_with_reload(full, database) -> None:
    """Without a restart the next client is served, and the one after it refused."""
    full.reload(max_client_conn=4)
    with full.connect(database) as client:
        assert client.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match=FULL):
            full.connect(database)


@control(here("max_client_conn=1", "max_client_conn=10"))
def test_a_client_that_leaves_makes_room_for_another(database, pooler) -> None:
    """A place is free as soon as its client has disconnected."""
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=1)
    for _ in range(3):
        with bouncer.connect(database), pytest.raises(psycopg.OperationalError, match=FULL):
            bouncer.connect(database)


@control(here("max_client_conn=2", "max_client_conn=3"))
def test_who_is_on_the_console_has_the_place_of_a_client(database, pooler) -> None:
    """With two places and a console session, the second client is refused; once that session ends, it is served."""
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=2)
    with bouncer.connect(database):
        with bouncer.admin(), pytest.raises(psycopg.OperationalError, match=FULL):
            bouncer.connect(database)
        bouncer.connect(database).close()
