"""Proves docs/how-to/find-the-leak.md: connections that nobody gives back, made for real and traced to a process."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.stack.database import Database, fresh
from tests.stack.upstream import Gunicorn, Project, needs_a_pool, needs_psycopg_3
from tests.stack.wait import until

PORT = (r"\| +\d{4,5} +\|", "| PORT |")
PIDS = (r"^ *\d{2,} \|", "PID |")
AGES = (r"\d+:\d{2}:\d{2}", "AGE")
PRODUCTION = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
# Four threads that live on, as a worker's do, each with a connection that it no longer needs.
KEEP = """
import threading, time, django
django.setup()
from orders import background
together = threading.Barrier(4)  # so that each of four threads has a piece of the work
list(background.pool.map(lambda _: (background.count_and_keep(), together.wait()), range(4)))
print("done", flush=True)
time.sleep(600)
"""
# A connection that a child process has as well; the child ends with its parent.
SHARED = """
import os, socket, time, psycopg
connection = psycopg.connect(os.environ["DATABASE_URL"])
ends, end = os.pipe()
if os.fork() == 0:
    os.close(end)
    os.read(ends, 1)
    os._exit(0)
print(socket.socket(fileno=os.dup(connection.fileno())).getsockname()[1], flush=True)
time.sleep(600)
"""
# One thread after another works and ends. When told to, Python collects garbage, and a fourth thread works.
THREADS = """
import gc, sys, threading
from django.conf import settings

if "pool" in sys.argv:
    default = settings.DATABASES["default"]
    default["CONN_MAX_AGE"] = 0
    default["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2}

import django
django.setup()
from django.db import Error, connection
from orders import background

if "fails" in sys.argv:
    background.Order._meta.db_table = "nowhere"

def work():
    try:
        print(getattr(background, sys.argv[1])(), flush=True)
    except Error as error:
        print(str(error).splitlines()[0], flush=True)

def in_a_thread():
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

gc.disable()  # it would come when it likes
in_a_thread()
in_a_thread()
if "refuses" in sys.argv:
    connection.pool.timeout = 0.3  # from now on: on a busy machine those that get one wait for it as well
in_a_thread()
print("done", flush=True)
open(sys.argv[2]).read()
gc.collect()
in_a_thread()
if "refuses" in sys.argv:
    stats = connection.pool.get_stats()
    print(stats["pool_size"], stats["pool_available"], flush=True)
print("done", flush=True)
gc.collect()
open(sys.argv[2]).read()
"""
# uvicorn with Django's own pool.
POOLED = """
import sys
from django.conf import settings

settings.DATABASES["default"]["CONN_MAX_AGE"] = 0
settings.DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2}
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""
# uvicorn where Python collects garbage only when it is asked to.
COLLECTED = """
import gc, sys
import uvicorn
from asgi import application

async def collects(scope, receive, send):
    if scope.get("path") == "/collect/":
        gc.collect()
    await application(scope, receive, send)

gc.disable()
uvicorn.run(collects, port=int(sys.argv[1]))
"""
# One request, as a server hands it to WSGI, and a handler that queries when it has finished.
FINISHED = """
import sys, time
from wsgiref.util import setup_testing_defaults
from django.core.signals import request_finished
from wsgi import application
from orders import background

request_finished.connect(lambda **_: getattr(background, sys.argv[1])(), weak=False)
environ = {"PATH_INFO": "/connection/"}
setup_testing_defaults(environ)
response = application(environ, lambda status, headers: print(status))
response.close()
print("done", flush=True)
time.sleep(600)
"""


@pytest.fixture
def database(server, server_version, migrated) -> Iterator[Database]:
    """A database of this proof's own with the project's tables."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as made:
        yield made


@control(edit("leak/process_of.py", "process.pid", "process.ppid()"))
@control(edit("postgres/suspects.sql", "clock_timestamp() - state_change", "state_change - backend_start"))
def test_a_suspect_leads_to_the_process_that_holds_it(
    database, project, load, printed, transcript, monkeypatch
) -> None:
    """Each idle session's client_port belongs to the process whose threads keep their connections."""
    if not database.sees_clients():
        pytest.skip("needs a server of our own")
    process = project.start("-c", KEEP, database_url=database.url, **PRODUCTION)
    until("its threads have done their work", lambda: "done" in process.said())
    youngest = "select min(clock_timestamp() - state_change) > '1 s' from pg_stat_activity where datname = %s"
    until("all are idle for a second", lambda: database.admin.execute(youngest, [database.name]).fetchone()[0])
    suspects = load("postgres/suspects.sql")
    output = database.psql(suspects)
    transcript(suspects, output, [PIDS, PORT, AGES])
    rows = [[cell.strip() for cell in row.split("|")] for row in output.splitlines() if "| upstream" in row]
    assert [row[5] >= "00:00:01" for row in rows] == [True] * 4
    ports = [row[3] for row in rows]
    script = load("leak/process_of.py")
    for port in ports:
        monkeypatch.setattr(sys, "argv", ["process_of.py", port])
        assert process.pid in named(printed(script))
    process.stop()
    project.note()


def named(said: str) -> set[int]:
    """Return the processes that the script names: there may be a stranger, with the same port to another server."""
    return {int(line.partition(":")[0]) for line in said.splitlines()}


@control(
    edit(
        "leak/process_of.py",
        '            print(f"{process.pid}: {command[:60]}")',
        '            sys.exit(print(f"{process.pid}: {command[:60]}"))',
    ),
    fails_with="SystemExit",
)
def test_two_processes_on_one_socket_are_both_named(database, project, load, printed, monkeypatch) -> None:
    """A connection that was open before a fork is held by the parent and by the child."""
    needs_psycopg_3()
    process = project.start("-c", SHARED, database_url=database.url)
    port = until("it has forked", process.said).strip()
    monkeypatch.setattr(sys, "argv", ["process_of.py", port])
    script = load("leak/process_of.py")
    (child,) = psutil.Process(process.pid).children()
    until("the child has it as well", lambda: {process.pid, child.pid} <= named(printed(script)))
    process.stop()


# ---- threads ---------------------------------------------------------------------------------------------------


class Threads:
    """A process in which three threads have worked and ended; go() has Python collect garbage, and a fourth work."""

    def __init__(self, project: Project, database: Database, folder: Path, work: str, *pool: str) -> None:
        self.fifo = folder / "go"
        os.mkfifo(self.fifo)
        code = f"import sys; sys.argv[1:] = {[work, str(self.fifo), *pool]!r}\n{THREADS}"
        self.process = project.start("-c", code, database_url=database.url, **PRODUCTION)

    def said(self, done: int) -> list[str]:
        """Return what the threads have said once that many rounds are done."""
        until("the threads have ended", lambda: self.process.said().count("done") == done)
        return [line for line in self.process.said().splitlines() if line != "done"]

    def go(self) -> None:
        """Let it go on."""
        with self.fifo.open("w"):
            pass


@pytest.fixture
def threads(project, database, tmp_path) -> Iterator[Callable[..., Threads]]:
    """Start such a process: threads("count_and_keep", "pool"). It ends with the proof."""
    with ExitStack() as started:

        def start(work: str, *pool: str) -> Threads:
            made = Threads(project, database, tmp_path, work, *pool)
            started.callback(made.process.stop)
            return made

        yield start
    project.note()


@control(
    edit("upstream/orders/background.py", "keep() -> int:", "keep():\n    return count_and_close()\n\n\ndef kept():")
)
def test_a_thread_that_ends_takes_a_connection_of_the_pool_with_it(threads, database) -> None:
    """Two threads end with both of a pool's connections: no other gets one, and PostgreSQL has fewer than two.

    The pool counts two, of which none is free.
    """
    needs_a_pool()
    ended = threads("count_and_keep", "pool", "refuses")
    none = "couldn't get a connection after 0.30 sec"
    assert ended.said(done=1) == ["0", "0", none]
    ended.go()
    assert ended.said(done=2)[3:] == [none, "2 0"]
    until("PostgreSQL has fewer than two", lambda: len(database.backends()) < 2)


@control(
    edit("upstream/orders/background.py", "        connection.close()", "        pass"),
    fails_with="the threads have ended: not within",
)
@control(here('"count_and_close", "pool"', '"count_and_close"'))
@control(
    edit(
        "upstream/orders/background.py",
        "    try:\n        return Order.objects.count()\n    finally:\n        connection.close()",
        "    counted = Order.objects.count()\n    connection.close()\n    return counted",
    ),
    fails_with="the threads have ended: not within",
)
@pytest.mark.parametrize(("how", "said"), [("works", "0"), ("fails", 'relation "nowhere" does not exist')])
def test_a_thread_that_closes_gives_it_back(threads, database, how, said) -> None:
    """Threads that close when they are done share the pool's connections: no more than two, which stay open.

    So do threads whose work fails.
    """
    needs_a_pool()
    ended = threads("count_and_close", "pool", how)
    assert ended.said(done=1) == [said] * 3
    kept = {*database.backends()}
    ended.go()
    assert ended.said(done=2) == [said] * 4
    assert kept
    assert kept <= {*database.backends()}
    assert len(database.backends()) <= 2


@control(
    edit("upstream/orders/background.py", "keep() -> int:", "keep():\n    return count_and_close()\n\n\ndef kept():")
)
def test_without_a_pool_an_ended_threads_connection_stays_until_python_collects(threads, database) -> None:
    """Three threads have ended and three connections are left open; a garbage collection closes them."""
    ended = threads("count_and_keep")
    assert ended.said(done=1) == ["0", "0", "0"]
    assert len(database.backends()) == 3
    ended.go()
    until("Python has closed them", lambda: database.backends() == [])


@control(here('"count_and_keep", 1', '"count_and_close", 1'), fails_with="so many are left: not within")
@control(here('"count_and_close", 0', '"count_and_keep", 0'), fails_with="so many are left: not within")
def test_a_handler_of_request_finished_opens_one_that_stays(project, database) -> None:
    """With CONN_MAX_AGE = 0 a handler that queries leaves one connection open, or none where it closes it itself."""
    for work, left in [("count_and_keep", 1), ("count_and_close", 0)]:
        code = f"import sys; sys.argv[1:] = [{work!r}]\n{FINISHED}"
        process = project.start("-c", code, database_url=database.url, DB_CONN_MAX_AGE="0")
        until("the request has finished", lambda process=process: process.said() == "200 OK\ndone\n")
        until("so many are left", lambda left=left: len(database.backends()) == left)
        process.stop()
        until("its connection has ended", lambda: not database.backends())
    project.note()


# ---- ASGI ------------------------------------------------------------------------------------------------------


class Uvicorn(Gunicorn):
    """The project served by uvicorn."""

    def __init__(self, project: Project, database: Database, *command: str, **settings: Any) -> None:
        self.project = project
        self.database = database

        def start(port: int) -> None:
            self.port = port
            arguments = (*(command or ("-m", "uvicorn", "asgi:application", "--port")), str(port))
            self.process = project.start(*arguments, database_url=database.url, **PRODUCTION, **settings)

        self.serve("uvicorn", start, self._answers)

    def note(self) -> None:
        """Tell the running proof what it ran on."""
        self.project.note()
        evidence.on(uvicorn=version("uvicorn"))


@contextmanager
def served(project: Project, database: Database, *command: str, **settings: str) -> Iterator[tuple[set[int], int]]:
    """Send 40 requests, one after another; yield their backends, and how many there were at once."""
    uvicorn = Uvicorn(project, database, *command, **settings)
    backends, most = set(), 0
    for _ in range(40):
        backends.add(uvicorn.backend())
        most = max(most, len(database.backends()))
    uvicorn.note()
    try:
        yield backends, most
    finally:
        uvicorn.stop()


# uvicorn with a middleware that does once more what Django does when a request begins and when it ends.
CLOSING = """
import sys
from django.conf import settings
from django.db import close_old_connections

class Closes:
    def __init__(self, view):
        self.view = view

    def __call__(self, request):
        close_old_connections()
        try:
            return self.view(request)
        finally:
            close_old_connections()

settings.MIDDLEWARE = [*settings.MIDDLEWARE, "__main__.Closes"]
sys.modules["__main__"].Closes = Closes
import uvicorn
uvicorn.run("asgi:application", port=int(sys.argv[1]))
"""


@control(here('DB_CONN_MAX_AGE="60"', 'DB_CONN_MAX_AGE="0"'))
@pytest.mark.parametrize("command", [(), ("-c", CLOSING)], ids=["by itself", "with a middleware"])
def test_under_asgi_each_request_leaves_a_connection_behind(project, database, command) -> None:
    """With CONN_MAX_AGE 40 requests open 40 connections: none is used twice, and several are open at once.

    A middleware that calls close_old_connections() changes nothing.
    """
    with served(project, database, *command, DB_CONN_MAX_AGE="60") as (backends, most):
        assert len(backends) == 40
        assert most >= 3


@control(here('DB_CONN_MAX_AGE="60"', 'DB_CONN_MAX_AGE="0"'))
@control(here('uvicorn.request("/collect/")', 'uvicorn.request("/")'), fails_with="they are closed: not within")
def test_under_asgi_a_connection_stays_until_python_collects(project, database) -> None:
    """Six requests leave six connections open; a garbage collection closes them, while the process goes on."""
    uvicorn = Uvicorn(project, database, "-c", COLLECTED, DB_CONN_MAX_AGE="60")
    try:
        left = sorted(uvicorn.backend() for _ in range(6))
        assert database.backends() == left
        uvicorn.request("/collect/")
        until("they are closed", lambda: not database.backends())
    finally:
        uvicorn.stop()
    uvicorn.note()


@control(here('DB_CONN_MAX_AGE="0"', 'DB_CONN_MAX_AGE="60"'), fails_with="each is closed: not within")
def test_under_asgi_age_zero_leaves_none(project, database) -> None:
    """With CONN_MAX_AGE = 0 each request closes its own: after 40 none is left, though the process goes on."""
    with served(project, database, DB_CONN_MAX_AGE="0") as (backends, _):
        assert len(backends) == 40
        until("each is closed", lambda: not database.backends())


@control(here(', "-c", POOLED', ""))
def test_under_asgi_the_pool_reuses_connections(project, database) -> None:
    """With Django's pool of two, 40 requests share two connections."""
    needs_a_pool()
    with served(project, database, "-c", POOLED) as (backends, most):
        assert len(backends) <= 2 >= most


# ---- fork ------------------------------------------------------------------------------------------------------

# Two aliases with a pool each: it prints how many backends a parent and its child had between them.
TWO_POOLS = """
import os
import django
from django.conf import settings
from environ import Env
named = {**Env.db_url_config(os.environ["DATABASE_URL"]), "OPTIONS": {"pool": {"min_size": 1, "max_size": 4}}}
settings.configure(DATABASES={"default": named, "other": named})
django.setup()
from django.db import connections
from orders import forks
def backends():
    found = set()
    for each in connections.all():
        with each.cursor() as cursor:
            cursor.execute("select pg_backend_pid()")
            found |= {*cursor.fetchone()}
        each.close()
    return found
parents = backends()
child = os.fork()
if child == 0:
    print(len(parents | backends()), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@control(
    edit(
        "leak/forked_pool.py", "connection.close()  # it goes back into the pool", 'connections["default"].close_pool()'
    )
)
@control(edit("upstream/orders/forks.py", "connection.close_pool()", "pass"))
@control(edit("upstream/orders/forks.py", "connections.all()", '[connections["default"]]'))
@pytest.mark.parametrize("option", ["", "--fixed"], ids=["as it is", "fixed"])
def test_a_pool_that_was_open_before_a_fork(project, database, load, transcript, option) -> None:
    """The child has its parent's connection, and its second thread none, unless the pool was closed before the fork.

    The module closes the pool of each alias.
    """
    needs_a_pool()
    script = load("leak/forked_pool.py")
    code = f"import sys; sys.argv[1:] = {option.split()!r}\n{script.text}"
    status, output = project.run("-c", code, database_url=database.url)
    assert status == 0, output
    evidence.ran(script)
    project.note()
    # Python 3.12 and later warn, rightly, of a fork in a process with threads.
    said = "".join(line for line in output.splitlines(keepends=True) if "DeprecationWarning" not in line)
    transcript(script, said, case=option.strip("-") or None)
    asked, _, forks = script.text.partition("default.pool.open")
    forks = forks[forks.index("child = os.fork()") :]
    asks_nothing = project.run("-c", f"{asked}parents = 0\n{forks}", database_url=database.url)
    assert asks_nothing == (0, "child: its own backend\nchild: a second thread gets one too\n")
    if option:
        status, output = project.run("-c", TWO_POOLS, database_url=database.url)
        assert (status, output.splitlines()[-1]) == (0, "4")
