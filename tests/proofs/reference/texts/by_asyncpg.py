"""What asyncpg and its pool say themselves. A function raises it, or returns what a traceback has."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg

from tests.proofs.reference.texts.bench import HERE, Bench
from tests.proofs.reference.texts.clients import Asyncpg
from tests.proofs.reference.texts.having import listening

SLOW = "select pg_sleep(5)"  # longer than any caller waits for it


def used_twice(bench: Bench) -> None:
    """Use one asyncpg connection for two queries at a time."""
    client = Asyncpg(bench.url(HERE))

    async def both() -> None:
        await asyncio.gather(client.connection.fetch("select pg_sleep(0.2)"), client.connection.fetch("select 1"))

    try:
        client.loop.run_until_complete(both())
    finally:
        client.close()


def cut_within(bench: Bench) -> None:
    """Close asyncpg's socket during a query."""
    client = Asyncpg(bench.url(HERE))
    try:
        client.connection.get_settings()  # it exists
        client.loop.call_later(0.05, client.connection._transport.abort)
        client.run("select pg_sleep(5)")
    finally:
        client.close()


def dropped(_: Bench) -> str:
    """Let asyncpg meet a server that resets the connection; return its traceback, with the cause."""
    try:
        asyncio.run(asyncpg.connect(host="127.0.0.1", port=listening(reset=True), user="x", ssl=False, timeout=5))
    except asyncpg.PostgresError as error:
        return "".join(traceback.format_exception(error))
    return ""


def hung_up(_: Bench) -> None:
    """Let asyncpg ask for TLS, and close the connection instead of an answer."""
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
    """Use an asyncpg connection after it was closed."""
    client = Asyncpg(bench.url(HERE))
    try:
        client.loop.run_until_complete(client.connection.close())
        client.run("select 1")
    finally:
        client.end(client.loop)


def another_loop(bench: Bench) -> None:
    """Use an asyncpg connection in a different event loop than it was opened in."""
    client = Asyncpg(bench.url(HERE))
    try:
        asyncio.run(client.connection.fetch("select 1"))
    finally:
        client.close()


def outlived_loop(bench: Bench) -> None:
    """Terminate an asyncpg connection after its event loop was closed."""
    client = Asyncpg(bench.url(HERE))
    transport = client.connection._transport
    client.loop.close()
    try:
        client.connection.terminate()
    finally:
        transport._sock.close()
        transport._sock = None


def place(bench: Bench) -> dict[str, Any]:
    """Return PostgreSQL's address, in asyncpg's parameters."""
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


def told_nothing(_: Bench) -> str:
    """Let asyncpg in without telling it a version; return its traceback."""
    port = listening(b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I")
    # In a process of its own: asyncpg leaves the connection as it is.
    code = f"import asyncio, asyncpg; asyncio.run(asyncpg.connect(host='127.0.0.1', port={port}, user='x', ssl=False))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


def begun(bench: Bench) -> str:
    """Give a connection back to asyncpg's pool within a transaction; return what asyncpg tells the loop."""
    told: list[str] = []

    async def give_back(made: Any) -> None:
        await made
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
        async with made.acquire() as connection:
            await connection.execute("begin")

    of_asyncpg_pool(give_back)(bench)
    return "".join(told)


def given(parameter: str) -> Callable[[Bench], object]:
    """Give asyncpg a libpq parameter."""
    return lambda _: asyncpg.connect(**{parameter: "require"})


async def of_another(made: Any) -> None:
    """Return a connection to a different pool than the one that lent it."""
    await made
    connection = await made.acquire()
    await asyncpg.create_pool(min_size=0).release(connection)


async def of_no_such_type(made: Any) -> None:
    """Register a codec for a type that the database does not have."""
    await made
    async with made.acquire() as connection:
        await connection.set_type_codec("vector", encoder=str, decoder=str)


async def released(made: Any) -> None:
    """Use a connection after it was returned."""
    await made
    connection = await made.acquire()
    await made.release(connection)
    await connection.fetch("select 1")


async def after_close(made: Any) -> None:
    """Ask asyncpg's pool after it was closed."""
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
    """Ask asyncpg's pool for one connection too many, with a short timeout."""
    await made
    async with made.acquire(), made.acquire(timeout=0.1):
        pass


def silent(_: Bench) -> None:
    """Let asyncpg connect to a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(asyncpg.connect(host="127.0.0.1", port=listener.getsockname()[1], ssl=False, timeout=0.1))


async def of_call(connection: Any) -> None:
    """Give the call a timeout."""
    await connection.fetch(SLOW, timeout=0.1)


async def of_wait(connection: Any) -> None:
    """Give asyncpg none, and wait with one."""
    await asyncio.wait_for(connection.fetch(SLOW), 0.1)


async def of_block(connection: Any) -> None:
    """Give asyncpg none, and the block around it one."""
    async with asyncio.timeout(0.1):
        await connection.fetch(SLOW)


def asked(does: Callable[[Any], Any], **limits: float | None) -> Callable[[Bench], None]:
    """Let asyncpg run a query that takes longer than the timeout, on a connection that answers the next query."""

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
    """Give the call none: the connection has one, and asyncpg's request to cancel the query gets it too."""
    asked(lambda connection: connection.fetch("select pg_sleep(60)"), command_timeout=2)(bench)


def uncancelled(bench: Bench) -> None:
    """Let a query take longer than command_timeout, while nobody takes the request to cancel it; then ask again."""

    async def main() -> None:
        connection = await asyncpg.connect(**place(bench), command_timeout=0.1)
        os.kill(bench.cluster.leash.pid, signal.SIGSTOP)
        try:
            with suppress(TimeoutError):
                await connection.fetch("select pg_sleep(60)")
            await connection.fetch("select 1", timeout=60)
        finally:
            connection.terminate()

    try:
        asyncio.run(main())
    finally:
        os.kill(bench.cluster.leash.pid, signal.SIGCONT)


# What times out in asyncpg, by the function that its traceback has.
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
        # As it is printed; for asyncio.timeout() Python has the cause from 3.11.3 on.
        while cause := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(cause)
        stack = [frame for each in causes for frame in traceback.extract_tb(each.__traceback__)]
        names = {frame.name.strip("_") for frame in stack if "asyncpg" in frame.filename}
        return "".join(traceback.format_exception_only(error)), names
    return "", set()


# Which program says it, and how it is made to.
TEXTS: dict[str, tuple[str, Callable[[Bench], Any]]] = {
    'invalid DSN: scheme is expected to be either "postgresql" or "postgres", got …': (
        "asyncpg",
        lambda _: asyncio.run(asyncpg.connect("postgresql+asyncpg://127.0.0.1/x")),
    ),
    "cannot perform operation: another operation is …": ("asyncpg", used_twice),
    "connection was closed in the middle of operation": ("asyncpg", cut_within),
    "unexpected connection_lost() call": ("asyncpg", hung_up),
    "connection is closed": ("asyncpg", closed_asyncpg),
    "Pool.release() received invalid connection": ("asyncpg", of_asyncpg_pool(of_another)),
    "unknown type: public.…": ("asyncpg", of_asyncpg_pool(of_no_such_type)),
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
    "AttributeError: server_version": ("asyncpg", told_nothing),
    "Resetting connection with an active transaction": ("asyncpg", begun),
}
