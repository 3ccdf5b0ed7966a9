"""Proves docs/explanation/transaction-mode.md: two clients that share PgBouncer's server connections, step by step.

Nothing is left to chance. A fresh pool opens a server connection only when all that it has are taken, so the first
client works on the only one there is. `take_over` lets another client begin a transaction, which gets that one; what
the first client does next happens on a second one.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from importlib.metadata import version
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pytest

from proven import ROOT, evidence
from proven.macros.lists import PICTURES
from proven.sources.controls import control, edit, here, replace
from tests.proofs.reference.trials import come_and_go
from tests.stack import pgbouncer, timeline
from tests.stack.database import Database, Role, fresh
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.pgbouncer import PgBouncer
from tests.stack.scripts import execute
from tests.stack.upstream import alone
from tests.stack.wait import until

Client = psycopg.Connection[tuple]
POOL = {"pool_mode": "transaction", "default_pool_size": 2}
FOLDER = "transaction_mode"


@pytest.fixture(scope="module")
def shared(server, migrated) -> Iterator[PgBouncer]:
    """One PgBouncer in transaction mode, with two server connections at most, in front of the example's tables."""
    note_pgbouncer()
    with fresh(server, template=migrated) as database:
        bouncer = PgBouncer(database, **POOL)
        yield bouncer
        bouncer.stop()


@pytest.fixture(scope="module")
def console(shared) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """The shared PgBouncer's console."""
    with shared.admin() as connection:
        yield connection


@pytest.fixture
def database(shared, console, server_version) -> Database:
    """The database, without any server connection that an earlier proof has used."""
    note_postgres(server_version)
    evidence.on(PgBouncer=pgbouncer.version(), psycopg=version("psycopg"))
    (database,) = shared.databases.values()
    console.execute("reconnect")  # it gives the old ones to no client
    for pid in database.backends():
        database.terminate(pid)
    return database


@pytest.fixture
def client(shared, database) -> Iterator[Callable[..., Client]]:
    """Connect through the shared PgBouncer, or through another one: client(), client(bouncer)."""
    opened: list[Client] = []

    def connect(bouncer: PgBouncer = shared, **options: Any) -> Client:
        opened.append(bouncer.connect(database, **{"prepare_threshold": None, **options}))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def django(shared, database) -> Iterator[Callable[..., Any]]:
    """Make a client of PgBouncer Django's default connection: django(OPTIONS={…}). Snippets import that."""
    from django.db import connections
    from django.db.utils import ConnectionHandler

    alone()
    evidence.on(Django=version("django"))
    opened = []

    def connect(bouncer: PgBouncer = shared, **entry: Any) -> Any:
        address = {"NAME": database.name, "USER": database.role.name, "PASSWORD": database.role.password}
        full = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": bouncer.port, **address}
        wrapper = ConnectionHandler({"default": {**full, **entry}})["default"]
        opened.append(wrapper)
        connections["default"] = wrapper
        wrapper.ensure_connection()
        return wrapper

    yield connect
    for wrapper in opened:
        wrapper.close()
    if opened:
        del connections["default"]


def value(connection: Any, query: str, *parameters: object) -> Any:
    """Return the one value that a query returns, in psycopg or in Django."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return cursor.fetchone()[0]


def take_over(one: Any, other: Client) -> None:
    """Let another client begin a transaction, which takes the server connection that the first has just used."""
    used = value(one, "select pg_backend_pid()")
    other.execute("begin")
    assert value(other, "select pg_backend_pid()") == used


def release() -> tuple[int, ...]:
    """Return the first two parts of PgBouncer's version."""
    return tuple(int(part) for part in pgbouncer.version().split(".")[:2])


# ---- cursors -------------------------------------------------------------------------------------------------

EXPORT = """
import os, django
django.setup()
{snippet}
from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError, connection

@async_to_sync
async def export_async(line):
    async for order in Order.objects.aiterator(chunk_size=500):
        await sync_to_async(line)(str(order.pk))

Order.objects.all().delete()
Order.objects.bulk_create(Order(customer="Ada") for _ in range(501))
connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = {disable}
other = connection.copy()
other.set_autocommit(False)
lines = []
def line(text):
    lines.append(text)
    if len(lines) == 1:
        other.cursor().execute("select 1")  # begins a transaction
try:
    {function}(line)
except Exception as error:
    print(isinstance(error, DatabaseError), type(error), error)
print(len(lines))
"""


@pytest.fixture
def export(project, shared, database, load) -> Callable[..., str]:
    """Run one of the snippet's functions in the example project while another client begins a transaction."""

    def run(function: str, disable: bool = False) -> str:
        snippet = load(f"{FOLDER}/iterator.py")
        evidence.ran(snippet)
        code = EXPORT.format(snippet=snippet.text, function=function, disable=disable)
        url = shared.url(database)
        status, output = project.run("-c", code, database_url=url, DJANGO_SETTINGS_MODULE="settings.prod")
        assert status == 0, output
        return output

    return run


@control(
    edit("transaction_mode/iterator.py", "chunk_size=500", "chunk_size=501"), fails_with="not enough values to unpack"
)
@control(
    here('("export", "export_async")', '("export", "export_in_a_transaction")'),
    fails_with="not enough values to unpack",
)
def test_iterator_loses_its_cursor_in_autocommit(export) -> None:
    """After the first rows another client takes the server connection with the cursor; the error is no DatabaseError.

    The same holds for aiterator().
    """
    for function in ("export", "export_async"):
        error, *_, count = export(function).splitlines()
        said = r"False <class 'psycopg2?\.errors\.InvalidCursorName'> cursor \"_django_curs_\w+\" does not exist"
        assert re.fullmatch(said, error)
        assert count == "500"


@control(edit("transaction_mode/iterator.py", "with transaction.atomic():", "if transaction:"))
def test_iterator_works_within_a_transaction(export) -> None:
    """In atomic() the client keeps its server connection, and the cursor with it."""
    assert export("export_in_a_transaction") == "501\n"


@control(here("disable=disable)", "disable=False)", of="tests.proofs.explanation.test_transaction_mode:export"))
@control(here("disable=True", 'disable=function == "export"'))
def test_iterator_works_without_server_side_cursors(export) -> None:
    """With DISABLE_SERVER_SIDE_CURSORS the result comes at once, and nothing is left on the server to lose.

    The same holds for aiterator().
    """
    found = [export(function, disable=True) for function in ("export", "export_async")]
    assert found == ["501\n", "501\n"]


DIES = """
import os, django
django.setup()
from orders.models import Order
Order.objects.bulk_create([Order(customer="Ada"), Order(customer="Edith")])
rows = Order.objects.iterator(chunk_size=1)
next(rows)
os._exit(0)
"""


@control(here("settings.prod", "settings.pgbouncer"), fails_with="not enough values to unpack")
def test_a_cursor_outlives_the_client_that_left_it(project, shared, database, client) -> None:
    """A process that ends within iterator() leaves its cursor, WITH HOLD, to the next client."""
    other = client()
    settings = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
    assert project.run("-c", DIES, database_url=shared.url(database), **settings) == (0, "")
    ((name, holds),) = other.execute("select name, is_holdable from pg_cursors where name <> ''").fetchall()
    assert name.startswith("_django_curs_")
    assert holds
    assert len(other.execute(f'fetch 1 from "{name}"').fetchall()) == 1


# ---- what SET does -------------------------------------------------------------------------------------------


def setting_after(name: str, setting: str, client: Callable[..., Client]) -> tuple[str, str]:
    """Let one client SET a parameter; return the value that another client has then, and the first one's own."""
    one, other = client(), client()
    one.execute(f"set {name} = {setting}")
    take_over(one, other)
    return value(other, f"show {name}"), value(one, f"show {name}")


@control(edit("transaction_mode/timeout.py", "set statement_timeout", "set local statement_timeout"))
def test_a_timeout_that_was_set_ends_another_clients_query(django, client, load) -> None:
    """SET statement_timeout stays on the server connection: it limits its next client, not the one that set it."""
    names = execute(load(f"{FOLDER}/timeout.py"))
    one, other = django(), client()
    assert names["report"]("select 1") == [(1,)]
    take_over(one, other)
    with pytest.raises(psycopg.errors.QueryCanceled, match="canceling statement due to statement timeout"):
        other.execute("select pg_sleep(5)")
    assert value(one, "show statement_timeout") == "0"


@control(here('"set statement_timeout', '"set local statement_timeout'))
@control(here('{"dbname": "other"}', "{}"))
@control(here("**login", "**{}"))
def test_what_is_left_meets_clients_of_the_same_user_and_entry_alone(pooler, database, second_user) -> None:
    """A client of the same user and entry has the timeout; one of another entry or of another user has none."""
    entries = {database.name: database, "other": database}
    bouncer = pooler(named=entries, **POOL, users=pgbouncer.scram(database, second_user))
    login = {"user": second_user.role.name, "password": second_user.role.password}
    with bouncer.connect(database) as one:
        one.execute("set statement_timeout = '7s'")
    found = []
    for who in ({}, {"dbname": "other"}, {**login}):
        with bouncer.connect(database, **who) as other:
            found.append(value(other, "show statement_timeout"))
    assert found == ["7s", "0", "0"]


@control(edit("transaction_mode/timeout.py", "set local statement_timeout", "set statement_timeout"))
def test_set_local_ends_with_its_transaction(django, client, load) -> None:
    """The limit applies to the client that set it, and to no client afterwards."""
    from django.db import OperationalError

    names = execute(load(f"{FOLDER}/timeout.py"))
    one, other = django(), client()
    with pytest.raises(OperationalError, match="canceling statement due to statement timeout"):
        names["report_in_a_transaction"]("select pg_sleep(5)")
    assert names["report_in_a_transaction"]("select 1") == [(1,)]
    take_over(one, other)
    assert value(other, "show statement_timeout") == value(one, "show statement_timeout") == "0"


@control(here("set local statement_timeout", "set statement_timeout"))
def test_set_local_in_autocommit_does_nothing(client) -> None:
    """Outside a transaction it has no effect; PostgreSQL only warns."""
    one, said = client(), []
    one.add_notice_handler(lambda notice: said.append(notice.message_primary))
    one.execute("set local statement_timeout = '5s'")
    assert said == ["SET LOCAL can only be used in transaction blocks"]
    assert value(one, "show statement_timeout") == "0"


@control(here('"set local hnsw', '"set hnsw'))
def test_pgvectors_settings_need_a_transaction_too(client) -> None:
    """SET LOCAL hnsw.ef_search works only within a transaction; a plain SET applies to the next client instead."""
    asked = "select coalesce(current_setting('hnsw.ef_search', true), '')"
    one, other = client(), client()
    one.execute("set local hnsw.ef_search = 100")
    found = [value(one, asked)]
    with one.transaction():
        one.execute("set local hnsw.ef_search = 100")
        found.append(value(one, asked))
    found.append(value(one, asked))
    assert found == ["", "100", ""]
    one.execute("set hnsw.ef_search = 200")
    take_over(one, other)
    assert [value(other, asked), value(one, asked)] == ["200", ""]


@control(here("set {name}", "set local {name}", of="tests.proofs.explanation.test_transaction_mode:setting_after"))
def test_search_path_leaks_unless_both_sides_report_it(client, server_version) -> None:
    """PostgreSQL reports it from 18 on, and PgBouncer tracks it from 1.26 on: then each client keeps its own."""
    follows = release() >= (1, 26) and int(server_version.partition(".")[0]) >= 18
    usual = '"$user", public'
    assert setting_after("search_path", "tenant_a", client) == ((usual, "tenant_a") if follows else ("tenant_a", usual))


def refused_to_write(client: Client) -> bool:
    """Return whether a client cannot create a table because its transactions are read-only. None is left behind."""
    try:
        with client.transaction(force_rollback=True):
            client.execute("create table written (n int)")
    except psycopg.errors.ReadOnlySqlTransaction:
        return True
    return False


@control(here("set default_transaction_read_only", "set local default_transaction_read_only"))
def test_a_read_only_default_leaks_before_1_26(client) -> None:
    """Another client cannot write, and the one that set it can; PgBouncer 1.26 gives each client its own value."""
    follows = release() >= (1, 26)
    one, other = client(), client()
    one.execute("set default_transaction_read_only = on")
    take_over(one, other)
    assert (refused_to_write(other), refused_to_write(one)) == ((False, True) if follows else (True, False))


@control(here("with one.transaction():", "if one:"))
def test_a_read_only_transaction_concerns_nobody_else(client) -> None:
    """SET TRANSACTION READ ONLY ends with the transaction in which it was issued."""
    one, other = client(), client()
    with one.transaction():
        one.execute("set transaction read only")
        assert value(one, "show transaction_read_only") == "on"
    take_over(one, other)
    assert value(other, "show transaction_read_only") == value(one, "show transaction_read_only") == "off"


@control(here("set {name}", "set local {name}", of="tests.proofs.explanation.test_transaction_mode:setting_after"))
def test_interval_style_leaks_in_1_18(client) -> None:
    """PgBouncer 1.24 keeps it with each client; 1.18 leaves it on the server connection."""
    follows = release() >= (1, 24)
    expected = ("postgres", "iso_8601") if follows else ("iso_8601", "postgres")
    assert setting_after("intervalstyle", "iso_8601", client) == expected


@control(here("set {name}", "set local {name}", of="tests.proofs.explanation.test_transaction_mode:setting_after"))
def test_a_nameless_client_bears_the_name_of_another_in_1_18(client) -> None:
    """For a client that sets no application_name, the server connection has the one that the previous client set."""
    others = "" if release() >= (1, 24) else "report"
    assert setting_after("application_name", "report", client) == (others, "report")


@control(here("set {name}", "set local {name}", of="tests.proofs.explanation.test_transaction_mode:setting_after"))
@pytest.mark.parametrize(
    ("name", "setting"), [("timezone", "'Asia/Tokyo'"), ("datestyle", "'German, DMY'"), ("client_encoding", "'LATIN1'")]
)
def test_what_pgbouncer_tracks_stays_with_its_client(client, name, setting) -> None:
    """Time zone, date style and encoding follow the client to whichever server connection it gets."""
    others, own = setting_after(name, setting, client)
    assert own == setting.strip("'")
    assert others != own


@control(here('TIME_ZONE="Asia/Tokyo"', 'TIME_ZONE="UTC"'))
def test_djangos_time_zone_stays_with_it(django, client) -> None:
    """Django sets TIME_ZONE once, when it connects, and has it on whichever server connection it gets."""
    other = client()
    one = django(TIME_ZONE="Asia/Tokyo")
    take_over(one, other)
    assert value(one, "show timezone") == "Asia/Tokyo"
    assert value(other, "show timezone") != "Asia/Tokyo"


# ---- who the client is ---------------------------------------------------------------------------------------


@pytest.fixture
def role(database) -> Iterator[Role]:
    """Another role, which the application may assume."""
    role = Role(database.server)
    database.admin.execute(f"grant {role.name} to {database.role.name}")
    yield role
    role.drop(database.admin)


@control(here("set role", "set local role"))
def test_set_role_makes_another_client_that_role(client, role) -> None:
    """The other client has the rights of the role, and the first one its own again."""
    one, other = client(), client()
    one.execute(f"set role {role.name}")
    take_over(one, other)
    assert value(other, "select current_user") == role.name
    assert value(one, "select current_user") != role.name


@control(here("set local role", "set role"))
def test_set_local_role_ends_with_its_transaction(client, role) -> None:
    """The client has the role's rights until the transaction ends; no client has them afterwards."""
    one, other = client(), client()
    with one.transaction():
        one.execute(f"set local role {role.name}")
        assert value(one, "select current_user") == role.name
    take_over(one, other)
    assert role.name not in (value(one, "select current_user"), value(other, "select current_user"))


@control(here('OPTIONS={"assume_role": role.name}', ""))
def test_assume_role_makes_another_client_that_role(django, client, role) -> None:
    """Django sets the role once, when it connects: it stays on that server connection, not with Django."""
    other = client()
    one = django(OPTIONS={"assume_role": role.name})
    take_over(one, other)
    assert value(other, "select current_user") == role.name
    assert value(one, "select current_user") != role.name


@pytest.fixture
def invoices(database, load) -> Iterator[Database]:
    """Two tenants with an invoice each, behind row-level security."""
    database.psql(load(f"{FOLDER}/tenants.sql"), superuser=False)
    with psycopg.connect(database.superuser, autocommit=True) as owner:
        owner.execute("insert into invoice values ('ada', 10), ('edith', 20)")
    yield database
    with psycopg.connect(database.superuser, autocommit=True) as owner:
        owner.execute("drop table invoice")


@control(edit("transaction_mode/tenants.py", "%s, false)", "%s, true)"))
@pytest.mark.usefixtures("invoices")
def test_a_tenant_of_the_session_is_the_next_clients_tenant(django, client, load) -> None:
    """Another client reads a tenant's invoices without naming a tenant, and the tenant's own client reads none."""
    names = execute(load(f"{FOLDER}/tenants.py"))
    one, other = django(), client()
    names["become_tenant"]("ada")
    take_over(one, other)
    assert other.execute("select tenant, total from invoice").fetchall() == [("ada", 10)]
    assert value(one, "select count(*) from invoice") == 0


@control(edit("transaction_mode/tenants.py", "%s, true)", "%s, false)"))
@pytest.mark.usefixtures("invoices")
def test_a_tenant_of_the_transaction_is_nobody_elses(django, client, load) -> None:
    """Within the block its client sees only its rows, and another client none; after it, neither sees any."""
    names = execute(load(f"{FOLDER}/tenants.py"))
    one, other = django(), client()
    with names["as_tenant"]("ada"):
        assert value(one, "select string_agg(tenant, ' ') from invoice") == "ada"
        assert value(other, "select count(*) from invoice") == 0
    take_over(one, other)
    assert value(other, "select count(*) from invoice") == value(one, "select count(*) from invoice") == 0


# ---- locks, notifications, temporary tables ------------------------------------------------------------------


@control(edit("transaction_mode/locks.py", "pg_try_advisory_lock", "pg_try_advisory_xact_lock"))
def test_two_clients_hold_the_same_advisory_lock(database, django, client, load) -> None:
    """On the same server connection PostgreSQL sees one session and grants the lock to both; it refuses a third."""
    names = execute(load(f"{FOLDER}/locks.py"))
    one, other = django(), client()
    got = []

    def meanwhile() -> None:
        take_over(one, other)
        with database.connect() as direct:
            for third in (direct, other):
                got.append(value(third, "select pg_try_advisory_lock(%s)", names["NIGHTLY"]))

    assert names["alone"](meanwhile)
    assert got == [False, True]


@control(edit("transaction_mode/locks.py", "pg_try_advisory_lock", "pg_try_advisory_xact_lock"))
@control(here('console.execute("reconnect")', "pass"), fails_with="the lock is free: not within")
def test_an_advisory_lock_outlives_its_client(database, console, django, client, load) -> None:
    """The unlock goes to another server connection, where there is nothing to unlock; then no session gets the lock.

    RECONNECT ends the session that has it, once another client's transaction there has ended.
    """
    names = execute(load(f"{FOLDER}/locks.py"))
    one, other = django(), client()
    assert names["alone"](lambda: take_over(one, other))
    one.close()
    with database.connect() as direct:
        ask = "select pg_try_advisory_lock(%s)"
        console.execute("reconnect")
        assert value(other, "select 1") == 1
        assert value(direct, ask, names["NIGHTLY"]) is False
        other.execute("rollback")
        until("the lock is free", lambda: value(direct, ask, names["NIGHTLY"]))


@control(edit("transaction_mode/locks.py", "pg_try_advisory_xact_lock", "pg_try_advisory_lock"))
@control(here('other.execute("select pg_advisory_xact', 'other.execute("select pg_advisory'))
def test_an_advisory_lock_of_the_transaction_is_held_by_one(database, django, client, load) -> None:
    """Another client is refused while the work goes on, and gets the lock afterwards.

    The same holds for the variant that waits.
    """
    names = execute(load(f"{FOLDER}/locks.py"))
    django()
    other = client()
    got = []

    def ask() -> None:
        got.append(value(other, "select pg_try_advisory_xact_lock(%s)", names["NIGHTLY"]))

    assert names["alone_in_a_transaction"](ask)
    ask()
    assert got == [False, True]
    with database.connect() as direct:
        with other.transaction():
            other.execute("select pg_advisory_xact_lock(%s)", [names["NIGHTLY"]])
            assert value(direct, "select pg_try_advisory_lock(%s)", names["NIGHTLY"]) is False
        # Nothing is left behind on any server connection.
        assert value(direct, "select pg_try_advisory_lock(%s)", names["NIGHTLY"]) is True


@control(here("take_over(one, other)", "pass"))
def test_listen_hears_nothing_and_another_client_hears_it(shared, database, client) -> None:
    """The server connection listens, not the client: a notification goes to the client that holds it, or to none."""
    one, other = client(), client()
    heard: dict[str, list[str]] = {"one": [], "other": [], "direct": []}
    one.add_notify_handler(lambda notify: heard["one"].append(notify.payload))
    other.add_notify_handler(lambda notify: heard["other"].append(notify.payload))
    one.execute("listen orders")
    with database.connect() as direct:
        direct.add_notify_handler(lambda notify: heard["direct"].append(notify.payload))
        direct.execute("listen orders")
        one.execute("begin")
        direct.execute("notify orders, 'paid'")
        one.execute("commit")
        take_over(one, other)
        one.execute("notify orders, 'placed'")  # sending is safe
        other.execute("commit")
        direct.execute("notify orders, 'sent'")  # while no client holds the server connection
        until("PgBouncer drops it", lambda: "got packet 'A' from server when not linked" in shared.leash.said())
        for each in (one, other, direct):
            each.execute("select 1")
    assert heard == {"one": ["paid"], "other": ["placed"], "direct": ["paid", "placed", "sent"]}


@control(edit("transaction_mode/temporary.py", 'temporary table chosen (id int)"', 'table chosen (id int)"'))
def test_a_temporary_table_is_another_clients(django, client, load) -> None:
    """It is gone for its own client; another one reads it, and cannot create one of that name."""
    from django.db import ProgrammingError

    names = execute(load(f"{FOLDER}/temporary.py"))
    one, other = django(), client()
    names["set_aside"]([1, 2])
    take_over(one, other)
    assert other.execute("select id from chosen").fetchall() == [(1,), (2,)]
    with pytest.raises(ProgrammingError, match='relation "chosen" does not exist'):
        names["chosen"]()
    with pytest.raises(psycopg.errors.DuplicateTable):
        other.execute("create temporary table chosen (id int)")


@control(edit("transaction_mode/temporary.py", " on commit drop", ""), fails_with='relation "chosen" already exists')
def test_a_temporary_table_of_the_transaction_is_there_and_then_gone(django, client, load) -> None:
    """It can be created again and again, and no client finds it later."""
    names = execute(load(f"{FOLDER}/temporary.py"))
    one, other = django(), client()
    assert names["through_a_table"]([1, 2]) == names["through_a_table"]([1, 2]) == [1, 2]
    take_over(one, other)
    assert value(other, "select to_regclass('chosen')") is None


@control(here("with outer.atomic():", "with nullcontext():"))
def test_within_an_outer_transaction_it_stays_until_that_ends(database, django, load) -> None:
    """A limit, a tenant, a lock and a table of an inner atomic() outlast it, unless an error undoes them."""
    from django.db import transaction as outer

    names = {}
    for file in ("timeout", "tenants", "locks", "temporary"):
        names |= execute(load(f"{FOLDER}/{file}.py"))
    one = django()
    ask = "select pg_try_advisory_xact_lock(%s)"

    def seen() -> list[object]:
        with database.connect() as direct:
            free = value(direct, ask, names["NIGHTLY"])
        tenant = "select coalesce(current_setting('app.tenant', true), '')"
        return [
            value(one, "show statement_timeout"),
            value(one, tenant),
            free,
            value(one, "select to_regclass('chosen')"),
        ]

    def work() -> None:
        names["report_in_a_transaction"]("select 1")
        with names["as_tenant"]("ada"):
            pass
        assert names["alone_in_a_transaction"](lambda: None)
        names["through_a_table"]([1])

    nothing, left = ["0", "", True, None], ["200ms", "ada", False, "chosen"]
    with outer.atomic():
        with suppress(ZeroDivisionError), outer.atomic():
            work()
            assert seen() == left
            raise ZeroDivisionError
        assert seen() == nothing
        work()
        assert seen() == left
    assert seen() == nothing


# ---- prepared statements -------------------------------------------------------------------------------------


@control(here("take_over(one, other)", "pass"))
@control(
    replace(
        "tests.proofs.explanation.test_transaction_mode:POOL",
        {"pool_mode": "transaction", "default_pool_size": 2, "max_prepared_statements": 0},
    )
)
def test_sql_prepare_breaks_for_both_clients(client, shared) -> None:
    """The client that prepared the statement cannot find it, and another cannot use the name, even from 1.24 on.

    From there on PgBouncer by default tracks what drivers prepare.
    """
    if release() >= (1, 24):
        (most,) = (row["value"] for row in shared.show("config") if row["key"] == "max_prepared_statements")
        assert int(most) > 0
    one, other = client(), client()
    one.execute("prepare total as select 1")
    take_over(one, other)
    with pytest.raises(psycopg.errors.InvalidSqlStatementName, match='prepared statement "total" does not exist'):
        one.execute("execute total")
    with pytest.raises(psycopg.errors.DuplicatePreparedStatement, match='"total" already exists'):
        other.execute("prepare total as select 2")


def prepare(one: Client, other: Client) -> list[int]:
    """Let two psycopg clients prepare the same statement on the same server connection, then run it on another."""
    query = "select 1 + %s"
    found = [value(one, query, 1), value(other, query, 2)]
    take_over(one, other)
    return [*found, value(one, query, 3)]


@control(
    replace(
        "tests.proofs.explanation.test_transaction_mode:POOL",
        {"pool_mode": "transaction", "max_prepared_statements": 0},
    ),
    fails_with="DuplicatePreparedStatement",
)
def test_psycopg_prepares_statements_that_pgbouncer_follows_from_1_24(client) -> None:
    """From 1.24 on, a client's statements work on whichever connection it gets; before, the second client fails."""
    one, other = client(prepare_threshold=0), client(prepare_threshold=0)
    if release() >= (1, 24):
        assert prepare(one, other) == [2, 3, 4]
    else:
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement, match='statement "_pg3_0" already exists'):
            prepare(one, other)


@control(here('"max_prepared_statements": 0', '"max_prepared_statements": 10'))
def test_psycopg_breaks_where_pgbouncer_follows_no_statements(client, pooler, database) -> None:
    """With max_prepared_statements = 0, or PgBouncer before 1.21, a statement is missing, or exists already."""
    follow_none = {"max_prepared_statements": 0} if release() >= (1, 21) else {}
    bouncer = pooler(database, **POOL, **follow_none)
    one, two = client(bouncer, prepare_threshold=0), client(bouncer, prepare_threshold=0)
    value(one, "select 1 + %s", 1)
    with pytest.raises(psycopg.errors.DuplicatePreparedStatement, match='statement "_pg3_0" already exists'):
        value(two, "select 1 + %s", 1)
    take_over(one, client(bouncer))
    with pytest.raises(psycopg.errors.InvalidSqlStatementName, match='statement "_pg3_0" does not exist'):
        value(one, "select 1 + %s", 1)


@control(here('"max_prepared_statements": 0', '"max_prepared_statements": 10'))
@control(here("two = client(bouncer, prepare_threshold=0)", "two = client(bouncer)"))
@control(here('("select %s + %s", 1, 1)', '("select 2 - 1 + %s", 1)'))
@control(here("100_000", "1"))
def test_psycopg_runs_another_clients_statement_where_none_is_followed(client, pooler, database) -> None:
    """If two clients have prepared statements of the same name, on two server connections, one runs the other's.

    If the other's takes another number of parameters, or other types, it is an error.
    """
    follow_none = {"max_prepared_statements": 0} if release() >= (1, 21) else {}
    bouncer = pooler(database, **POOL, **follow_none)
    one = client(bouncer, prepare_threshold=0)
    two = client(bouncer, prepare_threshold=0)
    other, third = client(bouncer), client(bouncer)
    takes_two, takes_more = ("select %s + %s", 1, 1), ("select 300 + %s", 100_000)
    assert [value(one, "select 1 + %s", 1), value(one, *takes_two), value(one, "select 3 + %s", 1)] == [2, 2, 4]
    other.execute("begin")  # takes the only server connection, so that a second one opens
    assert [value(two, "select 100 + %s", 1), value(two, "select 200 + %s", 1)] == [101, 201]
    value(two, *takes_more)
    third.execute("begin")  # takes the second one
    other.execute("commit")  # leaves only the first free
    assert value(two, "select 100 + %s", 1) == 2
    with pytest.raises(psycopg.errors.ProtocolViolation, match="bind message supplies 1 parameters"):
        value(two, "select 200 + %s", 1)
    with pytest.raises(psycopg.errors.InvalidBinaryRepresentation):
        value(two, *takes_more)  # four bytes, where the other's statement takes two


@control(here("django()", 'django(OPTIONS={"server_side_binding": True, "prepare_threshold": 0})'))
def test_django_prepares_nothing_by_itself(django, client) -> None:
    """However often it sends a query, no prepared statement is left on the server connection."""
    one, other = django(), client()
    for number in range(10):
        assert value(one, "select 1 + %s", number) == 1 + number
    take_over(one, other)
    assert value(other, "select count(*) from pg_prepared_statements") == 0


@control(here("psycopg2.connect(shared.url(database))", "shared.connect(database, prepare_threshold=0)"))
def test_psycopg2_never_prepares(shared, database, client) -> None:
    """It sends each query with its values in it, and prepares nothing."""
    evidence.on(psycopg2=psycopg2.__version__.split()[0])
    other = client()
    with closing(psycopg2.connect(shared.url(database))) as one:
        one.autocommit = True
        for number in range(10):
            assert value(one, "select 1 + %s", number) == 1 + number
        take_over(one, other)
        assert value(other, "select count(*) from pg_prepared_statements") == 0


# ---- what a connection begins with ---------------------------------------------------------------------------

OPTIONS = "-c statement_timeout=5000"


@control(here('OPTIONS={"options": OPTIONS}', ""))
def test_options_in_the_connection_string_are_refused(django) -> None:
    """Django cannot connect; from 1.20 on, the error names the setting."""
    from django.db import OperationalError

    named = "unsupported startup parameter in options: statement_timeout"
    text = named if release() >= (1, 20) else "unsupported startup parameter: options"
    with pytest.raises(OperationalError, match=f"FATAL:  {text}\n?$"):
        django(OPTIONS={"options": OPTIONS})


@control(edit("transaction_mode/role_settings.sql", "set statement_timeout = '30s'", "reset statement_timeout"))
@control(edit("transaction_mode/role_settings.sql", "'sales', 'public'", "'public'"))
@control(here('console.execute("reconnect")', "pass"))
def test_a_roles_settings_work_through_pgbouncer(server, server_version, pooler, load) -> None:
    """Server connections that PgBouncer opens as the role have them, older ones do not: RECONNECT replaces those.

    A client that was connected before keeps what PgBouncer tracks: its time zone, and, with 1.26 and PostgreSQL 18 or
    later, search_path.
    """
    note_postgres(server_version)
    follows = release() >= (1, 26) and int(server_version.partition(".")[0]) >= 18
    with fresh(server) as own:
        bouncer = pooler(own, **POOL)
        with bouncer.connect(own) as early, bouncer.admin() as console:
            assert value(early, "show statement_timeout") == "0"
            own.psql(load(f"{FOLDER}/role_settings.sql"), role=own.role.name)
            own.psql(load("postgres/role_timeouts.sql"), role=own.role.name)
            own.admin.execute(f"alter role {own.role.name} set timezone = 'Asia/Tokyo'")
            if int(server_version.partition(".")[0]) >= 17:
                own.psql(load("postgres/transaction_timeout.sql"), role=own.role.name)
            assert value(early, "show statement_timeout") == "0"
            console.execute("reconnect")
            assert value(early, "show statement_timeout") == "30s"
            assert value(early, "show idle_in_transaction_session_timeout") == "1min"
            if int(server_version.partition(".")[0]) >= 17:
                assert value(early, "show transaction_timeout") == "5min"
            assert value(early, "show search_path") == ('"$user", public' if follows else "sales, public")
            assert value(early, "show timezone") != "Asia/Tokyo"
            with bouncer.connect(own) as late:
                take_over(early, late)  # so that there are two server connections
                for client in (early, late):
                    assert value(client, "show statement_timeout") == "30s"
                assert value(late, "show search_path") == "sales, public"
                assert value(late, "show timezone") == "Asia/Tokyo"


@control(here('console.execute("reconnect")', "pass"))
@control(here("own.terminate(pid)", "pass"), fails_with="has noticed: not within")
def test_until_reconnect_a_new_client_gets_the_old_value_of_what_pgbouncer_tracks(
    server, server_version, pooler, load
) -> None:
    """A new server connection starts with the role's settings, but a new client gets the tracked ones of the old one.

    PgBouncer tracks the time zone, and, with 1.26 and PostgreSQL 18 or later, search_path.
    """
    note_postgres(server_version)
    follows = release() >= (1, 26) and int(server_version.partition(".")[0]) >= 18
    with fresh(server) as own:
        bouncer = pooler(own, **POOL)

        def seen() -> list[str]:
            """Return what a new client has."""
            with bouncer.connect(own) as late:
                return [value(late, f"show {name}") for name in ("statement_timeout", "search_path", "timezone")]

        with bouncer.connect(own) as early:
            pid = value(early, "select pg_backend_pid()")
            before = seen()
        own.psql(load(f"{FOLDER}/role_settings.sql"), role=own.role.name)
        own.admin.execute(f"alter role {own.role.name} set timezone = 'Asia/Tokyo'")
        own.terminate(pid)
        until("PgBouncer has noticed", lambda: not bouncer.show("servers"))
        usual, path, zone = before
        assert usual == "0"
        assert seen() == ["30s", path if follows else "sales, public", zone]
        with bouncer.admin() as console:
            console.execute("reconnect")
        assert seen() == ["30s", "sales, public", "Asia/Tokyo"]


@control(here("ignore_startup_parameters=ignored", 'track_extra_parameters="statement_timeout"'))
@pytest.mark.parametrize("ignored", ["options", "options, statement_timeout"])
def test_ignoring_options_loses_the_timeout_without_a_word(pooler, database, client, ignored) -> None:
    """With ignore_startup_parameters the client connects, and has no timeout."""
    bouncer = pooler(database, **POOL, ignore_startup_parameters=ignored)
    assert value(client(bouncer, options=OPTIONS), "show statement_timeout") == "0"
    with database.connect(options=OPTIONS) as direct:
        assert value(direct, "show statement_timeout") == "5s"


@control(here('"track_extra_parameters": "statement_timeout"', '"ignore_startup_parameters": "options"'))
@control(here("statement_timeout=7s", "statement_timeout=5s"))
def test_track_extra_parameters_applies_a_timeout_from_1_26(pooler, database, client) -> None:
    """One that sends none has none; of two that do, one gets the other's. 1.24 applies none; 1.18 does not start."""
    settings = {**POOL, "default_pool_size": 1, "track_extra_parameters": "statement_timeout"}
    if release() < (1, 20):
        with pytest.raises(RuntimeError, match="unknown parameter: pgbouncer/track_extra_parameters"):
            pooler(database, **settings)
        return
    bouncer = pooler(database, **settings)
    one, other, third = (client(bouncer, options=asked) for asked in (OPTIONS, "", "-c statement_timeout=7s"))

    def shown(*clients: psycopg.Connection) -> list[str]:
        return [value(each, "show statement_timeout") for each in (*clients, *clients)]

    follows = release() >= (1, 26)
    assert shown(one, other) == (["5s", "0", "5s", "0"] if follows else ["0"] * 4)
    assert shown(one, third) == (["5s", "7s", "7s", "7s"] if follows else ["0"] * 4)


INTRUDER = """
create schema intruder;
grant usage on schema intruder to public;
create table intruder.pg_authid as select '{victim}' as rolname, 'chosen' as rolpassword;
grant select on intruder.pg_authid to public;
"""


@control(here("alter role {asks.name} set search_path = {path}", "select 1"))
@pytest.mark.parametrize("way", ["client", "parameter", "role"])
def test_a_client_cannot_choose_where_pgbouncer_looks_for_passwords(server, server_version, pooler, way) -> None:
    """A search_path that a client sends, in `options` or by itself, does not affect auth_query (CVE-2025-12819).

    One that is set for PgBouncer's own role does.

    An attacker has created a table named like PostgreSQL's own, with a password of their choice in it.
    """
    note_postgres(server_version)
    path = "intruder, pg_catalog"
    with fresh(server) as own, psycopg.connect(own.superuser, autocommit=True) as superuser:
        asks = Role(server, "superuser")
        superuser.execute(INTRUDER.format(victim=own.role.name))
        if way == "role":  # what the attack would have achieved
            superuser.execute(f"alter role {asks.name} set search_path = {path}")
        query = "select rolname, rolpassword from pg_authid where rolname = $1"
        tracked = {"track_extra_parameters": "search_path"} if release() >= (1, 20) else {}
        ignored = {"ignore_startup_parameters": "options, search_path"}
        looked_up = {"users": {asks.name: asks.password}, "auth_user": asks.name, "auth_query": query}
        bouncer = pooler(own, **POOL, **looked_up, **tracked, **ignored)

        def come() -> None:
            if way == "parameter":
                sent = {"server_settings": {"search_path": path}}
                asyncio.run(asyncpg.connect(bouncer.url(own), password="chosen", **sent))
            else:
                bouncer.connect(own, password="chosen", options="-c search_path=" + path.replace(" ", ""))

        with pytest.raises((psycopg.OperationalError, asyncpg.PostgresError)) as refused:
            come()
        # If the path takes effect, PgBouncer lets the client in, and PostgreSQL behind it requires the real password.
        by_pgbouncer = "SASL authentication failed" in str(refused.value)
        assert by_pgbouncer == (way != "role")
        bouncer.stop()
        asks.drop(own.admin)


# ---- COPY ------------------------------------------------------------------------------------------------------


def refused_midway(one: Client, database: Database) -> None:
    """Send rows of which PostgreSQL rejects one, and end the COPY once it has done so."""
    with one.cursor().copy("copy once from stdin") as copy:
        copy.write(b"0\n" * 40_000)  # more than psycopg buffers
        refuses = "select count(*) = 0 from pg_stat_activity where datname = %s and state = 'active'"
        until("a row is refused", lambda: database.admin.execute(refuses, [database.name]).fetchone()[0])


@control(here("refused_midway(one, database)", 'one.execute("select 1 / 0")'))
@pytest.mark.parametrize("within", ["autocommit", "transaction"])
def test_a_copy_that_fails_keeps_its_server_connection(pooler, database, client, within) -> None:
    """In autocommit, until the client's next statement; with 1.24, until it leaves, and in a transaction as well."""
    bouncer = pooler(database, **POOL)
    with database.connect() as direct:
        direct.execute("create table if not exists once (n int primary key)")
    one = client(bouncer)
    with pytest.raises(psycopg.Error), one.transaction() if within == "transaction" else nullcontext():
        refused_midway(one, database)
    stays = release() == (1, 24)
    assert held(bouncer, database) == (stays or within == "autocommit")
    assert [value(one, "select 1") for _ in range(3)] == [1, 1, 1]
    until("it is given back, or not", lambda: held(bouncer, database) == stays)
    one.close()
    until("it is free", lambda: held(bouncer, database) == 0)
    with database.connect() as direct:
        direct.execute("drop table once")


# ---- what is safe --------------------------------------------------------------------------------------------


@control(
    replace("tests.proofs.explanation.test_transaction_mode:POOL", {"pool_mode": "statement"}),
    fails_with="statement pooling mode",
)
def test_a_transaction_stays_on_one_server_connection(client) -> None:
    """With savepoints, ON COMMIT DROP tables and cursors: until its end no other client gets that connection."""
    one, other = client(), client()
    with one.transaction():
        used = value(one, "select pg_backend_pid()")
        come_and_go(one)
        assert value(other, "select pg_backend_pid()") != used
        assert value(one, "select pg_backend_pid()") == used


@control(here('one.execute("vacuum rows")', 'one.execute("analyze rows")'))
@control(here("client()", "client(autocommit=False)"), fails_with="cannot run inside a transaction block")
def test_statements_that_allow_no_transaction_work(client) -> None:
    """In autocommit CREATE INDEX CONCURRENTLY leaves a valid index, and VACUUM removes deleted rows."""
    one = client()
    one.execute("create table rows as select generate_series(1, 100) as n")
    one.execute("create index concurrently rows_n on rows (n)")
    assert value(one, "select indisvalid from pg_index where indexrelid = 'rows_n'::regclass") is True
    one.execute("delete from rows")
    assert value(one, "select pg_relation_size('rows')") > 0
    one.execute("vacuum rows")
    assert value(one, "select pg_relation_size('rows')") == 0
    one.execute("drop table rows")


@control(here('other.execute("insert into waited values (2)")', "pass"))
def test_a_roles_statement_timeout_ends_an_index_that_is_built(database, console, client) -> None:
    """It waits for another's transaction until its role's limit; the index is there and invalid."""
    one, role = client(), database.role.name
    one.execute("create table waited as select 1 as n")
    database.admin.execute(f"alter role {role} set statement_timeout = '300ms'")
    console.execute("reconnect")
    try:
        with database.connect(autocommit=False) as other:
            other.execute("insert into waited values (2)")
            with pytest.raises(psycopg.errors.QueryCanceled, match="due to statement timeout"):
                one.execute("create index concurrently waited_n on waited (n)")
    finally:
        database.admin.execute(f"alter role {role} reset statement_timeout")
        console.execute("reconnect")
    assert value(one, "select indisvalid from pg_index where indexrelid = 'waited_n'::regclass") is False
    one.execute("drop table waited")


@control(replace("tests.proofs.explanation.test_transaction_mode:POOL", {"pool_mode": "statement"}))
def test_migrate_works_through_pgbouncer(server, server_version, project, pooler) -> None:
    """The example project's tables are created in transaction mode."""
    note_postgres(server_version)
    with fresh(server) as own:
        bouncer = pooler(own, **POOL)
        settings = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
        status, output = project.run("manage.py", "migrate", "--verbosity=0", database_url=bouncer.url(own), **settings)
        assert (status, output) == (0, "")
        with own.connect() as direct:
            assert value(direct, "select count(*) from orders_order") == 0
        bouncer.stop()


# ---- who holds a server connection when ----------------------------------------------------------------------


def held(bouncer: PgBouncer, database: Database, clients: int | None = None) -> int:
    """Return how many server connections clients hold; assert how many clients there are."""
    (pool,) = [pool for pool in bouncer.show("pools") if pool["database"] == database.name]
    assert clients in (None, pool["cl_active"])
    return int(pool["sv_active"])


@control(
    replace("tests.proofs.explanation.test_transaction_mode:POOL", {"pool_mode": "session", "default_pool_size": 20})
)
def test_idle_clients_hold_no_server_connection(django, shared, database) -> None:
    """Ten Django connections, kept open after a query each, needed one server connection between them."""
    for _ in range(10):
        value(django(CONN_MAX_AGE=None), "select 1")
    assert held(shared, database, clients=10) == 0
    assert len(database.backends()) == 1


@control(here('pool_mode="session"', 'pool_mode="transaction"'))
def test_in_session_mode_each_client_holds_one_until_it_leaves(pooler, database, client) -> None:
    """From its first statement on: with a pool of three, the fourth client times out, though the others are idle."""
    bouncer = pooler(database, pool_mode="session", default_pool_size=3)
    kept = [client(bouncer) for _ in range(3)]
    assert held(bouncer, database) == 0
    for connection in kept:
        connection.execute("select 1")
    assert held(bouncer, database) == 3
    with bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
        client(bouncer).execute("select 1")
    kept[0].close()
    until("a server connection is free", lambda: held(bouncer, database) < 3)
    assert value(client(bouncer), "select 1") == 1


@control(here('connection.execute("begin")', "pass"))
def test_in_transaction_mode_a_transaction_holds_one_until_it_ends(pooler, database, client) -> None:
    """With three in a transaction, the fourth client times out; once one of them commits, it is served."""
    bouncer = pooler(database, **{**POOL, "default_pool_size": 3})
    busy = [client(bouncer) for _ in range(3)]
    for connection in busy:
        connection.execute("begin")
        connection.execute("select 1")
    assert held(bouncer, database) == 3
    with bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
        client(bouncer).execute("select 1")
    busy[0].execute("commit")
    assert value(client(bouncer), "select 1") == 1
    until("it has given that back", lambda: held(bouncer, database) == 2)


@control(here("pool_mode=mode", 'pool_mode="session"'))
def test_the_picture_shows_who_held_a_server_connection(pooler, database, request) -> None:
    """Three clients do the same in both modes, and the drawing is what PgBouncer's console showed after each step."""
    traces = {}
    for mode in ("session", "transaction"):
        bouncer = pooler(database, pool_mode=mode, default_pool_size=2)
        traces[mode] = timeline.trace(bouncer, database)
        bouncer.stop()
    picture = ROOT / PICTURES / "who-holds-a-server-connection.svg"
    if request.config.getoption("record"):
        picture.write_text(timeline.draw(traces), encoding="utf-8")
    assert picture.read_text(encoding="utf-8") == timeline.draw(traces), "make record draws it again"
    waited = {mode: [name for name, states in seen.items() if ("waits", 0) in states] for mode, seen in traces.items()}
    assert waited == {"session": ["C"], "transaction": []}
    kinds = {kind for states in traces["transaction"].values() for kind, _ in states}
    assert "idle" not in kinds
