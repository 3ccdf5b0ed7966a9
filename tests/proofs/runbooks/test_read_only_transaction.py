"""Proves docs/runbooks/read-only-transaction.md: a read-only server, and a read-only session."""

import re
import signal
from contextlib import ExitStack, closing
from dataclasses import replace

import psycopg
import psycopg2
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.pooled import Existing, Named
from tests.stack.console import at_least, console
from tests.stack.database import fresh
from tests.stack.fixtures import note_postgres
from tests.stack.postgres import Cluster, own_major
from tests.stack.wait import until

WRITE = "create table item (id int)"
TEXT = "cannot execute CREATE TABLE in a read-only transaction"
BOTH = "127.0.0.2,127.0.0.1"  # the standby, and the primary
FAILS = "select 1 / 0 where pg_is_in_recovery()"


def answered(connection: psycopg.Connection) -> bool:
    """Return whether a query that was sent has been answered."""
    connection.pgconn.consume_input()
    return not connection.pgconn.is_busy()


@pytest.fixture(scope="module")
def standby():
    """A server that stays in recovery, as a standby does."""
    own = Cluster(cluster_name="standby")
    own.leash.halt(signal.SIGINT)
    (own.data / "standby.signal").touch()
    own.start()
    yield own.server
    own.stop()


@control(edit("postgres/read_only.sql", "pg_is_in_recovery() as standby,", ""))
def test_a_standby_refuses_to_write_and_says_that_it_recovers(standby, load) -> None:
    """Both drivers get the same error; the query shows that the server is a standby."""
    note_postgres(standby.version())
    for driver in (psycopg, psycopg2):
        with closing(driver.connect(standby.superuser)) as connection:
            assert heard(connection.cursor().execute, WRITE) == TEXT
    everything = Existing(standby, "postgres", Named("postgres", ""))
    assert " t       | off" in everything.psql(load("postgres/read_only.sql"))


@control(here("default_transaction_read_only=on", "default_transaction_read_only=off"))
def test_a_read_only_session_refuses_to_write_in_the_same_words(database) -> None:
    """Both drivers raise ReadOnlySqlTransaction, with SQLSTATE 25006."""
    options = "-c default_transaction_read_only=on"
    for driver in (psycopg, psycopg2):
        connection = driver.connect(database.url, options=options)
        error_of = driver.errors.ReadOnlySqlTransaction
        with pytest.raises(error_of, match=TEXT) as error:
            connection.cursor().execute(WRITE)
        assert (getattr(error.value, "sqlstate", None) or error.value.pgcode) == "25006"
        assert isinstance(error.value, driver.InternalError)  # from which Django derives its own
        connection.close()


@control(edit("postgres/read_only.sql", "where name = 'default", "where name <> 'default"))
def test_read_only_sql_says_who_set_it(database, load) -> None:
    """It tells a session's, client's, role's and database's setting from the default."""
    snippet = load("postgres/read_only.sql")
    assert "| off       | default" in database.psql(snippet)
    with database.connect() as client:
        client.execute("set default_transaction_read_only = on")
        assert client.execute(snippet.text).fetchone() == (False, "on", "session")
    with database.connect(options="-c default_transaction_read_only=on") as client:
        assert client.execute(snippet.text).fetchone() == (False, "on", "client")
    database.admin.execute(f"alter role {database.role.name} set default_transaction_read_only = on")
    with database.connect() as client:
        assert client.execute(snippet.text).fetchone() == (False, "on", "user")
    database.admin.execute(f"alter role {database.role.name} reset all")
    database.admin.execute(f"alter database {database.name} set default_transaction_read_only = on")
    with database.connect() as client:
        assert client.execute(snippet.text).fetchone() == (False, "on", "database")
    both = f"alter role {database.role.name} in database {database.name}"
    database.admin.execute(f"{both} set default_transaction_read_only = on")
    with database.connect() as client:
        assert client.execute(snippet.text).fetchone() == (False, "on", "database user")


@control(edit("postgres/read_only.sql", "source as set_by", "name as set_by"))
def test_read_only_sql_knows_the_servers_own_setting(cluster, load) -> None:
    """After ALTER SYSTEM a session that does not say otherwise is read-only, by a configuration file.

    After ALTER ROLE ALL SET it is so globally.
    """
    snippet = load("postgres/read_only.sql")
    with fresh(cluster(cluster_name="read-only").server) as database:
        database.admin.execute("alter role all set default_transaction_read_only = on")
        of_all = database.psql(snippet, superuser=False)
        database.admin.execute("alter role all reset default_transaction_read_only")

        def becomes(value: str) -> None:
            database.admin.execute("select pg_reload_conf()")
            until(value, lambda: database.admin.execute("show default_transaction_read_only").fetchone() == (value,))

        database.admin.execute("alter system set default_transaction_read_only = on")
        try:
            becomes("on")
            output = database.psql(snippet, superuser=False)
            with database.connect() as client:
                refused = heard(client.execute, WRITE)
        finally:
            database.admin.execute("alter system reset default_transaction_read_only")
            becomes("off")
    assert "| on        | global" in of_all
    assert "| on        | configuration file" in output
    assert refused == TEXT


@control(edit("pgbouncer/console/reconnect.sql", 'reconnect :"database";', ""))
@pytest.mark.parametrize("whose", ["role", "database"])
def test_who_was_read_only_stays_so_from_1_26_until_it_connects_again(whose, database, pooler, load) -> None:
    """The setting is gone and the server connection new; 1.26 restores the client's old value, older ones do not."""
    one = f"{whose} {database.role.name if whose == 'role' else database.name}"
    database.admin.execute(f"alter {one} set default_transaction_read_only = on")
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    with bouncer.connect(database) as client:
        assert heard(client.execute, WRITE) == TEXT
        database.admin.execute(f"alter {one} reset all")
        assert heard(client.execute, WRITE) == TEXT
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        kept = at_least(1, 26) and own_major() >= 14
        assert heard(client.execute, WRITE) == (TEXT if kept else "")
        source = "select source from pg_settings where name = 'default_transaction_read_only'"
        assert client.execute(source).fetchone() == ("session" if kept else "default",)
    with bouncer.connect(database) as client:
        assert heard(client.execute, "create table another (id int)") == ""


@control(edit("pgbouncer/console/reconnect.sql", 'reconnect :"database";', ""))
@control(here("set default_transaction_read_only", "set local default_transaction_read_only"))
def test_reconnect_ends_what_a_set_left_and_the_clients_own_stays_from_1_26(database, pooler, load) -> None:
    """Before 1.26 it is left on the server connection, which RECONNECT replaces; 1.26 keeps it with who sent it."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    kept = at_least(1, 26) and own_major() >= 14
    with bouncer.connect(database) as one, bouncer.connect(database) as other:
        one.execute("set default_transaction_read_only = on")
        assert heard(other.execute, WRITE) == ("" if kept else TEXT)
        before = database.backends()
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        assert heard(other.execute, "create table another (id int)") == ""
        assert other.execute("select pg_backend_pid()").fetchone()[0] not in before
        until("the old one has ended", lambda: not {*database.backends()} & {*before})
        assert heard(one.execute, "create table third (id int)") == (TEXT if kept else "")
        one.close()
        with bouncer.connect(database) as again:
            assert heard(again.execute, "create table fourth (id int)") == ""


@control(here('"read-write"', '"any"'))
@pytest.mark.parametrize("driver", [psycopg, psycopg2])
def test_target_session_attrs_passes_over_a_read_only_server(driver, pair) -> None:
    """The standby is named first, and would let the application in; with read-write the primary is used."""
    database = pair.database
    both = (pair.standby.server, database.server)
    hosts = {"host": ",".join(one.host for one in both), "port": ",".join(str(one.port) for one in both)}
    who = {"dbname": database.name, "user": database.role.name, "password": database.role.password}
    with closing(driver.connect(**hosts, **who)) as client:
        assert client.info.host == pair.standby.server.host
    with closing(driver.connect(**hosts, **who, target_session_attrs="read-write")) as client:
        assert client.info.host == database.server.host


@control(edit("pgbouncer/leave_a_standby.sql", "pg_terminate_backend", "pg_cancel_backend"))
@control(here("fails = reached(FAILS)", 'fails = reached("select 1")'))
def test_a_connect_query_that_ends_its_session_keeps_pgbouncer_off_a_standby(pair, pooler, load) -> None:
    """Of a list whose first host is one, clients reach the primary alone; the log has the reason.

    An error in connect_query does not: there the session stays, and a client reaches the standby.
    """
    several = Existing(replace(pair.primary.server, host=BOTH), pair.database.name, pair.database.role)

    def reached(query: str, stays: str = "") -> tuple[set[str], str]:
        """Return whom two clients reach at a time, and what PgBouncer's log says."""
        options = f"connect_query='{query}' {stays}"
        bouncer = pooler(several, options=options, pool_mode="transaction", server_login_retry=0.1)
        names = set()
        with bouncer.connect(several, autocommit=False) as one, bouncer.connect(several, autocommit=False) as other:
            for client in (one, other):
                names.add(client.execute("show cluster_name").fetchone()[0])
        return names, bouncer.leash.said()

    snippet = load("pgbouncer/leave_a_standby.sql")
    evidence.ran(snippet)
    statement = " ".join(line for line in snippet.text.splitlines() if not line.startswith("--"))
    ways = ("", "load_balance_hosts=disable") if at_least(1, 24) else ("",)
    ends = [reached(statement, stays) for stays in ways]
    fails = reached(FAILS)
    several.leave()
    for names, said in ends:
        assert names == {"primary"}
        assert "FATAL: terminating connection due to administrator command" in said
    assert "standby" in fails[0]
    assert "division by zero" in fails[1]


@control(here("host=BOTH", 'host="127.0.0.1"'), fails_with="a standby's session has ended: not within")
@control(here("pair.database.terminate(pid)", "pass"), fails_with="no server connection is left: not within")
def test_after_a_standby_one_client_waits_and_others_hear_of_server_login_retry(pair, pooler, load) -> None:
    """This is so if no server connection is left, until server_login_retry is over; then the first is answered."""
    several = Existing(replace(pair.primary.server, host=BOTH), pair.database.name, pair.database.role)
    snippet = load("pgbouncer/leave_a_standby.sql")
    evidence.ran(snippet)
    statement = " ".join(line for line in snippet.text.splitlines() if not line.startswith("--"))
    options = f"connect_query='{statement}'"
    bouncer = pooler(several, options=options, pool_mode="transaction", server_login_retry=0.1)

    def ended() -> int:
        return bouncer.leash.said().count("closing because: server conn crashed?")

    with ExitStack() as ends:
        ends.callback(several.leave)
        first, other = (ends.enter_context(closing(bouncer.connect(several))) for _ in range(2))
        first.execute("select 1")
        bouncer.set(server_login_retry=3600)
        for pid in pair.database.backends():
            pair.database.terminate(pid)
        until("no server connection is left", lambda: not bouncer.show("servers"))
        before = ended()
        first.pgconn.send_query(b"select 2")
        first.pgconn.flush()
        until("a standby's session has ended", lambda: ended() > before)
        assert re.fullmatch(
            r"server login has been failing, .* \(server_login_retry\)", heard(other.execute, "select 1")
        )
        assert not answered(first)
        bouncer.set(server_login_retry=0.1)
        until("the first is answered", lambda: answered(first))
        assert first.pgconn.get_result().get_value(0, 0) == b"2"
