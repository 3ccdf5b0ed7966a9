"""Proves docs/runbooks/pgbouncer-cursor-does-not-exist.md: Django's iterator() through a pool of two."""

import psycopg
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.stack.console import console, through
from tests.stack.database import fresh
from tests.stack.fixtures import note_postgres
from tests.stack.upstream import driver, needs_psycopg_3
from tests.stack.wait import until

SCRIPT = "provoke/cursor_lost.py"
CURSOR = [(r"_django_curs_\d+_sync_\d+", "CURSOR")]


@pytest.fixture
def orders(server, server_version, migrated, pooler):
    """The example project's tables, and a PgBouncer in front of them."""
    note_postgres(server_version)
    with fresh(server, template=migrated) as database:
        bouncer = pooler(database, pool_mode="transaction", default_pool_size=2)
        yield database, bouncer
        bouncer.stop()


def run(project, orders, snippet, **extra: str) -> str:
    """Run a script in the example project, through PgBouncer."""
    database, bouncer = orders
    status, output = project.run("-c", snippet.text, database_url=bouncer.url(database), **extra)
    evidence.ran(snippet)
    assert status == 0, output
    return output


@control(edit("provoke/cursor_lost.py", "other.set_autocommit(False)", "other.set_autocommit(True)"))
def test_iterator_loses_its_cursor_outside_of_a_transaction(project, orders, load, transcript) -> None:
    """The second batch of rows is fetched on another server connection; in a transaction it is not, and all come."""
    snippet = load(SCRIPT)
    output = run(project, orders, snippet)
    (name,) = driver()
    assert output.startswith(f'{name}.errors.InvalidCursorName: cursor "_django_curs_')
    transcript(snippet, output, CURSOR)


@control(here("other.rollback()", "pass"))
def test_who_can_close_the_cursor_hears_djangos_error(project, orders) -> None:
    """If the cursor's server connection is free again at CLOSE, that does not fail, and the error is Django's."""
    database, bouncer = orders
    code = """
import django; django.setup()
from django.db import connection
from django.db.backends.utils import CursorWrapper
from orders.models import Order

Order.objects.bulk_create(Order(customer=str(n)) for n in range(4))
rows = Order.objects.iterator(chunk_size=2)
next(rows)
other = connection.copy()
other.set_autocommit(False)
other.cursor().execute("select 1")  # takes the server connection that has the cursor
usual = CursorWrapper.__getattr__

def gives_back(self, name):
    if name == "close":
        other.rollback()
    return usual(self, name)

CursorWrapper.__getattr__ = gives_back
try:
    list(rows)
except Exception as error:
    print(f"{type(error).__module__}: {error}")
other.close()
"""
    settings = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
    status, said = project.run("-c", code, database_url=bouncer.url(database), **settings)
    assert (status, said.startswith('django.db.utils: cursor "_django_curs_')) == (0, True), said


@control(
    edit("upstream/settings/pgbouncer.py", '["DISABLE_SERVER_SIDE_CURSORS"] = True', '["ATOMIC_REQUESTS"] = False')
)
@control(here("with transaction.atomic():", "with connection.cursor():"))
def test_a_loop_that_outlives_its_transaction_hears_djangos_error(project, migrated, server, server_version) -> None:
    """Without PgBouncer: the cursor ended with its transaction, so there is nothing to close.

    With server-side cursors turned off the loop reads the other rows.
    """
    needs_psycopg_3()
    note_postgres(server_version)
    code = """
import django; django.setup()
from django.db import connection, transaction
from orders.models import Order

Order.objects.bulk_create(Order(customer=str(n)) for n in range(4))
with transaction.atomic():
    rows = Order.objects.order_by("customer").iterator(chunk_size=2)
    next(rows)
try:
    print(*(row.customer for row in rows))
except Exception as error:
    print(f"{type(error).__module__}: {error}")
"""

    def loop(settings: str) -> tuple[int, str]:
        with fresh(server, template=migrated) as own:
            reached = {"database_url": own.url, "DATABASE_DIRECT_URL": own.url}
            return project.run("-c", code, DJANGO_SETTINGS_MODULE=f"settings.{settings}", **reached)

    said = loop("prod")
    assert (said[0], said[1].startswith('django.db.utils: cursor "_django_curs_')) == (0, True), said
    assert loop("pgbouncer") == (0, "1 2 3\n")


@control(
    here(
        '"declare rows cursor with hold for select generate_series(1, 4)"',
        '"declare rows cursor with hold for select generate_series(10, 4)"',
    )
)
@control(
    here("server_idle_timeout=0.1", "server_idle_timeout=600"), fails_with="PgBouncer closes what is idle: not within"
)
def test_a_pause_loses_the_cursor_without_any_load(database, pooler) -> None:
    """Even with one client, server_idle_timeout closes the server connection, and with it a cursor like Django's."""
    bouncer = pooler(database, pool_mode="transaction")
    with bouncer.connect(database) as client:
        client.execute("declare rows cursor with hold for select generate_series(1, 4)")
        assert client.execute("fetch rows").fetchall() == [(1,)]
        bouncer.set(server_idle_timeout=0.1)
        until("PgBouncer closes what is idle", lambda: database.backends() == [])
        with pytest.raises(psycopg.errors.InvalidCursorName, match='cursor "rows" does not exist'):
            client.execute("fetch rows")


@control(edit("postgres/cursors_left.sql", "is_holdable,", ""))
@control(edit("pgbouncer/console/reconnect.sql", 'reconnect :"database";', ""))
@control(
    edit("provoke/cursor_lost.py", "other.set_autocommit(False)", "other.set_autocommit(True)"),
    fails_with="not enough values to unpack",
)
def test_the_cursor_stays_behind_on_its_server_connection(project, orders, load, transcript) -> None:
    """Its client has disconnected, and the next client on that server connection finds it open, until RECONNECT."""
    database, bouncer = orders
    run(project, orders, load(SCRIPT))
    snippet = load("postgres/cursors_left.sql")
    (found,) = [output for output in seen(bouncer, database, snippet) if "_django_curs_" in output]
    transcript(snippet, found, [*CURSOR, (r"\d+:\d{2}:\d{2}", "AGE")])
    console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
    assert "_django_curs_" not in "".join(seen(bouncer, database, snippet))


@control(
    edit("upstream/settings/pgbouncer.py", '["DISABLE_SERVER_SIDE_CURSORS"] = True', '["ATOMIC_REQUESTS"] = False')
)
def test_without_server_side_cursors_every_row_comes(project, orders, load) -> None:
    """With DISABLE_SERVER_SIDE_CURSORS the same script reads all four orders, inside and outside a transaction."""
    database, bouncer = orders
    settings = {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer", "DATABASE_DIRECT_URL": database.url}
    output = run(project, orders, load(SCRIPT), **settings)
    assert output.splitlines() == ["4 orders", "in a transaction:", "4 orders"]
    assert "_django_curs_" not in "".join(seen(bouncer, database, load("postgres/cursors_left.sql")))


def seen(bouncer, database, snippet) -> tuple[str, str]:
    """Return what a snippet prints on each of the two server connections."""
    first = through(bouncer, database, snippet)
    with bouncer.connect(database, autocommit=False) as holder:
        holder.execute("select 1")  # so that the other server connection answers
        return first, through(bouncer, database, snippet)
