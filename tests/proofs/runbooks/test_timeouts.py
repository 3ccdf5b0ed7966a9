"""Proves docs/runbooks/timeouts.md: each time limit, exceeded."""

import re
from contextlib import closing

import psycopg
import psycopg2
import pytest
from psycopg2.extensions import set_wait_callback
from psycopg2.extras import wait_select

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from tests.proofs.heard import heard
from tests.proofs.pooled import CERTIFICATES, certificates
from tests.stack.console import at_least
from tests.stack.database import fresh
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import own_major
from tests.stack.wait import until

SOON = "20ms"
# PgBouncer's settings, the errors that clients get, and what they run meanwhile.
LIMITS = {
    "query_timeout": ("query timeout", "select pg_sleep(5)"),
    "idle_transaction_timeout": ("idle transaction timeout", ""),
    "transaction_timeout": ("transaction timeout", ""),
    "client_idle_timeout": ("client_idle_timeout", ""),
}
KEY_AND_CERTIFICATE = [("key", "key"), ("cert", "crt")]


@control(here("set lock_timeout", "set statement_timeout"))
@control(here("set statement_timeout = '", "set transaction_timeout = '"))
def test_postgresql_cancels_a_statement_and_keeps_the_session(database) -> None:
    """The error names the statement timeout or the lock timeout, and the same connection goes on."""
    with database.connect() as client, database.connect(autocommit=False) as holder:
        holder.execute("create table item (id int)")
        holder.commit()
        holder.execute("lock table item")
        client.execute(f"set lock_timeout = '{SOON}'")
        assert heard(client.execute, "select * from item") == "canceling statement due to lock timeout"
        client.execute(f"set statement_timeout = '{SOON}'")
        assert heard(client.execute, "select pg_sleep(30)") == "canceling statement due to statement timeout"
        client.execute("set statement_timeout = 0")
        assert client.execute(f"select pg_sleep_for(2 * interval '{SOON}')").fetchone() == ("",)


@control(here('log_min_messages="warning"', 'log_min_messages="warning", log_min_error_statement="panic"'))
def test_postgresqls_log_has_the_statement_beside_the_text(cluster, sessions) -> None:
    """For statement_timeout and lock_timeout; where a transaction was silent too long, there is no statement."""
    own = cluster(cluster_name="statements", log_min_messages="warning")  # the default; ours is quieter
    with fresh(own.server) as database, database.connect() as client:
        holder = sessions(database, autocommit=False)
        holder.execute("create table item (id int)")
        holder.commit()
        holder.execute("lock table item")
        for name, query in (("statement", "select pg_sleep(30)"), ("lock", "select * from item")):
            client.execute(f"set {name}_timeout = '{SOON}'")
            text = f"canceling statement due to {name} timeout"
            assert heard(client.execute, query) == text
            client.execute(f"set {name}_timeout = 0")
            said = re.compile(rf"ERROR:  {text}.*\n.*STATEMENT:  {re.escape(query)}\n")
            assert said.search(own.leash.said())
        holder.execute("set idle_in_transaction_session_timeout = '50ms'")
        ended = "FATAL:  terminating connection due to idle-in-transaction timeout\n"
        until("the log says so", lambda: ended in own.leash.said())
        assert "STATEMENT" not in own.leash.said().partition(ended)[2]


@control(here('"select pg_cancel_backend(%s)"', '"select pg_terminate_backend(%s)"'))
def test_a_cancelled_statement_names_the_user(database) -> None:
    """The error says "due to user request", and the same connection goes on."""
    with database.connect() as client:
        client.pgconn.send_query(b"select pg_sleep(30)")
        pid = client.info.backend_pid
        running = "select count(*) = 1 from pg_stat_activity where pid = %s and state = 'active'"
        until("it runs", lambda: database.admin.execute(running, [pid]).fetchone()[0])
        database.admin.execute("select pg_cancel_backend(%s)", [pid])
        assert b"canceling statement due to user request" in client.pgconn.get_result().error_message
        assert client.pgconn.get_result() is None
        assert client.execute("select 1").fetchone() == (1,)


@control(here("set transaction_timeout", "set lock_timeout"))
@control(here("set local transaction_timeout", "set local statement_timeout"))
def test_postgresql_ends_a_session_whose_transaction_is_too_long(database) -> None:
    """With transaction_timeout, from PostgreSQL 17 on; the next statement finds the connection closed.

    psycopg2, with libpq 15 or later, says that the server closed the connection.
    """
    if own_major() < 17:
        pytest.skip("needs PostgreSQL 17")
    with database.connect() as client:  # in autocommit, each statement is a transaction
        client.execute(f"set transaction_timeout = '{SOON}'")
        assert heard(client.execute, "select pg_sleep(5)") == "terminating connection due to transaction timeout"
        assert heard(client.execute, "select 1") == "the connection is closed"
    assert psycopg2.extensions.libpq_version() >= 150000
    with closing(psycopg2.connect(database.url)) as client:
        client.cursor().execute(f"set local transaction_timeout = '{SOON}'")
        assert heard(client.cursor().execute, "select pg_sleep(5)") == "server closed the connection unexpectedly"
        assert client.closed


@control(here("{setting: 0.1}", "{setting: 0}"), fails_with="PgBouncer ends it: not within")
@control(here('busy.execute("select 1")', "pass"), fails_with="client_idle_timeout")
@pytest.mark.parametrize("setting", LIMITS)
def test_pgbouncer_ends_client_and_server_at_each_of_its_limits(setting, database, pooler) -> None:
    """The client gets the reason, its connection is closed, and PgBouncer's log has the reason too.

    A silent client that holds a server connection does not count as idle.
    """
    if setting == "transaction_timeout" and not at_least(1, 25):
        pytest.skip("needs PgBouncer 1.25")
    text, query = LIMITS[setting]
    bouncer = pooler(database, pool_mode="transaction")
    idle = setting == "client_idle_timeout"
    with bouncer.connect(database, autocommit=False) as busy, bouncer.connect(database, autocommit=idle) as client:
        if idle:
            busy.execute("select 1")
        client.execute("select 1")
        bouncer.set(**{setting: 0.1})  # only now, or PgBouncer's own login would have to finish as soon
        if not query:
            until("PgBouncer ends it", lambda: f"closing because: {text}" in bouncer.leash.said())
        with pytest.raises(psycopg.errors.ProtocolViolation) as error:
            client.execute(query or "select 1")
        assert str(error.value).splitlines()[0] == text
        assert client.broken
        if idle:
            assert busy.execute("select 2").fetchone() == (2,)
    until("the log has the reason", lambda: f"closing because: {text}" in bouncer.leash.said())
    until("the server connection is gone, or stays", lambda: database.backends() == [] or idle)


@control(here("log_disconnections=0", "log_pooler_errors=0"))
@pytest.mark.parametrize("setting", LIMITS)
def test_without_log_disconnections_pgbouncers_log_has_the_reason_all_the_same(setting, database, pooler) -> None:
    """It is in a line of another kind, "pooler error", which is there as well where log_disconnections is on."""
    bouncer = pooler(database, pool_mode="transaction", log_disconnections=0)
    told(setting, bouncer, psycopg2.connect(bouncer.url(database)), kind="pooler error")
    said = bouncer.leash.said()
    assert f"pooler error: {LIMITS[setting][0]}" in said
    assert "closing because" not in said


# Far more rows than a client gets before its limit, and each fills the buffer that PostgreSQL sends.
ROWS = "select pg_sleep(0.05), repeat('x', 20000) from generate_series(1, 100000)"


@control(here("interval = '50ms'", "interval = '0'"), fails_with="PostgreSQL has noticed: not within")
@control(
    replace("tests.proofs.runbooks.test_timeouts:ROWS", "select pg_sleep(60)"),
    fails_with="PostgreSQL has sent a row: not within",
)
def test_pgbouncer_hangs_up_and_the_statement_goes_on(database, pooler) -> None:
    """PgBouncer closes its server connection. PostgreSQL works on unless client_connection_check_interval is set.

    A statement that sends rows ends with the next of them.
    """
    bouncer = pooler(database, pool_mode="transaction")

    def leave(query: str = "select pg_sleep(60)") -> str:
        """Have a client exceed the limit, which is set once PgBouncer has logged in; return what it hears."""
        bouncer.set(query_timeout=0)
        client = bouncer.connect(database)
        client.execute("select 1")
        bouncer.set(query_timeout=0.1)
        said = heard(client.execute, query)
        client.close()
        return said

    assert leave() == "query timeout"
    until(
        "PgBouncer has none", lambda: not [row for row in bouncer.show("servers") if row["database"] == database.name]
    )
    (pid,) = database.backends()
    state = "select state from pg_stat_activity where pid = %s"
    # PgBouncer may have sent it, and given up, before PostgreSQL begins it.
    until("PostgreSQL works on", lambda: database.admin.execute(state, [pid]).fetchone() == ("active",))
    database.terminate(pid)
    assert leave(ROWS)  # while rows arrive, the reason may get lost
    until("PostgreSQL has sent a row", lambda: database.backends() == [])
    database.admin.execute(f"alter database {database.name} set client_connection_check_interval = '50ms'")
    assert leave() == "query timeout"
    until("PostgreSQL has noticed", lambda: database.backends() == [])


def told(
    setting: str, bouncer: PgBouncer, client: psycopg2.extensions.connection, kind: str = "closing because"
) -> str:
    """Have one of PgBouncer's limits end a client, and return what psycopg2 says of it: all lines."""
    if setting == "transaction_timeout" and not at_least(1, 25):
        pytest.skip("needs PgBouncer 1.25")
    text, query = LIMITS[setting]
    client.autocommit = setting == "client_idle_timeout"
    client.cursor().execute("select 1")
    bouncer.set(**{setting: 0.1})
    if not query:
        until("PgBouncer ends it", lambda: f"{kind}: {text}" in bouncer.leash.said())
    with pytest.raises(psycopg2.OperationalError) as error:
        client.cursor().execute(query or "select 1")
    client.close()
    return str(error.value)


@control(here("{setting: 0.1}", "{setting: 0}", of="tests.proofs.runbooks.test_timeouts:told"))
@pytest.mark.parametrize("setting", LIMITS)
def test_psycopg2_hears_no_reason_of_pgbouncer(setting, database, pooler) -> None:
    """Whichever limit ended it, libpq 15 or later says that the server closed the connection."""
    assert psycopg2.extensions.libpq_version() >= 150000
    bouncer = pooler(database, pool_mode="transaction")
    said = told(setting, bouncer, psycopg2.connect(bouncer.url(database)))
    assert said.startswith("server closed the connection unexpectedly\n")
    assert LIMITS[setting][0] not in said


@control(here("set_wait_callback(wait_select)", "pass"))
@pytest.mark.parametrize("setting", LIMITS)
def test_psycopg2_with_a_callback_hears_pgbouncers_reason(setting, database, pooler) -> None:
    """The first line of its error is what PgBouncer says."""
    bouncer = pooler(database, pool_mode="transaction")
    set_wait_callback(wait_select)
    try:
        said = told(setting, bouncer, psycopg2.connect(bouncer.url(database)))
    finally:
        set_wait_callback(None)
    assert said.splitlines()[0] == f"FATAL:  {LIMITS[setting][0]}"


@control(here('sslmode="require"', 'sslmode="disable"'))
@pytest.mark.parametrize("setting", LIMITS)
def test_psycopg2_hears_no_reason_over_tls_either(setting, database, pooler, load) -> None:
    """Whichever of PgBouncer's limits ended it, psycopg2 says that the SSL connection was closed."""
    with certificates("ours") as (folder,):
        evidence.ran(load(CERTIFICATES))
        files = {f"client_tls_{kind}_file": folder / f"pooler.internal.{end}" for kind, end in KEY_AND_CERTIFICATE}
        bouncer = pooler(database, pool_mode="transaction", client_tls_sslmode="allow", **files)
        said = told(setting, bouncer, psycopg2.connect(bouncer.url(database), sslmode="require"))
    assert said == "SSL connection has been closed unexpectedly\n"


@control(edit("postgres/timeouts.sql", "source as set_by", "name as set_by"))
def test_timeouts_sql_says_who_set_a_limit(database, load) -> None:
    """It tells a role's limit from a session's.

    A limit of the client, the session or the role in this database overrides the role's; one of the database does not.
    """
    snippet = load("postgres/timeouts.sql")
    database.psql(snippet)
    database.psql(load("postgres/role_statement_timeout.sql"), role=database.role.name)
    with database.connect() as client:
        client.execute("set lock_timeout = '7s'")
        found = {name: (value, by) for name, value, by in client.execute(snippet.text)}
    assert found["statement_timeout"][1] == "user"
    assert found["lock_timeout"] == ("7000ms", "session")

    def first(client: psycopg.Connection) -> tuple[str, str]:
        return next(row[1:] for row in client.execute(snippet.text) if row[0] == "statement_timeout")

    role, in_it = f"role {database.role.name}", f"database {database.name}"
    database.admin.execute(f"alter {in_it} set statement_timeout = '6s'")
    with database.connect() as client:
        assert first(client) == ("5000ms", "user")
    database.admin.execute(f"alter {role} in {in_it} set statement_timeout = '7s'")
    with database.connect() as client:
        assert first(client) == ("7000ms", "database user")
    with database.connect(options="-c statement_timeout=8s") as client:
        assert first(client) == ("8000ms", "client")
        client.execute("set statement_timeout = '9s'")
        assert first(client) == ("9000ms", "session")
