"""Proves docs/runbooks/pgbouncer-server-login-retry.md: PostgreSQL goes and comes back behind PgBouncer."""

import psycopg
import pytest

from tests.stack.console import at_least, console
from tests.stack.database import fresh
from tests.stack.wait import until

RETRY = {"pool_mode": "transaction", "query_wait_timeout": 0.1}


@pytest.fixture
def own(cluster):
    """A database on a server that these proofs may stop."""
    started = cluster(cluster_name="login-retry")
    with fresh(started.server) as database:
        yield started, database


def text() -> str:
    """Return what PgBouncer says while it does not try again."""
    cached = "cached error: connect failed" if at_least(1, 21) else "try again later"
    return f"server login has been failing, {cached} (server_login_retry)"


def ask(bouncer, database) -> str:
    """Return what a new client gets to hear, or "served"."""
    try:
        with bouncer.connect(database) as client:
            client.execute("select 1")
    except psycopg.OperationalError as error:
        return str(error).rpartition("FATAL:  ")[2].splitlines()[0].strip()
    return "served"


def stop_and_fail(started, bouncer, database) -> list[str]:
    """Stop PostgreSQL once the pool has been used, and return what the next two clients get to hear."""
    assert ask(bouncer, database) == "served"
    started.leash.halt()
    return [ask(bouncer, database), ask(bouncer, database)]


def bring_back(started, database) -> None:
    """Start PostgreSQL again on its port."""
    started.start(database.server.port)
    database.follow(started.server)


def test_after_a_failed_connect_each_driver_has_a_text(own, pooler, load, printed, transcript) -> None:
    """The first client waits and gets query_wait_timeout; from then on clients are refused at once."""
    started, database = own
    bouncer = pooler(database, **RETRY)
    assert ask(bouncer, database) == "served"
    started.leash.halt()
    snippet = load("provoke/server_login_retry.py")
    output = printed(snippet, DATABASE_URL=bouncer.url(database))
    bring_back(started, database)
    assert f"psycopg ProtocolViolation: {text()}" in output
    if at_least(1, 21):
        transcript(snippet, output)


def test_clients_fail_on_after_the_server_is_back(own, pooler, load) -> None:
    """Until server_login_retry is over PgBouncer answers with the failure that it remembers, and asks nobody."""
    started, database = own
    bouncer = pooler(database, **RETRY, server_login_retry=15)
    assert stop_and_fail(started, bouncer, database) == ["query_wait_timeout", text()]
    bring_back(started, database)
    assert "server running for" in database.psql(load("postgres/who_closes.sql"))
    until("psql's session is gone", lambda: not database.backends())
    assert ask(bouncer, database) == text()
    assert database.backends() == []
    (row,) = [r for r in console(bouncer, load("pgbouncer_console/limits.sql")).splitlines() if "login_retry" in r]
    assert row.split("|")[1].strip() == "15"


def test_a_lower_server_login_retry_takes_effect_with_reload(own, pooler) -> None:
    """PgBouncer remembers when it failed, not until when: with the lower value it tries again at once."""
    started, database = own
    bouncer = pooler(database, **RETRY, server_login_retry=3600)
    stop_and_fail(started, bouncer, database)
    bring_back(started, database)
    for _ in range(3):
        assert ask(bouncer, database) == text()
    bouncer.reload(server_login_retry=0)
    until("clients are served", lambda: ask(bouncer, database) == "served")


def test_a_restart_while_nobody_asks_is_not_noticed(own, pooler) -> None:
    """A client that stays connected to PgBouncer meanwhile is served afterwards, on a new server connection."""
    started, database = own
    bouncer = pooler(database, **RETRY)
    with bouncer.connect(database) as client:
        (before,) = client.execute("select pg_backend_pid()").fetchone()
        started.restart()
        database.follow(started.server)
        assert client.execute("select pg_backend_pid()").fetchone() != (before,)
