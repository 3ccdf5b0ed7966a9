"""Proves docs/runbooks/pgbouncer-server-login-retry.md: PostgreSQL goes down and comes back behind PgBouncer."""

from contextlib import ExitStack

import psycopg
import psycopg2
import pytest

from proven.sources.controls import control, here
from tests.proofs.heard import heard, piped
from tests.stack.console import at_least, console
from tests.stack.database import Role, fresh
from tests.stack.wait import until

RETRY = {"pool_mode": "transaction", "server_login_retry": 3600}


@pytest.fixture
def own(cluster):
    """A database on a server that these proofs may stop."""
    started = cluster(cluster_name="login-retry")
    with fresh(started.server) as database:
        yield started, database


def text() -> str:
    """Return what PgBouncer says while it does not try again."""
    cached = "cached error: connect failed" if at_least(1, 24) else "try again later"
    return f"server login has been failing, {cached} (server_login_retry)"


def ask(bouncer, database, **options: str) -> str:
    """Return the error that a new client gets, or "served"."""
    try:
        with bouncer.connect(database, **options) as client:
            client.execute("select 1")
    except psycopg.OperationalError as error:
        return str(error).rpartition("FATAL:  ")[2].splitlines()[0].strip()
    return "served"


def outage(started, database, *bouncers) -> None:
    """Stop PostgreSQL once the pools have been used, let each PgBouncer notice, and start it again on its port."""
    assert [ask(bouncer, database) for bouncer in bouncers] == ["served"] * len(bouncers)
    started.leash.halt()
    for bouncer in bouncers:
        with bouncer.impatient():
            assert [ask(bouncer, database), ask(bouncer, database)] == ["query_wait_timeout", text()]
    bring_back(started, database)


def bring_back(started, database) -> None:
    """Start PostgreSQL again on its port."""
    started.start(database.server.port)
    database.follow(started.server)


def only_one_serves(database, one, other) -> bool:
    """Return whether the first of two serves, and the other still answers with the remembered failure."""
    return ask(other, database) == text() and ask(one, database) == "served"


@control(here("started.leash.halt()", "pass"), fails_with="the processes of the previous server have ended: not within")
def test_after_a_failed_connect_each_driver_has_a_text(own, pooler, load, printed, transcript) -> None:
    """The first client waits and gets query_wait_timeout; from then on clients are refused at once."""
    started, database = own
    bouncer = pooler(database, **RETRY)
    assert ask(bouncer, database) == "served"
    started.leash.halt()
    snippet = load("provoke/server_login_retry.py")
    with bouncer.impatient():
        output = printed(snippet, DATABASE_URL=bouncer.url(database))
    bring_back(started, database)
    assert f"psycopg ProtocolViolation: {text()}" in output
    assert "psycopg2 OperationalError: server closed the connection unexpectedly" in output
    if at_least(1, 24):
        transcript(snippet, output)


@control(here("(3600, 0)", "(3600, 3600)"), fails_with="the one that tries at once serves: not within")
def test_clients_fail_on_after_the_server_is_back(own, pooler, load) -> None:
    """Until server_login_retry is over, PgBouncer answers with the remembered failure; with 0 it serves at once."""
    started, database = own
    waits, tries = (pooler(database, **{**RETRY, "server_login_retry": seconds}) for seconds in (3600, 0))
    outage(started, database, waits, tries)
    assert "server running for" in database.psql(load("postgres/who_closes.sql"))
    until("the one that tries at once serves", lambda: only_one_serves(database, tries, waits))
    assert ask(waits, database) == text()
    (row,) = [r for r in console(waits, load("pgbouncer_console/limits.sql")).splitlines() if "login_retry" in r]
    assert row.split("|")[1].strip() == "3600"


@control(here("served = database.role", "served = other"))
def test_a_user_who_had_no_server_connection_waits(own, pooler) -> None:
    """It gets query_wait_timeout each time, while a user who had one is refused at once the second time."""
    started, database = own
    other = Role(database.server)
    query = "select rolname, rolpassword from pg_authid where rolname in (%s, %s)"
    users = dict(database.admin.execute(query, [database.role.name, other.name]).fetchall())
    served = database.role
    bouncer = pooler(database, **RETRY, users=users)
    bouncer.connect(database, user=served.name, password=served.password).close()
    started.leash.halt()
    with bouncer.impatient():
        told = [
            [ask(bouncer, database, user=role.name, password=role.password) for _ in range(2)]
            for role in (database.role, other)
        ]
    bring_back(started, database)
    assert told == [["query_wait_timeout", text()], ["query_wait_timeout"] * 2]


@control(here("console.execute(command.format(database.name))", "pass"))
@pytest.mark.parametrize("commands", [("reconnect {}",), ("kill {}", "resume {}")], ids=["RECONNECT", "KILL"])
def test_after_a_reconnect_or_a_kill_new_clients_wait(commands, own, pooler) -> None:
    """They hear of query_wait_timeout on connecting; who was connected, of server_login_retry, or of the KILL."""
    started, database = own
    bouncer = pooler(database, **RETRY)
    with bouncer.connect(database) as before:
        before.execute("select 1")
        started.leash.halt()
        with bouncer.impatient():
            assert [ask(bouncer, database), ask(bouncer, database)] == ["query_wait_timeout", text()]
            with bouncer.admin() as console:
                for command in commands:
                    console.execute(command.format(database.name))
            for driver in (psycopg, psycopg2):
                assert heard(driver.connect, bouncer.url(database)) == "FATAL:  query_wait_timeout"
            assert heard(before.execute, "select 1") == (text() if len(commands) == 1 else "database removed")
    bring_back(started, database)


@control(here("client.pipeline():", "client:", of="tests.proofs.heard:piped"))
@control(here("outage(started, database, bouncer)", "pass"))
def test_a_pipeline_may_not_hear_of_the_failed_login(own, pooler) -> None:
    """execute() does; of ten clients with a pipeline, some hear only of a closed connection; timing decides which."""
    started, database = own
    bouncer = pooler(database, **RETRY)
    with ExitStack() as ends:
        one, *others = [ends.enter_context(bouncer.connect(database)) for _ in range(11)]
        outage(started, database, bouncer)
        assert heard(one.execute, "select 1") == text()
        assert "server closed the connection unexpectedly" in {heard(piped, client) for client in others}


@control(
    here("reloaded.reload(server_login_retry=0)", "pass"), fails_with="the one that was reloaded serves: not within"
)
def test_a_lower_server_login_retry_takes_effect_with_reload(own, pooler) -> None:
    """PgBouncer remembers when it failed, not when to try next: with the lower value it tries again at once."""
    started, database = own
    reloaded, left = (pooler(database, **RETRY) for _ in range(2))
    outage(started, database, reloaded, left)
    reloaded.reload(server_login_retry=0)
    until("the one that was reloaded serves", lambda: only_one_serves(database, reloaded, left))
    assert ask(left, database) == text()


@control(here("started.restart()", "pass"))
@control(here('within.execute("begin")', 'within.execute("select 1")'))
def test_a_restart_while_nobody_asks_is_not_noticed(own, pooler) -> None:
    """A client that stays connected to PgBouncer meanwhile is served afterwards, on a new server connection.

    One that has a transaction open gets an error.
    """
    started, database = own
    bouncer = pooler(database, **RETRY)
    with bouncer.connect(database) as client, bouncer.connect(database) as within:
        within.execute("begin")
        (before,) = client.execute("select pg_backend_pid()").fetchone()
        started.restart()
        database.follow(started.server)
        assert client.execute("select pg_backend_pid()").fetchone() != (before,)
        assert heard(within.execute, "select 1") != ""


@control(here("min_pool_size=1", "min_pool_size=0"), fails_with="it has tried: not within")
@control(here("logs_in(asked, database, role)", 'heard(client.execute, "rollback")'))
def test_a_pooler_that_asks_by_itself_notices_a_restart(own, pooler) -> None:
    """With min_pool_size a client that is connected is refused afterwards; with auth_query one that logs in is."""
    started, database = own
    role = Role(database.server)
    (secret,) = database.admin.execute("select rolpassword from pg_authid where rolname = %s", [role.name]).fetchone()
    finds = f"select '{role.name}'::text, '{secret}'::text where $1 <> ''"
    users = {database.role.name: database.role.password}
    asked = pooler(database, **RETRY, auth_user=database.role.name, auth_query=finds, users=users)
    filled = pooler(database, **RETRY, min_pool_size=1)
    assert logs_in(asked, database, role) == "served"
    with filled.connect(database) as client:
        client.execute("select 1")
        started.leash.halt()
        until("it has tried", lambda: "connect failed" in filled.leash.said())
        with asked.impatient():
            logs_in(asked, database, role)
        bring_back(started, database)
        assert heard(client.execute, "select 1") == text()
    assert logs_in(asked, database, role) == text()


def logs_in(bouncer, database, role: Role) -> str:
    """Return the error that a client of this role gets, or "served"."""
    return ask(bouncer, database, user=role.name, password=role.password)
