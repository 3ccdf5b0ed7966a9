"""Proves docs/how-to/persistent-connections.md: the example project under a real Gunicorn, seen from PostgreSQL."""

import os
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread

import django
import pytest

from proven import evidence
from proven.problems import Problem
from proven.sources.controls import control, edit, here, replace
from tests.lint import cloud_run, google, kubernetes, manifests
from tests.stack.database import Database, fresh
from tests.stack.scripts import execute
from tests.stack.upstream import Gunicorn, Project, asking, driver, needs_a_pool, needs_django_5_1, serving
from tests.stack.wait import until


def gunicorn_with(project, server, migrated, **settings) -> Iterator[Gunicorn]:
    """Serve the project on a database of its own."""
    with fresh(server, template=migrated) as database, serving(project, database, **settings) as gunicorn:
        yield gunicorn


@pytest.fixture(scope="module")
def as_shipped(project, server, migrated):
    """2 workers × 4 threads, connections kept for 60 s and checked: the project's defaults."""
    yield from gunicorn_with(project, server, migrated)


@pytest.fixture(scope="module")
def unchecked(project, server, migrated):
    """One worker with one thread; connections kept for 1 s and never checked."""
    settings = {"DB_CONN_MAX_AGE": "1", "DB_CONN_HEALTH_CHECKS": "False"}
    yield from gunicorn_with(project, server, migrated, GUNICORN_WORKERS="1", GUNICORN_THREADS="1", **settings)


@pytest.fixture(scope="module")
def not_kept(project, server, migrated):
    """One worker; connections closed after each request."""
    yield from gunicorn_with(project, server, migrated, GUNICORN_WORKERS="1", DB_CONN_MAX_AGE="0")


@pytest.fixture(scope="module")
def pooled(project, server, migrated):
    """One worker with sixteen threads, and Django's own pool of four."""
    needs_a_pool()
    settings = {"DJANGO_SETTINGS_MODULE": "settings.pool", "GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "16"}
    yield from gunicorn_with(project, server, migrated, **settings)


@pytest.fixture(autouse=True)
def noted(request, server_version) -> None:
    """Tell the ledger what the proof ran on."""
    for name in ("as_shipped", "unchecked", "not_kept", "pooled"):
        if name in request.fixturenames:
            request.getfixturevalue(name).note()
            evidence.on(PostgreSQL=server_version)


def anew(database: Database) -> None:
    """End the sessions that another proof has left: they may reach their maximum age during this one."""
    for pid in database.backends():
        database.terminate(pid)


def fill(gunicorn: Gunicorn) -> list[int]:
    """Keep every thread busy until each has a new connection; return how many there were at each poll."""
    anew(gunicorn.database)
    seen: list[int] = []

    def all_open() -> bool:
        seen.append(len(gunicorn.database.backends()))
        return seen[-1] >= 2 * 4

    with asking(lambda: gunicorn.request("/orders/report/?seconds=0.05"), 16):
        until("every thread has a connection", all_open)
    return [*seen, len(gunicorn.database.backends())]


# ---- how many, and for how long ------------------------------------------------------------------------------


@control(
    edit("upstream/gunicorn.conf.py", '"GUNICORN_THREADS", "4"', '"GUNICORN_THREADS", "3"'),
    fails_with="every thread has a connection: not within",
)
def test_two_workers_with_four_threads_hold_eight_connections(as_shipped) -> None:
    """Under load PostgreSQL sees processes × threads connections, no more at any time, and each is opened once."""
    database = as_shipped.database
    anew(database)
    before = database.sessions()
    seen = fill(as_shipped)
    assert max(seen) == len(database.backends()) == 2 * 4
    # A session that has just started may not be in the statistics yet; a later request reports it.
    until("each is counted", lambda: as_shipped.backend() and database.sessions() - before >= 2 * 4)
    assert database.sessions() - before == 2 * 4


FIRST_QUERY = """
import django
django.setup()
from django.db import connection, transaction
print(connection.connection is None)
connection.cursor().execute("select 1")
print(connection.connection is None)
connection.close()
with transaction.atomic():
    print(connection.connection is None)
"""


@control(here('"-c", FIRST_QUERY', '"-c", FIRST_QUERY.replace("print", "connection.connect()\\nprint", 1)'))
@control(here('"-c", FIRST_QUERY', '"-c", FIRST_QUERY.replace("with transaction.atomic()", "if True")'))
def test_the_first_query_opens_a_connection(project, database) -> None:
    """django.setup() opens none; entering atomic() opens one before any query is sent."""
    said = project.run("-c", FIRST_QUERY, database_url=database.url, DJANGO_SETTINGS_MODULE="settings.prod")
    assert said == (0, "True\nFalse\nFalse\n")


@control(edit("upstream/settings/prod.py", "default=60", "default=0"))
@control(
    edit("upstream/settings/prod.py", "default=60", "default=0"),
    edit("upstream/settings/prod.py", '"upstream"}', '"upstream", "pool": {"min_size": 4}}'),
)
def test_the_next_request_finds_the_connection_open(as_shipped) -> None:
    """Later requests open no new connection: each thread reuses its own, which no other thread uses."""
    fill(as_shipped)
    before = set(as_shipped.database.backends())
    with ThreadPoolExecutor(max_workers=16) as clients:
        found = [found for _, found in clients.map(lambda _: as_shipped.request("/connection/"), range(40))]
    pairs = {(each["thread"], each["backend"]) for each in found}
    assert len(pairs) == len({thread for thread, _ in pairs}) == len({backend for _, backend in pairs})
    assert {backend for _, backend in pairs} <= before == set(as_shipped.database.backends())


@control(
    here('DB_CONN_MAX_AGE="0"', 'DB_CONN_MAX_AGE="60"', of="tests.proofs.how_to.test_persistent_connections:not_kept")
)
def test_age_zero_opens_a_connection_for_each_request(not_kept) -> None:
    """With CONN_MAX_AGE = 0, ten requests open ten sessions, and none is left."""
    before = not_kept.database.sessions()
    backends = {not_kept.backend() for _ in range(10)}
    assert len(backends) == 10
    until("the last connection closes", lambda: not_kept.database.backends() == [])
    until("their sessions are counted", lambda: not_kept.database.sessions() - before == 10)


@control(
    here(
        '"DB_CONN_MAX_AGE": "1"',
        '"DB_CONN_MAX_AGE": "none"',
        of="tests.proofs.how_to.test_persistent_connections:unchecked",
    ),
    fails_with="one that served several requests is replaced: not within",
)
def test_a_connection_past_its_age_is_replaced_at_the_next_request(unchecked) -> None:
    """The age counts from when it was opened: a connection in constant use is replaced all the same."""
    served: list[int] = []

    def replaced() -> int | None:
        served.append(unchecked.backend())
        return next((pid for pid in served if served.count(pid) > 1 and pid != served[-1]), None)

    before = until("one that served several requests is replaced", replaced)
    until("it is gone", lambda: before not in unchecked.database.backends())


@control(
    here(
        '"DB_CONN_MAX_AGE": "1"',
        '"DB_CONN_MAX_AGE": "0"',
        of="tests.proofs.how_to.test_persistent_connections:unchecked",
    ),
    fails_with="an idle one is there past its age: not within",
)
def test_nothing_closes_an_idle_connection(unchecked) -> None:
    """The age is checked when a request begins or ends: without one, the connection stays open past it."""

    def stays() -> bool:
        backend = unchecked.backend()
        until("it is past its age, or gone", lambda: not 0 < age(unchecked.database, backend) < 1.3)
        return unchecked.database.backends() == [backend]

    # One that expires during its last request is closed at the end of it, as it should be: then try again.
    until("an idle one is there past its age", stays)


@control(
    here(
        '"DB_CONN_MAX_AGE": "1"',
        '"DB_CONN_MAX_AGE": "60"',
        of="tests.proofs.how_to.test_persistent_connections:unchecked",
    )
)
@control(here("?seconds=1.3", "?seconds=0"), fails_with="it is closed: not within")
def test_the_age_is_looked_at_when_a_request_begins_and_when_it_ends(unchecked) -> None:
    """One that expires while idle is not used by the next request; one that expires in a request is closed after it."""

    def idle_past_its_age() -> int | None:
        backend = unchecked.backend()
        until("it is past its age, or gone", lambda: not 0 < age(unchecked.database, backend) < 1.3)
        return backend if unchecked.database.backends() == [backend] else None

    before = until("an idle one is there past its age", idle_past_its_age)
    assert unchecked.backend() != before
    status, _ = unchecked.request("/orders/report/?seconds=1.3")
    assert status == 200
    until("it is closed", lambda: unchecked.database.backends() == [])


def age(database: Database, pid: int) -> float:
    """Return how many seconds ago a backend started, or 0 if it is gone."""
    query = "select extract(epoch from clock_timestamp() - backend_start)::float from pg_stat_activity where pid = %s"
    row = database.admin.execute(query, [pid]).fetchone()
    return float(row[0]) if row else 0


# ---- what a session keeps -------------------------------------------------------------------------------------

# Requests as a server hands them to Django: the first leaves something in its session, the second looks for it.
LEAVES = """
import sys, threading
import django; django.setup()
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path

LEAVE = [
    "set statement_timeout = '7s'", "select set_config('app.tenant', 'acme', false)", "select pg_advisory_lock(1)",
    "create temporary table chosen ()", "listen news",
]
WITHIN = [
    "set local statement_timeout = '7s'", "select set_config('app.tenant', 'acme', true)",
    "select pg_advisory_xact_lock(1)", "create temporary table chosen () on commit drop",
]
FIND = '''
    select current_setting('statement_timeout'), current_setting('app.tenant', true),
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
    to_regclass('chosen'), (select string_agg(heard, ',') from pg_listening_channels() as heard)
'''

def run(*statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None

def leave(request):
    run(*LEAVE)
    return HttpResponse()

def within(request):
    with transaction.atomic():
        run(*WITHIN)
    return HttpResponse()

def find(request):
    return HttpResponse(repr(run(FIND)))

class Urls:
    urlpatterns = [path("leave/", leave), path("within/", within), path("find/", find)]

def ask(where):
    response = application(RequestFactory()._base_environ(PATH_INFO=where, SERVER_NAME="127.0.0.1"), lambda *_: None)
    print(b"".join(response).decode(), end="")
    response.close()

settings.ROOT_URLCONF = Urls
application = get_wsgi_application()
for where in sys.argv[1], "/find/":
    if settings.DATABASES["default"]["CONN_MAX_AGE"]:
        ask(where)
    else:
        thread = threading.Thread(target=ask, args=[where])
        thread.start()
        thread.join()
"""


def found_after(project: Project, database: Database, request: str, settings: str) -> str:
    """Return what a request finds in its session after another: in the same thread, with a pool in another one."""
    if settings == "settings.pool":
        needs_a_pool()
    code = f"import sys; sys.argv[1:] = [{request!r}]\n{LEAVES}"
    which = {"DJANGO_SETTINGS_MODULE": settings, "DB_POOL_SIZE": "1"}
    status, said = project.run("-c", code, database_url=database.url, **which)
    assert status == 0, said
    return said


@control(here('"/leave/"', '"/within/"'))
@pytest.mark.parametrize("settings", ["settings.prod", "settings.pool"])
def test_what_a_request_leaves_in_its_session_meets_the_next(project, database, settings) -> None:
    """A setting, one of its own, a lock, a temporary table, LISTEN: the next request of the thread has them.

    With Django's pool the next request has them in another thread.
    """
    said = found_after(project, database, "/leave/", settings)
    assert said == "('7s', 'acme', 1, 'chosen', 'news')"


@control(here('"/within/"', '"/leave/"'))
@pytest.mark.parametrize("settings", ["settings.prod", "settings.pool"])
def test_what_ends_with_its_transaction_meets_no_later_request(project, database, settings) -> None:
    """SET LOCAL, set_config(…, true), a lock and a table of the transaction: the next request finds none of them."""
    said = found_after(project, database, "/within/", settings)
    assert said == "('0', '', 0, None, None)"


# ---- when a connection is lost -------------------------------------------------------------------------------


@control(
    edit("upstream/settings/prod.py", '"DB_CONN_HEALTH_CHECKS", default=True', '"DB_CONN_HEALTH_CHECKS", default=False')
)
def test_a_health_check_replaces_a_connection_lost_between_requests(as_shipped) -> None:
    """Every connection is terminated behind Django's back, and every following request succeeds on a new one."""
    fill(as_shipped)
    lost = as_shipped.database.backends()
    for pid in lost:
        as_shipped.database.terminate(pid)
    answers = [as_shipped.request("/connection/") for _ in range(12)]
    assert {status for status, _ in answers} == {200}
    assert not {found["backend"] for _, found in answers} & set(lost)


# Health checks are on; the request's first query has run its check.
BETWEEN = """
import django; django.setup()
from django.db import OperationalError, close_old_connections, connection
def backend():
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]
def begins():
    close_old_connections()
    return backend()
lost = begins()
assert begins() == lost
other = connection.copy()
other.cursor().execute("select pg_terminate_backend(%s, 10000)", [lost])
try:
    backend()
except OperationalError:
    print("failed")
print(begins() != lost)
"""
# The connection is lost after a request has begun, and before its first query.
FIRST = """
lost = begins()
close_old_connections()
other.cursor().execute("select pg_terminate_backend(%s, 10000)", [lost])
print(backend() != lost)
"""


@control(here("as_shipped.database.terminate(pid)", "pass"))
@control(here("BETWEEN + FIRST", 'BETWEEN + FIRST.replace("close_old_connections()", "backend()")'))
@control(replace("tests.proofs.how_to.test_persistent_connections:BETWEEN", "print(True)"))
def test_no_health_check_helps_within_a_request(as_shipped, project) -> None:
    """A connection lost during a query or between two queries fails that request; the next one succeeds.

    One that is lost after the request has begun and before its first query is replaced.
    """
    script = BETWEEN + FIRST
    said = project.run("-c", script, database_url=as_shipped.database.url, DJANGO_SETTINGS_MODULE="settings.prod")
    assert said == (0, "failed\nTrue\nTrue\n")
    with ThreadPoolExecutor(max_workers=1) as client:
        request = client.submit(as_shipped.request, "/orders/report/?seconds=10")
        pid = until("the report is under way", lambda: sleeping(as_shipped.database))
        as_shipped.database.terminate(pid)
        assert request.result()[0] == 500
    assert as_shipped.request("/orders/")[0] == 200


@control(
    here(
        '"DB_CONN_HEALTH_CHECKS": "False"',
        '"DB_CONN_HEALTH_CHECKS": "True"',
        of="tests.proofs.how_to.test_persistent_connections:unchecked",
    ),
    fails_with="a request fails: not within",
)
def test_without_health_checks_one_request_fails_for_each_lost_connection(unchecked) -> None:
    """Django learns of the loss from the failure, and then opens a new connection."""

    def fails() -> bool:
        unchecked.database.terminate(unchecked.backend())
        return unchecked.request("/connection/")[0] == 500

    for _ in range(2):  # one whose connection has expired meanwhile gets a new one
        until("a request fails", fails)
        assert [unchecked.request("/connection/")[0] for _ in range(3)] == [200] * 3


def sleeping(database: Database) -> int | None:
    """Return the backend that is in the middle of a report."""
    query = "select pid from pg_stat_activity where datname = %s and wait_event = 'PgSleep'"
    row = database.admin.execute(query, [database.name]).fetchone()
    return row[0] if row else None


@control(edit("upstream/orders/views.py", "status=503", "status=200"))
@control(edit("upstream/orders/views.py", 'return JsonResponse({"status": "live"})', "return ready(request)"))
def test_readiness_tells_of_the_database_and_liveness_does_not(unchecked) -> None:
    """Without a database the service is alive and not ready, and is ready again when the database is back."""
    assert unchecked.request("/health/ready/")[0] == 200
    assert allow_connections(unchecked.database, False) is False
    try:
        for pid in unchecked.database.backends():
            unchecked.database.terminate(pid)
        assert unchecked.request("/health/ready/")[0] == 503
        assert unchecked.request("/health/live/")[0] == 200
    finally:
        allow_connections(unchecked.database, True)
    until("the service is ready again", lambda: unchecked.request("/health/ready/")[0] == 200)


@control(
    edit("upstream/orders/views.py", "with connection.cursor() as cursor", "with connection.copy().cursor() as cursor")
)
@control(
    edit("upstream/settings/prod.py", '"DB_CONN_HEALTH_CHECKS", default=True', '"DB_CONN_HEALTH_CHECKS", default=False')
)
def test_readiness_asks_over_the_connection_that_its_thread_has(as_shipped) -> None:
    """It opens none of its own: its query is the last one on one of the connections that the threads keep.

    If that connection is lost and the database is up, the health check opens another: readiness returns 200.
    """
    fill(as_shipped)
    assert as_shipped.request("/health/ready/")[0] == 200
    database = as_shipped.database
    asked = "select pid from pg_stat_activity where datname = %s and query = 'select 1'"
    assert len(database.admin.execute(asked, [database.name]).fetchall()) == 1
    assert len(database.backends()) == 2 * 4
    for pid in database.backends():
        database.terminate(pid)
    assert as_shipped.request("/health/ready/")[0] == 200


def allow_connections(database: Database, allowed: bool) -> bool:
    """Forbid new connections to the database, or allow them again."""
    database.admin.execute(f'alter database "{database.name}" allow_connections {allowed}')
    return allowed


@control(edit("upstream/orders/views.py", "Placing(request.POST)", "Placing({})"))
def test_reading_and_writing_works(as_shipped) -> None:
    """The example's own endpoints: an order that was placed is listed."""
    status, placed = as_shipped.request("/orders/", "POST", "customer=Ada")
    assert status == 201
    assert {"id": placed["id"], "customer": "Ada"} in as_shipped.request("/orders/")[1]["orders"]


# ---- Django's own pool ---------------------------------------------------------------------------------------

POOL = "pool/connect.py"


@control(
    edit("upstream/settings/pool.py", '"max_size": size', '"max_size": 2 * size'),
    fails_with=": not within",  # soon there are more than four, now or when the lock's session has ended
)
def test_sixteen_threads_share_the_four_connections_of_a_pool(pooled) -> None:
    """While four run their query, twelve wait; all get 200, over four connections that are each opened once."""
    database = pooled.database
    until("the pool is full", lambda: pooled.backend() and len(database.backends()) == 4)  # also after another proof
    anew(database)
    before = database.sessions()
    waits = "select count(*) from pg_locks where not granted and %s = any(pg_blocking_pids(pid))"
    with database.server.connect(database.name) as lock, ThreadPoolExecutor(16) as clients:
        lock.execute("begin; lock table orders_order")
        holder = [lock.info.backend_pid]
        try:
            requests = [clients.submit(pooled.request, "/orders/") for _ in range(16)]
            until("four are in their query", lambda: database.admin.execute(waits, holder).fetchone() == (4,))
            assert not any(request.done() for request in requests)
        finally:
            lock.execute("rollback")
    assert {request.result()[0] for request in requests} == {200}
    until("the lock's session has ended", lambda: len(database.backends()) == 4)
    until("each is counted", lambda: pooled.backend() and database.sessions() - before >= 5)
    assert database.sessions() - before == 5, "the four, and the one that held the lock"


@control(edit("upstream/settings/pool.py", '"max_size": size', '"max_size": size, "timeout": 10'))
def test_who_waits_for_the_pool_gives_up_after_thirty_seconds(project, database) -> None:
    """This is the timeout that psycopg's pool reports by default; the wait itself is tested with a shorter one."""
    needs_a_pool()
    asks = "import django; django.setup(); from django.db import connection; print(connection.pool.timeout)"
    settings = {"database_url": database.url, "DJANGO_SETTINGS_MODULE": "settings.pool"}
    assert project.run("-c", asks, **settings) == (0, "30.0\n")


@control(
    edit("upstream/settings/prod.py", '"DB_CONN_HEALTH_CHECKS", default=True', '"DB_CONN_HEALTH_CHECKS", default=False')
)
def test_the_pool_tries_each_connection_that_it_lends(pooled) -> None:
    """With health checks, every connection is terminated behind its back, and every following request succeeds."""
    until("the pool is full", lambda: pooled.backend() and len(pooled.database.backends()) == 4)
    for pid in pooled.database.backends():
        pooled.database.terminate(pid)
    assert {pooled.request("/connection/")[0] for _ in range(12)} == {200}


@contextmanager
def wire(database: Database) -> Iterator[tuple[str, Event, list[bytes]]]:
    """Yield a database's URL through a proxy, the event that lets its bytes pass, and the bytes it has held back."""
    passes, held = Event(), []
    passes.set()

    class Wire(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection((database.server.host, database.server.port)) as onward:
                others = {self.request: onward, onward: self.request}
                while True:
                    for end in select.select([*others], [], [])[0]:
                        if not (some := end.recv(65536)):
                            return
                        if not passes.is_set():
                            held.append(some)
                        passes.wait()
                        others[end].sendall(some)

    with ThreadingTCPServer(("127.0.0.1", 0), Wire) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield database.url.replace(f":{database.server.port}/", f":{server.server_address[1]}/"), passes, held
        finally:
            passes.set()
            server.shutdown()


# A pool of one, already connected. The first write to the FIFO has one thread query, the second another.
TRIES = """
import sys, threading
import django
django.setup()
from django.db import OperationalError, connection

def ask():
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 'asked'")
        print("answered", flush=True)
    except OperationalError as error:
        print(error, flush=True)
    connection.close()

def asks():
    open(sys.argv[1]).read()
    thread = threading.Thread(target=ask)
    thread.start()
    return thread

ask()
connection.pool.timeout = 0.3
first = asks()
asks().join()
print("the first waits" if first.is_alive() else "the first has ended", flush=True)
first.join()
"""


@control(here("passes.clear()", "pass"), fails_with="it tries: not within")
@control(
    edit("upstream/settings/prod.py", '"DB_CONN_HEALTH_CHECKS", default=True', '"DB_CONN_HEALTH_CHECKS", default=False')
)
def test_the_pools_limit_does_not_count_for_its_try(project, database, tmp_path) -> None:
    """With no reply, a thread that waits for the pool times out, but one whose connection is being checked waits on."""
    needs_a_pool()
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    with wire(database) as (url, passes, held):
        settings = {"DJANGO_SETTINGS_MODULE": "settings.pool", "DB_POOL_SIZE": "1"}
        code = f"import sys; sys.argv[1:] = {[str(fifo)]!r}\n{TRIES}"
        process = project.start("-c", code, database_url=url, **settings)
        until("it has a connection", lambda: process.said() == "answered\n")
        passes.clear()
        fifo.write_text("")
        until("it tries", lambda: held)
        fifo.write_text("")
        until("the other has given up", lambda: "the first" in process.said())
        assert b"asked" not in held[0], "the try, and not the query"
        passes.set()
        until("it ends", process.ended)
        process.stop()
    gave_up = "couldn't get a connection after 0.30 sec"
    assert process.said().splitlines() == ["answered", gave_up, "the first waits", "answered"]
    project.note()


@control(edit("pool/connect.py", '["CONN_MAX_AGE"] = 0', '["CONN_MAX_AGE"] = 60'))
@control(here('PROVEN_DRIVER="psycopg2"', 'PROVEN_DRIVER=""'))
def test_where_there_is_no_pool_the_first_query_says_so(project, database, load, transcript) -> None:
    """With psycopg2, Django refuses; before 5.1, it passes "pool" to either driver, which rejects the option."""
    snippet = load(POOL)
    older = django.VERSION < (5, 1)
    rejected = 'invalid connection option "pool"'
    by_psycopg2 = "django.core.exceptions.ImproperlyConfigured: Database pooling requires psycopg >= 3"
    if older:
        by_psycopg2 = f"django.db.utils.ProgrammingError: invalid dsn: {rejected}"
    # Psycopg 3 is hidden before it is imported.
    status, said = project.run("-c", snippet.text, database_url=database.url, fresh=True, PROVEN_DRIVER="psycopg2")
    assert (status, said.strip()) == (0, by_psycopg2)
    evidence.on(psycopg2=version("psycopg2-binary"))
    status, said = project.run("-c", snippet.text, database_url=database.url)
    by_psycopg = f"django.db.utils.ProgrammingError: {rejected}" if older else "connected"
    assert (status, said.strip()) == (0, by_psycopg2 if "psycopg2" in driver() else by_psycopg)
    evidence.ran(snippet)
    transcript(snippet, said)


@control(here("sys.modules['psycopg_pool'] = None", "pass"))
def test_without_its_package_the_pool_is_missed_at_the_first_query(project, database, load, transcript) -> None:
    """psycopg_pool is a separate package, and Django's error says how to install it."""
    needs_a_pool()
    snippet = load(POOL)
    missing = "import sys; sys.modules['psycopg_pool'] = None\n"  # as where it is not installed
    status, said = project.run("-c", missing + snippet.text, database_url=database.url)
    assert status == 0, said
    assert "Did you install psycopg[pool]?" in said
    evidence.ran(snippet)
    transcript(snippet, said, case="without-psycopg_pool")


# ---- outside of requests -------------------------------------------------------------------------------------


@pytest.fixture
def migrated_database(server, server_version, migrated) -> Iterator[Database]:
    """A database of this proof's own with the project's tables."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        yield database


@control(
    edit("upstream/orders/management/commands/count_orders.py", "            close_old_connections()\n", ""),
    fails_with="the orders are counted: not within",
)
def test_a_long_lived_command_recovers_because_it_closes_old_connections(
    project: Project, migrated_database, tmp_path
) -> None:
    """Its connection is terminated between rounds; close_old_connections and the health check replace it."""
    keyboard = tmp_path / "keyboard"
    os.mkfifo(keyboard)
    code = f"import sys; sys.stdin = open({str(keyboard)!r}); sys.argv = ['manage.py', 'count_orders']; import manage"
    command = project.start("-c", code + "; manage.main()", database_url=migrated_database.url)
    with keyboard.open("w") as enter:
        for rounds in (1, 2, 3):
            print(file=enter, flush=True)
            until("the orders are counted", lambda n=rounds: command.said() == "0 orders\n" * n)
            (backend,) = migrated_database.backends()
            migrated_database.terminate(backend)
    until("the command ends", command.ended)
    command.stop()
    assert command.status == 0
    project.note()


KEPT = """
import threading, time
import django; django.setup()
from django.db import connection
from orders.background import {function}, pool
worked, over = threading.Event(), threading.Event()
def work():
    {function}()
    worked.set()
    over.wait()
threading.Thread(target=work, daemon=True).start()
worked.wait()
print(list(pool.map(lambda _: {function}(), range(1))))
with connection.cursor() as cursor:
    for _ in range(6000):  # a session is listed until its server process has noticed that the client is gone
        cursor.execute("select count(*) from pg_stat_activity where datname = current_database() and state = 'idle'")
        (open,) = cursor.fetchone()
        if open == {kept}:
            break
        time.sleep(0.01)
    print(open)
"""


@control(
    edit("upstream/orders/background.py", "        connection.close()", "        pass"), fails_with=" ends: not within"
)
@pytest.mark.parametrize(("function", "kept"), [("count_and_keep", 2), ("count_and_close", 0)])
def test_a_thread_of_your_own_keeps_its_connection_unless_it_closes_it(
    project, migrated_database, function, kept
) -> None:
    """After the work, a pool's thread and a plain thread each keep one open, or none if they have closed it."""
    code = KEPT.format(function=function, kept=kept)
    settings = {"DJANGO_SETTINGS_MODULE": "settings.prod", "DB_CONN_MAX_AGE": "0"}
    assert project.run("-c", code, database_url=migrated_database.url, **settings) == (0, f"[0]\n{kept}\n")


# ---- settings ------------------------------------------------------------------------------------------------

SHOW = "from settings import prod; d = prod.DATABASES['default']; print(d['CONN_MAX_AGE'], d['CONN_HEALTH_CHECKS'])"
ANY_URL = "postgresql://upstream:change-me@127.0.0.1:5432/upstream"


@control(edit("upstream/settings/prod.py", "default=60", "default=600"))
def test_defaults_are_sixty_seconds_and_checked(project: Project) -> None:
    """By default, connections are kept for 60 s and checked."""
    assert project.run("-c", SHOW, database_url=ANY_URL) == (0, "60 True\n")


@control(edit("upstream/settings/base.py", 'BASE_DIR / ".env"', 'BASE_DIR / ".env", overwrite=True'))
def test_the_environment_wins_over_the_env_file(project: Project) -> None:
    """A value is read from .env unless the environment sets it. The .env.example in the project is valid."""
    shipped, used = project.folder / ".env.example", project.folder / ".env"
    used.write_text(shipped.read_text())
    try:
        evidence.ran(project.snippets["upstream/.env.example"])
        code = SHOW + "; print(d['NAME'], d['PORT'])"
        url = "postgresql://upstream@127.0.0.1:6432/other"
        assert project.run("-c", code, database_url=url, DB_CONN_MAX_AGE="5") == (0, "5 True\nother 6432\n")
        code = "import os; del os.environ['DATABASE_URL']; " + code
        assert project.run("-c", code, database_url=url) == (0, "60 True\nupstream 5432\n")
    finally:
        used.unlink()


@control(edit("upstream/settings/prod.py", '**named.get("OPTIONS", {}), ', ""))
def test_options_in_the_url_are_kept(project: Project) -> None:
    """Query parameters in the URL reach the driver, except application_name, which stays the project's."""
    code = "from settings import prod; print(sorted(prod.DATABASES['default']['OPTIONS'].items()))"
    options = "[('application_name', 'upstream'), ('sslmode', 'require')]"
    url = f"{ANY_URL}?sslmode=require&application_name=other"
    assert project.run("-c", code, database_url=url) == (0, f"{options}\n")


@control(edit("upstream/settings/environment.py", "if not value.isdecimal():", "if not value:"))
@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("DB_CONN_MAX_AGE", "60  # one minute", "must be a whole number of seconds"),
        ("DB_CONN_MAX_AGE", "-1", "must be a whole number of seconds"),
        ("DB_CONN_MAX_AGE", "", "must be a whole number of seconds"),
        ("DB_CONN_HEALTH_CHECKS", "maybe", "must be True or False"),
        ("DB_CONN_HEALTH_CHECKS", "", "must be True or False"),
        ("DB_POOL_SIZE", "four", "must be a whole number of connections"),
        ("DB_POOL_SIZE", "0", "must be a whole number of connections"),
    ],
)
def test_a_malformed_value_is_one_clear_error(load, monkeypatch, name, value, what) -> None:
    """A bad value raises ImproperlyConfigured with the variable, its value and what is expected."""
    settings = environment(load)
    monkeypatch.setenv(name, value)
    read = {"DB_CONN_MAX_AGE": "seconds", "DB_POOL_SIZE": "connections"}.get(name, "flag")
    with pytest.raises(settings["ImproperlyConfigured"], match=what) as error:
        settings[read](name, 60)
    assert f"{name}={value!r}" in str(error.value)


@control(edit("upstream/settings/environment.py", 'if not found.get("NAME"):', "if not found:"))
@control(edit("upstream/settings/environment.py", ' and " #" not in url', ""))
@pytest.mark.parametrize(
    "url",
    [
        "",
        "somewhere",
        "postgresql://a@b:port/c",
        "mysql://a@b/c",
        "postgresql://a:secret@b/",
        "postgresql://a:secret@b/c  # a comment",
    ],
)
def test_a_url_that_names_no_database_is_refused_without_being_shown(load, monkeypatch, url) -> None:
    """The error does not show the password. django-environ alone would return an empty database for some of these."""
    monkeypatch.setenv("DATABASE_URL", url)
    settings = environment(load)
    with pytest.raises(
        settings["ImproperlyConfigured"], match="DATABASE_URL must look like postgresql://user:password"
    ) as error:
        settings["database"]("DATABASE_URL")
    assert "secret" not in str(error.value)


@control(edit("upstream/settings/environment.py", "return None", "return 0"))
@pytest.mark.parametrize(("value", "meant"), [("0", 0), (" 300 ", 300), ("none", None), ("None", None)])
def test_seconds_may_be_unlimited(load, monkeypatch, value, meant) -> None:
    """A whole number is in seconds, and "none" or "None" is no limit."""
    monkeypatch.setenv("DB_CONN_MAX_AGE", value)
    assert environment(load)["seconds"]("DB_CONN_MAX_AGE", 60) == meant


@control(edit("upstream/settings/environment.py", "return value.lower() in TRUE", "return bool(value)"))
@pytest.mark.parametrize(("value", "meant"), [("True", True), ("off", False), ("0", False), ("YES", True)])
def test_false_is_false(load, monkeypatch, value, meant) -> None:
    """The texts "True" and "YES" are true, "off" and "0" are false."""
    monkeypatch.setenv("DB_CONN_HEALTH_CHECKS", value)
    assert environment(load)["flag"]("DB_CONN_HEALTH_CHECKS", default=True) is meant


def environment(load) -> dict:
    """Run the module that reads the environment, and return its names."""
    return execute(load("upstream/settings/environment.py"))


@control(edit("upstream/settings/environment.py", "if not value.isdecimal():", "if not value:"))
@control(edit("upstream/settings/prod.py", 'flag("DB_CONN_HEALTH_CHECKS", default=True)', "True"))
@control(here("DB_CONN_MAX_AGE = 5", "DB_CONN_MAX_AGE=5"))
def test_a_malformed_value_stops_the_start(project: Project) -> None:
    """The error is the last line of the output. In .env, a comment after a value becomes part of the value.

    A line in .env with a space before its "=" is ignored.
    """
    said = [project.run("-c", SHOW, database_url=ANY_URL, DB_CONN_MAX_AGE="soon")]
    used = project.folder / ".env"
    used.write_text("DB_CONN_MAX_AGE=60  # one minute\n")
    try:
        said.append(project.run("-c", SHOW, database_url=ANY_URL))
        used.write_text("DB_CONN_MAX_AGE = 5\n")
        status, output = project.run("-c", SHOW, database_url=ANY_URL)
        assert (status, output.splitlines()[-1]) == (0, "60 True")
    finally:
        used.unlink()
    for value, (status, output) in zip(("soon", "60  # one minute"), said, strict=True):
        assert status == 1
        assert output.splitlines()[-1].endswith(
            f'ImproperlyConfigured: DB_CONN_MAX_AGE={value!r} must be a whole number of seconds, or "none" for no limit'
        )
    for name, value in (("DB_CONN_HEALTH_CHECKS", "maybe"), ("DATABASE_URL", "postgresql://upstream:pw@127.0.0.1/")):
        status, output = project.run("-c", SHOW, **{"database_url": ANY_URL, name: value})
        assert status == 1
        assert f"ImproperlyConfigured: {name}" in output.splitlines()[-1]


@control(edit("upstream/settings/environment.py", 'get(name, "")', "get(name, 'postgresql://127.0.0.1/upstream')"))
def test_without_a_url_nothing_starts(project: Project) -> None:
    """The error names DATABASE_URL."""
    unset = "import os; del os.environ['DATABASE_URL']\n"
    status, output = project.run("-c", unset + SHOW, database_url=ANY_URL)
    assert status == 1
    assert "ImproperlyConfigured: DATABASE_URL must look like postgresql://" in output.splitlines()[-1]


@control(here("""("60", '"60"')""", """('"60"', "60")"""))
def test_a_number_in_a_containers_environment_is_refused(load) -> None:
    """Kubernetes' schemas and Google's API description both reject it; the same number in quotes is accepted."""
    app, service = load("kubernetes/app.yaml"), load("cloud/run/service.yaml")
    evidence.ran(app, "checked", against=kubernetes.SCHEMAS)
    evidence.ran(service, "checked", against=google.api("run.v1").name)
    for text, problems in ((app.text, in_kubernetes), (service.text, in_cloud_run)):
        before = "            - name: DATABASE_URL\n"
        more = f"            - name: DB_CONN_MAX_AGE\n              value: {{}}\n{before}"
        number, quoted = (problems(text.replace(before, more.format(value))) for value in ("60", '"60"'))
        assert ["60 is not of type 'string'" in str(problem) for problem in number] == [True]
        assert quoted == []


def in_kubernetes(text: str) -> list[Problem]:
    """Return what Kubernetes' schemas refuse in a manifest."""
    return manifests.problems("app.yaml", text, partial(kubernetes.judge, kubernetes.VERSIONS[-1]))


def in_cloud_run(text: str) -> list[Problem]:
    """Return what Google's description refuses in a service."""
    return cloud_run.service_problems("service.yaml", text)


@control(edit("upstream/requirements.txt", "gunicorn~=27.0", "gunicorn~=26.0"))
def test_installed_versions_are_the_ones_required(load) -> None:
    """requirements.txt accepts the releases that these proofs run on, except a Django that no longer gets fixes."""
    needs_django_5_1()
    from importlib.metadata import version

    from packaging.requirements import Requirement

    snippet = load("upstream/requirements.txt")
    for line in snippet.text.splitlines():
        required = Requirement(line)
        assert required.specifier.contains(version(required.name)), line
    evidence.ran(snippet, "checked", against=f"the packages that proofs run with, Django {version('django')}")


LIMITED = """
import socket
import django
django.setup()
from django.db import connection
connection.ensure_connection()
fd = connection.connection.fileno()
with socket.socket(fileno=socket.dup(fd)) as it:
    print(*(it.getsockopt(socket.IPPROTO_TCP, what) for what in (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE)))
print(connection.get_connection_params()["connect_timeout"])
"""


@control(here("tcp_user_timeout=10000", "tcp_user_timeout=5000"))
def test_limits_to_silence_in_the_url_reach_the_socket(project, database) -> None:
    """The socket has a 10 s user timeout and keepalives after 20 s; the driver gets a connect_timeout of 5 s."""
    url = f"{database.url}?tcp_user_timeout=10000&keepalives_idle=20&connect_timeout=5"
    assert project.run("-c", LIMITED, database_url=url, DJANGO_SETTINGS_MODULE="settings.prod") == (0, "10000 20\n5\n")
