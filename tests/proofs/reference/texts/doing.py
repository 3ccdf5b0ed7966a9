"""What is done in a case, to the servers or with a connection."""

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.proofs.reference.texts.bench import OTHER, Bench
from tests.proofs.reference.texts.having import NO_LINGER, refusal, user
from tests.stack.wait import until

REFUSALS = 20  # in a row: a session that has just ended keeps its slot for a moment longer


def cut(connection: psycopg.Connection) -> None:
    """Shut the socket down without a Terminate."""
    with socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def hear_first(connection: psycopg.Connection) -> None:
    """Query once the session has sent something: one at work when its server is gone may end without a message."""
    until("it says something", lambda: select.select([connection], [], [], 0)[0])
    connection.execute("select 1")


def copies(connection: psycopg.Connection) -> None:
    """Copy a row out of the server."""
    with connection.cursor() as cursor, cursor.copy("copy (select 1) to stdout") as rows:
        list(rows)


def reset(connection: psycopg.Connection) -> None:
    """Drop the connection as a network does: RST, and no Terminate."""
    with socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), connection.fileno())


def unread(connection: psycopg.Connection) -> None:
    """Ask for more than the buffers hold, read nothing of it, and drop the connection."""
    connection.pgconn.send_query(b"select repeat('x', 10_000_000)")
    reset(connection)


def within(connection: psycopg.Connection) -> None:
    """Close the client within a transaction."""
    connection.execute("begin")
    connection.close()


def taken(bench: Bench) -> None:
    """Put another client into a transaction, on the server connection that was returned last."""
    bench.alone()
    bench.others.append(psycopg.connect(bench.url(bench.case)))
    bench.others[0].execute("select 1")


def sleeps(connection: psycopg.Connection) -> None:
    """Send a query that takes long, and close the client while it runs."""
    with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as other:
        connection.pgconn.send_query(b"/* sleeps */ select pg_sleep(30)")
        found = "select from pg_stat_activity where query like '/* sleeps */%'"
        until("it runs", lambda: other.execute(found).rowcount)
        connection.close()


def idle(bench: Bench) -> None:
    """Wait until PgBouncer has an idle server connection."""
    until("a server is idle", lambda: [1 for row in bench.bouncer.show("servers") if row["state"] == "idle"])


def left(bench: Bench) -> None:
    """Wait until no client is connected through the entry."""
    until("the client is gone", lambda: OTHER not in [row["database"] for row in bench.bouncer.show("clients")])


def over(bench: Bench) -> None:
    """Wait until PostgreSQL has ended the session; those that PgBouncer keeps from an earlier case do not count."""
    kept = {row["remote_pid"] for row in bench.bouncer.show("servers")}
    until("the session is over", lambda: kept.issuperset(bench.sessions()))


def kill(bench: Bench) -> None:
    """KILL the entry's connections, and RESUME it."""
    bench.command(f"kill {OTHER}")
    bench.command(f"resume {OTHER}")


def kill_client(bench: Bench) -> None:
    """Kill one client by its ID."""
    (client,) = [row["id"] for row in bench.bouncer.show("clients") if row["database"] == bench.case.at]
    bench.command(f"kill_client {client}")


def one_fails(bench: Bench) -> None:
    """Use the pool, forbid further logins to the server, and let one client find out."""
    for change in ("alter role {role} login", "alter role {role} nologin"):
        bench.outside(change)
        for pid in bench.sessions():
            bench.outside(f"select pg_terminate_backend({pid}, 5000)")
        with suppress(psycopg.Error), psycopg.connect(bench.url(bench.case)) as connection:
            connection.execute("select 1")


def let_log_in(bench: Bench) -> None:
    """Let the role log in again."""
    bench.outside("alter role {role} login")


def another(bench: Bench) -> None:
    """Let the other role run a query."""
    url = bench.url(bench.case, user=bench.stranger.name, password=bench.stranger.password)
    with psycopg.connect(url) as connection:
        connection.execute("select 1")


def filled(bench: Bench, how: str = "") -> None:
    """Take every slot that the application may have; also those that are reserved for others, or all."""
    who = [bench.url(bench.case)]
    if how == "reserved":
        bench.outside("grant pg_use_reserved_connections to {role}")
    if how == "all":
        who.append(psycopg.conninfo.make_conninfo(bench.server.superuser, dbname="postgres"))
    for url in who:
        refused = 0
        while refused < REFUSALS:
            try:
                bench.others.append(psycopg.connect(url))
                refused = 0
            except psycopg.Error:
                refused += 1
    until("nobody who was refused has a slot any more", lambda: not logging_in(bench))


def logging_in(bench: Bench) -> list[str]:
    """Return the names of PostgreSQL's processes that are logging a client in, or have refused it and not yet ended."""
    called = []
    for process in psutil.Process(bench.cluster.leash.pid).children():
        with suppress(psutil.NoSuchProcess):
            called += process.cmdline()
    return [name for name in called if name.endswith(("startup", "authentication"))]


def impatient(bench: Bench, setting: str) -> None:
    """Change a setting of the server, and reload it."""
    bench.outside(f"alter system {setting}")
    bench.reload()


def changed(bench: Bench) -> None:
    """Change the entry, and let another client connect."""
    bench.change("connect_query='select 2'")
    psycopg.connect(bench.url(bench.case)).close()


def unasked(does: Callable[[Bench], object]) -> Callable[[Bench], None]:
    """Have PostgreSQL send something while no client holds the server connection."""

    def do(bench: Bench) -> None:
        idle(bench)
        does(bench)
        with suppress(TimeoutError):
            until("it has come", lambda: "when not linked" in bench.logged("pooler"), 5)

    return do


def crossing(bench: Bench) -> None:
    """Have another session hold lock 2, and wait for lock 1."""
    other = bench.server.connect(bench.database.name)
    bench.others.append(other)
    other.execute("select pg_advisory_lock(2)")
    other.pgconn.send_query(b"select pg_advisory_lock(1)")
    waiting = "select from pg_locks where locktype = 'advisory' and not granted"
    until("it waits", lambda: bench.inside.execute(waiting).rowcount)


def replaying(bench: Bench) -> None:
    """Have the standby replay, for a while, what conflicts with any query."""
    bench.alone()
    other = bench.server.connect(bench.database.name)
    bench.others.append(other)
    other.pgconn.send_query(
        b"do $$ begin for i in 1..20 loop truncate replayed; commit; perform pg_sleep(0.05); end loop; end $$"
    )


def replayed(bench: Bench) -> None:
    """Have the standby replay it once, and wait until the session there is over."""
    bench.sql("truncate replayed")
    with bench.standby.server.connect() as session:
        found = f"select from pg_stat_activity where usename = '{user(bench)}'"
        until("the session is over", lambda: not session.execute(found.encode()).rowcount)


def killed(bench: Bench) -> None:
    """Kill a backend, as the kernel does when memory runs out, and wait until all others have said why they end.

    Do so once they wait for their clients: one that is still sending an answer ends without a reason.
    """
    busy = "select from pg_stat_activity where usename = %s and wait_event is distinct from 'ClientRead'"
    until("all answers are sent", lambda: not bench.database.admin.execute(busy, [bench.database.role.name]).rowcount)
    os.kill(bench.rival.info.backend_pid, signal.SIGKILL)
    until("the others have ended", lambda: "all server processes terminated" in bench.logged("server"))


def left_early(bench: Bench) -> None:
    """Connect, and disconnect in the middle of the first packet."""
    with socket.create_connection(("127.0.0.1", bench.server.port)) as client:
        client.sendall(b"\0\0")


def recovering(bench: Bench) -> None:
    """Kill a backend, and suspend another one: until that ends, the server cannot recover."""
    os.kill(bench.rival.info.backend_pid, signal.SIGSTOP)
    os.kill(bench.inside.info.backend_pid, signal.SIGKILL)
    until("it refuses", lambda: "recovery mode" in refusal(bench))


def recovered(bench: Bench) -> None:
    """Let that one go on."""
    with suppress(ProcessLookupError):
        os.kill(bench.rival.info.backend_pid, signal.SIGCONT)
    bench.recover()


def unusable(connection: Any) -> None:
    """Make the socket unreadable, as if other code had closed it by its number, and query."""
    path = os.open(os.devnull, os.O_PATH)
    os.dup2(path, connection.fileno())
    os.close(path)
    connection.cursor().execute("select 1")


def another_file(connection: Any) -> None:
    """Put a file where the socket was, as if other code had closed it by its number and opened another, and query."""
    with Path(__file__).open() as file:
        os.dup2(file.fileno(), connection.fileno())
    connection.cursor().execute("select 1")


def twice(connection: psycopg.Connection) -> object:
    """Prepare two statements under the same name."""
    connection.pgconn.prepare(b"a", b"select 1")
    return connection.pgconn.prepare(b"a", b"select 2")
