"""What drivers, pools, Django and Gunicorn say by themselves: each text with what makes them say it.

A function raises it, or returns it where it is logged or the exception is another thread's.
"""

import asyncio
import gc
import logging
import os
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import django.db
import psycopg
import psycopg2
import psycopg2.pool
import psycopg_pool
from django.db.utils import ConnectionHandler

from setup.others import packages
from tests.proofs.reference.bench import Asyncpg, Bench, Case, Django, Heard
from tests.proofs.reference.provocations import listening
from tests.stack.runners import gunicorn, uwsgi
from tests.stack.wait import free_port, until

HERE = Case("", to="direct")
SLOW = "select pg_sleep(5)"  # longer than anybody waits for it
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
    """Open psycopg's pool of one connection."""
    options = {"min_size": 1, "max_size": 1, "timeout": 0.2, "open": True, **options}
    made = psycopg_pool.ConnectionPool(url or bench.url(HERE), **options)
    try:
        yield made
    finally:
        made.close(timeout=0.2)


def closed_psycopg(bench: Bench) -> None:
    """Use a connection of psycopg 3 after its end."""
    connection = psycopg.connect(bench.url(HERE))
    connection.close()
    connection.execute("select 1")


def closed_cursor(bench: Bench) -> None:
    """Use a cursor of psycopg 3 after its end."""
    with psycopg.connect(bench.url(HERE)) as connection:
        cursor = connection.cursor()
        cursor.close()
        cursor.execute("select 1")


def closed_psycopg2(bench: Bench) -> None:
    """Use a connection of psycopg2 after its end."""
    connection = psycopg2.connect(bench.url(HERE))
    connection.close()
    connection.cursor()


def closed_cursor2(bench: Bench) -> None:
    """Use a cursor of psycopg2 after its end."""
    connection = psycopg2.connect(bench.url(HERE))
    cursor = connection.cursor()
    connection.close()
    cursor.close()
    cursor.execute("select 1")


def begun_by_hand(bench: Bench) -> None:
    """Let Django begin a transaction, as atomic() does, where a query has begun one."""
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
    """Use psycopg2's connection as a context within itself."""
    connection = psycopg2.connect(bench.url(HERE))
    try:
        with connection, connection:
            pass
    finally:
        connection.close()


def nothing_to_fetch(bench: Bench) -> None:
    """Ask for rows of a statement that has none."""
    connection = psycopg2.connect(bench.url(HERE))
    try:
        cursor = connection.cursor()
        cursor.execute("set application_name = ''")
        cursor.fetchone()
    finally:
        connection.close()


def lost_psycopg(bench: Bench) -> None:
    """Ask for the socket of a connection whose end was told."""
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
    """Give psycopg2's pool a connection that it has not lent."""
    made = psycopg2.pool.SimpleConnectionPool(1, 1, bench.url(HERE))
    try:
        connection = made.getconn()
        made.putconn(connection)
        made.putconn(connection)
    finally:
        made.closeall()


def closed_pool2(bench: Bench) -> None:
    """Ask psycopg2's pool after its end."""
    made = psycopg2.pool.SimpleConnectionPool(1, 1, bench.url(HERE))
    made.closeall()
    made.getconn()


def nothing_to_fetch3(bench: Bench) -> None:
    """Ask for rows of a statement that has none."""
    with psycopg.connect(bench.url(HERE)) as connection:
        connection.execute("set application_name = ''").fetchone()


def empty(bench: Bench) -> None:
    """Ask psycopg's pool for one too many."""
    with pool(bench) as made, made.connection():
        made.getconn()


def crowded(bench: Bench) -> None:
    """Ask it while as many wait as may."""
    with pool(bench, max_waiting=1, timeout=30) as made, made.connection():
        waits = threading.Thread(target=lambda: made.putconn(made.getconn()), daemon=True)
        waits.start()
        until("it waits", lambda: made.get_stats().get("requests_waiting"))
        made.getconn()


def closed_pool(bench: Bench) -> None:
    """Ask it after its end."""
    with pool(bench) as made:
        made.close()
        made.getconn()


def unopened(bench: Bench) -> None:
    """Ask it before its beginning."""
    psycopg_pool.ConnectionPool(bench.url(HERE), open=False).getconn()


def reopened(bench: Bench) -> None:
    """Open it again."""
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
    """Make a pool for async code that opens itself."""

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
    """Let a pool give up."""
    with logged("psycopg.pool") as lines, pool(bench, NOWHERE, reconnect_timeout=0.05):
        until("it has given up", lambda: [line for line in lines if "reconnection attempt" in line])
    return lines


def returned(query: str) -> Callable[[Bench], list[str]]:
    """Give a connection back after a query, without an end of its transaction."""

    def give_back(bench: Bench) -> list[str]:
        with logged("psycopg.pool") as lines, pool(bench, timeout=5) as made:
            connection = made.getconn()
            with suppress(psycopg.Error):
                connection.execute(query.encode())
            made.putconn(connection)
            until("it is there", lambda: lines)
        return lines

    return give_back


def used_twice(bench: Bench) -> None:
    """Use one connection of asyncpg for two queries at a time."""
    client = Asyncpg(bench.url(HERE))

    async def both() -> None:
        await asyncio.gather(client.connection.fetch("select pg_sleep(0.2)"), client.connection.fetch("select 1"))

    try:
        client.loop.run_until_complete(both())
    finally:
        client.close()


def cut_within(bench: Bench) -> None:
    """End the socket of asyncpg within a query."""
    client = Asyncpg(bench.url(HERE))
    try:
        client.connection.get_settings()  # it is there
        client.loop.call_later(0.05, client.connection._transport.abort)
        client.run("select pg_sleep(5)")
    finally:
        client.close()


def dropped(_: Bench) -> str:
    """Let asyncpg meet a server that resets the connection: what its traceback has above asyncpg's own words."""
    try:
        asyncio.run(asyncpg.connect(host="127.0.0.1", port=listening(reset=True), user="x", ssl=False, timeout=5))
    except asyncpg.PostgresError as error:
        return "".join(traceback.format_exception(error))
    return ""


def hung_up(_: Bench) -> None:
    """Let asyncpg ask for TLS where nobody answers."""
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        client, _ = listener.accept()
        client.recv(8)
        client.close()

    threading.Thread(target=hang_up, daemon=True).start()
    with listener:
        port = listener.getsockname()[1]
        Asyncpg(f"host=127.0.0.1 port={port} user=x password=x dbname=x sslmode=require")


def closed_asyncpg(bench: Bench) -> None:
    """Use a connection of asyncpg after its end."""
    client = Asyncpg(bench.url(HERE))
    try:
        client.loop.run_until_complete(client.connection.close())
        client.run("select 1")
    finally:
        client.end(client.loop)


def another_loop(bench: Bench) -> None:
    """Use a connection of asyncpg in another event loop than it was opened in."""
    client = Asyncpg(bench.url(HERE))
    try:
        asyncio.run(client.connection.fetch("select 1"))
    finally:
        client.close()


def outlived_loop(bench: Bench) -> None:
    """Give up a connection of asyncpg after its event loop."""
    client = Asyncpg(bench.url(HERE))
    transport = client.connection._transport
    client.loop.close()
    try:
        client.connection.terminate()
    finally:
        transport._sock.close()
        transport._sock = None


def place(bench: Bench) -> dict[str, Any]:
    """Return where PostgreSQL is, as asyncpg takes it."""
    parts = psycopg.conninfo.conninfo_to_dict(bench.url(HERE))
    parts["database"] = parts.pop("dbname")
    return {key: parts[key] for key in ("database", "user", "password", "host", "port")} | {"ssl": False}


def of_asyncpg_pool(does: Callable[[Any], Any]) -> Callable[[Bench], None]:
    """Do something with asyncpg's pool."""

    def run(bench: Bench) -> None:
        async def main() -> None:
            made = asyncpg.create_pool(**place(bench), min_size=1, max_size=1)
            try:
                await does(made)
            finally:
                with suppress(Exception):
                    made.terminate()
                await asyncio.sleep(0.01)

        asyncio.run(main())

    return run


def given(parameter: str) -> Callable[[Bench], object]:
    """Give asyncpg a parameter of libpq's."""
    return lambda _: asyncpg.connect(**{parameter: "require"})


async def of_another(made: Any) -> None:
    """Give a connection back to another pool than the one that lent it."""
    await made
    connection = await made.acquire()
    await asyncpg.create_pool(min_size=0).release(connection)


async def released(made: Any) -> None:
    """Use a connection after it was given back."""
    await made
    connection = await made.acquire()
    await made.release(connection)
    await connection.fetch("select 1")


async def after_close(made: Any) -> None:
    """Ask asyncpg's pool after its end."""
    await made
    await made.close()
    await made.acquire()


async def while_closing(made: Any) -> None:
    """Ask asyncpg's pool while it waits for a connection that it has lent."""
    await made
    lent = await made.acquire()
    closing = asyncio.create_task(made.close())
    await asyncio.sleep(0.01)
    try:
        await made.acquire()
    finally:
        await made.release(lent)
        await closing


async def before_open(made: Any) -> None:
    """Ask it before it was awaited."""
    await made.acquire()


async def lost_within(made: Any) -> None:
    """Go on with a transaction after the pool's connection was closed."""
    await made
    connection = await made.acquire()
    transaction = connection.transaction()
    await transaction.start()
    await connection.close()
    await transaction.rollback()


async def lent(made: Any) -> None:
    """Ask asyncpg's pool for one connection too many, and not wait for long."""
    await made
    async with made.acquire(), made.acquire(timeout=0.1):
        pass


def silent(_: Bench) -> None:
    """Let asyncpg connect to what never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(asyncpg.connect(host="127.0.0.1", port=listener.getsockname()[1], ssl=False, timeout=0.1))


async def of_call(connection: Any) -> None:
    """Give the call a limit."""
    await connection.fetch(SLOW, timeout=0.1)


async def of_wait(connection: Any) -> None:
    """Give asyncpg none, and do not wait for it."""
    await asyncio.wait_for(connection.fetch(SLOW), 0.1)


async def of_block(connection: Any) -> None:
    """Give asyncpg none, and leave the block before it is done."""
    async with asyncio.timeout(0.1):
        await connection.fetch(SLOW)


def asked(does: Callable[[Any], Any], **limits: float | None) -> Callable[[Bench], None]:
    """Let asyncpg ask for what takes longer than somebody waits, on a connection that answers the next query."""

    def run(bench: Bench) -> None:
        async def main() -> None:
            connection = await asyncpg.connect(**place(bench), **limits)
            try:
                await does(connection)
            finally:
                assert await connection.fetchval("select 1", timeout=60) == 1
                await connection.close()

        asyncio.run(main())

    return run


def of_connection(bench: Bench) -> None:
    """Give the call none: the connection has one."""
    asked(lambda connection: connection.fetch(SLOW), command_timeout=0.1)(bench)


# Who waits in vain with asyncpg, by the function that its traceback has.
IMPATIENT: dict[str, tuple[Callable[[Bench], None], ...]] = {
    "acquire": (of_asyncpg_pool(lent),),
    "connect": (silent,),
    "fetch": (asked(of_call), of_connection, asked(of_wait), asked(of_block)),
}


def waited(does: Callable[[Bench], None], bench: Bench) -> tuple[str, set[str]]:
    """Return what a timeout around asyncpg says, and which functions of asyncpg its traceback has, causes and all."""
    try:
        does(bench)
    except TimeoutError as error:
        causes: list[BaseException] = [error]
        # As it is printed; of asyncio.timeout() Python has the cause from 3.11.3 on.
        while cause := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(cause)
        stack = [frame for each in causes for frame in traceback.extract_tb(each.__traceback__)]
        names = {frame.name.strip("_") for frame in stack if "asyncpg" in frame.filename}
        return "".join(traceback.format_exception_only(error)), names
    return "", set()


def another_thread(bench: Bench) -> Any:
    """Use Django's connection in another thread."""
    client = Django(bench.url(HERE))
    heard: list[Exception] = []

    def use() -> None:
        try:
            client.run("select 1")
        except Exception as error:
            heard.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    client.close()
    raise heard[0]


def in_a_loop(bench: Bench) -> None:
    """Use it within an event loop."""
    client = Django(bench.url(HERE))

    async def use() -> None:
        client.run("select 1")

    try:
        asyncio.run(use())
    finally:
        client.close()


def broken_atomic(bench: Bench) -> None:
    """Go on in atomic() after an error."""
    from django.db import connections
    from django.db.transaction import Atomic

    client = Django(bench.url(HERE))
    connections["bench"] = client.connection
    try:
        with Atomic("bench", savepoint=False, durable=False):
            with suppress(Exception), Atomic("bench", savepoint=False, durable=False):
                client.run("select 1/0")
            client.run("select 1")
    finally:
        client.close()
        del connections["bench"]


def too_early(bench: Bench) -> list[str]:
    """Use it before Django's apps are ready."""
    from django.apps import apps

    client = Django(bench.url(HERE))
    ready, apps.ready = apps.ready, False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client.run("select 1")
        return [str(each.message) for each in caught]
    finally:
        apps.ready = ready
        client.close()


def without_postgres(bench: Bench) -> list[str]:
    """Have Django look for the database postgres behind a PgBouncer that has no such entry."""
    client = Django(bench.url(Case("")))
    try:
        with warnings.catch_warnings(record=True) as caught, suppress(django.db.Error):
            warnings.simplefilter("always")
            with client.connection._nodb_cursor():
                pass
        return [str(each.message) for each in caught]
    finally:
        client.close()


def unset(_: Bench) -> str:
    """Read a variable that is not set, with django-environ."""
    import environ

    return str(environ.Env().db())


def unconfigured(entry: dict[str, str]) -> Callable[[Bench], None]:
    """Connect with an entry of DATABASES in which something is missing."""

    def run(_: Bench) -> None:
        ConnectionHandler({"default": entry})["default"].cursor()

    return run


GUNICORN = (gunicorn("--timeout", "1", "wsgi"), "Booting worker")  # what starts it, and what it says then
UWSGI = (uwsgi("--die-on-term", "--harakiri", "1"), "spawned uWSGI worker")


def worker(
    body: str,
    said: str,
    *options: str,
    imports: str = "os, time",
    by: tuple[tuple[str, ...], str] = GUNICORN,
    requests: int = 1,
) -> Callable[[Bench | None], str]:
    """Let Gunicorn, or another, serve requests whose code is `body`, until it says something of its worker.

    What it imports is there before the requests, whose time is limited.
    """

    def serve(_: Bench | None) -> str:
        with TemporaryDirectory() as folder:
            Path(folder, "wsgi.py").write_text(f"import {imports}\ndef application(environ, start):\n    {body}\n")
            log, port = Path(folder, "log"), free_port()
            begin, ready = by
            command = [sys.executable, *(part.format(port=port) for part in begin), *options]
            environment = {**os.environ, "HOME": folder, "PYTHONPATH": f"{folder}:{packages('runners')}"}
            with log.open("w") as file:
                process = subprocess.Popen(command, cwd=folder, stderr=file, env=environment)
            try:
                until("it listens", lambda: ready in log.read_text())
                with ExitStack() as clients:
                    for _request in range(requests):
                        client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
                        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    until("it says so", lambda: said in log.read_text())
                return log.read_text()
            finally:
                process.terminate()
                process.wait()

    return serve


def forgotten(bench: Bench) -> str:
    """Let a connection of psycopg 3 go without closing it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        psycopg.connect(bench.url(HERE))
        gc.collect()
    return str(said[0].message)


def without_driver(_: Bench) -> str:
    """Let Django look for a driver where none is installed."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('psycopg', 'psycopg2')); import django.db.backends.postgresql.base"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


def lost_process(_: Bench) -> str:
    """Let a process of the pool that Celery has end within its work."""
    code = """if True:
        import os, billiard.pool, billiard.util
        billiard.util.log_to_stderr(40)
        billiard.pool.Pool(1, lost_worker_timeout=0.1).apply_async(os._exit, (5,)).get()
    """
    environment = {**os.environ, "PYTHONPATH": str(packages("runners"))}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stderr


# By whom it is said, and how it is made to.
DRIVERS: dict[str, tuple[str, Callable[[Bench], Any]]] = {
    "the connection is closed": ("psycopg 3", closed_psycopg),
    "was deleted while still open": ("psycopg 3", forgotten),
    "the cursor is closed": ("psycopg 3", closed_cursor),
    "connection already closed": ("psycopg2", closed_psycopg2),
    "cursor already closed": ("psycopg2", closed_cursor2),
    "no results to fetch": ("psycopg2", nothing_to_fetch),
    "the last operation didn't produce …": ("psycopg 3", nothing_to_fetch3),
    "can't change '…' now: connection in transaction status …": ("psycopg 3", begun_by_hand),
    "set_session cannot be used inside a transaction": ("psycopg2", begun_by_hand2),
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
    'invalid DSN: scheme is expected to be either "postgresql" or "postgres", got …': (
        "asyncpg",
        lambda _: asyncio.run(asyncpg.connect("postgresql+asyncpg://127.0.0.1/x")),
    ),
    'invalid integer value "tcp://…" for connection option "port"': (
        "psycopg2",
        lambda _: psycopg2.connect("host=127.0.0.1 port=tcp://10.0.0.9:5432"),
    ),
    'invalid connection option "ssl"': ("psycopg2", lambda _: psycopg2.connect("ssl=true")),
    'invalid connection option "…"': ("psycopg2", lambda _: psycopg2.connect("pgbouncer=true")),
    "Set the DATABASE_URL environment variable": ("django-environ", unset),
    "settings.DATABASES is improperly configured. Please supply the ENGINE value": ("Django", unconfigured({})),
    "settings.DATABASES is improperly configured. Please supply the NAME or": (
        "Django",
        unconfigured({"ENGINE": "django.db.backends.postgresql"}),
    ),
    "Port could not be cast to integer value as '…'": (
        "Python",
        lambda _: urlsplit("postgresql://x:a#b@127.0.0.1:1/x").port,
    ),
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
    "cannot perform operation: another operation is …": ("asyncpg", used_twice),
    "connection was closed in the middle of operation": ("asyncpg", cut_within),
    "unexpected connection_lost() call": ("asyncpg", hung_up),
    "connection is closed": ("asyncpg", closed_asyncpg),
    "Pool.release() received invalid connection": ("asyncpg", of_asyncpg_pool(of_another)),
    "connect() got an unexpected keyword argument 'sslmode'": ("asyncpg", given("sslmode")),
    "connect() got an unexpected keyword argument 'channel_binding'": ("asyncpg", given("channel_binding")),
    "connection has been released back to the pool": ("asyncpg", of_asyncpg_pool(released)),
    "[Errno 104] Connection reset by peer": ("asyncpg", dropped),
    "the underlying connection is closed": ("asyncpg", of_asyncpg_pool(lost_within)),
    "TimeoutError": ("asyncpg", lambda bench: waited(IMPATIENT["acquire"][0], bench)[0]),
    "attached to a different loop": ("asyncpg", another_loop),
    "Event loop is closed": ("asyncpg", outlived_loop),
    "pool is closed": ("asyncpg", of_asyncpg_pool(after_close)),
    "pool is closing": ("asyncpg", of_asyncpg_pool(while_closing)),
    "pool is not initialized": ("asyncpg", of_asyncpg_pool(before_open)),
    "DatabaseWrapper objects created in a thread can only be used in that same thread": ("Django", another_thread),
    "You cannot call this from an async context - use a thread or sync_to_async": ("Django", in_a_loop),
    "An error occurred in the current transaction. You can't execute queries until the end of the 'atomic' block.": (
        "Django",
        broken_atomic,
    ),
    "Accessing the database during app initialization is discouraged": ("Django", too_early),
    "Error loading psycopg2 or psycopg module": ("Django", without_driver),
    "Normally Django will use a connection to the 'postgres' database": ("Django", without_postgres),
    "WORKER TIMEOUT": ("Gunicorn", worker("time.sleep(30)", "WORKER TIMEOUT")),
    "Worker (pid:…) was sent SIGKILL! Perhaps out of memory?": (
        "Gunicorn",
        worker("os.kill(os.getpid(), 9)", "was sent"),
    ),
    "HARAKIRI ON WORKER …": (
        "uWSGI",
        worker("time.sleep(30)", "HARAKIRI ON WORKER", by=UWSGI),
    ),
    "DAMN ! worker … (pid: …) died… trying respawn": (
        "uWSGI",
        worker("os.kill(os.getpid(), 9)", "trying respawn", by=UWSGI),
    ),
    "Worker (pid:…) was sent SIGSEGV!": ("Gunicorn", worker("os.kill(os.getpid(), 11)", "was sent")),
    "uWSGI listen queue of socket … full": (
        "uWSGI",
        worker("time.sleep(30)", "listen queue of socket", "--listen", "1", by=UWSGI, requests=3),
    ),
    "Worker exited prematurely: …": ("Celery", lost_process),
    "Process '…' pid:… exited with …": ("Celery", lost_process),
    "Worker (pid:…) exited with code …": ("Gunicorn", worker("os._exit(5)", "exited with")),
}


def provoked(text: str, bench: Bench) -> tuple[str, Heard]:
    """Have a text said, and return by whom, with the exception that has it; nobody says a text that is not here."""
    by, provoke = DRIVERS.get(text, ("nobody", lambda _: ""))
    try:
        return by, Heard("", str(provoke(bench)))
    except Exception as error:
        return by, Heard(type(error).__name__, str(error))
