"""Proves docs/runbooks/relation-does-not-exist.md: a table that a session does not see."""

from contextlib import closing

import psycopg
import psycopg2
import pytest

from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.stack.console import at_least, console

MISSING = 'relation "item" does not exist'
QUERY = "select * from item"


@control(here("search_path=elsewhere", "search_path=public"))
@control(here('create table "Parcel"', "create table Parcel"))
@control(here('connect("postgres")', "connect(database.name)"))
@pytest.mark.usefixtures("item")
def test_a_table_in_another_schema_does_not_exist_for_a_session(database) -> None:
    """Both drivers raise UndefinedTable, with SQLSTATE 42P01, as for a table that was never created.

    The text is the same for a name with capitals that is not quoted, and for a table of another database.
    """
    with database.connect() as client:
        assert heard(client.execute, "select * from nowhere") == 'relation "nowhere" does not exist'
        client.execute('create table "Parcel" (id int)')
        assert heard(client.execute, "select * from Parcel") == 'relation "parcel" does not exist'
    with database.server.connect("postgres") as another:
        assert heard(another.execute, QUERY) == MISSING
    for driver in (psycopg, psycopg2):
        with (
            closing(driver.connect(database.url, options="-c search_path=elsewhere")) as client,
            pytest.raises(driver.errors.UndefinedTable, match=MISSING) as error,
        ):
            client.cursor().execute(QUERY)
        assert (getattr(error.value, "sqlstate", None) or error.value.pgcode) == "42P01"
        assert isinstance(error.value, driver.ProgrammingError)  # from which Django derives its own


@control(here("set_config('search_path', '', false)", "set_config('search_path', 'public', false)"))
@pytest.mark.usefixtures("item")
def test_an_emptied_search_path_hides_every_table_from_the_next_client(database, pooler, load) -> None:
    """pg_dump empties it this way; PgBouncer 1.26 may keep it with its client. RECONNECT brings the tables back."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    with bouncer.connect(database) as dump, bouncer.connect(database) as client:
        assert heard(client.execute, QUERY) == ""
        dump.execute("select pg_catalog.set_config('search_path', '', false)")
        kept = at_least(1, 26) and reported(client)
        assert heard(dump.execute, QUERY) == MISSING
        assert heard(client.execute, QUERY) == ("" if kept else MISSING)
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        assert heard(client.execute, QUERY) == ""


@pytest.fixture
def tenants(database, pooler):
    """Two schemas, each with a table `item` that names its tenant, and two clients of one server connection."""
    with database.connect() as owner:
        for tenant in ("ada", "edith"):
            owner.execute(f"create schema {tenant}")
            owner.execute(f"create table {tenant}.item as select '{tenant}' as whose")
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    with bouncer.connect(database) as one, bouncer.connect(database) as other:
        yield one, other


@control(here("set search_path = ada", "set local search_path = ada"), fails_with='relation "item" does not exist')
def test_where_both_schemas_have_the_table_the_other_ones_rows_come(tenants) -> None:
    """A client gets them without an error, unless PgBouncer keeps search_path with its client."""
    one, other = tenants
    one.execute("set search_path = ada")
    other.execute("set search_path = edith")
    kept = at_least(1, 26) and reported(one)
    assert one.execute(QUERY).fetchall() == [("ada" if kept else "edith",)]


@control(here("set local search_path", "set search_path"))
def test_a_search_path_of_the_transaction_meets_nobody_else(tenants) -> None:
    """SET LOCAL ends with its transaction, for its own client as well."""
    one, other = tenants
    with one.transaction():
        one.execute("set local search_path = ada")
        assert one.execute(QUERY).fetchall() == [("ada",)]
    assert [heard(client.execute, QUERY) for client in (other, one)] == [MISSING] * 2


def reported(client: psycopg.Connection) -> bool:
    """Return whether PostgreSQL reports search_path, so that PgBouncer 1.26 keeps it with its client."""
    return client.info.parameter_status("search_path") is not None


@control(
    edit(
        "postgres/where_is.sql",
        "inner join pg_namespace on relnamespace = pg_namespace.oid",
        "inner join pg_namespace on relnamespace <> pg_namespace.oid",
    )
)
@control(edit("postgres/where_is.sql", "lower(relname) = lower(:'relation')", "relname = :'relation'"))
@control(
    edit("postgres/where_is.sql", "current_schemas(true)", "string_to_array(current_setting('search_path'), ', ')")
)
@control(here("set search_path = 'public, closed'", "set search_path = public, closed"))
@pytest.mark.usefixtures("item")
def test_where_is_names_the_schema_that_has_the_table(database, load) -> None:
    """It also shows whether the session looks there; a table that does not exist has no row.

    A name with capitals, which SQL without quotes does not find, is found; a schema without USAGE is not searched.

    Quotes around several names make one schema of them, and a name without quotes has no capitals.
    """
    snippet = load("postgres/where_is.sql")

    def found(relation: str) -> list[list[str]]:
        _, *rows = [
            row for row in database.psql(snippet, superuser=False, relation=relation).splitlines() if "|" in row
        ]
        return [[part.strip() for part in row.split("|")] for row in rows]

    usual = '"$user", public'
    assert found("item") == [["public", "item", "t", usual]]
    assert found("nowhere") == []
    with database.connect() as client:
        client.execute('create table "Parcel" (id int)')
        assert heard(client.execute, "select * from Parcel") == 'relation "parcel" does not exist'
    assert found("parcel") == [["public", "Parcel", "t", usual]]
    role, path = database.role.name, "public, closed"
    with database.server.connect(database.name) as superuser:
        superuser.execute("create schema closed")
        superuser.execute("create table closed.hidden (id int)")
        superuser.execute(f"alter role {role} set search_path = {path}")
        with database.connect() as client:
            assert heard(client.execute, "select * from hidden") == 'relation "hidden" does not exist'
        assert found("hidden") == [["closed", "hidden", "f", path]]
        superuser.execute(f"grant usage on schema closed to {role}")
        assert found("hidden") == [["closed", "hidden", "t", path]]
        superuser.execute(f"alter role {role} set search_path = 'public, closed'")
        assert found("hidden") == [["closed", "hidden", "f", '"public, closed"']]
        superuser.execute(f'create schema "Sales" authorization {role}')
        superuser.execute('create table "Sales".sold (id int)')
        for path, searched in (("Sales", "f"), ('"Sales"', "t")):
            superuser.execute("select set_config('search_path', %s, false)", [path])
            superuser.execute(f"alter role {role} set search_path from current")
            assert found("sold") == [["Sales", "sold", searched, path]]
