"""What psycopg 3, psycopg2 and their pools say themselves. A function raises it, or returns what was logged."""

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import psycopg2
import psycopg2.pool
import psycopg_pool

from tests.proofs.reference.texts.bench import HERE, Bench
from tests.proofs.reference.texts.clients import Django
from tests.proofs.reference.texts.having import listening
from tests.stack.wait import until

NOWHERE = "host=127.0.0.1 port=1 connect_timeout=2"


class Kept(logging.Handler):
    """Keeps what a library logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


@contextmanager
def logged(name: str) -> Iterator[list[str]]:
    """Keep what a logger says within the block."""
    handler, logger = Kept(), logging.getLogger(name)
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.INFO
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.level = level


@contextmanager
def pool(bench: Bench, url: str = "", **options: Any) -> Iterator[psycopg_pool.ConnectionPool]:
    """Open a psycopg pool of one connection."""
    options = {"min_size": 1, "max_size": 1, "timeout": 0.2, "open": True, **options}
    made = psycopg_pool.ConnectionPool(url or bench.url(HERE), **options)
    try:
        yield made
    finally:
        made.close(timeout=0.2)


def closed_psycopg(bench: Bench) -> None:
    """Use a psycopg 3 connection after it was closed."""
    connection = psycopg.connect(bench.url(HERE))
    connection.close()
    connection.execute("select 1")


def closed_cursor(bench: Bench) -> None:
    """Use a psycopg 3 cursor after it was closed."""
    with psycopg.connect(bench.url(HERE)) as connection:
        cursor = connection.cursor()
        cursor.close()
        cursor.execute("select 1")


def closed_psycopg2(bench: Bench) -> None:
    """Use a psycopg2 connection after it was closed."""
    connection = psycopg2.connect(bench.url(HERE))
    connection.close()
    connection.cursor()


def closed_cursor2(bench: Bench) -> None:
    """Use a psycopg2 cursor after it was closed."""
    connection = psycopg2.connect(bench.url(HERE))
    cursor = connection.cursor()
    connection.close()
    cursor.close()
    cursor.execute("select 1")


def begun_by_hand(bench: Bench) -> None:
    """Let Django begin a transaction, as atomic() does, after a query has begun one."""
    client = Django(bench.url(HERE))
    try:
        client.run("begin")
        client.connection.set_autocommit(False)
    finally:
        client.close()


def begun_by_hand2(bench: Bench) -> None:
    """Turn psycopg2's autocommit on in a transaction that it has begun."""
    connection = psycopg2.connect(bench.url(HERE))
    try:
        connection.cursor().execute("select 1")
        connection.autocommit = True
    finally:
        connection.close()


def entered_twice(bench: Bench) -> None:
    """Enter a psycopg2 connection as a context manager twice."""
    connection = psycopg2.connect(bench.url(HERE))
    try:
        with connection, connection:
            pass
    finally:
        connection.close()


def named_alone(bench: Bench) -> None:
    """Use a server-side cursor of psycopg2 where every statement is its own transaction."""
    connection = psycopg2.connect(bench.url(HERE))
    connection.autocommit = True
    try:
        connection.cursor("rows").execute("select 1")
    finally:
        connection.close()


def named_past_its_end(bench: Bench) -> None:
    """Fetch from a server-side cursor of psycopg2 whose transaction has ended."""
    connection = psycopg2.connect(bench.url(HERE))
    try:
        cursor = connection.cursor("rows")
        cursor.execute("select 1")
        connection.commit()
        cursor.fetchone()
    finally:
        connection.close()


def without_the_pool(_: Bench) -> str:
    """Import psycopg's pool where only Python's own modules are."""
    command = [sys.executable, "-I", "-S", "-c", "import psycopg_pool"]
    return subprocess.run(command, capture_output=True, text=True).stderr


def nothing_to_fetch(bench: Bench) -> None:
    """Fetch rows from a statement that has none."""
    connection = psycopg2.connect(bench.url(HERE))
    try:
        cursor = connection.cursor()
        cursor.execute("set application_name = ''")
        cursor.fetchone()
    finally:
        connection.close()


def lost_psycopg(bench: Bench) -> None:
    """Ask for the socket of a connection that is known to be lost."""
    connection = psycopg.connect(bench.url(HERE))
    with suppress(psycopg.Error):
        connection.execute("select pg_terminate_backend(pg_backend_pid())")
    connection.fileno()


def exhausted(bench: Bench) -> None:
    """Ask psycopg2's pool for one connection too many."""
    made = psycopg2.pool.SimpleConnectionPool(1, 1, bench.url(HERE))
    try:
        made.getconn()
        made.getconn()
    finally:
        made.closeall()


def given_back_twice(bench: Bench) -> None:
    """Return a connection to psycopg2's pool twice."""
    made = psycopg2.pool.SimpleConnectionPool(1, 1, bench.url(HERE))
    try:
        connection = made.getconn()
        made.putconn(connection)
        made.putconn(connection)
    finally:
        made.closeall()


def closed_pool2(bench: Bench) -> None:
    """Ask psycopg2's pool after it was closed."""
    made = psycopg2.pool.SimpleConnectionPool(1, 1, bench.url(HERE))
    made.closeall()
    made.getconn()


def nothing_to_fetch3(bench: Bench) -> None:
    """Fetch rows from a statement that has none."""
    with psycopg.connect(bench.url(HERE)) as connection:
        connection.execute("set application_name = ''").fetchone()


def empty(bench: Bench) -> None:
    """Ask psycopg's pool for one connection too many."""
    with pool(bench) as made, made.connection():
        made.getconn()


def crowded(bench: Bench) -> None:
    """Ask it while max_waiting others wait."""
    with pool(bench, max_waiting=1, timeout=30) as made, made.connection():
        waits = threading.Thread(target=lambda: made.putconn(made.getconn()), daemon=True)
        waits.start()
        until("it waits", lambda: made.get_stats().get("requests_waiting"))
        made.getconn()


def closed_pool(bench: Bench) -> None:
    """Ask it after it was closed."""
    with pool(bench) as made:
        made.close()
        made.getconn()


def unopened(bench: Bench) -> None:
    """Ask it before it was opened."""
    psycopg_pool.ConnectionPool(bench.url(HERE), open=False).getconn()


def reopened(bench: Bench) -> None:
    """Open it again after its end."""
    with pool(bench) as made:
        made.close()
        made.open()


def unstopped(bench: Bench) -> list[str]:
    """Close a pool whose thread waits for a server that never answers."""
    url = f"host=127.0.0.1 port={listening()} sslmode=disable gssencmode=disable"
    with logged("psycopg.pool") as lines, pool(bench, url) as made:
        until("it connects", lambda: made.get_stats().get("connections_num"))
    return lines


def opened_early(_: Bench) -> list[str]:
    """Make an async pool that opens itself in its constructor."""

    async def make() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await psycopg_pool.AsyncConnectionPool(NOWHERE, open=True).close()
        return [str(each.message) for each in caught]

    return asyncio.run(make())


def incomplete(bench: Bench) -> None:
    """Wait for a pool that reaches no server."""
    with pool(bench, NOWHERE) as made:
        made.wait(0.2)


def unreachable(bench: Bench) -> list[str]:
    """Let a pool reach no server."""
    with logged("psycopg.pool") as lines, pool(bench, NOWHERE, reconnect_timeout=0.1):
        until("it has tried", lambda: [line for line in lines if "error connecting" in line])
    return lines


def given_up(bench: Bench) -> list[str]:
    """Let a pool give up reconnecting."""
    with logged("psycopg.pool") as lines, pool(bench, NOWHERE, reconnect_timeout=0.05):
        until("it has given up", lambda: [line for line in lines if "reconnection attempt" in line])
    return lines


def returned(query: str) -> Callable[[Bench], list[str]]:
    """Return a connection after a query, without ending its transaction."""

    def give_back(bench: Bench) -> list[str]:
        with logged("psycopg.pool") as lines, pool(bench, timeout=5) as made:
            connection = made.getconn()
            with suppress(psycopg.Error):
                connection.execute(query.encode())
            made.putconn(connection)
            until("it is there", lambda: lines)
        return lines

    return give_back


def forgotten(bench: Bench) -> str:
    """Let a psycopg 3 connection go without closing it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        psycopg.connect(bench.url(HERE))
        gc.collect()
    return str(said[0].message)


# Which program says it, and how it is made to.
TEXTS: dict[str, tuple[str, Callable[[Bench], Any]]] = {
    "the connection is closed": ("psycopg 3", closed_psycopg),
    "was deleted while still open": ("psycopg 3", forgotten),
    "the cursor is closed": ("psycopg 3", closed_cursor),
    "connection already closed": ("psycopg2", closed_psycopg2),
    "cursor already closed": ("psycopg2", closed_cursor2),
    "no results to fetch": ("psycopg2", nothing_to_fetch),
    "can't use a named cursor outside of transactions": ("psycopg2", named_alone),
    "named cursor isn't valid anymore": ("psycopg2", named_past_its_end),
    "module named 'psycopg_pool'": ("psycopg_pool", without_the_pool),
    "the last operation didn't produce …": ("psycopg 3", nothing_to_fetch3),
    "can't change '…' now: connection in transaction status …": ("psycopg 3", begun_by_hand),
    "cannot be used inside a transaction": ("psycopg2", begun_by_hand2),
    "the connection cannot be re-entered recursively": ("psycopg2", entered_twice),
    "couldn't stop thread '…' within … seconds": ("psycopg_pool", unstopped),
    "the connection is lost": ("psycopg 3", lost_psycopg),
    'missing "=" after "…" in connection info string': ("psycopg 3", lambda _: psycopg.connect("postgis://x")),
    'invalid URI query parameter: "…"': (
        "psycopg 3",
        lambda _: psycopg.connect("postgresql://127.0.0.1:1/x?pgbouncer=true"),
    ),
    'invalid integer value "…" for connection option "…"': (
        "psycopg2",
        lambda _: psycopg2.connect("host=127.0.0.1 port=none"),
    ),
    'invalid integer value "tcp://…" for connection option "port"': (
        "psycopg2",
        lambda _: psycopg2.connect("host=127.0.0.1 port=tcp://10.0.0.9:5432"),
    ),
    'invalid connection option "ssl"': ("psycopg2", lambda _: psycopg2.connect("ssl=true")),
    'invalid connection option "…"': ("psycopg2", lambda _: psycopg2.connect("pgbouncer=true")),
    "in the constructor is deprecated and will not be supported anymore": ("psycopg_pool", opened_early),
    "connection pool exhausted": ("psycopg2", exhausted),
    "trying to put unkeyed connection": ("psycopg2", given_back_twice),
    "connection pool is closed": ("psycopg2", closed_pool2),
    "couldn't get a connection after … sec": ("psycopg_pool", empty),
    "the pool '…' has already … requests waiting": ("psycopg_pool", crowded),
    "the pool '…' is already closed": ("psycopg_pool", closed_pool),
    "the pool '…' is not open yet": ("psycopg_pool", unopened),
    "pool has already been opened/closed and cannot be reused": ("psycopg_pool", reopened),
    "pool initialization incomplete after … sec": ("psycopg_pool", incomplete),
    "error connecting in '…': …": ("psycopg_pool", unreachable),
    "reconnection attempt in pool '…' failed after … sec": ("psycopg_pool", given_up),
    "rolling back returned connection: …": ("psycopg_pool", returned("select 1")),
    "discarding closed connection": ("psycopg_pool", returned("select pg_terminate_backend(pg_backend_pid())")),
}
