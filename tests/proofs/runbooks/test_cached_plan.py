"""Proves docs/runbooks/cached-plan.md: a table that changes under a prepared statement."""

import asyncio
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import asyncpg
import psycopg
import pytest
from django.db.utils import NotSupportedError

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.reference.texts.clients import Django
from tests.stack.console import at_least, console

TEXT = "cached plan must not change result type"
ALL = "select * from item"


def grow(database) -> None:
    """Give the table a second column."""
    with database.connect() as owner:
        owner.execute("alter table item add name text")


@control(edit("pgbouncer/console/reconnect.sql", 'reconnect :"database";', ""))
@control(here("clients[0].rollback()", 'clients[0].execute("commit")'))
@control(here('holder.execute("select 1")', "pass"))
@control(here('"server_side_binding": True', '"server_side_binding": False'), fails_with="DID NOT RAISE")
@pytest.mark.usefixtures("item")
def test_a_changed_table_fails_every_client_until_reconnect(database, pooler, load) -> None:
    """Clients that had prepared the statement fail, and so does a later one, on a server connection that has it.

    After RECONNECT each of them gets its rows. From PgBouncer 1.22 on, so does each once psycopg has dropped all
    statements, as it does after a ROLLBACK if it has prepared any.
    """
    if not at_least(1, 21):
        pytest.skip("needs PgBouncer 1.21")
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=2, max_prepared_statements=100)
    with ExitStack() as ends:

        def connect() -> psycopg.Connection[tuple]:
            return ends.enter_context(bouncer.connect(database, prepare_threshold=0))

        clients = [connect() for _ in range(2)]
        for client in clients:
            client.execute(ALL)
        grow(database)
        clients.append(connect())
        for _ in range(2):
            assert [heard(client.execute, ALL) for client in clients] == [TEXT] * 3
        with bouncer.connect(database, autocommit=False) as holder:
            holder.execute("select 1")  # takes the server connection that had it, and is the last to return one
            assert heard(clients[1].execute, ALL) == ""
        preparing = {"server_side_binding": True, "prepare_threshold": 0}
        django = ends.enter_context(closing(Django(bouncer.url(database), **preparing)))
        with pytest.raises(NotSupportedError, match=TEXT) as error:
            django.run(ALL)
        assert isinstance(error.value.__cause__, psycopg.errors.FeatureNotSupported)
        assert error.value.__cause__.sqlstate == "0A000"
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        assert [heard(client.execute, ALL) for client in clients] == [""] * 3
        with database.connect() as owner:
            owner.execute("alter table item drop name")
        assert [heard(client.execute, ALL) for client in clients] == [TEXT] * 3
        if at_least(1, 22):
            clients[0].execute("begin")
            clients[0].rollback()
            assert [heard(client.execute, ALL) for client in clients] == [""] * 3


@control(here("prepare_threshold=0", "prepare_threshold=1"))
@pytest.mark.usefixtures("item")
def test_on_a_direct_connection_it_fails_until_a_new_one_is_made(database) -> None:
    """The statement fails at every attempt until a ROLLBACK; on a new connection it succeeds."""
    with database.connect(prepare_threshold=0) as client:
        client.execute(ALL)
        grow(database)
        assert [heard(client.execute, ALL) for _ in range(3)] == [TEXT] * 3
        client.execute("begin")
        client.rollback()
        assert heard(client.execute, ALL) == ""
        anew = client.execute("select count(*) from pg_prepared_statements where statement = %s", [ALL])
        assert anew.fetchone() == (1,)
    with database.connect(prepare_threshold=0) as client:
        assert heard(client.execute, ALL) == ""


@control(here('"add name text"', '"add if not exists id int"'))
@control(here('"rename name to title"', '"alter name set default 1"'))
@control(here('"alter title type int using null"', '"alter title set default 1"'))
@control(here('"drop title"', '"alter title set default 2"'))
@pytest.mark.usefixtures("item")
def test_columns_that_change_their_name_or_type_or_come_or_go_fail_it(database) -> None:
    """After each of the four a statement that was prepared before fails."""
    for change in ("add name text", "rename name to title", "alter title type int using null", "drop title"):
        with database.connect(prepare_threshold=0) as client, database.connect() as owner:
            client.execute(ALL)
            owner.execute(f"alter table item {change}")
            told = heard(client.execute, ALL)
        assert (change, told) == (change, TEXT)


@control(here("asyncpg.connect(url)", "asyncpg.connect(url, statement_cache_size=0)"))
@pytest.mark.usefixtures("item")
def test_asyncpg_prepares_anew_except_in_a_transaction_and_behind_pgbouncer(database, pooler) -> None:
    """Where it cannot, asyncpg raises its own error; behind PgBouncer it cannot, as PgBouncer keeps the statement."""
    if not at_least(1, 21):
        pytest.skip("needs PgBouncer 1.21")
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1, max_prepared_statements=100)
    changed = "cached statement plan is invalid due to a database schema or configuration change"

    async def meet() -> None:
        urls = (database.url, database.url, bouncer.url(database))
        alone, within, pooled = clients = [await asyncpg.connect(url) for url in urls]
        await alone.execute("insert into item values (1)")
        for client in clients:
            await client.fetch(ALL)
        grow(database)
        assert [tuple(row) for row in await alone.fetch(ALL)] == [(1, None)]
        await within.execute("begin")
        for client in (within, pooled, pooled):
            with pytest.raises(asyncpg.InvalidCachedStatementError, match=changed):
                await client.fetch(ALL)
        for client in clients:
            client.terminate()

    asyncio.run(meet())
    evidence.on(asyncpg=asyncpg.__version__)


@control(here("asyncpg.connect(url)", "asyncpg.connect(url, statement_cache_size=0)"))
@pytest.mark.usefixtures("item")
def test_after_reconnect_asyncpg_reads_new_columns_as_the_old_ones(database, pooler, load) -> None:
    """A client that has the statement in its cache reads a real as an integer, and fails where a column was added.

    A client that connects later reads what is there.
    """
    if not at_least(1, 21):
        pytest.skip("needs PgBouncer 1.21")
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1, max_prepared_statements=100)
    url = bouncer.url(database)

    async def meet() -> None:
        client = await asyncpg.connect(url)
        await client.execute("insert into item values (1)")
        assert await client.fetchval(ALL) == 1
        with database.connect() as owner:
            owner.execute("alter table item alter id type real")
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        later = await asyncpg.connect(url)
        assert [await client.fetchval(ALL) for _ in range(2)] == [0x3F800000] * 2  # the bits of 1.0
        assert await later.fetchval(ALL) == 1
        grow(database)
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        for _ in range(2):
            with pytest.raises(asyncpg.ProtocolError, match="is different from what was described"):
                await later.fetch(ALL)
        for each in (client, later):
            each.terminate()

    asyncio.run(meet())
    evidence.on(asyncpg=asyncpg.__version__)


@control(edit("postgres/prepared.sql", "statement\nfrom", "name\nfrom"))
@pytest.mark.usefixtures("item")
def test_prepared_lists_the_statements_of_a_session(database, load) -> None:
    """The query lists its own session's, with their text and the time of preparation."""
    with database.connect(prepare_threshold=0) as client:
        before = datetime.now(UTC)
        client.execute(ALL)
        snippet = load("postgres/prepared.sql")
        database.psql(snippet)
        client.prepare_threshold = None
        (row,) = client.execute(snippet.text).fetchall()
        assert row[2] == ALL
        assert before <= row[1] <= datetime.now(UTC)


@control(here("client.execute(ALL)", "pass"))
@control(here("prepare_threshold=None, autocommit=False", "prepare_threshold=None"))
@pytest.mark.usefixtures("item")
def test_transactions_that_are_open_at_once_ask_different_server_connections(database, pooler, load) -> None:
    """Three clients, one after another, ask the server connection that was given back last; the other has it."""
    if not at_least(1, 21):
        pytest.skip("needs PgBouncer 1.21")
    snippet = load("postgres/prepared.sql")
    database.psql(snippet)
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=2, max_prepared_statements=100)

    def has(client: psycopg.Connection[tuple]) -> list[str]:
        """Return the statements of the server connection that answers."""
        return [row[2] for row in client.execute(snippet.text).fetchall()]

    with bouncer.connect(database, autocommit=False) as holder:
        holder.execute("select 1")
        with bouncer.connect(database, prepare_threshold=0) as client:
            client.execute(ALL)
    for _ in range(3):
        with bouncer.connect(database, prepare_threshold=None) as client:
            assert has(client) == []
    with ExitStack() as ends:
        clients = [
            ends.enter_context(bouncer.connect(database, prepare_threshold=None, autocommit=False)) for _ in range(2)
        ]
        assert [has(client) for client in clients] == [[], [ALL]]


@control(here('"select id from item"', "ALL"))
@control(here('returning id"', 'returning *"'))
@pytest.mark.usefixtures("item")
def test_a_statement_that_names_its_columns_survives_a_new_one(database) -> None:
    """It still succeeds after the change, and so does one that returns them; with RETURNING * one fails."""
    named = ["select id from item", "insert into item (id) values (1) returning id"]
    with database.connect(prepare_threshold=0) as client:
        queries = [*named, "insert into item (id) values (1) returning *"]
        for query in queries:
            client.execute(query)
        grow(database)
        assert [heard(client.execute, query) for query in queries] == ["", "", TEXT]


@control(here('pool_mode="session"', 'pool_mode="transaction"'))
@control(here('pool_mode="session"', 'pool_mode="session", server_reset_query=""'))
@pytest.mark.usefixtures("item")
def test_in_session_mode_only_a_client_that_leaves_is_rid_of_it(database, pooler, load) -> None:
    """The next client is served by the same server connection; RECONNECT changes nothing for one that stays."""
    bouncer = pooler(database, pool_mode="session", default_pool_size=1)

    def connect() -> psycopg.Connection[tuple]:
        return bouncer.connect(database, prepare_threshold=0)

    with connect() as client:
        client.execute(ALL)
        where = client.execute("select pg_backend_pid()").fetchone()
        grow(database)
        assert heard(client.execute, ALL) == TEXT
    with connect() as client:
        assert heard(client.execute, ALL) == ""
        assert client.execute("select pg_backend_pid()").fetchone() == where
        with database.connect() as owner:
            owner.execute("alter table item drop name")
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        assert heard(client.execute, ALL) == TEXT


@control(here("b.item (id int, name text)", "b.item (id int)"))
def test_where_the_search_path_changes_the_columns_it_comes_back(database) -> None:
    """A session that reads the same name in two schemas fails again after a ROLLBACK, and so does a new one."""
    with database.connect() as owner:
        for schema, table in (("a", "a.item (id int)"), ("b", "b.item (id int, name text)")):
            owner.execute(f"create schema {schema}")
            owner.execute(f"create table {table}")
    for _ in range(2):
        with database.connect(prepare_threshold=0) as client:

            def read(schema: str, client: psycopg.Connection[tuple] = client) -> str:
                client.execute(f"set search_path to {schema}")
                return heard(client.execute, ALL)

            assert [read(schema) for schema in "abab"] == ["", TEXT, "", TEXT]
            client.execute("begin")
            client.rollback()
            assert [read(schema) for schema in "baba"] == ["", TEXT, "", TEXT]
