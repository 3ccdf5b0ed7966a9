"""Proves docs/how-to/celery.md: what a Celery worker does with connections, and with queries of tasks that it ends."""

import dataclasses
import itertools
import re
from contextlib import ExitStack
from importlib.metadata import version

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.stack.forked import answer
from tests.stack.runners import GIVES, RUNNERS, Running, celery, counts
from tests.stack.upstream import driver, needs_psycopg_3
from tests.stack.wait import until

ONE = dataclasses.replace(RUNNERS["celery-prefork"], starts=celery("prefork", 1), at_once=1, processes=1)
ONE_OF_5_5 = dataclasses.replace(ONE, packages=RUNNERS["celery55-prefork"].packages)
# Beat alone, which sends tasks that nobody runs.
BEAT = dataclasses.replace(
    ONE, starts=("-m", "celery", "-A", "workers.on_celery", "beat", "-l", "info"), gives="", own=True
)
# A worker on a machine of three processors, of which it may use one.
OF_THREE = """
import os
os.cpu_count = lambda: {seen}
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from celery.__main__ import main
main()
"""
# What the drivers say of a connection that they know to be lost.
CLOSED = {"psycopg": "the connection is closed", "psycopg2": "connection already closed"}
# Settings that keep a connection of their own.
ASKS = """
import os, psycopg
kept = psycopg.connect(os.environ["DATABASE_URL"])
"""
# django-celery-beat, which looks at its tables more often than it would.
STORED_BEAT = dataclasses.replace(
    BEAT, packages=("runners", "workers"), first=("manage.py", "migrate", "django_celery_beat", "--verbosity", "0")
)
STORED = """
INSTALLED_APPS = [*INSTALLED_APPS, "django_celery_beat"]
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 0.1
"""
# The same without what its source calls before each look.
CLOSES_NOTHING = """
from django.apps import AppConfig

class Patched(AppConfig):
    name = __package__

    def ready(self):
        from django_celery_beat import schedulers
        schedulers.close_old_connections = lambda: None

INSTALLED_APPS = [*INSTALLED_APPS, f"{__name__}.Patched"]
"""
TELLS = """
from django.apps import AppConfig

class Patched(AppConfig):
    name = __package__

    def ready(self):
        from django.db import connection
        from django_celery_beat import schedulers
        looks = schedulers.DatabaseScheduler.schedule_changed

        def tells(self):
            changed = looks(self)
            print(f"looked over {connection.connection.info.backend_pid}", flush=True)
            return changed

        schedulers.DatabaseScheduler.schedule_changed = tells

INSTALLED_APPS = [*INSTALLED_APPS, f"{__name__}.Patched"]
"""
LOOKED = re.compile(r"looked over (\d+)")
OFTEN = """
CELERY_BEAT_SCHEDULE = {"often": {"task": "workers.on_celery.count_orders", "schedule": 0.1}}
"""


# ---- a connection for each task --------------------------------------------------------------------------------


@control(here('"celery-prefork"', '"celery55-prefork"'), fails_with="connections left: 0")
def test_celery_5_7_closes_after_each_task(run_in) -> None:
    """With CONN_MAX_AGE=60, each task of three children of Celery 5.7 opens a connection, and none is left."""
    found = counts(run_in("celery-prefork", "age-60"), {"left": 0})
    assert found == {"most": 3, "opened": "1", "left": 0, "lost": 0}
    assert RUNNERS["celery-prefork"].version == "5.7.0"  # as the page says


@control(here('"celery55-prefork"', '"celery-prefork"'), fails_with="connections left: 3")
@control(here('"age-60"', '"age-0"'), fails_with="connections left: 3")
def test_celery_5_5_keeps_what_conn_max_age_keeps(run_in) -> None:
    """With CONN_MAX_AGE=60, three children of Celery 5.5 keep one each from task to task, and replace a lost one."""
    found = counts(run_in("celery55-prefork", "age-60"), {"left": 3})
    assert found == {"most": 3, "opened": "0", "left": 3, "lost": 0}
    assert RUNNERS["celery55-prefork"].version == "5.5.3"  # as the page says


@control(here('seen="3"', 'seen="len(os.sched_getaffinity(0))"'), fails_with="so many tasks run: not within")
@control(here('"--concurrency=auto"', '"--concurrency=3"'))
@pytest.mark.parametrize(
    ("packages", "auto", "children"),
    [(("runners",), False, 3), (("celery-5.5", "runners"), False, 3), (("runners",), True, 1)],
    ids=["5.7", "5.5", "5.7 with auto"],
)
def test_without_concurrency_celery_starts_a_child_for_each_processor(run_in, packages, auto, children) -> None:
    """Of three processors the worker may use one: it runs three tasks at a time, over three connections.

    With --concurrency=auto Celery 5.7 runs one.
    """
    options = ("--without-gossip", "--without-mingle", *(["--concurrency=auto"] if auto else []))
    starts = ("-c", OF_THREE.format(seen="3"), "-A", "workers.on_celery", "worker", *options)
    at_work = run_in(dataclasses.replace(ONE, starts=starts, packages=packages))
    with at_work.holder.transaction():
        at_work.holder.execute("lock table orders_order in access exclusive mode")
        at_work.give(4)
        until("so many tasks run", lambda: at_work.waiting() >= children)
        assert at_work.rest(None) == children
    until("all have ended", lambda: at_work.done() == 4)
    at_work.note()


@control(here('"pool"', '"age-60"'), fails_with="connections left: 3")
def test_in_threads_djangos_pool_keeps_connections(run_in) -> None:
    """With -P threads and Django's pool, three threads of Celery 5.7 share three connections: no task opens one."""
    found = counts(run_in("celery-threads", "pool"), {"left": 3})
    assert found == {"most": 3, "opened": "0", "left": 3, "lost": 0}


@control(here('"celery-prefork", "pool"', '"celery-threads", "pool"'), fails_with="connections left: 0")
def test_in_prefork_djangos_pool_is_closed_after_each_task(run_in) -> None:
    """In Celery 5.7's child processes, a pool of one opens a connection for each task, and none is left."""
    found = counts(run_in("celery-prefork", "pool"), {"left": 0})
    assert found == {"most": 3, "opened": "1", "left": 0, "lost": 0}


# A pool of two for each child, as in settings that web processes use as well.
OF_TWO = 'DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 2, "max_size": 2}'


def each_opens_two(at_work: Running) -> int:
    """Give it units twice. Each is to open two connections and to leave none; return how many sessions there were."""
    n = at_work.runner.at_once
    for done in (n, 2 * n):
        with at_work.holder.transaction():
            at_work.holder.execute("lock table orders_order in access exclusive mode")
            at_work.give(n)
            until("each has two", lambda: at_work.waiting() == n and at_work.open() == 2 * n)
            at_work.seen |= at_work.sessions()
        until("they are done", lambda done=done: at_work.done() == done)
        until("none is left", lambda: at_work.open() == 0)
    at_work.note()
    return len(at_work.seen)


@control(here("more=OF_TWO", 'more=OF_TWO.replace("2", "1")'), fails_with="each has two: not within")
@control(here('"celery-prefork", "pool"', '"celery-threads", "pool"'), fails_with="each has two: not within")
def test_in_prefork_each_task_opens_all_of_djangos_pool(run_in) -> None:
    """With min_size = 2 a task of each of Celery 5.7's three children opens two connections; none is left."""
    at_work = run_in("celery-prefork", "pool", more=OF_TWO)
    assert each_opens_two(at_work) == 12


@control(here("CELERY_DB_REUSE_MAX = 6", "OTHER = 6"), fails_with="connections left: 1")
@control(here("CELERY_DB_REUSE_MAX = 6", "CELERY_DB_REUSE_MAX = 100"))
@pytest.mark.parametrize(
    "runner",
    [RUNNERS["celery-solo"], RUNNERS["celery55-solo"], ONE, ONE_OF_5_5],
    ids=["5.7 solo", "5.5 solo", "5.7 prefork", "5.5 prefork"],
)
def test_db_reuse_max_keeps_a_lost_connection_as_well(run_in, runner) -> None:
    """With CONN_MAX_AGE = 0 six tasks share a connection; lost after three, it fails the next three, and no more."""
    at_work = run_in(runner, "age-0", more="CELERY_DB_REUSE_MAX = 6")
    found = counts(at_work, {"left": 1})
    assert found == {"most": 1, "opened": "0", "left": 1, "lost": 1}
    assert [at_work.wave() for _ in range(3)] == [1, 1, 0]


# The task's queries run in a thread that asyncio.run() asks.
BY_ASYNCIO = """
from django.apps import AppConfig

INSTALLED_APPS = [*INSTALLED_APPS, f"{{__name__}}.Async"]

class Async(AppConfig):
    name = __package__

    def ready(self):
        import asyncio
        from asgiref.sync import sync_to_async
        from django.db import transaction
        from orders import tasks
        from orders.asynchronous import count_and_give_back

        async def count():
            return await tasks.Order.objects.acount()

        async def within():
            return await sync_to_async(transaction.atomic(tasks.Order.objects.count))()

        tasks.count_orders = lambda: print(f"{{asyncio.run({work}())}} orders", flush=True)
"""


@control(here("work=work", 'work="count_and_give_back"'))
@control(here("work=work", 'work="count"'))
@pytest.mark.parametrize(("work", "lost"), [("count", [3, 3]), ("within", [3, 0]), ("count_and_give_back", [0, 0])])
def test_tasks_that_call_asyncio_run_keep_a_lost_connection(run_in, work, lost) -> None:
    """With CONN_MAX_AGE = 60 and Celery 5.7, each task fails once the session was ended, unless it gives back.

    With the query in atomic() only one fails in each of three processes.
    """
    at_work = run_in("celery-prefork", "age-60", more=BY_ASYNCIO.format(work=work))
    before = at_work.wave()
    at_work.cut()
    assert [before, at_work.wave(), at_work.wave()] == [0, *lost]
    (text,) = [text for name, text in CLOSED.items() if name in driver()]
    assert (text in at_work.said()) == bool(lost[1])
    at_work.note()


@control(here('"pgbouncer"', '"age-0"'), fails_with="connections left: 2")
def test_behind_pgbouncer_a_task_opens_no_connection_in_postgresql(run_in) -> None:
    """Three children of Celery 5.7 behind PgBouncer share two server connections, which stay open."""
    found = counts(run_in("celery-prefork", "pgbouncer"), {"left": 2})
    assert found == {"most": 2, "opened": "0", "left": 2, "lost": 0}


@control(here('"pool"', '"age-60"'))
def test_celery_5_5_shares_a_pool_that_was_open_before_the_fork(run_in) -> None:
    """A child of 5.5 gets another child's answer, on a connection inherited from the parent; one of 5.7 does not."""
    runners = ("celery-prefork", "celery55-prefork")
    found = [answer(run_in, RUNNERS[runner], strategy="pool") for runner in runners]
    assert found == ["right", "wrong"]


# ---- time limits -----------------------------------------------------------------------------------------------


def wait_with(at_work: Running, queries: int, what: str) -> None:
    """Send tasks one after another until that many queries wait: the limit may end a task before its query begins."""

    def waiting() -> bool:
        if ended(at_work) == at_work.given:
            at_work.give(1)
        return at_work.waiting() >= queries

    until(what, waiting)


def ended(at_work: Running) -> int:
    """Return how many tasks the worker has logged as ended by their limit."""
    return at_work.said().count(" time limit (1s) exceeded for ")


def limited(at_work: Running, limit: str) -> None:
    """Send a task that waits for the locked table, until Celery has ended it."""
    if "SOFT" in limit:
        needs_psycopg_3()  # psycopg2 handles no signal before its query has ended
    at_work.holder.execute("begin; lock table orders_order in access exclusive mode")
    wait_with(at_work, 1, "its query waits")
    until("Celery ends it", lambda: ended(at_work) == at_work.given)


@pytest.fixture(params=["CELERY_TASK_TIME_LIMIT", "CELERY_TASK_SOFT_TIME_LIMIT"])
def limit(request: pytest.FixtureRequest) -> str:
    """A Celery setting that ends a task after a second, at once or by an exception raised in it."""
    return f"{request.param} = 1"


@control(here("= 0", "= 200"), fails_with="the next one's query waits beside it: not within")
def test_a_query_outlives_the_task_that_a_time_limit_ends(run_in, limit) -> None:
    """After Celery ends a task at its hard or soft limit, the query keeps waiting, beside the next task's query."""
    at_work = run_in(ONE, more=limit)
    at_work.holder.execute(f"alter role {at_work.database.role.name} set client_connection_check_interval = 0")
    limited(at_work, limit)
    wait_with(at_work, 2, "the next one's query waits beside it")
    at_work.note()


@control(edit("postgres/role_client_check.sql", "2s", "0"), fails_with="the query ends: not within")
@control(here('console.execute("reconnect")', "pass"), fails_with="the query ends: not within")
@pytest.mark.parametrize("keeps", ["age-60", "pgbouncer"])
def test_postgresql_ends_a_query_whose_client_is_gone(run_in, limit, keeps, load) -> None:
    """With client_connection_check_interval, the query of a task that Celery ended ends too, also behind PgBouncer.

    There a server connection that was open before has the setting only after a RECONNECT.
    """
    at_work = run_in(ONE, keeps, more=limit)
    with ExitStack() as ends:
        consoles = []
        if keeps == "pgbouncer":
            ends.enter_context(at_work.bouncer.connect(at_work.database)).execute("select 1")
            consoles = [ends.enter_context(at_work.bouncer.admin())]
        at_work.database.psql(load("postgres/role_client_check.sql"), role=at_work.database.role.name)
        for console in consoles:
            console.execute("reconnect")
    limited(at_work, limit)
    assert until("the query ends", lambda: at_work.waiting() == 0)
    at_work.note()


# ---- beat ------------------------------------------------------------------------------------------------------


@control(here("more=OFTEN", "more=OFTEN + ASKS"))
def test_beat_opens_no_connection(run_in) -> None:
    """Celery beat sends tasks, and PostgreSQL sees no session from it."""
    at_work = run_in(BEAT, more=OFTEN)
    until("it has sent three", lambda: at_work.said().count("Sending due task") >= 3)
    at_work.note()
    assert at_work.open() == 0
    assert at_work.database.sessions() == 1  # the proof's own


def sends(at_work: Running) -> None:
    """Wait until beat has sent two more tasks."""
    before = at_work.said().count("Sending due task")
    until("it sends", lambda: at_work.said().count("Sending due task") >= before + 2)


def change(at_work: Running) -> None:
    """Say in its table that django-celery-beat's schedule was changed, as each change of a task does."""
    later = "update django_celery_beat_periodictasks set last_update = last_update + interval '1 hour'"
    with at_work.database.connect(application_name=GIVES) as other:
        other.execute(later)


@control(here("STORED + OFTEN", "STORED + OFTEN + CLOSES_NOTHING"), fails_with="it has another one: not within")
def test_beat_with_its_times_in_the_database_outlives_its_session(run_in) -> None:
    """django-celery-beat keeps one connection; after losing it, it opens another, sends, and picks up a change."""
    at_work = run_in(STORED_BEAT, "age-60", more=STORED + OFTEN)
    sends(at_work)
    (kept,) = at_work.sessions()
    sends(at_work)
    assert at_work.sessions() == {kept}
    at_work.cut()
    until("it has another one", lambda: at_work.open() == 1 and kept not in at_work.sessions())
    sends(at_work)
    with at_work.database.connect(application_name=GIVES) as other:
        other.execute("update django_celery_beat_periodictask set name = 'renamed' where name = 'often'")
    change(at_work)
    until("it sends what was changed", lambda: "Sending due task renamed" in at_work.said())
    note_beat(at_work)


@control(here('"age-0"', '"age-60"'))
def test_beat_opens_a_connection_for_each_look_with_an_age_of_0(run_in) -> None:
    """With CONN_MAX_AGE = 0, django-celery-beat uses another connection each time that it looks at its table."""
    at_work = run_in(STORED_BEAT, "age-0", more=STORED + OFTEN + TELLS)
    looks = until(
        "it has looked five times", lambda: LOOKED.findall(at_work.said())[4:] and LOOKED.findall(at_work.said())
    )
    assert all(one != other for one, other in itertools.pairwise(looks))
    note_beat(at_work)


@control(here("at_work.cut()", "at_work.open()"), fails_with="beat ends: not within")
def test_a_session_lost_while_beat_reads_its_times_ends_it(run_in) -> None:
    """Beat waits for the locked table of times, to pick up a change; when its session is ended, beat ends."""
    at_work = run_in(STORED_BEAT, "age-60", more=STORED + OFTEN)
    sends(at_work)
    with at_work.holder.transaction():
        at_work.holder.execute("lock table django_celery_beat_periodictask in access exclusive mode")
        change(at_work)
        until("it waits for the table", lambda: at_work.waiting() == 1)
        at_work.cut()
    assert until("beat ends", at_work.ended)
    (text,) = [text for name, text in CLOSED.items() if name in driver()]
    assert re.search(f"beat raised exception .*{text}", at_work.said())
    note_beat(at_work)


def note_beat(at_work: Running) -> None:
    """Tell the running proof which beat it is."""
    at_work.note()
    evidence.on(**{"django-celery-beat": dataclasses.replace(STORED_BEAT, by="django-celery-beat").version})


# ---- greenlets behind PgBouncer --------------------------------------------------------------------------------

# Each task keeps its transaction open until all have begun, as if it waited for another service.
HOLDS = """
from django.apps import AppConfig

INSTALLED_APPS = [*INSTALLED_APPS, f"{__name__}.Holds"]

class Holds(AppConfig):
    name = __package__

    def ready(self):
        import time
        from django.db import transaction
        from orders import tasks
        count, begun = tasks.count_orders, []

        def hold():
            begun.append(1)
            with transaction.atomic():
                tasks.Order.objects.exists()
                while len(begun) < 3:
                    time.sleep(0.01)
            count()

        tasks.count_orders = hold
"""
# Celery where psycopg 3 is not installed.
PSYCOPG2 = "import sys; sys.modules['psycopg'] = None; from celery.__main__ import main; main()"
GREENLETS = dataclasses.replace(RUNNERS["celery-gevent"], starts=celery("gevent", 4))
STARTS = 120.0  # seconds, under a control too: with gevent all is imported anew


@control(here('f"< {tasks}"', '"< 1"'))
@control(here("default_pool_size=size", "default_pool_size=2"), fails_with="all are done: not within")
@control(here('("-c", PSYCOPG2, *GREENLETS.starts[2:])', "GREENLETS.starts"))
@pytest.mark.parametrize(("size", "tasks"), [(2, 3), (3, 3), (3, 4)])
def test_with_psycopg2_greenlets_behind_pgbouncer_wait_for_each_other(run_in, size, tasks) -> None:
    """Three greenlets of Celery with psycopg2 share PgBouncer's pool of two: one task is lost to query_wait_timeout.

    Two transactions stay open until then. They wait for gevent, gevent is blocked in the third greenlet's query, and
    that query waits for one of their connections. In a pool of three none of three is lost, but one of four.
    """
    starts = ("-c", PSYCOPG2, *GREENLETS.starts[2:])
    at_work = run_in(dataclasses.replace(GREENLETS, starts=starts), "pgbouncer", HOLDS.replace("< 3", f"< {tasks}"))
    at_work.bouncer.set(default_pool_size=size)
    at_work.give(tasks)
    at_work.note()
    evidence.on(psycopg2=version("psycopg2-binary"))
    if tasks == size:
        until("all are done, or one waits", lambda: tasks in (at_work.done(), idle(at_work) + 1), STARTS)
        until("all are done", lambda: at_work.done() == tasks)
        return
    until("all are idle in their transactions", lambda: idle(at_work) == size or at_work.done() == tasks, STARTS)
    assert (at_work.rest(None), idle(at_work), at_work.done()) == (size, size, 0)
    with at_work.bouncer.impatient():
        until("one is lost, or all have ended", lambda: at_work.lost() or at_work.done() == tasks)
    until("all have ended", lambda: at_work.done() + bool(at_work.lost()) >= tasks)
    assert at_work.done() == size
    assert "closing because: query_wait_timeout" in at_work.bouncer.leash.said()


def idle(at_work: Running) -> int:
    """Return how many of its sessions are idle in transaction."""
    query = "select count(*) from pg_stat_activity where datname = %s and state = 'idle in transaction'"
    return int(at_work.database.admin.execute(query, [at_work.database.name]).fetchone()[0])
