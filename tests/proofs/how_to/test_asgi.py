"""Proves docs/how-to/asgi.md: streams, async code outside of requests, clients that go away, Channels."""

import http.client
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import distributions, version
from io import BufferedReader
from typing import Any

import psutil
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from setup import others
from tests.proofs.how_to.test_find_the_leak import Uvicorn
from tests.stack.database import Database, fresh
from tests.stack.runners import RUNNERS
from tests.stack.upstream import Project, driver, needs_a_pool, needs_django_5_1
from tests.stack.wait import DEADLINE, until

AGE_ZERO = {"DJANGO_SETTINGS_MODULE": "settings.prod", "DB_CONN_MAX_AGE": "0"}
# Django's own pool of two, and a short timeout.
OF_TWO = """
from django.conf import settings

settings.DATABASES["default"]["CONN_MAX_AGE"] = 0
settings.DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 2, "max_size": 2, "timeout": 2}
"""
# uvicorn with that pool.
POOLED = f"""{OF_TWO}
import sys
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def pooled(project, server, migrated) -> Iterator[Uvicorn]:
    """uvicorn with a pool of two."""
    needs_a_pool()
    with fresh(server, template=migrated) as database:
        uvicorn = Uvicorn(project, database, "-c", POOLED)
        until("the pool has both", lambda: uvicorn.request("/connection/")[0] == 200 and len(database.backends()) == 2)
        yield uvicorn
        uvicorn.stop()


@pytest.fixture(scope="module")
def unpooled(project, server, migrated) -> Iterator[Uvicorn]:
    """uvicorn with CONN_MAX_AGE = 0."""
    with fresh(server, template=migrated) as database:
        uvicorn = Uvicorn(project, database, DB_CONN_MAX_AGE="0")
        yield uvicorn
        uvicorn.stop()


@pytest.fixture(autouse=True)
def noted(request, server_version) -> None:
    """Tell the ledger what the proof ran on."""
    evidence.on(PostgreSQL=server_version)
    for name in {"pooled", "unpooled"} & {*request.fixturenames}:
        request.getfixturevalue(name).note()


@contextmanager
def listening(uvicorn: Uvicorn, path: str, clients: int, events: int = 1) -> Iterator[None]:
    """Keep this many clients on a stream while the block lasts, each of which has received `events` events."""
    with ExitStack() as stack:
        for _ in range(clients):
            connection = http.client.HTTPConnection("127.0.0.1", uvicorn.port, timeout=DEADLINE)
            stack.callback(connection.close)
            connection.request("GET", path)
            answers = stack.enter_context(connection.getresponse())
            for _ in range(events):
                assert [answers.readline() for _ in range(2)] == [b"data: 0\n", b"\n"]
        yield


# ---- streams ---------------------------------------------------------------------------------------------------


def both_lent(uvicorn: Uvicorn) -> bool:
    """Return whether two requests are served at once, for longer than either would wait for the other's connection."""
    with ThreadPoolExecutor(2) as clients:
        return {status for status, _ in clients.map(uvicorn.request, ["/orders/report/?seconds=3"] * 2)} == {200}


@control(here('"/orders/feed-and-hold/"', '"/orders/feed/"'))
def test_a_stream_holds_its_connection(pooled) -> None:
    """Two streams hold the pool's two connections: another request gets none until the listeners disconnect."""
    with listening(pooled, "/orders/feed-and-hold/", clients=2):
        assert pooled.request("/connection/")[0] == 500
        assert "couldn't get a connection after 2.00 sec" in pooled.said()
    until("both are given back", lambda: both_lent(pooled))


@control(edit("upstream/orders/asynchronous.py", "        await give_back()\n        yield", "        yield"))
@control(
    edit(
        "upstream/orders/asynchronous.py",
        "while True:\n        count = await Order.objects.acount()\n        await give_back()\n",
        "for nth in range(9):\n        count = await Order.objects.acount()\n        nth or await give_back()\n",
    )
)
def test_a_stream_that_gives_back_keeps_nobody_waiting(pooled) -> None:
    """Three streams send a second event over a pool of two connections, and another request is served."""
    with listening(pooled, "/orders/feed/", clients=3, events=2):
        assert pooled.request("/connection/")[0] == 200


@control(here('"/orders/feed-and-hold/"', '"/orders/feed/"'))
@control(
    here('DB_CONN_MAX_AGE="0"', 'DB_CONN_MAX_AGE="60"', of="tests.proofs.how_to.test_asgi:unpooled"),
    fails_with="each is closed: not within",
)
def test_without_a_pool_each_stream_has_a_connection(unpooled) -> None:
    """With CONN_MAX_AGE = 0 six streams hold six connections; once their listeners disconnect, none is left."""
    needs_django_5_1()
    with listening(unpooled, "/orders/feed-and-hold/", clients=6):
        assert len(unpooled.database.backends()) == 6
    until("each is closed", lambda: unpooled.database.backends() == [])


# Streams that query once, and a session that is saved after each view.
ONCE = """
import asyncio, sys
import django; django.setup()
from django.conf import settings
settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sessions"]
settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.sessions.middleware.SessionMiddleware"]
from django.apps import apps
apps.clear_cache(); apps.set_installed_apps(settings.INSTALLED_APPS)
from django.core.management import call_command
from django.db import connection
from django.http import StreamingHttpResponse
from django.urls import path
from orders.asynchronous import give_back
from orders.models import Order
import urls
call_command("migrate", "sessions", verbosity=0)
connection.close()

async def events(gives):
    if gives:
        await give_back()
    yield "data: 0\\n\\n"
    await asyncio.sleep(600)

async def stream(request, in_view):
    request.session["orders"] = await Order.objects.acount()
    if in_view:
        await give_back()
    return StreamingHttpResponse(events(not in_view))

urls.urlpatterns += [path("view/", stream, {"in_view": True}), path("stream/", stream, {"in_view": False})]
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""


@control(here('"/view/"', '"/stream/"'))
@control(here('"/stream/"', '"/view/"'), fails_with="it is closed: not within")
def test_a_session_that_is_saved_after_the_view_takes_a_connection_again(project, server, migrated) -> None:
    """With CONN_MAX_AGE = 0, a stream whose view gave back keeps one; one that gives back as its first step, none."""
    needs_django_5_1()
    with fresh(server, template=migrated) as database:
        uvicorn = Uvicorn(project, database, "-c", ONCE, DB_CONN_MAX_AGE="0")
        try:
            with listening(uvicorn, "/view/", clients=1):
                assert len(database.backends()) == 1
            until("the stream has ended", lambda: database.backends() == [])
            with listening(uvicorn, "/stream/", clients=1):
                until("it is closed", lambda: database.backends() == [])
            uvicorn.note()
        finally:
            uvicorn.stop()


# ---- clients that go away --------------------------------------------------------------------------------------


def states(database: Database) -> list[str]:
    """Return the state of each of the application's sessions."""
    query = "select state from pg_stat_activity where datname = %s and usename = %s"
    return [str(state) for (state,) in database.admin.execute(query, [database.name, database.role.name])]


@contextmanager
def hung_up(served: Uvicorn, clients: int, path: str = "/orders/") -> Iterator[None]:
    """Send requests, hang up when all are in their query, and let the queries end with the block."""
    database = served.database
    waiting = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
    with database.server.connect(database.name) as holder:
        holder.execute("begin; lock table orders_order")
        with ExitStack() as stack:
            for _ in range(clients):
                connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE)
                stack.callback(connection.close)
                connection.request("GET", path)
            until("all wait", lambda: database.admin.execute(waiting, [database.name]).fetchone() == (clients,))
        yield
        holder.execute("rollback")


def leave_early(uvicorn: Uvicorn, clients: int, path: str = "/orders/") -> None:
    """Send requests, hang up when all are in their query, and let the queries end once uvicorn has noticed."""
    process = psutil.Process(uvicorn.process.pid)

    def left() -> bool:
        return not any(each.raddr and each.laddr.port == uvicorn.port for each in process.net_connections("tcp"))

    with hung_up(uvicorn, clients, path):
        until("uvicorn knows that they have left", left)


@control(
    here('DB_CONN_MAX_AGE="0"', 'DB_CONN_MAX_AGE="60"', of="tests.proofs.how_to.test_asgi:unpooled"),
    fails_with="each is closed: not within",
)
@control(
    here(
        "leave_early(pooled, 2, path)",
        'held = listening(pooled, "/orders/feed-and-hold/", clients=1); held.__enter__()',
    ),
    fails_with="both are lent again: not within",
)
@pytest.mark.parametrize("path", ["/orders/", "/orders/feed-and-hold/"])
def test_who_hangs_up_leaves_no_connection(unpooled, pooled, path) -> None:
    """When clients hang up during their queries, each connection is closed, or given back to a pool of two.

    So it is with a view, and with a stream.
    """
    leave_early(unpooled, 10, path)
    until("each is closed", lambda: unpooled.database.backends() == [])
    leave_early(pooled, 2, path)
    until("both are lent again", lambda: both_lent(pooled))


# uvicorn without a pool, and without Python's garbage collector, which would eventually close what is left.
KEPT = """
import gc, sys
gc.disable()
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""


@control(here('("django-5.0.1",)', "()"))
def test_django_5_0_1_forgets_who_hangs_up(project, server, migrated) -> None:
    """Django 5.0.1, CONN_MAX_AGE = 0: ten clients hang up during their queries, and ten connections stay open.

    After further requests, connections of some that were answered stay open as well.
    """
    with fresh(server, template=migrated) as database:
        old: dict[str, Any] = {"packages": ("django-5.0.1",), "fresh": True, "DB_CONN_MAX_AGE": "0"}
        uvicorn = Uvicorn(project, database, "-c", KEPT, **old)
        try:
            leave_early(uvicorn, clients=10)
            until("no query runs any more", lambda: "active" not in states(database))
            assert states(database) == ["idle"] * 10

            def more() -> bool:  # than the ten, and the one of the last request
                uvicorn.backend()
                return states(database).count("idle") > 11

            until("of those that were answered some are left", more)
        finally:
            uvicorn.stop()
    evidence.on(uvicorn=version("uvicorn"))  # its Django has no column in the version matrix


# Daphne, which ends the request of a client that has left after so many seconds, without Python's garbage collector.
DAPHNE = """
import gc, sys
gc.disable()
sys.argv = ["daphne", "--port", sys.argv[1], "--application-close-timeout", "SECONDS", "asgi:application"]
from daphne.cli import CommandLineInterface
CommandLineInterface.entrypoint()
"""


@contextmanager
def by_daphne(project: Project, database: Database, seconds: int, settings: str = "") -> Iterator[Uvicorn]:
    """Serve the project by Daphne, with CONN_MAX_AGE = 0, and that --application-close-timeout."""
    code = settings + DAPHNE.replace("SECONDS", str(seconds))
    daphne = Uvicorn(project, database, "-c", code, DB_CONN_MAX_AGE="0", packages=("runners",))
    project.note()
    evidence.on(Daphne=RUNNERS["daphne"].version)
    try:
        yield daphne
    finally:
        daphne.stop()


def given_up(daphne: Uvicorn, clients: int) -> None:
    """Wait until Daphne has ended each request twice: once it ends what Django does when a client has left."""
    ended = "took too long to shut down and was killed"
    until("Daphne has given up", lambda: daphne.said().count(ended) >= 2 * clients)


@control(here("(project, database, 1)", "(project, database, 600)"), fails_with="Daphne has given up: not within")
@control(here("(project, other, 600)", "(project, other, 1)"), fails_with="the others are closed: not within")
def test_daphne_forgets_who_hangs_up_during_a_long_query(project, server, migrated) -> None:
    """CONN_MAX_AGE = 0: five clients hang up, Daphne ends their requests, and five connections stay open.

    Where Daphne waits for longer than the queries take, each is closed.
    """
    with (
        fresh(server, template=migrated) as database,
        fresh(server, template=migrated) as other,
        by_daphne(project, database, 1) as hasty,
        by_daphne(project, other, 600) as patient,
    ):
        with hung_up(patient, 5), hung_up(hasty, 5):
            given_up(hasty, 5)
        until("the others are closed", lambda: not states(other))
        until("no query runs any more", lambda: "active" not in states(database))
        assert states(database) == ["idle"] * 5


@control(here("(daphne, 2)", "(daphne, 1)"))
def test_with_daphne_who_hangs_up_uses_a_pool_up(project, server, migrated) -> None:
    """Two clients hang up, Daphne ends their requests, and nobody gets one of the pool's two connections any more.

    Where Daphne waits for longer than the queries take, both are lent again.
    """
    needs_a_pool()
    with fresh(server, template=migrated) as database, by_daphne(project, database, 1, OF_TWO) as daphne:
        with hung_up(daphne, 2):
            given_up(daphne, 2)
        until("no query runs any more", lambda: "active" not in states(database))
        assert daphne.request("/connection/")[0] == 500
        assert "couldn't get a connection after 2.00 sec" in daphne.said()
    with fresh(server, template=migrated) as database, by_daphne(project, database, 600, OF_TWO) as patient:
        with hung_up(patient, 2):
            pass
        until("both are lent again", lambda: both_lent(patient))


# uvicorn with a pool of two, and a view that starts a task, which queries after the request has ended.
TASKS = """
import asyncio, sys
from django.conf import settings

settings.DATABASES["default"]["CONN_MAX_AGE"] = 0
settings.DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 2, "max_size": 2, "timeout": 2}
import django; django.setup()
import urls
from django.http import JsonResponse
from django.urls import path
from orders.asynchronous import count_and_give_back
from orders.models import Order
over, tasks = asyncio.Event(), []

async def count():
    return await Order.objects.acount()

async def late():
    await over.wait()
    await work()

async def starts(request):
    tasks.append(asyncio.create_task(late()))
    return JsonResponse({})

async def waits(request):
    over.set()
    await asyncio.gather(*tasks)
    return JsonResponse({})

async def asks(request):
    return JsonResponse({"orders": await count()})

urls.urlpatterns += [path("starts/", starts), path("waits/", waits), path("asks/", asks)]
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""
NO_POOL = "".join(line for line in TASKS.splitlines(keepends=True) if '["pool"]' not in line)


@control(here('("count", 500)', '("count_and_give_back", 500)'))
@control(here('("count", 2)', '("count_and_give_back", 2)'), fails_with="so many are left: not within")
def test_a_task_that_outlives_its_request_keeps_a_connection(project, server, migrated) -> None:
    """Two ended tasks keep both connections of Django's pool, and another request gets none, unless they gave it back.

    Without a pool and with CONN_MAX_AGE = 0, the tasks' two stay open unless given back, and none of the requests'.
    """
    needs_a_pool()
    with fresh(server, template=migrated) as database:
        for work, answer in (("count", 500), ("count_and_give_back", 200)):
            uvicorn = Uvicorn(project, database, "-c", TASKS.replace("work()", f"{work}()"))
            paths = ("/starts/", "/starts/", "/waits/", "/connection/")
            answers, said = [uvicorn.request(path)[0] for path in paths], uvicorn.said()
            uvicorn.note()
            uvicorn.stop()
            assert answers == [200, 200, 200, answer]
            assert ("couldn't get a connection after 2.00 sec" in said) == (answer == 500)
        for work, left in (("count", 2), ("count_and_give_back", 0)):
            uvicorn = Uvicorn(project, database, "-c", NO_POOL.replace("work()", f"{work}()"))
            assert [uvicorn.request(path)[0] for path in ("/starts/", "/starts/", "/waits/", "/asks/")] == [200] * 4
            until("so many are left", lambda left=left: len(database.backends()) == left)
            uvicorn.stop()
            until("they have ended", lambda: not database.backends())


# An application that serves some paths itself, as FastAPI does, and leaves the others to Django.
MOUNTED = """
import asyncio, json, sys
import django; django.setup()
from django.core.asgi import get_asgi_application
from django.db import connection
from asgiref.sync import sync_to_async
from workers.around import like_a_request
from workers.on_asgi import LikeDjango
from orders.models import Order
to_django = get_asgi_application()

def backend():
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]

SERVES = {
    "/own/": lambda: sync_to_async(backend)(),
    "/own/orders/": lambda: Order.objects.acount(),
    "/own/thread/": lambda: asyncio.to_thread(backend),
    "/own/thread/ruled/": lambda: asyncio.to_thread(like_a_request(backend)),
}

async def api(scope, receive, send):
    if scope["type"] != "http" or scope["path"] not in SERVES:
        return await to_django(scope, receive, send)
    answer = json.dumps({"backend": await SERVES[scope["path"]]()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": answer})

application = api
import uvicorn
uvicorn.run(application, port=int(sys.argv[1]), lifespan="off")
"""
WRAPPED = MOUNTED.replace("application = api", "application = LikeDjango(api)")


@contextmanager
def beside(project, database: Database, code: str) -> Iterator[Uvicorn]:
    """Serve this with health checks and CONN_MAX_AGE = 0."""
    uvicorn = Uvicorn(project, database, "-c", code, DB_CONN_MAX_AGE="0")
    try:
        yield uvicorn
        uvicorn.note()
    finally:
        uvicorn.stop()


@control(here("MOUNTED) as", "WRAPPED) as"))
def test_beside_django_nothing_looks_after_a_connection(project, server, migrated) -> None:
    """Requests one after another share one that stays open; once it is lost, each fails, and none of Django's."""
    with fresh(server, template=migrated) as database, beside(project, database, MOUNTED) as uvicorn:
        served = {uvicorn.request("/own/")[1]["backend"] for _ in range(3)}
        assert len(served) == 1
        assert served == {*database.backends()}
        database.terminate(*served)
        closed = "the connection is closed" if "psycopg" in driver() else "connection already closed"
        assert uvicorn.request("/own/")[0] == 500
        assert closed not in uvicorn.said()
        assert [uvicorn.request("/own/")[0] for _ in range(2)] == [500] * 2
        assert closed in uvicorn.said()
        assert uvicorn.request("/connection/")[0] == 200


@control(here("WRAPPED) as", "MOUNTED) as"), fails_with="none is left: not within")
@control(edit("upstream/workers/on_asgi.py", "await sync_to_async(connections.close_all)()", "pass"), fails_with="none")
@control(
    edit("upstream/workers/on_asgi.py", "async with ThreadSensitiveContext():", "if True:"), fails_with="both wait"
)
def test_what_is_wrapped_like_django_leaves_no_connection(project, server, migrated) -> None:
    """Neither does a request to the Django behind it; each request has a connection of its own, also two at a time."""
    with fresh(server, template=migrated) as database, beside(project, database, WRAPPED) as uvicorn:
        backends = {uvicorn.request("/own/")[1]["backend"] for _ in range(3)}
        assert len(backends) == 3
        assert uvicorn.request("/connection/")[0] == 200
        waiting = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
        with server.connect(database.name) as holder, ThreadPoolExecutor(2) as clients:
            try:
                holder.execute("begin; lock table orders_order")
                asked = [clients.submit(uvicorn.request, "/own/orders/") for _ in range(2)]
                until("both wait", lambda: database.admin.execute(waiting, [database.name]).fetchone() == (2,))
            finally:
                holder.execute("rollback")
            assert [each.result()[0] for each in asked] == [200] * 2
        until("none is left", lambda: database.backends() == [])


@control(here("OF_TWO + WRAPPED", 'OF_TWO + WRAPPED.replace("LikeDjango(api)", "api")'))
@control(edit("upstream/workers/on_asgi.py", "await sync_to_async(connections.close_all)()", "pass"))
def test_what_is_wrapped_gives_back_to_djangos_pool(project, server, migrated) -> None:
    """With a pool of two, five requests are answered over these two, and so are two at a time of Django's."""
    needs_a_pool()
    with fresh(server, template=migrated) as database, beside(project, database, OF_TWO + WRAPPED) as uvicorn:
        answers = [uvicorn.request("/own/") for _ in range(5)]
        assert {status for status, _ in answers} == {200}
        assert len({answer["backend"] for _, answer in answers}) <= 2
        assert both_lent(uvicorn)


# The same with a task that the first request starts, and that queries for later ones.
OUTLIVES = WRAPPED.replace(
    "async def api(",
    """queue, tasks = asyncio.Queue(), set()

async def works():
    while True:
        future = await queue.get()
        future.set_result(await sync_to_async(backend)())

async def asks_the_task():
    tasks or tasks.add(asyncio.create_task(works()))
    future = asyncio.get_running_loop().create_future()
    await queue.put(future)
    return await future

SERVES["/own/task/"] = asks_the_task

async def api(""",
)


@control(here('"/own/task/"', '"/own/"'))
def test_what_is_wrapped_does_not_reach_a_task_that_goes_on(project, server, migrated) -> None:
    """Once the request that started it has ended, the task keeps one connection for all that ask it."""
    with fresh(server, template=migrated) as database, beside(project, database, OUTLIVES) as uvicorn:
        asked = "/own/task/"
        assert uvicorn.request(asked)[0] == 200
        until("the request has closed its own", lambda: not database.backends())
        one, other = (uvicorn.request(asked)[1]["backend"] for _ in range(2))
        assert one == other
        assert database.backends() == [one]


@control(here('keeps = "/own/thread/"', 'keeps = "/own/thread/ruled/"'), fails_with="one is left: not within")
@control(here('none = "/own/thread/ruled/"', 'none = "/own/thread/"'), fails_with="none is left: not within")
def test_what_is_wrapped_does_not_reach_a_threads_connection(project, server, migrated) -> None:
    """A thread in which a request starts work keeps its connection; with the rule around that work it keeps none."""
    keeps = "/own/thread/"
    none = "/own/thread/ruled/"
    with fresh(server, template=migrated) as database, beside(project, database, WRAPPED) as uvicorn:
        assert uvicorn.request(none)[0] == 200
        until("none is left", lambda: database.backends() == [])
        status, answer = uvicorn.request(keeps)
        assert status == 200
        until("one is left", lambda: database.backends() == [answer["backend"]])


# ---- transactions ----------------------------------------------------------------------------------------------

# Each way to begin a transaction in async code, and what was written by the one that is left.
TRANSACTIONS = """
import asyncio, warnings
import django; django.setup()
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from orders.models import Order

async def asks():
    async with transaction.atomic():
        await Order.objects.acount()

async def begins():
    with transaction.atomic():
        await Order.objects.acount()

@transaction.atomic
async def decorated():
    await Order.objects.acreate(customer="Cleo")
    raise ValueError("kept")

@transaction.atomic
def whole(fails):
    Order.objects.create(customer="Ada")
    if fails:
        raise ValueError("undone")
    Order.objects.create(customer="Bob")

async def tries():
    for way in (asks, begins, decorated):
        try:
            await way()
        except Exception as error:
            print(type(error).__name__)
    for fails in (True, False):
        try:
            await sync_to_async(whole)(fails)
        except ValueError as error:
            print(error)
    print(await Order.objects.acount())

asyncio.run(tries())
warnings.simplefilter("ignore")  # async_to_sync() says that it is no coroutine function any more
for way in (lambda: asyncio.run(decorated()), lambda: async_to_sync(decorated)()):
    try:
        way()
    except ValueError as error:
        print(error)
print(Order.objects.count())
"""


@control(here('"-c", TRANSACTIONS', '"-c", TRANSACTIONS.replace("@transaction.atomic\\ndef whole", "def whole")'))
@control(here('"-c", TRANSACTIONS', '"-c", TRANSACTIONS.replace("asyncio.run(decorated())", "whole(True)")'))
@control(here('"-c", TRANSACTIONS', '"-c", TRANSACTIONS.replace("async_to_sync(decorated)()", "whole(True)")'))
def test_async_code_has_its_transaction_in_one_function(project, server, server_version, migrated) -> None:
    """atomic() is refused in async code in each form; in a function given to sync_to_async it writes all or nothing.

    On a coroutine function that asyncio.run() or async_to_sync() calls it does nothing: what was written stays.
    """
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        said = project.run("-c", TRANSACTIONS, database_url=database.url, **AGE_ZERO)
        project.note()
    refused = ["TypeError", "SynchronousOnlyOperation", "SynchronousOnlyOperation"]
    assert said == (0, "\n".join([*refused, "undone", "2", "kept", "kept", "4", ""])), said


# What awaits a transaction is cancelled while it is under way.
CANCELLED = """
import asyncio, threading
import django; django.setup()
from asgiref.sync import sync_to_async
from django.db import transaction
from orders.models import Order
begun, go = threading.Event(), threading.Event()

@transaction.atomic
def whole():
    Order.objects.create(customer="Ada")
    begun.set()
    go.wait()
    Order.objects.create(customer="Bob")

async def tries():
    task = asyncio.create_task(sync_to_async(whole)())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    try:
        await task
    except asyncio.CancelledError:
        print("cancelled")
    print(await Order.objects.acount())

asyncio.run(tries())
"""


@control(here('"-c", CANCELLED', '"-c", CANCELLED.replace("go.wait()", "go.wait(); raise ValueError")'))
@control(here('"-c", CANCELLED', '"-c", CANCELLED.replace("task.cancel()", "pass")'))
def test_a_transaction_goes_on_when_what_awaits_it_is_cancelled(project, server, server_version, migrated) -> None:
    """A function given to sync_to_async runs to its end and commits, although the task that awaits it is cancelled."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        said = project.run("-c", CANCELLED, database_url=database.url, **AGE_ZERO)
        project.note()
    assert said == (0, "cancelled\n2\n"), said


# An error in atomic() in async code, after something was written.
UNSAFE = """
import asyncio
import django; django.setup()
from django.db import transaction
from orders.models import Order

async def begins():
    with transaction.atomic():
        await Order.objects.acreate(customer="Ada")
        raise ValueError("kept")

try:
    asyncio.run(begins())
except ValueError as error:
    print(error, Order.objects.count())
"""


@control(here('"-c", UNSAFE', '"-c", UNSAFE.replace("await Order.objects.acreate", "Order.objects.create")'))
@control(here('DJANGO_ALLOW_ASYNC_UNSAFE="1"', 'DJANGO_ALLOW_ASYNC_UNSAFE=""'))
def test_with_async_unsafe_what_is_awaited_is_no_part_of_the_transaction(
    project, server, server_version, migrated
) -> None:
    """What the async ORM has written in atomic() stays after an error; the same without await is undone."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        settings = {**AGE_ZERO, "database_url": database.url}
        said = project.run("-c", UNSAFE, DJANGO_ALLOW_ASYNC_UNSAFE="1", **settings)
        project.note()
    assert said == (0, "kept 1\n"), said


# An async view under ATOMIC_REQUESTS, and the same view without it.
ATOMIC = """
import sys
from django.conf import settings
settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
settings.DATABASES["second"] = settings.DATABASES["default"].copy()
import django; django.setup()
import urls
from django.db import transaction
from django.http import JsonResponse
from django.urls import path
from orders.models import Order

async def counts(request):
    return JsonResponse({"orders": await Order.objects.acount()})

@transaction.non_atomic_requests
async def half(request):
    return await counts(request)

@transaction.non_atomic_requests
@transaction.non_atomic_requests(using='second')
async def exempt(request):
    return await counts(request)

urls.urlpatterns += [path("refused/", counts), path("half/", half), path("exempt/", exempt)]
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""


@control(here('"-c", ATOMIC', '"-c", ATOMIC.replace("= True", "= False")'))
@control(here('"-c", ATOMIC', '"-c", ATOMIC.replace("@transaction.non_atomic_requests\\n", "")'))
@control(here('"-c", ATOMIC', '"-c", ATOMIC.replace("(using=\'second\')", "")'))
def test_atomic_requests_refuses_async_views(project, server, migrated) -> None:
    """Such a view gets 500 with a text of Django's own, and 200 where non_atomic_requests exempts it for each alias."""
    with fresh(server, template=migrated) as database:
        uvicorn = Uvicorn(project, database, "-c", ATOMIC, DB_CONN_MAX_AGE="0")
        try:
            assert [uvicorn.request(path)[0] for path in ("/refused/", "/half/", "/exempt/")] == [500, 500, 200]
            assert "RuntimeError: You cannot use ATOMIC_REQUESTS with async views." in uvicorn.said()
            uvicorn.note()
        finally:
            uvicorn.stop()


# ---- outside of requests ---------------------------------------------------------------------------------------

# A process that lives on after its async code has ended. CONN_MAX_AGE is 0.
OUTSIDE = """
import asyncio, threading, time
import django; django.setup()
from asgiref.sync import async_to_sync, sync_to_async
from django.db import close_old_connections, connection
from orders import background
from orders.asynchronous import count_and_give_back
from orders.models import Order

async def count():
    return await Order.objects.acount()

async def beside(work):
    await asyncio.gather(*(sync_to_async(work, thread_sensitive=False)() for _ in range(4)))

async def to_threads(work):
    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(4)))

async def and_then(work):
    await work
    print("done", flush=True)
    await asyncio.sleep(600)

"""


@pytest.fixture
def left(project, server, server_version, migrated):
    """Run such code until it has done its work, and wait until that many connections are left: left("count()", 1)."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database, ExitStack() as stack:

        def run(code: str, expected: int) -> None:
            ends = '\nprint("done", flush=True); time.sleep(600)'
            process = project.start("-c", OUTSIDE + code + ends, database_url=database.url, **AGE_ZERO)
            stack.callback(process.stop)
            until("it has done its work", lambda: "done" in process.said())
            until(f"{expected} are left", lambda: len(database.backends()) == expected)

        yield run
    project.note()


@control(here("asyncio.run(count())", "async_to_sync(count)()"), fails_with="are left: not within")
def test_asyncio_run_leaves_one_that_its_caller_cannot_close(left) -> None:
    """After two asyncio.run() calls one is left, although CONN_MAX_AGE is 0 and the caller has called close().

    It called close_old_connections() before and after each.
    """
    job = "close_old_connections(); asyncio.run(count()); close_old_connections(); "
    left(2 * job + "connection.close()", 1)


# Two threads run a loop each, as some workers do; then it prints how much of the pool is lent.
LENT = """
connection.pool.open()
connection.pool.wait()
threads = [threading.Thread(target=asyncio.run, args=[count()]) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
stats = connection.pool.get_stats()
print(stats["pool_size"] - stats["pool_available"], "of", stats["pool_size"])
"""
IN_A_POOL = {"DJANGO_SETTINGS_MODULE": "settings.pool", "DB_POOL_SIZE": "2"}


@control(here("OUTSIDE + LENT", 'OUTSIDE + LENT.replace("count()", "count_and_give_back()")'))
def test_asyncio_run_keeps_one_of_the_pools_connections(project, server, migrated) -> None:
    """Two threads call asyncio.run(): after both have ended, one of the pool's two connections is still lent."""
    needs_a_pool()
    with fresh(server, template=migrated) as database:
        status, said = project.run("-c", OUTSIDE + LENT, database_url=database.url, **IN_A_POOL)
    assert (status, said) == (0, "1 of 2\n"), said


@control(
    edit("upstream/orders/asynchronous.py", "        await give_back()\n\n", "        pass\n\n"),
    fails_with="are left: not within",
)
def test_async_code_that_gives_back_leaves_none(left) -> None:
    """asyncio.run() leaves no connection where the async code itself gives it back."""
    left("asyncio.run(count_and_give_back())", 0)


# A task gives the connection back while another reads.
SHARED = """
from django.db import Error
for name in ("Ada", "Bob", "Cleo"): Order.objects.create(customer=name)

async def reads(orders):
    async for order in orders:
        await asyncio.create_task(count_and_give_back())

for orders in (Order.objects.aiterator(chunk_size=1), Order.objects.all()):
    try:
        asyncio.run(reads(orders))
        print("read")
    except Error:
        print("failed")
"""


@control(here("OUTSIDE + SHARED", 'OUTSIDE + SHARED.replace("count_and_give_back", "count")'))
@control(here("OUTSIDE + SHARED", 'OUTSIDE + SHARED.replace("objects.all()", "objects.aiterator(chunk_size=1)")'))
def test_giving_back_ends_an_iterator_of_another_task(project, server, server_version, migrated) -> None:
    """With CONN_MAX_AGE = 0, aiterator() fails when another task closes the connection; the queryset itself does not.

    The queryset has read all rows before the first one is used.
    """
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        said = project.run("-c", OUTSIDE + SHARED, database_url=database.url, **AGE_ZERO)
        project.note()
    assert said == (0, "failed\nread\n"), said


# Two views without async, which call async code in two ways.
VIEWS = """
import asyncio, sys
import django; django.setup()
import urls
from asgiref.sync import async_to_sync
from django.http import JsonResponse
from django.urls import path
from orders.models import Order

async def count():
    return await Order.objects.acount()

def runs(request):
    print("begun", flush=True)
    return JsonResponse({"orders": asyncio.run(count())})

def syncs(request):
    return JsonResponse({"orders": async_to_sync(count)()})

urls.urlpatterns += [path("runs/", runs), path("syncs/", syncs)]
"""
BY_UVICORN = f"""{VIEWS}
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""
BY_GUNICORN = f"""{VIEWS}
sys.argv = ["gunicorn", "wsgi", "--workers", "1", "--threads", "4", "--bind", "127.0.0.1:" + sys.argv[1]]
from gunicorn.app.wsgiapp import run
run()
"""


@control(here('runs = "/runs/"', 'runs = "/syncs/"'), fails_with="it is under way: not within")
@control(here("BY_UVICORN,", 'BY_UVICORN.replace("asyncio.run(count())", "async_to_sync(count)()"),'))
@control(
    here("BY_GUNICORN,", 'BY_GUNICORN.replace("asyncio.run(count())", "async_to_sync(count)()"),'),
    fails_with="only one is left: not within",
)
def test_asyncio_run_in_a_view_never_ends_under_asgi_and_keeps_a_connection_under_wsgi(
    project, server, migrated
) -> None:
    """It waits for the thread that the view itself occupies, while others are served. With async_to_sync() neither.

    Under Gunicorn's threads one connection is left, although CONN_MAX_AGE is 0.
    """
    runs = "/runs/"
    with fresh(server, template=migrated) as database, ThreadPoolExecutor(1) as client:
        uvicorn = Uvicorn(project, database, "-c", BY_UVICORN, DB_CONN_MAX_AGE="0")
        try:
            asked = client.submit(uvicorn.request, runs)
            until("it is under way", lambda: "begun" in uvicorn.said())
            assert uvicorn.request("/syncs/")[0] == 200
            until("no other is left", lambda: database.backends() == [])
            with pytest.raises(TimeoutError):
                asked.result(timeout=1)
            uvicorn.note()
        finally:
            uvicorn.stop()
    with fresh(server, template=migrated) as database:
        gunicorn = Uvicorn(project, database, "-c", BY_GUNICORN, DB_CONN_MAX_AGE="0")
        try:
            assert gunicorn.request("/syncs/")[0] == 200
            until("it is closed", lambda: database.backends() == [])
            assert [gunicorn.request(runs)[0] for _ in range(3)] == [200] * 3
            left = database.backends()
            assert gunicorn.request("/syncs/")[0] == 200
            until("only one is left", lambda: len(left) == 1 and database.backends() == left)
        finally:
            gunicorn.stop()


@control(here("async_to_sync(count)()", "asyncio.run(count())"), fails_with="are left: not within")
@control(here("; close_old_connections()", ""), fails_with="are left: not within")
def test_async_to_sync_asks_in_the_thread_that_calls(left) -> None:
    """async_to_sync uses the calling thread's connection, which close_old_connections() there closes."""
    left("async_to_sync(count)(); close_old_connections()", 0)


@control(here("count_and_keep", "count_and_close"), fails_with="are left: not within")
@pytest.mark.parametrize("way", ["beside", "to_threads"])
def test_threads_beside_each_other_keep_one_each(left, way) -> None:
    """With thread_sensitive=False, and with asyncio.to_thread(), four concurrent calls keep four connections.

    They keep them for as long as their loop runs.
    """
    work = "lambda: (background.count_and_keep(), together.wait())"
    left(f"together = threading.Barrier(4)\nasyncio.run(and_then({way}({work})))", 4)


@control(
    edit("upstream/orders/background.py", "        connection.close()", "        pass"),
    fails_with="are left: not within",
)
def test_threads_that_close_keep_none(left) -> None:
    """Four concurrent calls that end with close() leave none open."""
    left("asyncio.run(and_then(beside(background.count_and_close)))", 0)


CLOSES = """
import asyncio
import django; django.setup()
from asgiref.sync import sync_to_async
from django.db import Error, connection, connections

def ask():
    connection.ensure_connection()

def is_open():
    return connection.connection is not None

async def closes():
    try:
        connection.close()
    except Exception as error:
        print(error)
    try:
        await sync_to_async(connection.close)()
    except Error as error:
        print(error)
    await sync_to_async(ask)()
    print(await sync_to_async(is_open)())
    await sync_to_async(connections.close_all)()
    print(await sync_to_async(is_open)())

asyncio.run(closes())
"""


@control(here('"-c", CLOSES', '"-c", CLOSES.replace("(connection.close)", "(lambda: connection.close())")'))
@control(here('"-c", CLOSES', '"-c", CLOSES.replace("connections.close_all", "connections.all")'))
def test_close_in_async_code_is_refused(project, database) -> None:
    """close() is refused, and so is sync_to_async(connection.close), as it is looked up in the event loop's thread.

    sync_to_async(connections.close_all) closes the connection of the thread that it reaches.
    """
    status, said = project.run("-c", CLOSES, database_url=database.url, **AGE_ZERO)
    assert status == 0, said
    texts = said.splitlines()
    assert len(texts) == 4
    assert texts[0] == "You cannot call this from an async context - use a thread or sync_to_async."
    assert texts[1].startswith("DatabaseWrapper objects created in a thread can only be used in that same thread.")
    assert texts[2:] == ["True", "False"]


# What Django is asked for: within a loop, in another thread meanwhile, with the variable, and when the loop has ended.
LOOP = """
import asyncio, os
from concurrent.futures import ThreadPoolExecutor
import django; django.setup()
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection

def ask():
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 'answered'")
            print(*cursor.fetchone())
        connection.close()
    except SynchronousOnlyOperation as refused:
        print(refused)

async def cell():
    ask()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(ask).result()
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    ask()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]

asyncio.run(cell())
ask()
"""


@control(here('"-c", LOOP', '"-c", LOOP.replace("threads.submit(ask).result()", "ask()")'))
@control(here('"-c", LOOP', '"-c", LOOP.replace("DJANGO_ALLOW", "ALLOW")'))
def test_a_loop_in_the_thread_is_all_that_django_looks_for(project, database) -> None:
    """Code without async is refused where a loop runs in its thread, not in another thread, nor when it has ended.

    With DJANGO_ALLOW_ASYNC_UNSAFE, set while the process runs, it is answered.
    """
    refused = "You cannot call this from an async context - use a thread or sync_to_async."
    said = project.run("-c", LOOP, database_url=database.url, **AGE_ZERO)
    assert said == (0, "\n".join([refused, *["answered"] * 3, ""]))


# A view that asks three times at once, for whoever answers, and keeps each for long enough that another would.
GATHERS = """
import asyncio, sys
import django; django.setup()
from django.conf import settings
from django.db.models.expressions import RawSQL
from django.http import JsonResponse
from django.urls import path
from orders.models import Order
import urls

WHO = RawSQL("pg_backend_pid() + length(pg_sleep(0.2)::text)", [])

async def gathers(request):
    await Order.objects.acreate(customer="Ada")
    found = await asyncio.gather(*(Order.objects.annotate(who=WHO).aget() for _ in range(3)))
    return JsonResponse({"found": [order.who for order in found]})

urls.urlpatterns.append(path("gathers/", gathers))
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""


@control(here('"-c", GATHERS', '"-c", GATHERS.replace("Order.objects.annotate(who=WHO).aget()", BESIDE)'))
def test_gathered_queries_of_a_request_share_one_connection(project, server, migrated) -> None:
    """Three of the async ORM's at once are answered by one session, which answers one at a time."""
    with fresh(server, template=migrated) as database:
        uvicorn = Uvicorn(project, database, "-c", GATHERS, DB_CONN_MAX_AGE="0")
        try:
            status, answer = uvicorn.request("/gathers/")
            uvicorn.note()
        finally:
            uvicorn.stop()
    assert status == 200
    assert len(answer["found"]) == 3
    assert len({*answer["found"]}) == 1


# What would be three connections.
BESIDE = "__import__('asgiref').sync.sync_to_async(Order.objects.annotate(who=WHO).get, thread_sensitive=False)()"


# ---- Channels --------------------------------------------------------------------------------------------------

SOCKETS = """
from asgi import application as django
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from consumers import Closes, Keeps
from orders.models import Order

class Wraps(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send(str(await sync_to_async(Order.objects.count)()))

made = {"keeps": Keeps, "wraps": Wraps, "closes": Closes, "idles": AsyncWebsocketConsumer}
sockets = URLRouter([path(f"{name}/", of.as_asgi()) for name, of in made.items()])
application = ProtocolTypeRouter({"http": django, "websocket": sockets})
"""
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SAYS = b"\x81\x80\0\0\0\0"  # an empty text frame, masked as a client's must be


@pytest.fixture
def channels(project, server, migrated, load, tmp_path) -> Iterator[Uvicorn]:
    """uvicorn with Channels' consumers."""
    consumers = load("channels/consumers.py")
    (tmp_path / "consumers.py").write_text(consumers.text)
    (tmp_path / "sockets.py").write_text(SOCKETS)
    command = ("-m", "uvicorn", "--ws=wsproto", f"--app-dir={tmp_path}", "sockets:application", "--port")
    with fresh(server, template=migrated) as database:
        uvicorn = Uvicorn(project, database, *command, packages=("runners",), DB_CONN_MAX_AGE="0")
        evidence.ran(consumers)
        (installed,) = distributions(name="channels", path=[str(others.packages("runners"))])
        evidence.on(Channels=installed.version)
        yield uvicorn
        uvicorn.stop()


@contextmanager
def connected(uvicorn: Uvicorn, path: str, clients: int) -> Iterator[list[socket.socket]]:
    """Keep this many WebSockets open, each of which has received the number of orders, while the block lasts.

    They query together, and only one of them is in its query for as long as that waits.
    """
    query = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
    database = uvicorn.database

    def waiting() -> int:
        return database.admin.execute(query, [database.name]).fetchone()[0]

    with ExitStack() as stack:
        address = ("127.0.0.1", uvicorn.port)
        sockets = [stack.enter_context(socket.create_connection(address, DEADLINE)) for _ in range(clients)]
        with database.server.connect(database.name) as holder:
            holder.execute("begin; lock table orders_order")
            for client in sockets:
                client.sendall(UPGRADE.format(path=path).encode())
            until("one waits", waiting)
            uvicorn.backend()  # a request that came after them has run its query
            assert waiting() == 1
            holder.execute("rollback")
        for client in sockets:
            with upgraded(client) as answers:
                assert answers.read(3) == b"\x81\x010"  # a text frame of one byte, 0
        yield sockets


@contextmanager
def upgraded(client: socket.socket) -> Iterator[BufferedReader]:
    """Read until a WebSocket is open, and yield what can be read from then on."""
    with client.makefile("rb") as answers:
        while answers.readline() != b"\r\n":
            pass
        yield answers


@control(edit("channels/consumers.py", "str(await Order.objects.acount())", "'0'"), fails_with="one waits: not within")
@control(
    edit("channels/consumers.py", "    @database_sync_to_async\n", "    @__import__('asgiref').sync.sync_to_async\n"),
    fails_with="it is closed: not within",
)
@control(here("idle.sendall(SAYS)", "pass"), fails_with="who said something has closed it: not within")
@control(
    edit(
        "channels/consumers.py",
        "    @database_sync_to_async\n",
        "    @__import__('functools').partial(database_sync_to_async, thread_sensitive=False)\n",
    )
)
def test_consumers_share_one_thread_and_its_connection(channels) -> None:
    """The async ORM or sync_to_async keeps it until any client sends or leaves; database_sync_to_async closes it."""
    backends = channels.database.backends
    with socket.create_connection(("127.0.0.1", channels.port), DEADLINE) as idle:
        idle.sendall(UPGRADE.format(path="/idles/").encode())
        with upgraded(idle):
            pass
        for path in ("/keeps/", "/wraps/"):
            with connected(channels, path, clients=1), connected(channels, path, clients=2):
                until("one is open", lambda: len(backends()) == 1)
                idle.sendall(SAYS)
                until("who said something has closed it", lambda: backends() == [])
                with connected(channels, path, clients=1):
                    until("it is open again", lambda: len(backends()) == 1)
                until("who left has closed it", lambda: backends() == [])
    with connected(channels, "/closes/", clients=3):
        until("it is closed", lambda: backends() == [])
