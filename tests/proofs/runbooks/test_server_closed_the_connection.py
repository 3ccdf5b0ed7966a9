"""Proves docs/runbooks/server-closed-the-connection.md."""

import os
import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread

import psycopg
import psycopg2
import pytest
from psycopg2.extensions import set_wait_callback
from psycopg2.extras import wait_select

from proven.sources.controls import control, edit, here, replace
from tests.proofs.heard import heard, many, piped
from tests.proofs.reference.texts.having import NO_LINGER
from tests.stack.database import Database, Role, fresh
from tests.stack.postgres import bin_dir
from tests.stack.wait import until

SLEEPS = "select pg_sleep(60)"
AGES = (r"\d+:\d{2}:\d{2}", "AGE")
CRASHED = "pooler error: server conn crashed?"  # PgBouncer logs it whatever the reason was


@control(edit("provoke/closed_connection.py", "pg_terminate_backend(%s, 5000)", "pg_backend_pid() + %s"))
def test_a_terminated_session_has_a_text_for_each_driver(database, load, printed, transcript) -> None:
    """psycopg 3 says that an administrator ended it; psycopg2 only that the server closed it unexpectedly."""
    snippet = load("provoke/closed_connection.py")
    transcript(snippet, printed(snippet, DATABASE_URL=database.url))


@control(here('executemany("select %s", [[1], [2]])', 'execute("select 1")', of="tests.proofs.heard:many"))
@control(here("client.pipeline():", "client:", of="tests.proofs.heard:piped"))
@control(here("database.terminate(client.info.backend_pid)", "pass"))
def test_executemany_and_a_pipeline_hear_no_reason(database) -> None:
    """psycopg 3's execute() names the administrator; these two say only that the server closed the connection."""
    said = []
    for ask in (lambda client: client.execute("select 1"), many, piped):
        with database.connect() as client:
            database.terminate(client.info.backend_pid)
            said.append(heard(ask, client))
    closed = "server closed the connection unexpectedly"
    assert said == ["terminating connection due to administrator command", closed, closed]


def copied(client: psycopg.Connection) -> None:
    """Read a COPY."""
    with client.cursor().copy("copy (select 1) to stdout") as lines:
        list(lines)


def declared(client: psycopg.Connection) -> None:
    """Query with a server-side cursor."""
    with client.cursor("a") as rows:
        rows.execute("select 1")


@control(here("database.terminate(database.backends()[0])", "pass"), fails_with="PgBouncer knows: not within")
@control(here('cursor("a")', "cursor()", of="tests.proofs.runbooks.test_server_closed_the_connection:declared"))
@control(here("client.commit(),", 'client.execute("commit"),'))
def test_behind_pgbouncer_an_ended_transaction_hides_its_reason_from_some(database, pooler) -> None:
    """Where its session is ended while a transaction is idle, psycopg 3's execute() names the administrator.

    A server-side cursor says "server conn crashed?". COPY says that it cannot be mixed, COMMIT and ROLLBACK that they
    received two results. So does the cursor where it is waiting for its rows.
    """
    bouncer = pooler(database, pool_mode="transaction")
    asks = {
        "terminating connection due to administrator command": lambda client: client.execute("select 1"),
        "server conn crashed?": declared,
        "COPY cannot be mixed with other operations": copied,
        "received 2 results from command 'COMMIT'": lambda client: client.commit(),
        "received 2 results from command 'ROLLBACK'": lambda client: client.rollback(),
    }
    for number, (text, ask) in enumerate(asks.items(), start=1):
        with closing(bouncer.connect(database, autocommit=False)) as client:
            client.execute("select 1")
            database.terminate(database.backends()[0])
            until("PgBouncer knows", lambda number=number: bouncer.leash.said().count(CRASHED) == number)
            assert heard(ask, client) == text
    with closing(bouncer.connect(database, autocommit=False)) as client, client.cursor("a") as rows:
        rows.execute("select pg_sleep(60)")
        with ThreadPoolExecutor(1) as threads:
            told = threads.submit(heard, rows.fetchall)
            active = "select count(*) = 1 from pg_stat_activity where datname = %s and state = 'active'"
            until("it waits", lambda: database.admin.execute(active, [database.name]).fetchone() == (True,))
            database.terminate(database.backends()[0])
            assert told.result() == "received 2 results from command 'FETCH FORWARD ALL FROM \"a\"'"


def slowly(client: psycopg.Connection, how: str) -> None:
    """Run a statement that takes long."""
    cursor = client.cursor()
    if how == "execute":
        cursor.execute(SLEEPS)
    elif how == "COPY":
        with cursor.copy(f"copy ({SLEEPS}) to stdout") as lines:
            list(lines)
    elif how == "executemany":
        cursor.executemany("select pg_sleep(%s)", [[60], [60]])
    else:
        with client.pipeline():
            cursor.execute(SLEEPS)


@control(here("bouncer.connect(database)", "database.connect()"))
@control(replace("tests.proofs.runbooks.test_server_closed_the_connection:SLEEPS", "select 1"), fails_with="not within")
def test_behind_pgbouncer_an_ended_statement_hides_its_reason_from_some(database, pooler) -> None:
    """Where its session is ended during a statement, psycopg 3's execute() names the administrator; COPY does not.

    executemany() and a pipeline do not either. Their connection does not count as closed, and says the same once more.
    """
    bouncer = pooler(database, pool_mode="transaction")
    busy = "cannot exit pipeline mode while busy"
    texts = {
        "execute": "terminating connection due to administrator command",
        "COPY": "you cannot mix COPY with other operations",
        "executemany": busy,
        "a pipeline": busy,
    }
    active = "select count(*) = 1 from pg_stat_activity where datname = %s and state = 'active'"
    for how, text in texts.items():
        with closing(bouncer.connect(database)) as client, ThreadPoolExecutor(1) as threads:
            told = threads.submit(heard, slowly, client, how)
            until("it runs", lambda: database.admin.execute(active, [database.name]).fetchone() == (True,))
            database.terminate(database.backends()[0])
            assert told.result() == text
            assert client.closed == (text != busy)
            if text == busy:
                assert heard(client.execute, "select 1").endswith(busy)


@control(
    edit("provoke/idle_timeout.py", ', options="-c idle_session_timeout=50ms"', ""),
    edit(
        "provoke/idle_timeout.py",
        "alive = ",
        'other.execute("select pg_terminate_backend(%s)", [victim.info.backend_pid]); alive = ',
    ),
)
def test_a_session_that_was_idle_too_long_has_its_own_text(database, load, printed, transcript) -> None:
    """psycopg 3 names idle_session_timeout; psycopg2 says the same as for any other end."""
    snippet = load("provoke/idle_timeout.py")
    transcript(snippet, printed(snippet, DATABASE_URL=database.url))


@control(here("set_wait_callback(wait_select)", "pass"))
@control(here("database.terminate(client.info.backend_pid)", "pass"))
def test_psycopg2_with_a_callback_hears_the_reason(database) -> None:
    """The first line of its error is PostgreSQL's reason, and the second says that the server closed the connection."""
    set_wait_callback(wait_select)
    try:
        with closing(psycopg2.connect(database.url)) as client:
            database.terminate(client.info.backend_pid)
            said = lines(client)
    finally:
        set_wait_callback(None)
    reason = "FATAL:  terminating connection due to administrator command"
    assert said[:2] == [reason, "server closed the connection unexpectedly"]


@control(here("signal.SIGKILL", "signal.SIGTERM"), fails_with="the session ends: not within")
def test_a_killed_backend_says_nothing_and_takes_the_others_with_it(cluster) -> None:
    """As with the kernel's out-of-memory killer, no client gets a reason, and every session ends."""
    own = cluster(cluster_name="killed")
    with fresh(own.server) as database:
        started = database.admin.execute("select pg_postmaster_start_time()").fetchone()
        connections = [driver.connect(database.url) for driver in (psycopg, psycopg2, psycopg, psycopg2)]
        os.kill(connections[0].info.backend_pid, signal.SIGKILL)
        said = [until("the session ends", lambda c=c: said_by(c)) for c in connections]
        # The server recovers by itself: the same postmaster, every session new.
        until("the server has recovered", lambda: answers(own.server))
        database.follow(own.server)
        assert database.admin.execute("select pg_postmaster_start_time()").fetchone() == started
        for connection in connections:
            connection.close()
    by_psycopg, by_psycopg2 = "consuming input failed: ", ""
    assert said == [f"{prefix}server closed the connection unexpectedly" for prefix in (by_psycopg, by_psycopg2) * 2]


@control(here("signal.SIGKILL", "signal.SIGTERM"), fails_with="PgBouncer knows: not within")
def test_behind_pgbouncer_a_killed_backend_is_a_crashed_connection(cluster, pooler) -> None:
    """In a transaction, psycopg 3 gets "server conn crashed?"; psycopg2 says that the server closed the connection."""
    own = cluster(cluster_name="killed")
    with fresh(own.server) as database:
        bouncer = pooler(database, pool_mode="transaction")
        connections = [driver.connect(bouncer.url(database)) for driver in (psycopg, psycopg2)]
        for connection in connections:
            connection.cursor().execute("select 1")
        os.kill(database.backends()[0], signal.SIGKILL)
        until("PgBouncer knows", lambda: bouncer.leash.said().count(CRASHED) == 2)
        assert [said_by(connection) for connection in connections] == [
            "server conn crashed?",
            "server closed the connection unexpectedly",
        ]
        for connection in connections:
            connection.close()
        bouncer.stop()
        until("the server has recovered", lambda: answers(own.server))
        database.follow(own.server)


def said_by(connection) -> str | None:
    """Return the first line of the error that a query on a connection raises, or None while it raises none."""
    return next(iter(lines(connection)), None)


def lines(connection) -> list[str]:
    """Return the lines of the error that a query on a connection raises."""
    try:
        connection.cursor().execute("select 1")
    except (psycopg.OperationalError, psycopg2.OperationalError) as error:
        return str(error).splitlines()
    return []


def answers(server) -> bool:
    """Return whether the server lets a superuser in."""
    try:
        return server.quiet()
    except psycopg.OperationalError:
        return False


@control(
    edit("postgres/role_timeouts.sql", "alter role :\"role\" set idle_in_transaction_session_timeout = '60s';", "")
)
@control(edit("postgres/who_closes.sql", "clock_timestamp() - pg_postmaster_start_time()", "interval '1 hour'"))
@control(edit("postgres/who_closes.sql", "|| coalesce(' in database ' || datname, '')", ""))
@control(edit("postgres/who_closes.sql", "coalesce('role ' || rolname, 'every role')", "'role ' || rolname"))
@control(edit("postgres/who_closes.sql", "|client_connection_\\w+", ""))
def test_who_closes_shows_when_the_server_started_and_what_ends_sessions(database, load, transcript) -> None:
    """It shows how long the server has been running, each timeout that is not 0, and who set it.

    That can be a role, everywhere or in one database, or every role, in one database or everywhere. So does it for the
    settings that end only sessions whose client is gone.
    """
    role = Role(database.server)
    database.psql(load("postgres/role_timeouts.sql"), role=role.name)
    snippet = load("postgres/who_closes.sql")
    in_it = f"in database {database.name}"
    whose = {f"role {role.name} {in_it}", f"every role {in_it}", "every role"}
    with database.admin.transaction(force_rollback=True):  # others do not see it
        for who in ("role all", f"database {database.name}", f"role {role.name} {in_it}"):
            database.admin.execute(f"alter {who} set idle_session_timeout = '7s'")
        database.admin.execute(f"alter role {role.name} set client_connection_check_interval = '7s'")
        found = {(what, by) for what, value, by in database.admin.execute(snippet.text) if value == "7s"}
    checked = ("client_connection_check_interval", f"role {role.name}")
    assert found == {checked, *(("idle_session_timeout", who) for who in whose)}
    runs = "select date_trunc('second', clock_timestamp() - pg_postmaster_start_time())"
    at_least = database.admin.execute(runs).fetchone()
    output = database.psql(snippet)
    at_most = database.admin.execute(runs).fetchone()
    role.drop(database.admin)
    (said,) = re.findall(r"server running for +\| (.+?) +\|", output)
    assert at_least <= database.admin.execute("select %s::interval", [said]).fetchone() <= at_most
    others = [line for line in output.splitlines() if "role " in line and role.name not in line]
    mine = "\n".join(line for line in output.splitlines() if line not in others)
    transcript(snippet, mine.replace(role.name, "upstream"), volatile=[AGES, (r"\(\d+ rows\)", ""), (r"\d+s\b", "Ns")])


@control(
    edit("postgres/role_timeouts.sql", "alter role :\"role\" set idle_in_transaction_session_timeout = '60s';", "")
)
@control(edit("postgres/role_timeouts.sql", "alter role :\"role\" set idle_session_timeout = '1h';", ""))
@control(here("role=database.role.name)", "role=database.role.name); early = database.connect()"))
def test_a_role_can_end_its_own_forgotten_transactions(database, load) -> None:
    """The timeouts apply to sessions that the role opens from then on; one that is idle for too long is ended."""
    with database.connect() as early:
        database.psql(load("postgres/role_timeouts.sql"), role=database.role.name)
        assert early.execute("show idle_session_timeout").fetchone() == ("0",)
    with database.connect() as connection:
        shown = [
            connection.execute(f"show {name}").fetchone()
            for name in ("idle_in_transaction_session_timeout", "idle_session_timeout")
        ]
    assert shown == [("1min",), ("1h",)]
    database.admin.execute(f"alter role {database.role.name} set idle_session_timeout = '50ms'")
    with database.connect() as idle:
        until("it is ended", lambda: idle.info.backend_pid not in database.backends())


@control(here("timeout = '50ms'", "timeout = 0"), fails_with="the server ends it: not within")
@control(here("idle_in_transaction_session_timeout =", "transaction_timeout ="))
def test_an_idle_transaction_is_ended_with_its_own_text(database) -> None:
    """After idle_in_transaction_session_timeout the next statement fails with SQLSTATE 25P03.

    The one after that fails as on a connection that the code has closed.
    """
    with database.connect(autocommit=False) as connection:
        # Set within it: on a busy machine, BEGIN and the statement may be as far apart as that.
        connection.execute("set idle_in_transaction_session_timeout = '50ms'")
        until("the server ends it", lambda: database.backends() == [])
        with pytest.raises(psycopg.Error) as ended:
            connection.execute("select 1")
        text = str(ended.value).splitlines()[0]
        assert (ended.value.sqlstate, text) == ("25P03", "terminating connection due to idle-in-transaction timeout")
        with database.connect() as closed:
            closed.close()
        for each in (connection, closed):
            with pytest.raises(psycopg.OperationalError, match="the connection is closed"):
                each.execute("select 1")
        connection.close()


@control(here("database.terminate(client.info.backend_pid)", "pass"))
def test_psycopg2_says_that_a_lost_connection_is_already_closed(database) -> None:
    """After the first error, or after close(), it raises InterfaceError and not OperationalError."""
    client = psycopg2.connect(database.url)
    database.terminate(client.info.backend_pid)
    assert said_by(client) == "server closed the connection unexpectedly"
    closed = psycopg2.connect(database.url)
    closed.close()
    for each in (client, closed):
        with pytest.raises(psycopg2.InterfaceError, match="connection already closed"):
            each.cursor()


@control(here("signal.SIGTERM", "signal.SIGHUP"), fails_with="it refuses: not within")
def test_a_server_that_shuts_down_says_so_to_new_clients(cluster) -> None:
    """A smart shutdown waits for connected clients and tells new ones the reason; pg_isready says "rejecting"."""
    own = cluster(cluster_name="shuts down")
    with own.server.connect() as last:
        os.kill(int((own.data / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
        until("it refuses", lambda: refusal(own.server) == "FATAL:  the database system is shutting down")
        assert last.execute("select 1").fetchone() == (1,)
        ready = [bin_dir() / "pg_isready", f"--host={own.server.host}", f"--port={own.server.port}"]
        assert "- rejecting connections" in subprocess.run(ready, capture_output=True, text=True).stdout
    until("it has stopped", lambda: not (own.data / "postmaster.pid").exists())
    own.start()


def refusal(server) -> str:
    """Return the text with which a server refuses a client; "" where it lets one in."""
    try:
        server.connect().close()
    except psycopg.OperationalError as error:
        return str(error).rpartition("failed: ")[2].strip()
    return ""


@control(here("driver.connect(database.url, **tcp)", "driver.connect(database.url)"))
@pytest.mark.parametrize("driver", [psycopg, psycopg2])
def test_both_drivers_take_the_settings_of_tcp(driver, database) -> None:
    """Both set them on the socket."""
    tcp = {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 10_000}
    client = driver.connect(database.url, **tcp)
    with socket.socket(fileno=os.dup(client.fileno())) as end:
        found = [
            end.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        ]
    client.close()
    assert found == list(tcp.values())


@contextmanager
def device(database: Database) -> Iterator[tuple[str, Event]]:
    """Yield a database's URL through a device, and the event after which it answers what comes with a reset."""
    forgotten = Event()

    class Device(BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((database.server.host, database.server.port)) as onward:
                others = {self.request: onward, onward: self.request}
                while True:
                    for end in select.select([*others], [], [])[0]:
                        some = end.recv(65536)
                        if some and forgotten.is_set():
                            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                            self.request.close()
                        if not some or forgotten.is_set():
                            return
                        others[end].sendall(some)

    with ThreadingTCPServer(("127.0.0.1", 0), Device) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield database.url.replace(f":{database.server.port}/", f":{server.server_address[1]}/"), forgotten
        finally:
            server.shutdown()


@control(here("forgotten.set()", "pass"))
def test_a_query_that_is_answered_with_a_reset_fails_at_once(database) -> None:
    """Without any limit of its own, each driver says that the server closed the connection."""
    with device(database) as (url, forgotten):
        clients = [driver.connect(url) for driver in (psycopg, psycopg2)]
        forgotten.set()
        said = [said_by(client) for client in clients]
        for client in clients:
            client.close()
    closed = "server closed the connection unexpectedly"
    assert said == [f"consuming input failed: {closed}", closed]
