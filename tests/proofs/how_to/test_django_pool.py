"""Proves docs/how-to/django-pool.md: what a pool's options do, what it counts, and when a connection is given back."""

import inspect
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg_pool
import pytest
from psycopg_pool import ConnectionPool

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from tests.proofs.how_to.test_asgi import OF_TWO, by_daphne
from tests.proofs.how_to.test_find_the_leak import Uvicorn
from tests.proofs.pooled import Pooled
from tests.proofs.runbooks.test_pgbouncer_idle_in_transaction import Payments, payments
from tests.stack.database import Database, fresh
from tests.stack.postgres import Server
from tests.stack.scripts import execute
from tests.stack.upstream import Gunicorn, Project, needs_a_pool, serving
from tests.stack.wait import DEADLINE, until

PRODUCTION = {"DJANGO_SETTINGS_MODULE": "settings.pool", "DB_POOL_SIZE": "1"}


# ---- the options -----------------------------------------------------------------------------------------------


@control(edit("pool/defaults.py", '"max_idle": 600', '"max_idle": 60'))
def test_the_list_has_what_a_pool_is_by_itself(load) -> None:
    """Each option in the list is one of psycopg_pool's, with its default value."""
    listed = execute(load("pool/defaults.py"))["POOL"]
    taken = inspect.signature(ConnectionPool.__init__).parameters
    assert listed == {name: taken[name].default for name in listed}
    evidence.on(**{"psycopg_pool": psycopg_pool.__version__})


OPENED = """
import django; django.setup()
from django.db import connection, connections
for _ in range(2):
    print(connection.pool.closed)
    connection.ensure_connection()
connection.close()
connection.pool.wait()
with connection.cursor() as cursor:
    cursor.execute("select count(*) from pg_stat_activity where usename = current_user")
    print(*cursor.fetchone())
"""


@control(edit("upstream/settings/pool.py", '"min_size": size', '"min_size": 0'))
@control(here('"-c", OPENED', '"-c", OPENED.replace("for", "connection.pool.open()\\nfor")'))
def test_the_pool_is_opened_by_the_first_query(project, database) -> None:
    """django.setup() does not open it; the first connection requested does, with the two others of min_size = 3."""
    needs_a_pool()
    said = project.run("-c", OPENED, database_url=database.url, **PRODUCTION | {"DB_POOL_SIZE": "3"})
    assert said == (0, "True\nFalse\n3\n")


@control(here('"max_idle": 0.1', '"max_idle": 100'), fails_with="nobody is connected: not within")
@control(here('"min_size": 0', '"min_size": 1'))
def test_a_pool_that_may_be_empty_empties(database) -> None:
    """With min_size = 0 none is open before the first is requested, two are while two are lent, and none in the end."""
    with ConnectionPool(database.url, open=False, **{"min_size": 0, "max_size": 2, "max_idle": 0.1}) as pool:
        pool.wait()
        assert database.backends() == []
        with pool.connection(), pool.connection():
            assert len(database.backends()) == 2
        until("nobody is connected", lambda: database.backends() == [])


@control(here("max_idle=0.1", "max_idle=100"), fails_with="one is left: not within")
@control(here("pool.connection(), pool.connection(), pool", "pool.connection(), pool"))
def test_beyond_min_size_one_is_closed_at_a_time(database, caplog) -> None:
    """Of three idle connections each max_idle closes one, and the one of min_size = 1 stays."""
    caplog.set_level("INFO", "psycopg.pool")
    with ConnectionPool(database.url, open=False, min_size=1, max_size=3, max_idle=0.1) as pool:
        pool.wait()
        with pool.connection(), pool.connection(), pool.connection():
            assert len(database.backends()) == 3
        until("one is left", lambda: len(database.backends()) == 1)
    left = [record.args[1] for record in caplog.records if str(record.msg).startswith("shrinking pool")]
    assert left == [2, 1]


@control(here("max_lifetime=0.1", "max_lifetime=100"), fails_with="another takes its place: not within")
@control(here("with pool.connection(timeout=DEADLINE)", "pool.check()\n        with pool.connection(timeout=DEADLINE)"))
def test_a_lifetime_counts_when_a_connection_comes_back(database) -> None:
    """A connection past its max_lifetime stays while it is idle, is lent once more, and is replaced when given back."""
    with ConnectionPool(database.url, open=False, min_size=1, max_lifetime=0.1) as pool:
        pool.wait()
        (old,) = database.backends()
        there = time.monotonic()  # the pool counts from when it got it
        until("it is past its age", lambda: time.monotonic() > there + 0.2)
        with pool.connection(timeout=DEADLINE) as lent:
            assert lent.info.backend_pid == old
        until("another takes its place", lambda: len(database.backends()) == 1 and database.backends() != [old])


# ---- what it counts --------------------------------------------------------------------------------------------


@control(edit("pool/waiting.py", "min_size=1", "min_size=2"))
@control(
    edit("pool/waiting.py", "max_waiting=2", "max_waiting=2,\n    timeout=1"),
    edit(
        "pool/waiting.py",
        "cyd = threads.submit(pool.getconn)\n    waiting(1)\n    dan =",
        "dan = threads.submit(pool.getconn)\n    waiting(1)\n    cyd =",
    ),
    fails_with="couldn't get a connection after 1.00 sec",
)
@control(
    edit("pool/waiting.py", "max_waiting=2", "max_waiting=3"), fails_with="couldn't get a connection after 1.00 sec"
)
def test_two_wait_in_order_and_a_third_is_refused(database, load, printed, transcript) -> None:
    """The pool grows to two connections; clients that find none free are queued, and served in order of arrival."""
    snippet = load("pool/waiting.py")
    transcript(snippet, printed(snippet, DATABASE_URL=database.url))


GAVE_UP = {"min_size": 1, "max_size": 1, "max_waiting": 1}


@control(here("pool.getconn(timeout=0.1)", "raise psycopg_pool.PoolTimeout"), fails_with="DID NOT RAISE")
def test_who_gave_up_is_counted_as_waiting(database) -> None:
    """With max_waiting = 1 a client times out; the next is refused, though none waits, until a connection is back."""
    with ConnectionPool(database.url, open=False, timeout=0.1, **GAVE_UP) as pool:
        lent = pool.getconn(timeout=DEADLINE)
        with pytest.raises(psycopg_pool.PoolTimeout):
            pool.getconn(timeout=0.1)
        assert pool.get_stats()["requests_waiting"] == 1
        with pytest.raises(psycopg_pool.TooManyRequests):
            pool.getconn()
        assert pool.get_stats()["requests_errors"] == 2
        pool.putconn(lent)
        assert pool.get_stats()["requests_waiting"] == 0


COUNTED = """
import django; django.setup()
from django.db import connection
connection.ensure_connection()
connection.close()
print(sorted(name for name in ("connections_num", "requests_num", "usage_ms") if name in connection.pool.get_stats()))
"""


@control(here('"-c", COUNTED', '"-c", COUNTED + "\\nwith connection.pool.connection(): pass" + COUNTED'))
def test_django_counts_no_time_of_use(project, database) -> None:
    """After a connection was lent and given back, usage_ms is missing, but not requests_num and connections_num."""
    needs_a_pool()
    said = project.run("-c", COUNTED, database_url=database.url, **PRODUCTION)
    assert said == (0, "['connections_num', 'requests_num']\n")


# ---- when a request gives it back ------------------------------------------------------------------------------

# The project with a pool of one, and a short timeout.
ONE = """
from settings.pool import *
DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 1, "timeout": 2}
"""


# The same with a transaction around each request.
EACH = 'DATABASES["default"]["ATOMIC_REQUESTS"] = True\n'


@contextmanager
def pool_of_one(
    project: Project, server: Server, migrated: str, folder: Path, more: str = ""
) -> Iterator[tuple[Gunicorn, Payments]]:
    """Serve the project from four threads of Gunicorn with a pool of one, and run the service that its views call."""
    needs_a_pool()
    (folder / "one.py").write_text(ONE + more)
    with fresh(server, template=migrated) as database, payments() as service:
        settings = {
            "DJANGO_SETTINGS_MODULE": "one",
            "PAYMENTS_HOST": f"127.0.0.1:{service.server_address[1]}",
            "PAYMENTS_TIMEOUT": str(DEADLINE),
            "GUNICORN_WORKERS": "1",
        }
        with serving(project, database, f"--pythonpath {folder}", **settings) as gunicorn:
            until("the pool has its connection", lambda: gunicorn.request("/connection/")[0] == 200)
            yield gunicorn, service


@pytest.fixture(scope="module")
def shop(project, server, migrated, tmp_path_factory):
    """Such a project, for the proofs of this module."""
    with pool_of_one(project, server, migrated, tmp_path_factory.mktemp("settings")) as made:
        yield made


@contextmanager
def calling(shop: tuple[Gunicorn, Payments], view: str) -> Iterator[None]:
    """Have a request to this view wait for the other service, for as long as the block lasts."""
    gunicorn, service = shop
    service.answer.clear()
    before = service.calls
    with ThreadPoolExecutor(1) as client:
        request = client.submit(gunicorn.request, view, "POST")
        try:
            until("the service is called", lambda: service.calls > before)
            yield
        finally:
            service.answer.set()
        assert request.result()[0] == 200
    gunicorn.note()


@control(edit("upstream/orders/payments.py", "    charged = False\n", "    connection.close()\n    charged = False\n"))
def test_a_request_holds_its_connection_while_it_calls(shop, server_version) -> None:
    """Even outside a transaction no other request gets a connection while a view that has queried calls a service."""
    evidence.on(PostgreSQL=server_version)
    with calling(shop, "/orders/pay/"):
        assert shop[0].request("/connection/")[0] == 500
        state = "select state from pg_stat_activity where datname = %s and backend_type = 'client backend'"
        database = shop[0].database
        assert database.admin.execute(state, [database.name]).fetchall() == [("idle",)]
    assert "couldn't get a connection after 2.00 sec" in shop[0].said()
    assert shop[0].request("/connection/")[0] == 200


@control(edit("upstream/orders/payments.py", "    connection.close()  # back", "    # back"))
def test_a_view_that_closes_lets_others_have_it(shop, server_version) -> None:
    """A view closes its connection before it calls: another request is served over it meanwhile."""
    evidence.on(PostgreSQL=server_version)
    with calling(shop, "/orders/invoice/"):
        assert shop[0].request("/connection/")[0] == 200


# A view that queries and answers at length.
LARGE = """
from django.http import HttpResponse
from django.urls import path
from orders.models import Order
from urls import urlpatterns as others

def large(request):
    Order.objects.exists()
    return HttpResponse(b"x" * {size})

urlpatterns = [*others, path("large/", large)]
"""


@control(here("size=1 << 27", "size=1 << 10"))
def test_a_client_that_reads_slowly_keeps_its_requests_connection(
    project, server, server_version, migrated, tmp_path
) -> None:
    """While a client has not read a large response, other requests get no connection; once it has, they do."""
    evidence.on(PostgreSQL=server_version)
    (tmp_path / "large.py").write_text(LARGE.format(size=1 << 27))
    with (
        pool_of_one(project, server, migrated, tmp_path, 'ROOT_URLCONF = "large"\n') as (gunicorn, _),
        socket.create_connection(("127.0.0.1", gunicorn.port), DEADLINE) as client,
    ):
        client.sendall(b"GET /large/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert client.recv(8) == b"HTTP/1.1"
        assert gunicorn.request("/connection/")[0] == 500
        assert "couldn't get a connection after 2.00 sec" in gunicorn.said()
        while client.recv(1 << 20):
            pass
        until("it is given back", lambda: gunicorn.request("/connection/")[0] == 200)
        gunicorn.note()


# A pool of one, a view that answers at length, and async views that let go of their connection, and wait.
OF_ONE_BY_ASGI = f"""{OF_TWO.replace('"min_size": 2, "max_size": 2', '"min_size": 1, "max_size": 1')}
import asyncio
import django; django.setup()
import urls
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from orders.asynchronous import give_back
from orders.models import Order

def large(request):
    Order.objects.exists()
    return HttpResponse(b"x" * (1 << 27))

goes_on = asyncio.Event()

async def lets_go(request, how):
    await Order.objects.acount()
    if how == "gives":
        await give_back()
    elif how == "closes":
        try:
            connection.close()
        except SynchronousOnlyOperation:
            print("refused", flush=True)
    print("waits", flush=True)
    await goes_on.wait()
    return HttpResponse()

async def go_on(request):
    goes_on.set()
    return HttpResponse()

urls.urlpatterns += [path("large/", large), path("go-on/", go_on), path("lets-go/<how>/", lets_go)]
"""
OF_ONE_BY_UVICORN = f"""{OF_ONE_BY_ASGI}
import sys
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""


@contextmanager
def by_uvicorn(project: Project, database: Database) -> Iterator[Uvicorn]:
    """Serve the project by uvicorn with such views."""
    uvicorn = Uvicorn(project, database, "-c", OF_ONE_BY_UVICORN)
    uvicorn.note()
    try:
        yield uvicorn
    finally:
        uvicorn.stop()


def while_it_reads_slowly(served: Uvicorn) -> int:
    """Return the status of a request that comes while a client has not read a large response."""
    with socket.create_connection(("127.0.0.1", served.port), DEADLINE) as client:
        client.sendall(b"GET /large/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert client.recv(8) == b"HTTP/1.1"
        return served.request("/connection/")[0]


@control(here("daphne = while_it_reads_slowly(hasty)", "daphne = while_it_reads_slowly(slow)"))
@control(here("uvicorn = while_it_reads_slowly(slow)", "uvicorn = while_it_reads_slowly(hasty)"))
def test_a_slow_reader_keeps_a_connection_under_uvicorn_and_not_under_daphne(
    project, server, server_version, migrated
) -> None:
    """While a client has not read a large response, others get no connection of a pool of one; from Daphne they do."""
    needs_a_pool()
    evidence.on(PostgreSQL=server_version)
    with (
        fresh(server, template=migrated) as database,
        fresh(server, template=migrated) as other,
        by_uvicorn(project, database) as slow,
        by_daphne(project, other, 600, OF_ONE_BY_ASGI) as hasty,
    ):
        uvicorn = while_it_reads_slowly(slow)
        daphne = while_it_reads_slowly(hasty)
    assert (uvicorn, daphne) == (500, 200)


@control(here('f"/lets-go/{how}/"', '"/lets-go/keeps/"'))
@pytest.mark.parametrize(("how", "status"), [("gives", 200), ("closes", 500)])
def test_an_async_view_gives_back_and_may_not_close(project, server, server_version, migrated, how, status) -> None:
    """While an async view waits, another request gets the pool's only connection if the view has given it back.

    close() is refused there.
    """
    needs_a_pool()
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database, by_uvicorn(project, database) as served:
        with ThreadPoolExecutor(1) as client:
            waits = client.submit(served.request, f"/lets-go/{how}/")
            try:
                until("it waits", lambda: "waits" in served.said().splitlines())
                assert served.request("/connection/")[0] == status
            finally:
                served.request("/go-on/")
            assert waits.result()[0] == 200
        assert ("refused" in served.said().splitlines()) == (how == "closes")


@control(replace("tests.proofs.how_to.test_django_pool:EACH", ""))
def test_with_atomic_requests_a_request_without_a_query_takes_one_too(
    project, server, server_version, migrated, tmp_path
) -> None:
    """While another request holds the pool's only connection, a view that queries nothing waits for it in vain."""
    evidence.on(PostgreSQL=server_version)
    with pool_of_one(project, server, migrated, tmp_path, EACH) as shop:
        with calling(shop, "/orders/pay-and-hold/"):
            assert shop[0].request("/health/live/")[0] == 500
        assert "couldn't get a connection after 2.00 sec" in shop[0].said()
        assert shop[0].request("/health/live/")[0] == 200


ATOMIC = """
import django; django.setup()
from django.db import Error, connection, transaction
from orders.models import Order
with transaction.atomic():
    Order.objects.create(customer="Ada")
    connection.close()
    try:
        Order.objects.count()
    except Error:
        print("no query any more")
print(Order.objects.count())
with transaction.atomic():
    Order.objects.create(customer="Ada")
    connection.close()
print("no error")
print(Order.objects.count())
"""


@pytest.fixture
def tables(server, server_version, migrated) -> Iterator[Database]:
    """A database of this proof's own with the project's tables."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as made:
        yield made


@control(here('"-c", ATOMIC', '"-c", ATOMIC.replace("connection.close()", "pass")'))
def test_closing_within_a_transaction_loses_it(project, tables) -> None:
    """What was written before is rolled back, and the next query of the block fails. Without one, only a warning."""
    needs_a_pool()
    status, said = project.run("-c", ATOMIC, database_url=tables.url, **PRODUCTION)
    assert status == 0, said
    warning = "rolling back returned connection"
    told = [line for line in said.splitlines() if not line.startswith(warning)]
    assert told == ["no query any more", "0", "no error", "0"]
    assert said.count(warning) == 2


# The project with a pool of one that sends DISCARD ALL when a connection comes back.
DISCARDS = """
from settings.pool import *
options["pool"]["reset"] = lambda connection: connection.execute("discard all")
"""
# What a session is left with, and the same moment as it is read before and after the connection came back.
NOON = """
import django; django.setup()
from django.db import connection
for left in "set statement_timeout = '7s'", "select 1":
    with connection.cursor() as cursor:
        cursor.execute(left)
        cursor.execute('''
            select pg_backend_pid(), current_setting('statement_timeout'), timestamptz '2026-01-01 12:00+00'
        ''')
        backend, limit, noon = cursor.fetchone()
    print(backend, limit, noon)
    connection.close()
"""


@control(here("DISCARDS", 'DISCARDS.replace("discard all", "select 1")'))
@control(here("set timezone = 'Asia/Tokyo'", "set timezone = 'UTC'"))
def test_a_reset_that_discards_all_undoes_djangos_time_zone(project, database, tmp_path) -> None:
    """Nothing of the session is left, nor the time zone: with another one of the role, noon is read as 21:00 UTC."""
    needs_a_pool()
    (tmp_path / "discards.py").write_text(DISCARDS)
    database.admin.execute(f"alter role \"{database.role.name}\" set timezone = 'Asia/Tokyo'")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{NOON}"
    settings = PRODUCTION | {"DJANGO_SETTINGS_MODULE": "discards"}
    status, said = project.run("-c", code, database_url=database.url, **settings)
    assert status == 0, said
    first, second = (line.split(maxsplit=1) for line in said.splitlines())
    assert first[0] == second[0], "one session"
    assert (first[1], second[1]) == ("7s 2026-01-01 12:00:00+00:00", "0 2026-01-01 21:00:00+00:00")


ASSUMES = """
from settings.pool import *
options["pool"] = {"min_size": 1, "max_size": 1, "timeout": 1}
options["assume_role"] = "pg_read_all_data"
"""
WHO = """
import django; django.setup()
from django.db import OperationalError, connection
for _ in range(2):
    try:
        with connection.cursor() as cursor:
            cursor.execute("select current_user")
            print(*cursor.fetchone())
    except OperationalError as error:
        print(error)
"""


@control(
    here(
        '"assumes.py").write_text(ASSUMES)',
        '"assumes.py").write_text(ASSUMES.replace("assume_role", "application_name"))',
    )
)
def test_with_assume_role_nobody_gets_one_of_the_pool(project, database, tmp_path) -> None:
    """To set the role, a connection that is being made waits for one of the pool. Without a pool the role is set."""
    needs_a_pool()
    database.admin.execute(f'grant pg_read_all_data to "{database.role.name}"')
    (tmp_path / "assumes.py").write_text(ASSUMES)
    (tmp_path / "alone.py").write_text(f'{ASSUMES}del options["pool"]')
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{WHO}"
    alone = project.run("-c", code, database_url=database.url, DJANGO_SETTINGS_MODULE="alone")
    assert alone == (0, "pg_read_all_data\n" * 2)
    _, said = project.run("-c", code, database_url=database.url, DJANGO_SETTINGS_MODULE="assumes")
    assert said.count("couldn't get a connection after 1.00 sec") >= 2, said
    patient = f'options["pool"]["timeout"] = {DEADLINE}'  # on a busy machine it may take longer to connect
    (tmp_path / "plain.py").write_text(f'{ASSUMES}del options["assume_role"]\n{patient}')
    plain = project.run("-c", code, database_url=database.url, DJANGO_SETTINGS_MODULE="plain")
    assert plain == (0, f"{database.role.name}\n" * 2)
    assert "pg_read_all_data" not in said


# ---- in front of PgBouncer -------------------------------------------------------------------------------------


@control(here('"DB_POOL_SIZE": "3"', '"DB_POOL_SIZE": "2"'), fails_with="the pool has three: not within")
@control(here('pool_mode="transaction", default_pool_size=1', 'pool_mode="session", default_pool_size=9'))
@control(here("default_pool_size=1", "default_pool_size=9"))
def test_in_front_of_pgbouncer_the_pools_connections_share_one(
    project, server, server_version, migrated, pooler
) -> None:
    """Six threads share a pool of three connections to PgBouncer, and these one to PostgreSQL; all are answered."""
    needs_a_pool()
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
        both = {"DJANGO_SETTINGS_MODULE": "settings.pooled", "DB_POOL_SIZE": "3", "DATABASE_DIRECT_URL": database.url}
        through = Pooled(database, bouncer)

        def clients() -> int:
            return [each["database"] for each in bouncer.show("clients")].count(database.name)

        with serving(project, through, GUNICORN_WORKERS="1", GUNICORN_THREADS="6", **both) as gunicorn:
            with ThreadPoolExecutor(6) as threads:
                answers = [*threads.map(gunicorn.request, ["/orders/report/?seconds=0.1"] * 6)]
            assert {status for status, _ in answers} == {200}
            until("the pool has three", lambda: clients() == 3)
            assert len(database.backends()) == 1
            gunicorn.note()
