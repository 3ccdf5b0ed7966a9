"""Proves docs/how-to/forks.md: connections that are open at a fork, by hand, by Gunicorn and by uWSGI."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import django
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from setup import others
from tests.stack.database import Database, fresh
from tests.stack.upstream import Gunicorn, Project, needs_a_pool, serving
from tests.stack.wait import until

PRODUCTION = {"DJANGO_SETTINGS_MODULE": "settings.prod"}


@pytest.fixture
def tables(server, server_version, migrated) -> Iterator[Database]:
    """A database of this proof's own with the project's tables."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as made:
        yield made


def asked(project: Project, database: Database, load, *options: str) -> str:
    """Fork with a connection open, and return what the parent prints."""
    script = load("leak/forked_connection.py")
    url = f"{database.url}?sslmode=disable"
    status, said = project.run("-c", script.text, *options, database_url=url, **PRODUCTION)
    assert status == 0, said
    evidence.ran(script)
    return said


@control(edit("leak/forked_connection.py", 'if "--fixed" in sys.argv', "if True"))
def test_the_parent_gets_the_answer_of_its_child(project, database, load, transcript) -> None:
    """Without TLS a query of the parent returns the answer to its child's query, and nothing fails."""
    said = asked(project, database, load)
    assert said == "parent gets the child's answer\n"
    transcript(load("leak/forked_connection.py"), said)


@control(edit("upstream/orders/forks.py", "connection.close()", "pass"))
def test_a_parent_that_closed_before_gets_its_own(project, database, load, transcript) -> None:
    """With the module imported, the same query returns its own answer."""
    said = asked(project, database, load, "--fixed")
    assert said == "parent gets the parent's answer\n"
    transcript(load("leak/forked_connection.py"), said, case="fixed")


# ---- Gunicorn --------------------------------------------------------------------------------------------------

# An application that queries PostgreSQL while it is loaded, and closes before forks, or at the end, if told to.
ASKS = """
import os
from wsgi import application
from orders.models import Order
if "CLOSES" in os.environ:
    from orders import forks
Order.objects.count()
if "ENDS" in os.environ:
    from orders import forks
    forks.close_all()
"""
CONFIGURED = """
import os
bind = os.environ["GUNICORN_BIND"]
wsgi_app = "asks:application"
workers = 2
"""


def on_one_backend(server: Gunicorn) -> bool:
    """Send requests until both workers have answered; return whether both are on one backend."""
    served: dict[int, int] = {}

    def both() -> bool:
        status, found = server.request("/connection/")
        assert status == 200, server.said()
        served[found["process"]] = found["backend"]
        return len(served) == 2

    until("both workers have answered", both)
    server.note()
    return len({*served.values()}) == 1


def shared(project: Project, database: Database, folder: Path, *, preload: bool, **settings: str) -> bool:
    """Serve an application that queries at import from two sync workers; return whether both are on one backend."""
    (folder / "asks.py").write_text(ASKS)
    (folder / "gunicorn.conf.py").write_text(CONFIGURED)
    options = f"--config {folder}/gunicorn.conf.py --pythonpath {folder} {'--preload' if preload else ''}"
    with serving(project, database, options, DB_CONN_MAX_AGE="60", **settings) as gunicorn:
        return on_one_backend(gunicorn)


@control(here("preload=True", "preload=False"))
def test_preloaded_workers_share_what_was_opened_while_loading(project, tables, tmp_path) -> None:
    """With --preload and a query at import, two sync workers are on one backend, and no request fails."""
    found = shared(project, tables, tmp_path, preload=True)
    assert found


@control(here("preload=False", "preload=True"))
def test_without_preload_each_worker_has_its_own(project, tables, tmp_path) -> None:
    """Each worker runs the same query for itself: two workers have two backends."""
    found = shared(project, tables, tmp_path, preload=False)
    assert not found


@control(here('CLOSES="1"', 'OPEN="1"'))
def test_preloaded_workers_that_closed_before_have_their_own(project, tables, tmp_path) -> None:
    """With the module imported, --preload and the query at import leave each worker its own backend."""
    found = shared(project, tables, tmp_path, preload=True, CLOSES="1")
    assert not found


@control(here("--threads=2", "--threads=1"))
def test_threads_of_preloaded_workers_open_their_own(project, tables, tmp_path) -> None:
    """With --preload, a query at import and threads, no worker is on the connection that was opened while loading."""
    (tmp_path / "asks.py").write_text(ASKS)
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURED)
    options = f"--config {tmp_path}/gunicorn.conf.py --pythonpath {tmp_path} --preload"
    with serving(project, tables, f"{options} --threads=2", DB_CONN_MAX_AGE="60") as gunicorn:
        (loading,) = tables.backends()
        assert not on_one_backend(gunicorn)
        assert loading in tables.backends()
        with ThreadPoolExecutor(8) as clients:

            def ask(_: int) -> tuple[Any, ...]:
                _, told = gunicorn.request("/connection/")
                return told["process"], told["thread"], told["backend"]

            until("each has its own", lambda: [*clients.map(ask, range(8))] and len(tables.backends()) == 5)
            found = {*clients.map(ask, range(8))}
        assert loading not in {backend for *_, backend in found}
        assert len({(process, thread) for process, thread, _ in found}) == len(found)
        assert len({backend for *_, backend in found}) == len(found)


# A pool's connection that is free again once the application was loaded.
GIVES_BACK = f"{ASKS}\nfrom django.db import connection\nconnection.close()"
OF_ONE = {"DJANGO_SETTINGS_MODULE": "settings.pool", "DB_POOL_SIZE": "1"}


@control(here("closes={}", 'closes={"CLOSES": "1"}'))
@control(here('closes={"CLOSES": "1"}', "closes={}"))
def test_threads_of_preloaded_workers_share_a_pool(project, tables, tmp_path) -> None:
    """With --preload, a query at import, threads and a pool of one, two workers are on one backend.

    With the module imported, they are on two.
    """
    needs_a_pool()
    (tmp_path / "asks.py").write_text(GIVES_BACK)
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURED)
    options = f"--config {tmp_path}/gunicorn.conf.py --pythonpath {tmp_path} --preload --threads=2"

    def one(closes: dict[str, str]) -> bool:
        with serving(project, tables, options, **OF_ONE, **closes) as gunicorn:
            return on_one_backend(gunicorn)

    found = [one(closes={}), one(closes={"CLOSES": "1"})]
    assert found == [True, False]


# ---- uWSGI -----------------------------------------------------------------------------------------------------


class Uwsgi(Gunicorn):
    """An application that queries at import, served by two processes of uWSGI."""

    def __init__(
        self, project: Project, database: Database, folder: Path, *, lazy: bool = False, **settings: str
    ) -> None:
        self.project, self.database = project, database
        (folder / "asks.py").write_text(ASKS)
        loads = ("--pythonpath", str(folder), "--module", "asks", "--processes", "2", *["--lazy-apps"][: int(lazy)])

        def start(port: int) -> None:
            self.port = port
            environment: dict[str, Any] = {"packages": ("runners",), "fresh": True, **PRODUCTION, **settings}
            arguments = ("-c", "import pyuwsgi; pyuwsgi.run()", "--http-socket", f"127.0.0.1:{port}", "--master")
            self.process = project.start(*arguments, *loads, database_url=database.url, **environment)

        self.serve("uWSGI", start, self._answers)

    def note(self) -> None:
        """Tell the running proof what it ran on."""
        self.project.note()
        (installed,) = distributions(name="pyuwsgi", path=[str(others.packages("runners"))])
        evidence.on(pyuwsgi=installed.version)


@pytest.fixture
def uwsgi(project, tables, tmp_path) -> Iterator[Callable[..., Uwsgi]]:
    """Start uWSGI: uwsgi(lazy=True). It ends with the proof."""
    with ExitStack() as ends:

        def start(**how: Any) -> Uwsgi:
            made = Uwsgi(project, tables, tmp_path, **how)
            ends.callback(made.stop)
            return made

        yield start


@control(here('CLOSES="1"', 'CLOSES="1", lazy=True'))
def test_uwsgi_forks_without_the_module(uwsgi) -> None:
    """Two processes are on one backend, although the module is imported: uWSGI does not fork through Python."""
    one = on_one_backend(uwsgi(CLOSES="1"))
    assert one


@control(here(', UWSGI_PY_CALL_UWSGI_FORK_HOOKS="1"', ""))
def test_uwsgi_that_calls_pythons_hooks_forks_with_the_module(uwsgi) -> None:
    """With py-call-uwsgi-fork-hooks, set here by its variable, the module closes: two processes have two backends."""
    one = on_one_backend(uwsgi(CLOSES="1", UWSGI_PY_CALL_UWSGI_FORK_HOOKS="1"))
    assert not one


@control(here("uwsgi(lazy=True)", "uwsgi()"))
@control(here('uwsgi(ENDS="1")', "uwsgi()"))
def test_uwsgi_shares_nothing_where_it_loads_after_the_fork_or_closes_at_the_end(uwsgi) -> None:
    """With lazy-apps, or with close_all() as the last line that is loaded, two processes have two backends."""
    one = [on_one_backend(each) for each in (uwsgi(lazy=True), uwsgi(ENDS="1"))]
    assert one == [False, False]


# ---- when an application begins --------------------------------------------------------------------------------

READY = """
import django
from orders.apps import OrdersConfig
OrdersConfig.ready = lambda self: print(self.get_model("Order").objects.count(), flush=True)
django.setup()
from django.db import connection
print("open" if connection.connection else "closed")
"""


@control(here('"-c", READY', '"-c", "import warnings; warnings.simplefilter(\'ignore\')" + READY'))
def test_a_query_in_ready_is_warned_of_and_leaves_a_connection(project, tables) -> None:
    """Only from Django 5.0 on is there a RuntimeWarning; the query is answered, and the connection stays open."""
    status, said = project.run("-c", READY, database_url=tables.url, **PRODUCTION)
    assert status == 0, said
    warning = "RuntimeWarning: Accessing the database during app initialization is discouraged."
    assert (warning in said) == (django.VERSION >= (5, 0))
    assert {"0", "open"} <= {*said.splitlines()}


IMPORTED = """
import wsgi
from django.db import connection
from orders.models import Order
print(Order.objects.count())
"""


@control(here("IMPORTED", "READY"))
def test_a_query_after_the_start_is_not_warned_of(project, tables) -> None:
    """Once the applications are set up, a query at a module's import is answered without a warning."""
    status, said = project.run("-c", IMPORTED, database_url=tables.url, **PRODUCTION)
    assert (status, said) == (0, "0\n")


# ---- what the module does --------------------------------------------------------------------------------------

# A connection, a query and a fork for what follows it.
BEGINS = """
import os, subprocess, sys, warnings
import django
warnings.simplefilter("ignore")  # of a fork beside threads
django.setup()
from django.db import Error, connection, transaction

def fork(child=lambda: None):
    if os.fork() == 0:
        child()
        os._exit(0)
    os.wait()

def backend():
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return cursor.fetchone()[0]

def tried():
    try:
        return "the same" if backend() == before else "another"
    except Error:
        return "an error"

before = backend()
"""
PROGRAMS = """
from orders import forks
for does in (
    lambda: subprocess.run(["true"]),
    lambda: os.system("true"),
    lambda: subprocess.run(["true"], preexec_fn=int),
    fork,
):
    does()
    print(tried())
    before = backend()

from threading import Event, Thread
asked, forked = Event(), Event()

def other():
    global before
    before = backend()
    asked.set()
    forked.wait()
    print(tried())

thread = Thread(target=other)
thread.start()
asked.wait()
fork()
forked.set()
thread.join()
"""
ATOMIC = """
from orders import forks
from orders.models import Order
try:
    with transaction.atomic():
        Order.objects.create(customer="Ada")
        fork()
        print(tried())
finally:
    print(Order.objects.count())
"""
# A fork at the first of 2001 rows, one more than Django fetches at a time.
ITERATES = """
from orders import forks
from orders.models import Order
Order.objects.filter().delete()
Order.objects.bulk_create(Order(customer="Ada") for _ in range(2001))
given = 0
try:
    for order in Order.objects.all():
        if not given:
            fork()
        given += 1
    print(given)
except Error:
    print(f"{given} and an error")
"""
# Two forks where an event loop runs: with a connection that its thread opened before, and with an idle pool.
IN_A_LOOP = """
import asyncio
from orders import forks

async def forks_in_it():
    fork(lambda: print(tried(), flush=True))

asyncio.run(forks_in_it())
print(tried())
"""
POOL_IN_A_LOOP = IN_A_LOOP.replace("asyncio.run", "pool = connection.pool\nconnection.close()\nasyncio.run")
IN_THE_CHILD = """
fork(connection.close)
print(tried())
"""


def forked(project: Project, database: Database, code: str) -> list[str]:
    """Return the output of a process that has a connection and forks."""
    status, said = project.run("-c", BEGINS + code, database_url=f"{database.url}?sslmode=disable", **PRODUCTION)
    project.note()
    assert status == 0, said
    return said.splitlines()


@control(edit("upstream/orders/forks.py", "before=", "after_in_child="))
def test_only_a_fork_of_python_closes(project, database) -> None:
    """With the module imported, subprocess and os.system keep the connection; os.fork and a preexec_fn close it.

    Another thread's connection stays open.
    """
    assert forked(project, database, PROGRAMS) == ["the same", "the same", "another", "another", "the same"]


@control(edit("upstream/orders/forks.py", "connection.close()", "pass"))
@pytest.mark.parametrize(("last", "said"), [("tried()", "an error"), ("'no query'", "no query")])
def test_a_fork_within_a_transaction_ends_it(project, tables, last, said) -> None:
    """With the module imported, the next query in it fails, and what was written before is rolled back.

    If no query follows, it is rolled back too, and atomic() raises no error.
    """
    assert forked(project, tables, ATOMIC.replace("tried()", last)) == [said, "0"]


@control(here('"iterator()"', '"all()"'))
@control(here('"iterator(chunk_size=1)"', '"iterator(chunk_size=2)"'))
@control(here('["DISABLE_SERVER_SIDE_CURSORS"] = True', '["DISABLE_SERVER_SIDE_CURSORS"] = False'))
@control(edit("upstream/orders/forks.py", "connection.close()", "pass"))
def test_a_fork_ends_an_iterator(project, tables) -> None:
    """With the module imported, an error follows the rows that are fetched already, by default 2000.

    Without server-side cursors the loop gets all rows.
    """
    loops = ["iterator()", "iterator(chunk_size=1)"]
    told = [forked(project, tables, ITERATES.replace("all()", loop)) for loop in loops]
    assert told == [["2000 and an error"], ["1 and an error"]]
    without = 'connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True'
    told = forked(project, tables, without + ITERATES.replace("all()", "iterator()"))
    assert told == ["2001"]


@control(
    replace(
        "tests.proofs.how_to.test_forks:IN_THE_CHILD",
        "fork(lambda: os.close(connection.connection.fileno()))\nprint(tried())",  # without Terminate
    )
)
def test_closing_in_the_child_ends_the_parents_session(project, database) -> None:
    """The parent's next query fails."""
    assert forked(project, database, IN_THE_CHILD) == ["an error"]


@control(here("IN_A_LOOP)", 'IN_A_LOOP.replace("asyncio.run(forks_in_it())", "next(forks_in_it().__await__(), 0)"))'))
def test_in_an_event_loop_what_its_thread_opened_stays_open(project, database) -> None:
    """With the module imported, a child that is forked there is on its parent's connection, and so is the parent."""
    told = forked(project, database, IN_A_LOOP)
    assert told == ["the same", "the same"]


@control(edit("upstream/orders/forks.py", "if connection.connection:", "if True:"))
@control(edit("upstream/orders/forks.py", "connection.close_pool()", "pass"))
def test_in_an_event_loop_a_pool_is_closed(project, database) -> None:
    """With the module imported, a pool of Django's is closed before a fork in async code."""
    needs_a_pool()
    code = BEGINS + POOL_IN_A_LOOP + "print(pool.closed)\n"
    said = project.run("-c", code, database_url=database.url, **OF_ONE)
    project.note()
    assert said == (0, "another\nanother\nTrue\n")


# ---- other ways to start a process -----------------------------------------------------------------------------

JOBS = """
def ask(*_):
    from orders.models import Order
    from django.db import connection
    Order.objects.exists()
    return connection.connection.info.backend_pid
"""
STARTS = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
sys.path.insert(0, {folder!r})
import django; django.setup()
from jobs import ask

mine = ask()
for setup in {{}}, {{"initializer": django.setup}}:
    with ProcessPoolExecutor(1, mp_context=get_context({method!r}), **setup) as processes:
        try:
            theirs = processes.submit(ask).result()
            print("its own" if theirs != mine else "shared")
        except Exception as error:
            print(error)
"""


@control(here("code = STARTS", 'method = "fork"; code = STARTS'))
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_starts_anew_shares_nothing_and_needs_django(project, tables, tmp_path, method) -> None:
    """Its models say that apps aren't loaded, unless it has set Django up: then it opens a connection of its own."""
    (tmp_path / "jobs.py").write_text(JOBS)
    code = STARTS.format(folder=str(tmp_path), method=method)
    said = project.run("-c", code, database_url=tables.url, **PRODUCTION)
    assert said == (0, "Apps aren't loaded yet.\nits own\n")


# One thread has the pool's only connection, a second waits for it, and the main one forks.
WAITS = """
import os, time
from threading import Event, Thread
import django

django.setup()
from django.db import OperationalError, connection, connections
import orders.forks

taken, back = Event(), Event()

def has_it():
    connection.ensure_connection()
    taken.set()
    back.wait()
    connection.close()

def waits():
    try:
        connection.ensure_connection()
        print("served")
    except OperationalError as error:
        print(error)

pool = connections["default"].pool
first, second = Thread(target=has_it), Thread(target=waits)
first.start()
taken.wait()
second.start()
while not pool.get_stats().get("requests_waiting"):
    time.sleep(0.01)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
second.join(5)
back.set()
"""


@control(edit("upstream/orders/forks.py", "connection.close_pool()", "pass"))
@control(
    edit(
        "upstream/orders/forks.py",
        "connection.close_pool()",
        "connection._connection_pools.pop(connection.alias, None)",
    )
)
def test_who_waits_for_a_pool_is_refused_at_a_fork(project, database) -> None:
    """With the module, a thread that waits for a connection of the pool is told that the pool is closed."""
    needs_a_pool()
    status, said = project.run("-c", WAITS, database_url=database.url, **OF_ONE)
    project.note()
    assert status == 0, said
    assert "the pool 'pool-1' is closed" in said.splitlines()
