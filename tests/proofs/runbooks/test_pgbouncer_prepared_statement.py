"""Proves docs/runbooks/pgbouncer-prepared-statement.md: named prepared statements and a pool of two."""

import asyncio
import re

import asyncpg
import psycopg
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.stack.console import at_least, console
from tests.stack.database import fresh
from tests.stack.upstream import driver

SCRIPT = "provoke/prepared_statement.py"
TWO: dict[str, object] = {"pool_mode": "transaction", "default_pool_size": 2}


def untracked() -> dict[str, object]:
    """Return the settings with which PgBouncer tracks no prepared statements. Before 1.21 it never does."""
    return {**TWO, "max_prepared_statements": 0} if at_least(1, 21) else {**TWO}


@control(
    edit(
        "provoke/prepared_statement.py",
        "connection.prepare_threshold = 0  # prepare from the first execution on",
        "connection.prepare_threshold = 1  # prepare from the first execution on",
    )
)
def test_clients_meet_each_others_prepared_statements(database, pooler, load, printed, transcript) -> None:
    """If PgBouncer does not track them, a name already exists or is missing, depending on the server connection."""
    snippet = load(SCRIPT)
    output = printed(snippet, DATABASE_URL=pooler(database, **untracked()).url(database))
    assert 'second: DuplicatePreparedStatement 42P05: prepared statement "_pg3_0" already exists' in output
    assert 'first: InvalidSqlStatementName 26000: prepared statement "_pg3_0" does not exist' in output
    transcript(snippet, output)


@control(edit("provoke/prepared_statement.py", 'print(f"{name}: works")', ""))
def test_tracked_prepared_statements_work_after_a_reload(database, pooler, load, printed) -> None:
    """From PgBouncer 1.21 on, max_prepared_statements above 0 ends both errors without a restart; 1.18 rejects it."""
    bouncer = pooler(database, **untracked())
    snippet = load(SCRIPT)
    if not at_least(1, 21):
        printed(snippet, DATABASE_URL=bouncer.url(database))
        with pytest.raises(RuntimeError, match="max_prepared_statements"):
            pooler(database, max_prepared_statements=100)
        return
    bouncer.reload(max_prepared_statements=100)
    output = printed(snippet, DATABASE_URL=bouncer.url(database))
    assert output.splitlines() == ["first: works", "second: works", "first: works"]


@control(here("bouncer.reload(max_prepared_statements=100)", "pass"))
def test_a_reload_cuts_off_who_had_prepared_before(database, pooler) -> None:
    """PgBouncer does not know that client's statement; a client that had prepared none goes on."""
    if not at_least(1, 21):
        pytest.skip("needs PgBouncer 1.21")
    bouncer = pooler(database, **untracked())
    with bouncer.connect(database) as other:
        client = bouncer.connect(database, prepare_threshold=0)
        client.execute("select 1")
        bouncer.reload(max_prepared_statements=100)
        assert heard(client.execute, "select 1") == "prepared statement did not exist"
        assert client.broken
        client.close()
        other.prepare_threshold = 0
        assert [heard(other.execute, "select 1") for _ in range(2)] == ["", ""]


@control(here("server_reset_query_always=1", "server_reset_query_always=0"))
def test_a_reset_drops_what_was_prepared_unless_it_is_tracked(database, pooler) -> None:
    """With server_reset_query_always a client misses its statement; where PgBouncer tracks them, it does not."""
    for most in (0, 100) if at_least(1, 22) else (None,):
        settings = untracked() | ({} if most is None else {"max_prepared_statements": most})
        bouncer = pooler(database, **settings, server_reset_query_always=1)
        with bouncer.connect(database, prepare_threshold=0) as client:
            said = heard(client.execute, "select 1") or heard(client.execute, "select 1")
        assert ("does not exist" in said) == (not most), said


@control(
    edit(
        "pgbouncer_console/limits.sql",
        "\\o | grep -E '^ *(key |max_|default_pool|query_wait|server_login_r|ignore_)'",
        "\\o | grep -E '^ /(max_|default_pool|query_wait|server_login_r|ignore_)'",
    )
)
def test_limits_shows_whether_prepared_statements_are_tracked(database, pooler, load) -> None:
    """The console shows the value in force; a PgBouncer that cannot track them has no such setting."""
    output = console(pooler(database, **untracked()), load("pgbouncer_console/limits.sql"))
    found = [line.split("|")[1].strip() for line in output.splitlines() if "max_prepared_statements" in line]
    assert found == (["0"] if at_least(1, 21) else [])


@control(here('"200"', '"2000"'))
def test_pgbouncer_tracks_them_by_default_since_1_24(database, pooler) -> None:
    """Unless it is set, max_prepared_statements is 200; from 1.21 to 1.23 it is 0."""
    shown = {row["key"]: row["value"] for row in pooler(database).show("config")}
    expected = "200" if at_least(1, 24) else "0" if at_least(1, 21) else None
    assert shown.get("max_prepared_statements") == expected


@control(here("prepare_threshold = None", "prepare_threshold = 5"), fails_with="prepared statement")
def test_psycopg_without_a_threshold_prepares_nothing(database, pooler) -> None:
    """With prepare_threshold=None clients share server connections without an error, on every PgBouncer."""
    bouncer = pooler(database, **untracked())
    with bouncer.connect(database) as first, bouncer.connect(database) as second:
        first.prepare_threshold = second.prepare_threshold = None
        for _ in range(7):  # psycopg's own threshold is 5
            assert first.execute("select 1 as one").fetchone() == second.execute("select 1 as one").fetchone()
        count = "select count(*) from pg_prepared_statements"
        assert first.execute(count).fetchone() == (0,)


@control(here("max_prepared_statements=2", "max_prepared_statements=4"))
@control(here("client.execute(left, prepare=False)", "client.execute(left)"))
def test_max_prepared_statements_counts_for_each_server_connection_whoever_prepared(database, pooler) -> None:
    """Of two clients that prepare two each, two are left on the one that they share; each finds its own again."""
    if not at_least(1, 21):
        pytest.skip("needs PgBouncer 1.21")
    settings = {"pool_mode": "transaction", "default_pool_size": 1}
    bouncer = pooler(database, **settings, max_prepared_statements=2)
    left = "select statement from pg_prepared_statements"

    def prepared(client: psycopg.Connection) -> set[str]:
        return {statement for (statement,) in client.execute(left, prepare=False)}

    with bouncer.connect(database, prepare_threshold=0) as one, bouncer.connect(database, prepare_threshold=0) as other:
        for _ in range(2):
            for number, client in enumerate((one, one, other, other)):
                assert client.execute(f"select {number}").fetchone() == (number,)
            assert prepared(one) == {"select 2", "select 3"}
        for client, number in ((one, 0), (one, 1), (one, 0), (other, 2)):
            client.execute(f"select {number}")
        assert prepared(one) == {"select 0", "select 2"}
        bouncer.set(default_pool_size=2)
        with one.transaction(), other.transaction():
            for number, client in enumerate((one, one, other, other)):
                client.execute(f"select {number}")
            assert prepared(one) == {"select 0", "select 1"}
            assert prepared(other) == {"select 2", "select 3"}


@control(here('deallocate "_pg3_5"', "deallocate all"))
@control(here("max_prepared_statements=100", "max_prepared_statements=0"), fails_with="prepared statement")
def test_statements_that_psycopg_drops_are_followed_and_deallocate_is_not(database, pooler, monkeypatch) -> None:
    """With libpq 17 psycopg sends Close, which PgBouncer tracks; DEALLOCATE names a statement that does not exist."""
    if not at_least(1, 22):
        pytest.skip("needs PgBouncer 1.22")
    assert psycopg.capabilities.has_send_close_prepared()
    bouncer = pooler(database, **TWO, max_prepared_statements=100)
    with bouncer.connect(database, prepare_threshold=0) as client, bouncer.connect(database, autocommit=False) as other:
        client.prepared_max = 1
        for numbers in ((0, 1, 2), (2, 1, 0)):
            for number in numbers:
                assert client.execute(f"select {number} + %s", [1]).fetchone() == (number + 1,)
            other.execute("select 1")  # takes the server connection that was just used
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            client.execute('deallocate "_pg3_5"')
        monkeypatch.setattr("psycopg._connection_base._HAS_SEND_CLOSE", False)  # as with an older libpq
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            client.execute("select 3 + %s", [1])


ASK = """
import django; django.setup()
from django.db import connection
connection.ensure_connection()
print(connection.connection.prepare_threshold)
"""


@control(
    edit(
        "upstream/settings/prod.py",
        '"application_name": "upstream"',
        '"application_name": "upstream", "prepare_threshold": 5',
    )
)
def test_django_prepares_nothing_by_default(project, server, server_version, migrated) -> None:
    """Django sets psycopg's prepare_threshold to None, unless OPTIONS says otherwise."""
    if "psycopg2" in driver():
        pytest.skip("needs psycopg 3")
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        settings = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
        assert project.run("-c", ASK, database_url=database.url, **settings) == (0, "None\n")


@control(here("**untracked()", "**TWO"))
@pytest.mark.parametrize("cached", [100, 0])
def test_asyncpg_meets_the_same_unless_it_caches_none(cached, database, pooler) -> None:
    """Its statements have names of their own, and its hint mentions PgBouncer; with a cache size of 0 nothing fails."""
    url = pooler(database, **untracked()).url(database)

    async def meet() -> str:
        first, second = [await asyncpg.connect(url, statement_cache_size=cached) for _ in range(2)]
        try:
            await first.fetch("select 1 as one")
            await second.fetch("select 1 as one")
            async with second.transaction():
                await second.execute("select 2")
                await first.fetch("select 1 as one")
        except asyncpg.PostgresError as error:
            return f"{error} {error.hint}"
        finally:
            first.terminate()
            second.terminate()
        return ""

    said = asyncio.run(meet())
    evidence.on(asyncpg=asyncpg.__version__)
    if cached:
        assert re.match(r'prepared statement "__asyncpg_stmt_\w+" does not exist', said)
        assert "pgbouncer" in said
        assert "statement_cache_size" in said
    else:
        assert said == ""
