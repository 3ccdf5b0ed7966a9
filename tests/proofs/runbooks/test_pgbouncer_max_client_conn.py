"""Proves docs/runbooks/pgbouncer-max-client-conn.md: a PgBouncer at its limit of clients."""

import logging
import re
import socket

import psycopg
import psycopg2
import psycopg_pool
import pytest

from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.reference.texts.clients import startup
from tests.stack.console import at_least, console, pool, port_of
from tests.stack.pgbouncer import scram
from tests.stack.wait import until

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
    here("max_client_conn=3", "max_client_conn=30", of="tests.proofs.runbooks.test_pgbouncer_max_client_conn:full"),
    fails_with="the pool has tried: not within",
)
def test_a_pool_has_max_client_conn_in_its_log_alone(full, database, caplog) -> None:
    """Its caller is told only how long it waited; the logger psycopg.pool has PgBouncer's text."""
    with (
        caplog.at_level(logging.WARNING, "psycopg.pool"),
        psycopg_pool.ConnectionPool(full.url(database), min_size=1, max_size=1) as pool,
    ):
        until("the pool has tried", lambda: re.search(FULL, caplog.text))
        with pytest.raises(psycopg_pool.PoolTimeout) as error:
            pool.getconn(timeout=0.1)
    assert str(error.value) == "couldn't get a connection after 0.10 sec"


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


@control(here("max_client_conn=3", "max_client_conn=4"))
@control(here("bouncer.impatient()", "bouncer.connect(database)"), fails_with="no more connections allowed")
def test_a_client_that_leaves_while_it_waits_keeps_its_place(database, pooler) -> None:
    """PgBouncer does not notice that it has left before it is served or query_wait_timeout has ended its wait."""
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=3, default_pool_size=1)
    with bouncer.connect(database, autocommit=False) as holder:
        holder.execute("select 1")
        waits = bouncer.connect(database)
        waits.pgconn.send_query(b"select 1")
        until("it waits", lambda: pool(bouncer, database)["cl_waiting"] == 1)
        waits.close()
        assert pool(bouncer, database)["cl_waiting"] == 1  # that console session has the third place
        with pytest.raises(psycopg.OperationalError, match=FULL):
            bouncer.connect(database)
        with bouncer.impatient():
            until("its wait has ended", lambda: pool(bouncer, database)["cl_waiting"] == 0)
        bouncer.connect(database).close()


@control(here("max_client_conn=2", "max_client_conn=3"))
def test_who_is_on_the_console_has_the_place_of_a_client(database, pooler) -> None:
    """With two places and a console session, the second client is refused; once that session ends, it is served."""
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=2)
    with bouncer.connect(database):
        with bouncer.admin(), pytest.raises(psycopg.OperationalError, match=FULL):
            bouncer.connect(database)
        bouncer.connect(database).close()


@control(here('asks.execute("select 1")', "pass"), fails_with="one has asked later: not within")
def test_show_clients_tells_from_where_each_comes_and_when_it_last_asked(full, database) -> None:
    """One of the connected clients sends a query, and only its request_time changes."""
    full.reload(max_client_conn=9)
    with full.connect(database) as asks:

        def seen() -> dict[int, tuple[str, str]]:
            rows = [row for row in full.show("clients") if row["database"] == database.name]
            return {row["port"]: (row["addr"], str(row["request_time"])) for row in rows}

        before, port = seen(), port_of(asks)

        def later() -> bool:
            asks.execute("select 1")
            return seen()[port] > before[port]

        until("one has asked later", later)
        now = seen()
        assert {addr for addr, _ in now.values()} == {"127.0.0.1"}
        assert {other for other in now if now[other] != before[other]} == {port}


@control(here("kill_client {first}", "show version"), fails_with="DID NOT RAISE")
def test_kill_client_ends_one(database, pooler) -> None:
    """From 1.24 on, by its number in SHOW CLIENTS; the others go on."""
    if not at_least(1, 24):
        pytest.skip("needs PgBouncer 1.24")
    bouncer = pooler(database, pool_mode="transaction")
    with bouncer.connect(database) as one, bouncer.connect(database) as other, bouncer.admin() as console:
        ids = {row["port"]: row["id"] for row in bouncer.show("clients")}
        first = ids[port_of(one)]
        console.execute(f"kill_client {first}".encode())
        with pytest.raises(psycopg.OperationalError):
            one.execute("select 1")
        assert other.execute("select 1").fetchone() == (1,)


@control(
    here("client_idle_timeout=0.1", "client_idle_timeout=0"), fails_with="those that do nothing are gone: not within"
)
@control(here('asked.execute("select 1")', "pass"), fails_with="those that do nothing are gone: not within")
@pytest.mark.parametrize(("mode", "left"), [("session", 2), ("transaction", 1)])
def test_client_idle_timeout_spares_whoever_has_a_server_connection(mode, left, database, pooler) -> None:
    """In session mode it is any client that has queried before; in transaction mode, only one in a transaction."""
    bouncer = pooler(database, pool_mode=mode)
    with bouncer.connect(database) as asked, bouncer.connect(database) as works, bouncer.connect(database) as new:
        asked.execute("select 1")
        works.execute("begin")
        bouncer.set(client_idle_timeout=0.1)
        until("those that do nothing are gone", lambda: pool(bouncer, database)["cl_active"] == left)
        ended = [bool(heard(each.execute, "select 1")) for each in (asked, works, new)]
    assert ended == [mode == "transaction", False, True]


@control(here("limit: 2", "limit: 3"))
@pytest.mark.parametrize("limit", ["max_user_client_connections", "max_db_client_connections"])
def test_one_user_or_one_entry_cannot_take_every_place(limit, database, pooler, second_user) -> None:
    """From 1.24 on: the third is refused by the limit's name, and another user, or another entry, has its place."""
    if not at_least(1, 24):
        pytest.skip("needs PgBouncer 1.24")
    entries = {database.name: database, "other": database}
    settings = {limit: 2, "users": scram(database, second_user), "max_client_conn": 3}
    bouncer = pooler(named=entries, pool_mode="transaction", **settings)
    who = {"user": second_user.role.name, "password": second_user.role.password}
    another = {"dbname": "other"} if limit == "max_db_client_connections" else who
    with bouncer.connect(database), bouncer.connect(database):
        for driver in (psycopg, psycopg2):
            with pytest.raises(driver.OperationalError, match=rf"client connections exceeded \({limit}\)"):
                driver.connect(bouncer.url(database))
        with bouncer.connect(database, **another) as served:
            assert served.execute("select 1").fetchone() == (1,)


@control(here("            return client\n", "            client.close()\n            return client\n"))
@control(here("client_login_timeout=0.1", "client_login_timeout=60"), fails_with="it is told why: not within")
@pytest.mark.parametrize("limit", ["max_client_conn", "max_user_client_connections", "max_db_client_connections"])
def test_a_client_counts_before_it_has_logged_in(limit, database, pooler) -> None:
    """One that has only said who it is takes the only place, until client_login_timeout ends it."""
    if limit != "max_client_conn" and not at_least(1, 24):
        pytest.skip("needs PgBouncer 1.24")
    bouncer = pooler(database, **{limit: 1})

    def asked() -> socket.socket | None:
        """Say who it is, and return the client if it is asked for a password: nobody else has the place any more."""
        client = socket.create_connection(("127.0.0.1", bouncer.port))
        client.sendall(startup(user=database.role.name, database=database.name))
        if client.recv(1) == b"R":
            return client
        return client.close()

    with until("it is asked for a password", asked) as client:
        with pytest.raises(psycopg.OperationalError, match=rf"\({limit}\)"):
            bouncer.connect(database)
        bouncer.set(client_login_timeout=0.1)
        until("it is told why", lambda: b"client_login_timeout" in client.recv(4096, socket.MSG_PEEK))
