"""Proves docs/how-to/gevent.md: greenlets of Gunicorn's gevent worker, and the connections that they have."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib.metadata import distributions, version
from typing import Any

import pytest
from gunicorn.config import Config

from proven import evidence
from proven.sources.controls import control, edit, here
from setup import others
from tests.stack.database import Database, fresh
from tests.stack.upstream import Gunicorn, Project, needs_a_pool, needs_psycopg_3, serving
from tests.stack.wait import DEADLINE, until

CLIENTS = 12


@contextmanager
def greenlets(project: Project, database: Database, options: str = "", **settings: str) -> Iterator[Gunicorn]:
    """Serve the project from one process of Gunicorn with gevent."""
    settings = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "1", **settings}
    with serving(project, database, f"-k gevent {options}", packages=("runners",), fresh=True, **settings) as gunicorn:
        yield gunicorn
        gunicorn.note()
        (installed,) = distributions(name="gevent", path=[str(others.packages("runners"))])
        evidence.on(gevent=installed.version)


@pytest.fixture
def tables(server, server_version, migrated) -> Iterator[Database]:
    """A database of this proof's own with the project's tables."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        yield database


@contextmanager
def waiting(gunicorn: Gunicorn, clients: int, in_query: int) -> Iterator[None]:
    """Have clients wait for an answer, `in_query` of them for a lock in PostgreSQL, for as long as the block lasts."""
    database = gunicorn.database
    waits = "select count(*) from pg_locks where not granted and %s = any(pg_blocking_pids(pid))"
    with database.server.connect(database.name) as lock, ThreadPoolExecutor(clients) as threads:
        lock.execute("begin; lock table orders_order")
        holder = [lock.info.backend_pid]
        try:
            requests = [threads.submit(gunicorn.request, "/orders/") for _ in range(clients)]
            until("they are in their query", lambda: database.admin.execute(waits, holder).fetchone() == (in_query,))
            yield
        finally:
            lock.execute("rollback")
        assert {request.result()[0] for request in requests} == {200}


@control(here('DB_CONN_MAX_AGE="60"', 'DB_CONN_MAX_AGE="0"'))
def test_a_greenlets_connection_is_used_by_no_other(project, tables) -> None:
    """With CONN_MAX_AGE requests on one TCP connection share a session; twelve on new ones open twelve that pile up."""
    with greenlets(project, tables, DB_CONN_MAX_AGE="60") as gunicorn:
        assert len(gunicorn.kept_alive(3)) == 1
        backends, most = set(), 0
        for _ in range(CLIENTS):
            backends.add(gunicorn.backend())
            most = max(most, len(tables.backends()))
        assert len(backends) == CLIENTS
        assert most >= 3


@control(here("-k gevent", "-k gthread", of="tests.proofs.how_to.test_gevent:greenlets"))
@control(here("?seconds=2", "?seconds=0"), fails_with="its end closes it: not within")
def test_an_age_ends_a_greenlets_connection_at_a_request_of_its_own_alone(project, tables) -> None:
    """Past its age a session stays while others are served; a request on its own TCP connection ends it as it begins.

    A request that lasts longer than the age ends its session as it ends.
    """
    old = "select now() - backend_start > interval '2 s' from pg_stat_activity where pid = %s"
    with (
        greenlets(project, tables, "--keep-alive 600", DB_CONN_MAX_AGE="1") as gunicorn,
        closing(http.client.HTTPConnection("127.0.0.1", gunicorn.port, timeout=DEADLINE)) as client,
    ):

        def ask(path: str) -> dict[str, Any]:
            client.request("GET", path)
            return json.loads(client.getresponse().read())

        def backend() -> int:
            return int(ask("/connection/")["backend"])

        first = backend()
        until("it is past its age", lambda: tables.admin.execute(old, [first]).fetchone() == (True,))
        assert gunicorn.backend() != first
        assert first in tables.backends()
        assert backend() != first
        until("it is closed", lambda: first not in tables.backends())
        own = backend()
        others = {*tables.backends()} - {own}
        ask("/orders/report/?seconds=2")
        until("its end closes it", lambda: {*tables.backends()} <= others)


# Python collects garbage only when it is asked to.
COLLECTS = """
import gc
from django.http import HttpResponse
from django.urls import path
from urls import urlpatterns as others

gc.disable()

def collect(request):
    gc.collect()
    return HttpResponse()

urlpatterns = [*others, path("collect/", collect)]
"""


@control(here('DB_CONN_MAX_AGE="60"', 'DB_CONN_MAX_AGE="0"'))
@control(here('"/collect/"', '"/health/live/"'), fails_with="they are closed: not within")
def test_a_greenlets_connection_stays_until_python_collects(project, tables, tmp_path) -> None:
    """With CONN_MAX_AGE twelve TCP connections leave twelve connections open; a garbage collection closes them."""
    (tmp_path / "collecting.py").write_text('from settings.prod import *\nROOT_URLCONF = "collects"')
    (tmp_path / "collects.py").write_text(COLLECTS)
    pythonpath, settings = f"--pythonpath {tmp_path}", {"DJANGO_SETTINGS_MODULE": "collecting"}
    with greenlets(project, tables, pythonpath, DB_CONN_MAX_AGE="60", **settings) as gunicorn:
        left = sorted(gunicorn.backend() for _ in range(CLIENTS))
        assert tables.backends() == left
        until("they are closed", lambda: gunicorn.request("/collect/") and not tables.backends())


@control(
    here("-k gevent", "-k sync", of="tests.proofs.how_to.test_gevent:greenlets"),
    fails_with="they are in their query: not within",
)
def test_requests_in_flight_are_connections(project, tables) -> None:
    """With psycopg 3 and CONN_MAX_AGE = 0 one process runs twelve queries at once, answers others, then closes all."""
    needs_psycopg_3()
    with greenlets(project, tables, DB_CONN_MAX_AGE="0") as gunicorn:
        with waiting(gunicorn, CLIENTS, in_query=CLIENTS):
            assert gunicorn.request("/health/live/")[0] == 200
        until("none is left", lambda: tables.backends() == [])


@control(here('"settings.pool"', '"settings.prod"'), fails_with="they are in their query: not within")
@control(here('DB_POOL_SIZE": "4"', 'DB_POOL_SIZE": "5"'), fails_with="they are in their query: not within")
def test_a_pool_is_shared_by_greenlets(project, tables) -> None:
    """With Django's pool of four, four of twelve requests are in their query, the others wait, and all are answered."""
    needs_a_pool()
    settings = {"DJANGO_SETTINGS_MODULE": "settings.pool", "DB_POOL_SIZE": "4"}
    with greenlets(project, tables, **settings) as gunicorn:
        with waiting(gunicorn, CLIENTS, in_query=4):
            pass
        # A session that has only just begun may not be in the statistics yet: a later request reports it.
        until("each is counted", lambda: gunicorn.backend() and tables.sessions() >= 5)
        assert tables.sessions() == 5, "the four, and the one that held the lock"


@control(here('"--preload"', '""'))
@pytest.mark.parametrize("keeps", ["nothing", "a pool"])
def test_a_django_that_was_loaded_before_the_fork_is_patched_too_late(project, tables, keeps) -> None:
    """With --preload requests that query the database fail, with Django's pool as well, and others are answered."""
    settings = {"DB_CONN_MAX_AGE": "0"}
    if keeps == "a pool":
        needs_a_pool()
        settings = {"DJANGO_SETTINGS_MODULE": "settings.pool"}
    with greenlets(project, tables, "--preload", **settings) as gunicorn:
        assert gunicorn.request("/health/live/")[0] == 200
        assert gunicorn.request("/orders/")[0] == 500
        assert "DatabaseWrapper objects created in a thread can only be used in that same" in gunicorn.process.said()


@control(here('"-k gevent"', '"--worker-connections=100"'))
def test_gunicorn_takes_a_thousand_clients() -> None:
    """It is Gunicorn's own default for the clients that a process with gevent has at once."""
    settings = Config()
    options = settings.parser().parse_args(["-k gevent"])
    assert (options.worker_connections or settings.worker_connections) == 1000
    evidence.on(Gunicorn=version("gunicorn"))


# ---- event loops -----------------------------------------------------------------------------------------------

# Views that run an event loop until another request says that it is enough, and the project's own.
LOOPS = """
import asyncio
from django.http import JsonResponse
from django.urls import path
from gevent import get_hub
from orders.models import Order
from urls import urlpatterns as others

begun, enough = [], []

async def loop():
    begun.append(True)
    while not enough:
        await asyncio.sleep(0.01)

def run(request):
    asyncio.run(loop())
    return JsonResponse({})

async def view(request):
    await loop()
    return JsonResponse({})

def thread(request):
    get_hub().threadpool.apply(asyncio.run, [loop()])
    return JsonResponse({})

async def asks(request):
    return JsonResponse({"orders": await Order.objects.acount()})

def itself(request):
    return JsonResponse({"orders": get_hub().threadpool.apply(asyncio.run, [count()])})

async def count():
    return await Order.objects.acount()

def state(request, end=False):
    enough.extend([True] * end)
    return JsonResponse({"begun": bool(begun)})

urlpatterns = [
    *others,
    path("run/", run), path("view/", view), path("thread/", thread), path("asks/", asks),
    path("itself/", itself), path("state/", state), path("end/", state, {"end": True}),
]
"""
REFUSED = "SynchronousOnlyOperation: You cannot call this from an async context - use a thread or sync_to_async."


@control(here("-k gevent", "-k gthread --threads=4", of="tests.proofs.how_to.test_gevent:greenlets"))
@control(
    here(
        "write_text(LOOPS)", 'write_text(LOOPS.replace("get_hub().threadpool.apply(asyncio.run, [", "asyncio.run(*["))'
    )
)
@pytest.mark.parametrize(("view", "status"), [("/run/", 500), ("/view/", 500), ("/thread/", 200)])
def test_while_one_greenlet_runs_an_event_loop_none_may_query(project, tables, tmp_path, view, status) -> None:
    """While a view is in asyncio.run(), or an async view waits, other requests' queries are refused; then not any more.

    Where the loop is in a thread of gevent's own pool they are answered. An async view's own query is refused.
    """
    (tmp_path / "looping.py").write_text('from settings.prod import *\nROOT_URLCONF = "loops"')
    (tmp_path / "loops.py").write_text(LOOPS)
    settings = {"DJANGO_SETTINGS_MODULE": "looping", "DB_CONN_MAX_AGE": "0"}
    with (
        greenlets(project, tables, f"--pythonpath {tmp_path}", **settings) as gunicorn,
        ThreadPoolExecutor(1) as client,
    ):
        runs = client.submit(gunicorn.request, view)
        try:
            until("the loop runs", lambda: gunicorn.request("/state/")[1].get("begun"))
            assert gunicorn.request("/orders/")[0] == status
        finally:
            gunicorn.request("/end/")
        assert runs.result()[0] == 200
        assert (REFUSED in gunicorn.said()) is (status == 500)
        assert gunicorn.request("/orders/")[0] == 200
        assert gunicorn.request("/asks/")[0] == 500
        assert REFUSED in gunicorn.said()


@control(here("-k gevent", "-k gthread", of="tests.proofs.how_to.test_gevent:greenlets"))
def test_a_loop_in_a_thread_of_gevents_may_not_query_itself(project, tables, tmp_path) -> None:
    """An async query of Django's, in asyncio.run() in a thread of gevent's pool, is refused; outside it is not."""
    (tmp_path / "looping.py").write_text('from settings.prod import *\nROOT_URLCONF = "loops"')
    (tmp_path / "loops.py").write_text(LOOPS)
    settings = {"DJANGO_SETTINGS_MODULE": "looping", "DB_CONN_MAX_AGE": "0"}
    with greenlets(project, tables, f"--pythonpath {tmp_path}", **settings) as gunicorn:
        assert gunicorn.request("/orders/")[0] == 200
        assert gunicorn.request("/itself/")[0] == 500
        assert REFUSED in gunicorn.said()


# ---- psycopg2 --------------------------------------------------------------------------------------------------

PSYCOPG2 = {"PROVEN_DRIVER": "psycopg2", "DB_CONN_MAX_AGE": "0"}


@control(here("**PSYCOPG2", 'DB_CONN_MAX_AGE="0"'))
def test_psycopg2_blocks_every_greenlet(project, tables) -> None:
    """While one request waits for PostgreSQL its process serves no other, not even one that needs no database.

    Two requests sent together are never both in their query.
    """
    asleep = "select count(*) from pg_stat_activity where datname = %s and wait_event = 'PgSleep'"

    def sleeping() -> int:
        return tables.admin.execute(asleep, [tables.name]).fetchone()[0]

    with greenlets(project, tables, **PSYCOPG2) as gunicorn, ThreadPoolExecutor(2) as clients:
        report = clients.submit(gunicorn.request, "/orders/report/?seconds=2")
        until("it is in its query", lambda: sleeping() == 1)
        assert gunicorn.request("/health/live/")[0] == 200
        assert sleeping() == 0, "the answer comes when the query has ended"
        assert report.result()[0] == 200
        both = [clients.submit(gunicorn.request, "/orders/report/?seconds=1") for _ in range(2)]
        seen: set[int] = set()
        until("both have ended", lambda: seen.add(sleeping()) or all(each.done() for each in both))
        assert {each.result()[0] for each in both} == {200}
        assert max(seen) == 1
    evidence.on(psycopg2=version("psycopg2-binary"))


@control(
    edit("gevent/gunicorn_psycopg2.py", "    extensions.set_wait_callback(wait)", "    pass"),
    fails_with="they are in their query: not within",
)
def test_psycopg2_with_the_callback_lets_others_be_served(project, tables, load, tmp_path) -> None:
    """With the callback one process runs twelve requests' queries at once, and answers others."""
    snippets = [load("upstream/gunicorn.conf.py"), load("gevent/gunicorn_psycopg2.py")]
    settings = tmp_path / "gunicorn.conf.py"
    settings.write_text("".join(snippet.text for snippet in snippets))
    with greenlets(project, tables, f"--config {settings}", **PSYCOPG2) as gunicorn:
        with waiting(gunicorn, CLIENTS, in_query=CLIENTS):
            assert gunicorn.request("/health/live/")[0] == 200
        for snippet in snippets:
            evidence.ran(snippet)
    evidence.on(psycopg2=version("psycopg2-binary"))
