"""Proves docs/runbooks/pool-timeout.md: a pool with no connection to lend."""

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg_pool
import pytest
from psycopg import sql

from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.stack.database import Database, fresh
from tests.stack.wait import until


@control(edit("provoke/pool_timeout.py", "stats.get(name, 0)", "stats.get(name, 1)"))
def test_the_pool_tells_two_reasons_apart(database, load, printed, transcript) -> None:
    """The error is the same, but only where no server answers does the pool count failed connections."""
    snippet = load("provoke/pool_timeout.py")

    def told() -> list[str] | None:
        lent, failed = printed(snippet, DATABASE_URL=database.url).split("No server listens:\n")
        return None if "'connections_errors': 0" in failed else [lent, failed]

    lent, failed = until("an attempt has failed in that time", told)
    for said in (lent, failed):
        assert "PoolTimeout: couldn't get a connection after 0.30 sec\n" in said
        assert "'pool_available': 0" in said
    assert "'connections_errors': 0" in lent
    transcript(snippet, f"{lent}No server listens:\n{failed}", volatile=[(r"errors': [1-9]\d*", "errors': N")])


@control(here('change("the-next-one"', 'change("another"'), fails_with="it has a connection: not within")
def test_the_pool_tries_on_until_it_has_a_connection(database, cluster, caplog) -> None:
    """Without any request, it has a connection to lend once the server lets it in, or is back."""

    def change(password: str) -> None:
        statement = sql.SQL("alter role {} password {}")
        database.admin.execute(statement.format(sql.Identifier(database.role.name), sql.Literal(password)))

    address = database.url.replace(database.role.password, "the-next-one")
    with (
        caplog.at_level(logging.WARNING, "psycopg.pool"),
        psycopg_pool.ConnectionPool(address, min_size=1, max_size=1) as pool,
    ):
        until("the pool has tried", lambda: "password authentication failed" in caplog.text)
        change("the-next-one")
        until("it has a connection", lambda: pool.get_stats()["pool_available"] == 1)
        assert pool.get_stats().get("requests_num", 0) == 0

    started = cluster(cluster_name="pool-tries")
    with fresh(started.server) as own, caplog.at_level(logging.WARNING, "psycopg.pool"):
        started.leash.halt()
        with psycopg_pool.ConnectionPool(own.url, min_size=1, max_size=1) as pool:
            until("the pool has tried", lambda: "Connection refused" in caplog.text)
            started.start(own.server.port)
            own.follow(started.server)
            until("it has one again", lambda: pool.get_stats()["pool_available"] == 1)
            assert pool.get_stats().get("requests_num", 0) == 0


@control(here('"psycopg.pool"', '"psycopg"'), fails_with="the pool has tried: not within")
@control(here("getconn(timeout=0.1)", "putconn(None)"), fails_with="can't return connection to pool")
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("password", "password authentication failed"),
        ("port", "Connection refused"),
        ("limit", "too many connections for role"),
    ],
)
def test_why_no_connection_can_be_opened_is_in_the_pools_log_alone(database, caplog, wrong, why) -> None:
    """The caller is told only how long it waited; the logger psycopg.pool has PostgreSQL's or libpq's own text."""
    if wrong == "limit":
        database.admin.execute(f"alter role {database.role.name} connection limit 0")
    address = database.url
    parts = {"password": (f":{database.role.password}@", ":an-old-one@"), "port": (f":{database.server.port}/", ":1/")}
    if wrong in parts:
        address = address.replace(*parts[wrong])

    def logged() -> bool:
        return any(record.name == "psycopg.pool" and why in record.getMessage() for record in caplog.records)

    with (
        caplog.at_level(logging.WARNING),
        psycopg_pool.ConnectionPool(address, min_size=1, max_size=1) as pool,
    ):
        until("the pool has tried", logged)
        with pytest.raises(psycopg_pool.PoolTimeout) as error:
            pool.getconn(timeout=0.1)
        before = pool.get_stats()
        until("it has tried again", lambda: pool.get_stats()["connections_errors"] > before["connections_errors"])
    assert before["pool_available"] == 0
    assert re.fullmatch(r"couldn't get a connection after 0\.10 sec", str(error.value))


@control(here('"max_waiting": 1', '"max_waiting": 2'), fails_with="couldn't get a connection")
def test_a_pool_refuses_more_than_may_wait(database) -> None:
    """With max_waiting = 1, a second caller that would have to wait is refused at once."""
    waits = {"min_size": 1, "max_size": 1, "max_waiting": 1, "timeout": 10}
    with psycopg_pool.ConnectionPool(database.url, **waits) as pool, ThreadPoolExecutor(1) as thread:
        lent = pool.getconn()
        first = thread.submit(pool.getconn)
        until("one waits", lambda: pool.get_stats().get("requests_waiting") == 1)
        with pytest.raises(psycopg_pool.TooManyRequests, match="has already 1 requests waiting"):
            pool.getconn(timeout=1)
        pool.putconn(lent)
        pool.putconn(first.result())


@control(here("False", "True"))
def test_a_pool_that_is_closed_or_not_yet_open_says_so(database) -> None:
    """Each raises PoolClosed; a caller that waits while it is closed is told so too."""
    pool = psycopg_pool.ConnectionPool(database.url, min_size=1, max_size=1, open=False)
    with pytest.raises(psycopg_pool.PoolClosed, match=r"the pool '.+' is not open yet"):
        pool.getconn()
    pool.open(wait=True)
    with ThreadPoolExecutor(1) as thread:
        lent = pool.getconn()
        waits = thread.submit(heard, pool.getconn, timeout=10)
        until("one waits", lambda: pool.get_stats().get("requests_waiting") == 1)
        pool.close()
        assert re.fullmatch(r"the pool '.+' is closed", waits.result())
        lent.close()
    with pytest.raises(psycopg_pool.PoolClosed, match=r"the pool '.+' is already closed"):
        pool.getconn()


@control(here("use(asyncio.run(opened()))", "opened_and_used()"))
def test_an_async_pool_lends_what_it_had_and_opens_nothing_in_another_event_loop(database) -> None:
    """Opened in one asyncio.run(), it lends the next one its one connection, then none, and counts no failed one."""

    async def opened() -> psycopg_pool.AsyncConnectionPool:
        pool = psycopg_pool.AsyncConnectionPool(database.url, open=False, min_size=1, max_size=2, timeout=2)
        await pool.open()
        await pool.wait()
        return pool

    async def use(pool: psycopg_pool.AsyncConnectionPool) -> tuple[str, dict[str, int]]:
        async with pool.connection() as lent:
            try:
                async with pool.connection():
                    return "", pool.get_stats()
            except psycopg_pool.PoolTimeout as error:
                return str(error), pool.get_stats()
            finally:
                await lent.close()

    async def opened_and_used() -> tuple[str, dict[str, int]]:
        pool = await opened()
        found = await use(pool)
        await pool.close()
        return found

    said, stats = asyncio.run(use(asyncio.run(opened())))
    assert said == "couldn't get a connection after 2.00 sec"
    assert "connections_errors" not in stats


@control(here("database.terminate(pid)", "pass"), fails_with="DID NOT RAISE")
@control(here('"min_size": 4, "max_size": 4', '"min_size": 1, "max_size": 1'), fails_with="DID NOT RAISE")
def test_a_request_that_finds_one_lost_connection_after_another_waits_between_them(database) -> None:
    """Of a pool of four, all lost, the first to ask waits for more than five seconds, or gets PoolTimeout at its limit.

    PostgreSQL takes new connections all the while.
    """
    checked = {"min_size": 4, "max_size": 4, "check": psycopg_pool.ConnectionPool.check_connection}
    for limit, fails in ((3, True), (30, False)):
        with psycopg_pool.ConnectionPool(database.url, **checked, timeout=limit) as pool:
            pool.wait()
            for pid in database.backends():
                database.terminate(pid)
            database.connect().close()
            asked = time.monotonic()
            if fails:
                with pytest.raises(psycopg_pool.PoolTimeout, match="couldn't get a connection after"):
                    pool.getconn()
            else:
                with pool.connection():
                    assert time.monotonic() - asked > 5
            until("they are counted", lambda pool=pool: pool.get_stats().get("connections_lost", 0) > 2)


@control(here('console.execute(f"pause {database.name}")', "pass"), fails_with="DID NOT RAISE")
def test_behind_a_paused_pgbouncer_a_pool_finds_dead_ones_and_counts_no_error(database, pooler) -> None:
    """Each connection it would lend fails its check, long after the pool's timeout; the caller still gets PoolTimeout.

    So it is, without the wait, where the server no longer lets PgBouncer in.
    """
    bouncer = pooler(database, pool_mode="transaction", query_wait_timeout=1)
    checked = {"min_size": 1, "max_size": 1, "check": psycopg_pool.ConnectionPool.check_connection}
    with psycopg_pool.ConnectionPool(bouncer.url(database), **checked) as pool, bouncer.admin() as console:
        with pool.connection() as connection:
            connection.execute("select 1")
        console.execute(f"pause {database.name}")
        asked = time.monotonic()
        with pytest.raises(psycopg_pool.PoolTimeout, match="couldn't get a connection after"):
            pool.getconn(timeout=0.1)
        assert time.monotonic() - asked > 0.5
        stats = pool.get_stats()
        assert stats["connections_lost"] == 1
        assert stats.get("requests_errors", 0) == 0
        console.execute(f"resume {database.name}")
    with psycopg_pool.ConnectionPool(bouncer.url(database), **checked) as pool:
        pool.wait()
        with refused(database):
            with pytest.raises(psycopg_pool.PoolTimeout, match="couldn't get a connection after"):
                pool.getconn(timeout=0.1)
            until("one is lost", lambda: pool.get_stats().get("connections_lost", 0))


@control(here("nologin", "login", of="tests.proofs.runbooks.test_pool_timeout:refused"), fails_with="DID NOT RAISE")
@control(here("pool.getconn(timeout=1)", "raise psycopg_pool.PoolTimeout"))
def test_who_waits_in_vain_after_a_dead_one_is_counted(database) -> None:
    """The pool has one connection, which is dead, and opens no other: the request that finds it counts as an error."""
    checked = {"min_size": 1, "max_size": 1, "check": psycopg_pool.ConnectionPool.check_connection}
    with psycopg_pool.ConnectionPool(database.url, **checked) as pool:
        pool.wait()
        with refused(database):
            with pytest.raises(psycopg_pool.PoolTimeout, match="couldn't get a connection after"):
                pool.getconn(timeout=1)
            stats = pool.get_stats()
            assert (stats.get("connections_lost"), stats.get("requests_errors")) == (1, 1)


@contextmanager
def refused(database: Database) -> Iterator[None]:
    """End all sessions of the database's role, and let it have no others meanwhile."""
    database.admin.execute(f"alter role {database.role.name} nologin")
    try:
        for pid in database.backends():
            database.terminate(pid)
        yield
    finally:
        database.admin.execute(f"alter role {database.role.name} login")
