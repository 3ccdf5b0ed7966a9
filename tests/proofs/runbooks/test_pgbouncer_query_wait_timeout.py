"""Proves docs/runbooks/pgbouncer-query-wait-timeout.md: a pool of one server connection, and the clients that wait."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import psycopg
import psycopg2
import pytest

from proven.sources.controls import control, edit, here
from tests.proofs.explanation.test_transaction_mode import refused_midway
from tests.proofs.heard import heard, many, piped
from tests.proofs.pooled import Existing
from tests.stack import pgbouncer
from tests.stack.console import at_least, console, pool
from tests.stack.database import Role, fresh
from tests.stack.wait import until

ONE = {"pool_mode": "transaction", "default_pool_size": 1}
NUMBERS = [(r"\b(maxwait_us|maxwait +\|) *\|? *\d+", r"\1 N"), (r"proven_\w+", "NAME"), (r"-\[ RECORD.*", "-")]


@pytest.fixture
def holder(database, pooler):
    """A pool whose only server connection is in another client's transaction."""
    bouncer = pooler(database, **ONE)
    client = bouncer.connect(database, autocommit=False, application_name="holder")
    client.execute("select 1")
    yield bouncer, client
    client.close()


@pytest.fixture
def held(holder, database):
    """The same, and a client that waits for it."""
    bouncer, _ = holder
    waiting = bouncer.connect(database)
    waiting.pgconn.send_query(b"select 2")
    until("a client waits", lambda: pool(bouncer, database)["cl_waiting"] == 1)
    yield bouncer, waiting
    waiting.close()


def answered(connection: psycopg.Connection) -> bool:
    """Return whether a query that was sent has been answered."""
    connection.pgconn.consume_input()
    return not connection.pgconn.is_busy()


@control(edit("provoke/query_wait_timeout.py", 'holder.execute("select 1")  # its transaction stays open', ""))
def test_a_client_that_waits_too_long_is_told_so_by_psycopg_alone(database, pooler, load, printed, transcript) -> None:
    """psycopg 3 passes PgBouncer's error on, with SQLSTATE 08P01; psycopg2 says the server closed the connection."""
    bouncer = pooler(database, **ONE)
    bouncer.connect(database).close()  # the server connection exists, so the first to ask gets it at once
    snippet = load("provoke/query_wait_timeout.py")
    with bouncer.impatient():
        transcript(snippet, printed(snippet, DATABASE_URL=bouncer.url(database)))
    with bouncer.connect(database, autocommit=False) as holder, bouncer.connect(database) as waiting:
        holder.execute("select 1")
        with (
            bouncer.impatient(),
            pytest.raises(psycopg.errors.ProtocolViolation, match="query_wait_timeout") as refused,
        ):
            waiting.execute("select 1")
    assert refused.value.sqlstate == "08P01"


@control(here("waiting.cancel()", "waiting.close()"), fails_with="PgBouncer has heard of it: not within")
@control(here("query_wait_timeout=0.1", "query_wait_timeout=100"), fails_with="nobody waits: not within")
@control(here("holder[1].commit()", "pass"), fails_with="nobody waits: not within")
@pytest.mark.parametrize("its_turn_comes", [True, False])
def test_neither_a_request_to_cancel_nor_leaving_ends_a_clients_wait(its_turn_comes, holder, held, database) -> None:
    """PgBouncer takes the request for an idle client's, and reads nothing from a waiting client.

    The wait ends when the client's turn comes, or at query_wait_timeout.
    """
    bouncer, waiting = held
    waiting.cancel()
    until("PgBouncer has heard of it", lambda: "cancel request for idle client" in bouncer.leash.said())
    assert not answered(waiting)
    waiting.close()
    with bouncer.connect(database):
        assert pool(bouncer, database)["cl_waiting"] == 1
    if its_turn_comes:
        holder[1].commit()
    else:
        bouncer.set(query_wait_timeout=0.1)
    until("nobody waits", lambda: pool(bouncer, database)["cl_waiting"] == 0)


@control(here('executemany("select %s", [[1], [2]])', 'execute("select 1")', of="tests.proofs.heard:many"))
@control(here("client.pipeline():", "client:", of="tests.proofs.heard:piped"))
@control(here('holder.execute("select 1")', "pass"))
def test_executemany_and_a_pipeline_do_not_hear_that_they_waited_too_long(database, pooler) -> None:
    """psycopg 3 says only that the server closed the connection; PgBouncer's log says why."""
    bouncer = pooler(database, **ONE)
    for ask in (many, piped):
        with bouncer.connect(database, autocommit=False) as holder, bouncer.connect(database) as waiting:
            holder.execute("select 1")
            with bouncer.impatient(), pytest.raises(psycopg.OperationalError) as refused:
                ask(waiting)
        assert str(refused.value).startswith("consuming input failed: server closed the connection unexpectedly")
        assert refused.value.sqlstate is None
    until("its log says why, of each", lambda: bouncer.leash.said().count("query_wait_timeout (age") == 2)


@control(here("max_db_connections=1", "max_db_connections=10"))
def test_where_no_server_connection_can_be_made_it_comes_at_connect(database, pooler) -> None:
    """A pool that never had a server connection makes clients wait during login; both drivers get the FATAL error.

    With a connect_timeout that is shorter, they get their own texts. Meanwhile cl_waiting counts such a client, and
    maxwait and maxwait_us do not.
    """
    other = Role(database.server)
    query = "select rolname, rolpassword from pg_authid where rolname in (%s, %s)"
    users = dict(database.admin.execute(query, [database.role.name, other.name]).fetchall())
    bouncer = pooler(database, **ONE, max_db_connections=1, users=users)

    def theirs() -> dict[str, Any]:
        found = [row for row in bouncer.show("pools") if row["user"] == other.name]
        return found[0] if found else {"cl_waiting": 0}

    try:
        with bouncer.connect(database, autocommit=False) as holder:
            holder.execute("select 1")
            (entry,) = [row for row in bouncer.show("databases") if row["name"] == database.name]
            assert entry["current_connections"] == entry["max_connections"] == 1
            own = {"user": other.name, "password": other.password}
            with ThreadPoolExecutor(1) as thread:
                waits = thread.submit(heard, psycopg.connect, bouncer.url(database), **own)
                until("a client waits since it connected", lambda: theirs()["cl_waiting"] == 1)
                row = theirs()
                with bouncer.impatient():
                    assert waits.result() == "FATAL:  query_wait_timeout"
            assert (row["cl_waiting"], row["maxwait"], row["maxwait_us"]) == (1, 0, 0)
            for driver in (psycopg, psycopg2):
                refused = pytest.raises(driver.OperationalError, match="FATAL:  query_wait_timeout")
                with bouncer.impatient(), refused:
                    driver.connect(bouncer.url(database), **own)
            for driver, text in ((psycopg, "connection timeout expired"), (psycopg2, "timeout expired")):
                assert heard(driver.connect, bouncer.url(database), **own, connect_timeout=2) == text
    finally:
        bouncer.stop()
        other.drop(database.admin)


@control(here('host="nowhere..invalid"', "host=database.server.host"))
@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ("query_wait_timeout", "FATAL:  query_wait_timeout"),
        ("client_login_timeout", r"FATAL:  client_login_timeout \(server down\)"),
    ],
)
def test_a_host_that_cannot_be_resolved_lets_clients_wait(database, pooler, limit, text) -> None:
    """Clients are told only of the shorter limit; only PgBouncer's log says that the lookup failed."""
    elsewhere = Existing(replace(database.server, host="nowhere..invalid"), database.name, database.role)
    bouncer = pooler(elsewhere, **ONE, **{limit: 0.5}, users=pgbouncer.scram(database))
    for driver in (psycopg, psycopg2):
        with pytest.raises(driver.OperationalError, match=text):
            driver.connect(bouncer.url(elsewhere))
    until("its log says why", lambda: "server DNS lookup failed" in bouncer.leash.said())


@control(here("client_login_timeout=1", "query_wait_timeout=1"))
def test_where_client_login_timeout_is_shorter_it_comes_instead(database, pooler) -> None:
    """Both drivers are told that the server is down; with PgBouncer's defaults it is shorter."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        elsewhere = Existing(replace(database.server, port=silent.getsockname()[1]), database.name, database.role)
        bouncer = pooler(elsewhere, **ONE, client_login_timeout=1, users=pgbouncer.scram(database))
        for driver in (psycopg, psycopg2):
            with pytest.raises(driver.OperationalError, match=r"FATAL:  client_login_timeout \(server down\)"):
                driver.connect(bouncer.url(elsewhere))
        defaults = {row["key"]: float(row["default"]) for row in bouncer.show("config") if "timeout" in row["key"]}
        assert defaults["client_login_timeout"] < defaults["query_wait_timeout"]


@control(
    here('row["maxwait"] * 1_000_000 + row["maxwait_us"]', 'row["cl_waiting"]'), fails_with="maxwait climbs: not within"
)
def test_maxwait_climbs_before_anyone_is_refused(held, database) -> None:
    """The console shows that clients wait, and how long the first has waited, before any of them gets an error.

    With a second client waiting, maxwait is still the first one's, as shown by SHOW CLIENTS.
    """
    bouncer, waiting = held

    def waited() -> int:
        row = pool(bouncer, database)
        return row["maxwait"] * 1_000_000 + row["maxwait_us"]

    def each_waited() -> list[int]:
        rows = [row for row in bouncer.show("clients") if row["state"] == "waiting"]
        return sorted(row["wait"] * 1_000_000 + row["wait_us"] for row in rows)

    before = waited()
    assert before > 0
    until("maxwait climbs", lambda: waited() > before)
    with closing(bouncer.connect(database)) as second:
        second.pgconn.send_query(b"select 3")
        until("two wait", lambda: len(each_waited()) == 2)
        _, first_before = each_waited()
        now = waited()
        _, first_after = each_waited()
        assert first_before <= now <= first_after
        assert not answered(waiting)
        assert not answered(second)


@control(edit("pgbouncer_console/pools.sql", "\\x on", "\\x off"))
def test_show_pools_tells_a_pool_that_is_used_up(held, database, load, transcript) -> None:
    """Clients wait, no server connection is idle, and each is in use."""
    bouncer, _ = held
    row = pool(bouncer, database)
    assert (row["cl_waiting"], row["sv_active"], row["sv_idle"]) == (1, 1, 0)
    snippet = load("pgbouncer_console/pools.sql")
    output = console(bouncer, snippet)
    (block,) = [block for block in output.split("-[ RECORD") if database.name in block]
    if at_least(1, 26):  # columns come and go with versions
        named = block.replace(database.name, "upstream").replace(database.role.name, "upstream")
        transcript(snippet, "-[ RECORD" + named, NUMBERS)


@control(edit("postgres/idle_in_transaction.sql", "pid,", ""))
@control(here('holder.execute("select 1")', 'earlier.execute("select 1")'))
def test_postgresql_names_the_client_that_holds_the_server_connection(database, pooler, load) -> None:
    """PgBouncer passes application_name on, so that the session in a transaction has its client's name.

    It is not the previous client's, except where a client gives no name to a PgBouncer older than 1.22.
    """
    snippet = load("postgres/idle_in_transaction.sql")
    bouncer = pooler(database, **ONE)

    def session() -> list[str]:
        (row,) = [line for line in database.psql(snippet).splitlines() if "select 1" in line]
        return [cell.strip() for cell in row.split("|")[:2]]

    with (
        bouncer.connect(database, autocommit=False, application_name="earlier") as earlier,
        bouncer.connect(database, autocommit=False, application_name="holder") as holder,
        bouncer.connect(database, autocommit=False) as nameless,
    ):
        earlier.execute("select 1")
        pid, name = session()
        assert name == "earlier"
        earlier.rollback()
        holder.execute("select 1")
        assert session() == [pid, "holder"]
        holder.rollback()
        nameless.execute("select 1")
        assert session() == [pid, "" if at_least(1, 22) else "holder"]


@control(
    edit("postgres/end_idle_transactions.sql", "pg_terminate_backend", "pg_cancel_backend"),
    fails_with="the query is answered: not within",
)
@control(edit("postgres/end_idle_transactions.sql", "state like 'idle in transaction%'", "pid <> pg_backend_pid()"))
@control(
    edit("postgres/end_idle_transactions.sql", "\n    and datname = current_database()", ""),
    fails_with="terminating connection",
)
def test_ending_silent_transactions_lets_the_next_client_in(held, database, load, sessions) -> None:
    """Each session idle in transaction ends, and the waiting query is answered; one that runs a statement goes on.

    A superuser ends those of other roles too, but none in another database.
    """
    bouncer, waiting = held
    snippet = load("postgres/end_idle_transactions.sql")
    busy = sessions(database)
    busy.pgconn.send_query(b"begin; select pg_sleep(60)")
    running = "select count(*) = 1 from pg_stat_activity where pid = %s and state = 'active'"
    pid = busy.info.backend_pid
    until("it runs", lambda: database.admin.execute(running, [pid]).fetchone()[0])
    other = sessions(database, autocommit=False)
    other.execute("select 1")
    database.psql(snippet, superuser=False, silent_for="1 hour")
    assert pool(bouncer, database)["cl_waiting"] == 1
    ended = database.psql(snippet, superuser=False, silent_for="0")
    assert ended.count("| t\n") == 2
    until("the query is answered", lambda: answered(waiting))
    assert waiting.pgconn.get_result().get_value(0, 0) == b"2"
    assert pool(bouncer, database)["cl_waiting"] == 0
    assert database.admin.execute(running, [pid]).fetchone() == (True,)
    until("the other has ended", lambda: other.info.backend_pid not in database.backends())
    stranger = Role(database.server)
    login = {"user": stranger.name, "password": stranger.password, "autocommit": False}
    theirs = sessions(database, **login)
    theirs.execute("select 1")
    with fresh(database.server) as another, another.connect(autocommit=False) as elsewhere:
        elsewhere.execute("select 1")
        database.psql(snippet, silent_for="0")
        until("the stranger's has ended", lambda: theirs.info.backend_pid not in database.backends())
        assert elsewhere.execute("select 1").fetchone() == (1,)
    assert database.admin.execute(running, [pid]).fetchone() == (True,)
    database.terminate(pid)
    stranger.drop(database.admin)


@control(here("default_pool_size=2", "default_pool_size=1"), fails_with="the query is answered: not within")
def test_a_larger_pool_takes_effect_with_reload(held, database) -> None:
    """No restart: a client that already waits gets the additional server connection."""
    bouncer, waiting = held
    bouncer.reload(default_pool_size=2)
    until("the query is answered", lambda: answered(waiting))
    assert pool(bouncer, database)["cl_waiting"] == 0


@control(
    edit("postgres/end_idle_transactions.sql", "pg_terminate_backend", "pg_cancel_backend"),
    fails_with="two are left: not within",
)
@control(here("default_pool_size=2", "default_pool_size=1"), fails_with="one is left: not within")
@control(here('served.pgconn.send_query(b"commit")', "pass"), fails_with="nobody waits: not within")
def test_of_the_clients_that_wait_as_many_are_served_as_there_are_places(holder, database, load) -> None:
    """Of three one is served for the transaction that is ended, one for the larger pool, one after a commit."""
    bouncer, _ = holder
    snippet = load("postgres/end_idle_transactions.sql")

    def waits() -> int:
        return int(pool(bouncer, database)["cl_waiting"])

    with ExitStack() as clients:
        waiting = [clients.enter_context(closing(bouncer.connect(database))) for _ in range(3)]
        for client in waiting:
            client.pgconn.send_query(b"begin")
            client.pgconn.flush()
        until("three wait", lambda: waits() == 3)
        ended = database.psql(snippet, superuser=False, silent_for="0")
        assert ended.count("| t\n") == 1
        until("two are left", lambda: waits() == 2)
        bouncer.reload(default_pool_size=2)
        until("one is left", lambda: waits() == 1)
        served = until("one is answered", lambda: next(filter(answered, waiting), None))
        while served.pgconn.get_result():
            pass
        served.pgconn.send_query(b"commit")
        until("nobody waits", lambda: waits() == 0)


@control(here("refused_midway(client, database)", 'client.execute("select 1 / 0")'))
def test_clients_whose_copy_failed_use_up_the_pool_while_idle(database, pooler) -> None:
    """In autocommit, a client whose COPY failed keeps its server connection: no transaction is open there."""
    bouncer = pooler(database, **ONE)
    with database.connect() as direct:
        direct.execute("create table once (n int primary key)")
    states = "select state from pg_stat_activity where datname = %s and usename = %s"
    with bouncer.connect(database) as client, bouncer.connect(database) as waiting:
        with pytest.raises(psycopg.Error):
            refused_midway(client, database)
        with bouncer.impatient():
            assert heard(waiting.execute, "select 1") == "query_wait_timeout"
        found = database.admin.execute(states, [database.name, database.role.name]).fetchall()
        assert found == [("idle",)]


@control(here('options="pool_size=2"', 'options=""'), fails_with="as many are in use: not within")
@control(here("limits=limits", "limits={}"), fails_with="as many are in use: not within")
@pytest.mark.parametrize("default", [1, 4])
@pytest.mark.parametrize(("size", "own"), [(2, ""), (3, "pool_size=3")], ids=["entry", "user"])
def test_a_pool_size_of_the_entry_counts_before_the_default_and_one_of_the_user_before_both(
    database, pooler, default, size, own
) -> None:
    """Of five transactions an entry's size of two lets two begin, and a user's of three lets three, from 1.23 on.

    The default is smaller than both, or larger.
    """
    if own and not at_least(1, 23):
        pytest.skip("needs PgBouncer 1.23")
    limits = {database.role.name: own} if own else {}
    settings = {**ONE, "default_pool_size": default}
    bouncer = pooler(database, **settings, options="pool_size=2", limits=limits)
    with ExitStack() as clients:
        for _ in range(5):
            client = clients.enter_context(closing(bouncer.connect(database)))
            client.pgconn.send_query(b"begin")
        until("as many are in use", lambda: pool(bouncer, database)["sv_active"] == size)
        with bouncer.impatient():
            until("nobody waits", lambda: pool(bouncer, database)["cl_waiting"] == 0)
        assert pool(bouncer, database)["sv_active"] == size
