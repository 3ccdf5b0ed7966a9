"""Proves docs/how-to/tests-and-ci.md: which connections tests and runserver open, and what is left of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from setup import others
from tests.proofs.how_to.test_find_the_leak import Uvicorn
from tests.site import chromium
from tests.stack.database import Database, fresh
from tests.stack.upstream import Project, driver, needs_a_pool
from tests.stack.wait import until

# What a reader gets from `manage.py test`, with the tests in a folder of their own.
RUNS = """
import multiprocessing, sys
multiprocessing.set_start_method({method!r})
sys.path.insert(0, {folder!r})
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "test", "{name}", "--noinput", *{options!r}])
"""
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def tested(server, server_version, migrated) -> Iterator[Database]:
    """A database whose role may create others, as tests must."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        database.admin.execute(f'alter role "{database.role.name}" createdb')
        yield database
        left = "select datname from pg_database where datname like %s"
        for (name,) in database.admin.execute(left, [f"test_{database.name}%"]).fetchall():
            database.admin.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def run(project: Project, tested: Database, tmp_path: Path) -> Run:
    """Run code as tests: run(code, "--parallel=2"); return the exit status and what was printed."""

    def tests(code: str, *options: str, method: str = "fork", **more: str) -> tuple[int, str]:
        (tmp_path / "test_these.py").write_text(code)
        command = RUNS.format(folder=str(tmp_path), name="test_these", options=options, method=method)
        settings = {"DJANGO_SETTINGS_MODULE": "settings.prod", **more}
        return project.run("-c", command, database_url=tested.url, **settings)

    return tests


@control(edit("testing/test_connections.py", "(TransactionTestCase)", "(TestCase)"))
@control(edit("upstream/orders/background.py", "        connection.close()", "        pass"))
@control(edit("testing/test_connections.py", "async_to_sync(place)()", "__import__('asyncio').run(place())"))
def test_tests_of_threads_and_async_code_pass_and_leave_nothing(run, load) -> None:
    """They cover a TransactionTestCase, a thread that closes its connection, and async code on the test's own."""
    snippet = load("testing/test_connections.py")
    status, said = run(snippet.text)
    assert status == 0, said
    assert "Ran 3 tests" in said
    evidence.ran(snippet)


KEEPS = """
from django.test import TestCase
from orders import background

class Keeps(TestCase):
    def test_a_thread_counts(self):
        background.pool.submit(background.count_and_keep).result()
"""


@control(here("run(KEEPS,", 'run(KEEPS.replace("keep", "close"),'))
@control(here('"--parallel=2"', '"--parallel=1"'))
@pytest.mark.parametrize("settings", ["settings.prod", "settings.pool"])
def test_a_thread_that_keeps_its_connection_is_in_the_way(run, settings) -> None:
    """The tests pass, but their database cannot be dropped, although no pooler is involved. With --parallel it can.

    It is the same with a connection of Django's pool.
    """
    if settings == "settings.pool":
        needs_a_pool()
    which = {"DJANGO_SETTINGS_MODULE": settings}
    status, said = run(KEEPS, **which)
    assert status == 1
    assert "\nOK\n" in said
    assert "is being accessed by other users" in said
    assert "There is 1 other session using the database." in said
    two = KEEPS + KEEPS.partition("\n\n")[2].replace("class Keeps", "class KeepsToo")
    status, said = run(two, "--parallel=2", **which)
    assert (status, "Ran 2 tests" in said) == (0, True), said


@control(here("run(KEEPS,", 'run(KEEPS.replace("keep", "close"),'))
def test_one_that_a_thread_keeps_from_djangos_pool_is_in_the_way(run) -> None:
    """Django closes its pool, but not a connection that the pool has lent and not got back."""
    needs_a_pool()
    status, said = run(KEEPS, DJANGO_SETTINGS_MODULE="settings.pool")
    assert status == 1
    assert "\nOK\n" in said
    assert "There is 1 other session using the database." in said


UNSEEN = """
import asyncio
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import TestCase
from orders import background
from orders.models import Order

async def place():
    try:
        seen = await Order.objects.acount()
        await Order.objects.acreate(customer="Ada")
        return seen
    finally:
        await sync_to_async(connections.close_all)()

class Unseen(TestCase):
    def test_0_a_thread_sees_nothing(self):
        Order.objects.create(customer="Ada")
        assert background.pool.submit(background.count_and_close).result() == 0

    def test_1_async_code_sees_nothing(self):
        Order.objects.create(customer="Ada")
        assert asyncio.run(place()) == 0

    def test_2_and_what_it_wrote_stays(self):
        assert Order.objects.count() == 1
"""


@control(here("run(UNSEEN)", 'run(UNSEEN.replace("django.test import TestCase", "unittest import TestCase"))'))
@control(
    here(
        "run(UNSEEN)",
        'run(UNSEEN.replace("asyncio.run(place())", "__import__(\'asgiref\').sync.async_to_sync(place)()"))',
    )
)
def test_another_connection_is_outside_of_the_tests_transaction(run) -> None:
    """A thread and asyncio.run() do not see the TestCase's orders; what asyncio.run() writes stays for the next."""
    status, said = run(UNSEEN)
    assert status == 0, said
    assert "Ran 3 tests" in said


GIVES_BACK = """
from django.db import connection
from django.test import TestCase
from orders.asynchronous import count_and_give_back
from orders.models import Order

class GivesBack(TestCase):
    async def test_async_code(self):
        await Order.objects.acreate(customer="Ada")
        assert await count_and_give_back() == 1
        assert await Order.objects.acount() == 1

    def test_a_close(self):
        Order.objects.create(customer="Ada")
        connection.close()
        assert Order.objects.count() == 1
"""


@control(here("run(GIVES_BACK)", 'run(GIVES_BACK.replace("TestCase", "TransactionTestCase"))'))
@control(here('"TransactionTestCase"', '"TestCase"'))
def test_code_that_closes_the_tests_own_connection_needs_a_transactiontestcase(run) -> None:
    """In a TestCase the next query fails, in async code too; in a TransactionTestCase the rows are still there."""
    status, said = run(GIVES_BACK)
    assert (status, "FAILED (errors=2)" in said) == (1, True), said
    status, said = run(GIVES_BACK.replace("TestCase", "TransactionTestCase"))
    assert (status, "Ran 2 tests" in said) == (0, True), said


# ---- in parallel -----------------------------------------------------------------------------------------------

# Two tests that wait for each other, so that each worker has one, and then list the sessions.
PAIR = """
import os, time
from pathlib import Path
from django.db import connection
from django.test import TestCase

HERE = Path(__file__).parent
THESE = "test_" + os.environ["DATABASE_URL"].rpartition("/")[2] + "%"

def both(suffix):
    gives_up = time.monotonic() + 100
    while len([*HERE.glob("*" + suffix)]) < 2 and time.monotonic() < gives_up:
        time.sleep(0.01)

def meet(name):
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        (HERE / f"{name}.came").touch()
        both(".came")
        found = "select datname from pg_stat_activity where datname like %s and usename is not null order by 1"
        cursor.execute(found, [THESE])
        (HERE / f"{name}.found").write_text(" ".join(database for (database,) in cursor.fetchall()))
    both(".found")

class One(TestCase):
    def test_it(self):
        meet("one")

class Two(TestCase):
    def test_it(self):
        meet("two")
"""
# The test's own transaction has one of the pool's connections.
FILLS = """
        while connection.pool.get_stats().get("pool_available", 0) < connection.pool.min_size - 1:
            time.sleep(0.01)
        (HERE / f"{name}.came")"""
ANOTHER = PAIR.replace("    with", "    other = connection.copy()\n    other.cursor()\n    with")


def sessions(folder: Path) -> list[str]:
    """Return the database of each session that both tests have found."""
    one, two = ((folder / f"{name}.found").read_text() for name in ("one", "two"))
    assert one == two
    return one.split()


@control(here("PAIR", "ANOTHER"))
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_each_parallel_process_has_a_database_and_a_connection(run, tested, tmp_path, method) -> None:
    """With --parallel=2 each process has a copy of the test database, and one session in it."""
    status, said = run(PAIR, "--parallel=2", method=method)
    assert status == 0, said
    assert sessions(tmp_path) == [f"test_{tested.name}_1", f"test_{tested.name}_2"]


@control(here('"DB_POOL_SIZE": "3"', '"DB_POOL_SIZE": "2"'))
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_each_parallel_process_opens_a_pool(run, tested, tmp_path, method) -> None:
    """With Django's pool and --parallel=2, each process has min_size sessions in its copy of the test database."""
    needs_a_pool()
    pooled = {"DJANGO_SETTINGS_MODULE": "settings.pool", "DB_POOL_SIZE": "3"}
    status, said = run(PAIR.replace('        (HERE / f"{name}.came")', FILLS), "--parallel=2", method=method, **pooled)
    assert status == 0, said
    assert sessions(tmp_path) == [f"test_{tested.name}_{process}" for process in (1, 2) for _ in range(3)]


@control(here("PAIR", "ANOTHER"))
def test_each_worker_of_xdist_has_a_database_and_a_connection(project, tested, tmp_path) -> None:
    """With pytest-django and -n 2, each worker creates a database, and has one session in it."""
    (tmp_path / "test_these.py").write_text(PAIR)
    command = ("-m", "pytest", "-n", "2", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path))
    settings = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
    pytest_runs = project.start(*command, database_url=tested.url, packages=("runners",), **settings)
    until("pytest ends", pytest_runs.ended, 120)  # two more Pythons start, also under a control
    project.note()
    pytest_runs.stop()
    assert pytest_runs.status == 0, pytest_runs.said()
    assert sessions(tmp_path) == [f"test_{tested.name}_gw0", f"test_{tested.name}_gw1"]
    (installed,) = distributions(name="pytest-django", path=[str(others.packages("runners"))])
    evidence.on(**{"pytest-django": installed.version, "pytest-xdist": version("pytest-xdist")})


# ---- Playwright, Channels, Celery ------------------------------------------------------------------------------

PLAYWRIGHT = """
import os
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections
from django.test import TestCase, TransactionTestCase
from orders.models import Order
from playwright.sync_api import sync_playwright

REFUSED = "You cannot call this from an async context - use a thread or sync_to_async"

class Browses(TestCase):
    def test_it(self):
        Order.objects.create(customer="Ada")
        with sync_playwright():
            with self.assertRaisesMessage(SynchronousOnlyOperation, REFUSED):
                Order.objects.count()
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
            print("it sees", Order.objects.count())
            connections.close_all()
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
        print("afterwards", Order.objects.count())
"""


@control(here('"(TransactionTestCase)"', '"(TestCase)"'))
@control(here("run(PLAYWRIGHT.replace", 'run(PLAYWRIGHT.replace("with sync_playwright()", "if True").replace'))
def test_playwright_has_a_loop_in_the_tests_thread(run) -> None:
    """Queries are refused while Playwright's loop is there. With the variable they go over another connection.

    That connection sees nothing of a TestCase, and all of a TransactionTestCase. Unless it is closed, the test database
    cannot be dropped.
    """
    evidence.on(playwright=version("playwright"))
    driven = chromium.driver().surroundings()  # a bare machine lacks a library of it
    status, said = run(PLAYWRIGHT, **driven)
    assert (status, "it sees 0\nafterwards 1\n" in said) == (0, True), said
    status, said = run(PLAYWRIGHT.replace("(TestCase)", "(TransactionTestCase)"), **driven)
    assert (status, "it sees 1" in said) == (0, True), said
    status, said = run(PLAYWRIGHT.replace("connections.close_all()", "pass"), **driven)
    assert status == 1
    assert "\nOK\n" in said
    assert "There is 1 other session using the database." in said


CHANNELS = """
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.testing import WebsocketCommunicator
from django.test import TestCase, TransactionTestCase
from orders.models import Order

class Counts(AsyncWebsocketConsumer):
    async def receive(self, **said):
        await self.send(str(await Order.objects.acount()))

class Listens(TestCase):
    async def test_it(self):
        await Order.objects.acreate(customer="Ada")
        socket = WebsocketCommunicator(Counts.as_asgi(), "/")
        await socket.connect()
        await socket.send_to("how many")
        assert await socket.receive_from() == "1"
        assert await Order.objects.acount() == 1
        await socket.disconnect()
        print("it disconnects")
        assert await Order.objects.acount() == 1
"""
NOT_ASYNC = CHANNELS.replace("AsyncWebsocketConsumer", "WebsocketConsumer").replace("async def receive", "def receive")
NOT_ASYNC = NOT_ASYNC.replace("await self.send(str(await Order.objects.acount()", "self.send(str(Order.objects.count()")


@control(here("run(CHANNELS, ", 'run(CHANNELS.replace("await socket.disconnect()", "pass"), '))
@control(here('"(TransactionTestCase)"', '"(TestCase)"'))
def test_a_communicator_that_disconnects_closes_the_tests_connection(run) -> None:
    """Until then all queries use the test's connection. After that a TestCase's query fails.

    A TransactionTestCase's query is answered. With a consumer that is not async an earlier step may close it.
    """
    channels = {"packages": ("runners",)}
    status, said = run(CHANNELS, **channels)
    assert (status, "it disconnects" in said) == (1, True), said
    closed = "connection already closed" if "psycopg2" in driver() else "the connection is closed"
    assert f"django.db.utils.{'Interface' if 'psycopg2' in driver() else 'Operational'}Error: {closed}" in said
    for code in (CHANNELS, NOT_ASYNC):
        status, said = run(code.replace("(TestCase)", "(TransactionTestCase)"), **channels)
        assert (status, "it disconnects" in said) == (0, True), said
    status, said = run(NOT_ASYNC, **channels)
    assert (status, closed in said) == (1, True), said
    installed("channels", "Channels")


@control(here('"settings.pool"', '"settings.prod"'))
def test_with_djangos_pool_a_communicator_leaves_another_error(run) -> None:
    """The next query of a TestCase fails there as well, but with another text."""
    needs_a_pool()
    status, said = run(CHANNELS, packages=("runners",), DJANGO_SETTINGS_MODULE="settings.pool")
    assert (status, "it disconnects" in said) == (1, True), said
    assert "django.db.utils.ProgrammingError: Cannot open a new connection in an atomic block." in said
    installed("channels", "Channels")


def installed(package: str, name: str = "") -> None:
    """Tell the ledger which release of a package it was, by the name that it goes by elsewhere."""
    (found,) = distributions(name=package, path=[str(others.packages("runners"))])
    evidence.on(**{name or package: found.version})


# With pytest-django: a worker of Celery's in a thread, and a server that goes on when its test is over.
FIXTURES = """
import json
import os
import threading
import urllib.request
import pytest
from django.conf import settings
from django.db import connection
from orders.models import Order

pytest_plugins = ("celery.contrib.pytest",)
settings.STATIC_URL, settings.MEDIA_URL = "/static/", "/media/"  # which the server asks for
served = []

@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": "memory://", "result_backend": "cache+memory://"}

def orders(url):
    with urllib.request.urlopen(url) as answer:
        return len(json.load(answer)["orders"])

def counts():
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return Order.objects.count(), cursor.fetchone()[0], os.getpid(), threading.get_ident()

def test_0_served(live_server):
    Order.objects.create(customer="Ada")
    served.append(live_server.url + "/orders/")
    assert orders(served[0]) == 1

@pytest.mark.django_db(transaction=True)
def test_1_served_still():
    assert orders(served[0]) == 0

@pytest.mark.django_db(transaction=True)
def test_2_worked(celery_app, request):
    Order.objects.create(customer="Ada")
    count = celery_app.task(counts)
    _, own, process, thread = counts()
    request.getfixturevalue("celery_worker")
    seen, its, where, which = count.delay().get(timeout=60)
    print("a worker sees", seen, "over another" if its != own else "over the same")
    print("in a thread of its own" if where == process and which != thread else "elsewhere")
    print("the test" + " sees", counts()[0])
"""


@pytest.fixture
def fixtures(project: Project, tested: Database, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run some of these with pytest-django: fixtures("served"); return the exit status and what was printed."""

    def run(which: str, code: str = FIXTURES) -> tuple[int, str]:
        (tmp_path / "test_these.py").write_text(code)
        command = (
            "-m",
            "pytest",
            "-s",
            "--tb=short",
            "-k",
            which,
            "-p",
            "no:cacheprovider",
            f"--rootdir={tmp_path}",
            str(tmp_path),
        )
        settings = {"DJANGO_SETTINGS_MODULE": "settings.prod", "DJANGO_ALLOWED_HOSTS": "localhost"}
        return project.run(*command, database_url=tested.url, packages=("runners",), **settings)

    installed("pytest-django")
    return run


@control(here('fixtures("served")', 'fixtures("served", FIXTURES.replace("== 1", "== 1; live_server.stop()"))'))
def test_live_server_outlives_its_test(fixtures) -> None:
    """A request after the test is answered, and finds no order: the tables were emptied."""
    status, said = fixtures("served")
    assert (status, "2 passed" in said) == (0, True), said


@control(here('"transaction=True", "transaction=False"', '"", ""'))
@control(here('fixtures("worked")', 'fixtures("worked", FIXTURES.replace("transaction=True", ""))'))
def test_celerys_worker_closes_the_tests_connection(fixtures) -> None:
    """With transaction=True the test sees the order, and so does the task, on another connection.

    Without transaction=True the test's next query fails, even one that comes before the task.
    """
    installed("celery", "Celery")
    status, said = fixtures("worked")
    seen = "a worker sees 1 over another\nin a thread of its own\nthe test sees 1\n"
    assert (status, seen in said) == (0, True), said
    status, said = fixtures("worked", FIXTURES.replace("transaction=True", "transaction=False"))
    closed = "connection already closed" if "psycopg2" in driver() else "the connection is closed"
    assert (status, "a worker sees 0" in said, "the test sees" in said) == (1, True, False), said
    assert closed in said
    at_once = FIXTURES.replace("seen, its,", "counts(); seen, its,")
    status, said = fixtures("worked", at_once.replace("transaction=True", "transaction=False"))
    assert (status, "a worker sees" in said, closed in said) == (1, False, True), said


# ---- runserver -------------------------------------------------------------------------------------------------


@contextmanager
def developing(project: Project, database: Database, age: str) -> Iterator[tuple[set[int], int]]:
    """Send 20 requests to runserver; yield their backends, and how many there were at once; then stop it."""
    server = Uvicorn(project, database, "manage.py", "runserver", "--noreload", DB_CONN_MAX_AGE=age)
    backends, most = set(), 0
    for _ in range(20):
        backends.add(server.backend())
        most = max(most, len(database.backends()))
    project.note()
    try:
        yield backends, most
    finally:
        server.stop()


@control(here('age="60"', 'age="0"'))
def test_runserver_opens_a_connection_for_each_tcp_connection(project, database) -> None:
    """With CONN_MAX_AGE, twenty requests, each on its own TCP connection, open twenty database connections.

    None of them is used twice, and at least three are open at once.
    """
    with developing(project, database, age="60") as (backends, most):
        assert len(backends) == 20
        assert most >= 3


@control(here('DB_CONN_MAX_AGE="60"', 'DB_CONN_MAX_AGE="0"'))
def test_runserver_reuses_a_connection_within_a_tcp_connection(project, database) -> None:
    """With CONN_MAX_AGE, five consecutive requests on one TCP connection use one database connection."""
    server = Uvicorn(project, database, "manage.py", "runserver", "--noreload", DB_CONN_MAX_AGE="60")
    try:
        assert len(server.kept_alive(5)) == 1
        project.note()
    finally:
        server.stop()


@control(here('age="0"', 'age="60"'), fails_with="each is closed: not within")
def test_runserver_with_age_zero_leaves_none(project, database) -> None:
    """With CONN_MAX_AGE = 0, each request closes its connection: none of twenty is left while the process runs."""
    with developing(project, database, age="0") as (backends, _):
        assert len(backends) == 20
        until("each is closed", lambda: not backends & {*database.backends()})
