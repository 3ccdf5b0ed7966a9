"""Proves docs/how-to/workers.md: what happens to a worker's connections, and to its work when they are lost."""

import dataclasses
import re

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.how_to.test_celery import OF_TWO, each_opens_two
from tests.stack.database import fresh
from tests.stack.runners import DONE, GIVES, RUNNERS, Running, counts
from tests.stack.upstream import driver, needs_a_pool, needs_psycopg_3
from tests.stack.wait import until

CLOSED = {"psycopg": "the connection is closed", "psycopg2": "connection already closed"}


@control(edit("upstream/workers/on_rq.py", "close_old_connections()", "pass"))
@control(edit("upstream/workers/on_dramatiq.py", "close_old_connections()", "pass"))
@control(edit("upstream/workers/on_huey.py", "close_old_connections()", "pass"))
@control(edit("upstream/workers/around.py", "close_old_connections()", "pass"))
@control(
    edit("upstream/orders/management/commands/count_orders.py", "close_old_connections()", "pass"),
    fails_with="the runner has taken every unit that it can: not within",
)
@pytest.mark.parametrize("runner", ["rq-one", "dramatiq", "huey", "apscheduler", "command"])
def test_no_work_is_lost_where_old_connections_are_closed_around_it(run_in, runner) -> None:
    """In each recipe a thread keeps one connection; after the sessions are terminated, all later work is done."""
    at_work = run_in(runner, "age-60")
    assert at_work.wave() == 0
    assert at_work.open() == at_work.runner.at_once
    at_work.cut()
    assert [at_work.wave(), at_work.wave()] == [0, 0]
    assert at_work.open() == at_work.runner.at_once
    at_work.note()


@control(here('"bare"', '"apscheduler"'))
def test_without_the_rule_all_work_is_lost_from_then_on(run_in) -> None:
    """Three threads of a worker that closes nothing lose their sessions, and every job after that fails."""
    at_work = run_in("bare", "age-60")
    assert at_work.wave() == 0
    at_work.cut()
    assert [at_work.wave(), at_work.wave()] == [3, 3]
    (text,) = [text for name, text in CLOSED.items() if name in driver()]
    assert text in at_work.said()
    at_work.note()


# What it raises is told once: a failed rollback would else be told as well, and be taken for another job.
WITHIN_ATOMIC = """
from django.db import Error, transaction
from orders.tasks import count_orders
def job():
    try:
        with transaction.atomic():
            count_orders()
    except Error as error:
        raise error from None
"""


@control(here("WITHIN_ATOMIC", 'WITHIN_ATOMIC.replace("transaction.atomic()", "open(0, closefd=False)")'))
def test_a_loss_that_is_found_within_a_transaction_costs_one_job(run_in) -> None:
    """Of the same threads each fails once, when its job has all queries in atomic(), and does every job after that.

    A thread that has failed may be given the next job before another one is given its first.
    """
    plain = "from orders.tasks import count_orders as job"
    bare = RUNNERS["bare"]
    starts = tuple(part.replace(plain, WITHIN_ATOMIC) for part in bare.starts)
    at_work = run_in(dataclasses.replace(bare, starts=starts), "age-60")
    assert at_work.wave() == 0
    at_work.cut()
    *first, last = [at_work.wave() for _ in range(3)]
    assert (sum(first), last) == (3, 0)
    at_work.note()


IMPORTS = """
import django; django.setup()
from django.conf import settings
from django.db import close_old_connections, connection, transaction
from orders.models import Order
from orders.tasks import count_orders
from workers.around import like_a_request
"""
WITHIN = """
import django; django.setup()
from django.db import Error, transaction
from orders.models import Order
from orders.tasks import count_orders
from workers.around import like_a_request
try:
    with transaction.atomic():
        Order.objects.create(customer="Ada")
        count_orders()
        like_a_request(count_orders)()
except Error:
    print("no query any more")
print(Order.objects.count())
"""


@control(edit("upstream/workers/around.py", "close_old_connections()", "pass"))
def test_the_rule_within_a_transaction_loses_it(project, server, server_version, migrated) -> None:
    """Without the rule the job counts the uncommitted order; inside the rule its query fails, and the order is lost."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        status, said = project.run("-c", WITHIN, database_url=database.url, DJANGO_SETTINGS_MODULE="settings.prod")
    assert (status, said) == (0, "1 orders\nno query any more\n0\n"), said


# A job that does something long between two queries, while the server ends its session.
LONG = """
import os, time
import django; django.setup()
from django.db import Error, close_old_connections, connection
import psycopg2 as driver
from orders.tasks import count_orders
from workers.around import like_a_request
other = driver.connect(os.environ["DATABASE_URL"])
other.autocommit = True

OTHERS = "from pg_stat_activity where usename = current_user and pid <> pg_backend_pid()"

def ended(expected):
    gives_up = time.monotonic() + 60
    with other.cursor() as cursor:
        cursor.execute(f"select {OTHERS}")
        while cursor.rowcount > expected and time.monotonic() < gives_up:
            cursor.execute(f"select {OTHERS}")
        cursor.execute(f"select pg_terminate_backend(pid, 60000) {OTHERS}")
        return cursor.rowcount

def nothing():
    pass

@like_a_request
def job(before, after):
    count_orders()
    before()
    held = ended(1 if before is nothing else 0)
    after()
    try:
        count_orders()
    except Error:
        print("lost")
    print(held, "held")

job(*WAY)
"""


@control(here('does_nothing = "nothing, nothing"', 'does_nothing = "connection.close, nothing"'))
@control(here('"connection.close, nothing"', '"nothing, nothing"'))
@control(here('"nothing, close_old_connections"', '"nothing, nothing"'))
def test_a_session_that_is_lost_between_two_queries_of_a_job(project, server, server_version, migrated) -> None:
    """With the rule and health checks the job's second query fails, unless the job closed its connection before.

    Then it held none meanwhile. It does not fail either if close_old_connections() is called just before that query.
    """
    does_nothing = "nothing, nothing"
    closes = "connection.close, nothing"
    looks_again = "nothing, close_old_connections"
    evidence.on(PostgreSQL=server_version)
    said = []
    for way in (does_nothing, closes, looks_again):
        with fresh(server, template=migrated) as database:
            urls = {"database_url": database.url, "DJANGO_SETTINGS_MODULE": "settings.prod"}
            said.append(project.run("-c", LONG.replace("WAY", f"[{way}]"), **urls))
    project.note()
    assert said == [
        (0, "0 orders\nlost\n1 held\n"),
        (0, "0 orders\n0 orders\n0 held\n"),
        (0, "0 orders\n0 orders\n1 held\n"),
    ]


# A task that its caller does itself, as tests have it: of Celery when it is eager, of Huey in immediate mode.
AT_ONCE = {
    "celery": """
settings.CELERY_TASK_ALWAYS_EAGER = True
from workers.on_celery import count_orders as task
give = task.delay
""",
    "huey": """
settings.HUEY = {"huey_class": "huey.MemoryHuey", "immediate": True}
from huey.contrib.djhuey import db_task
give = db_task()(count_orders)
""",
}
WITHIN_IT = """
with transaction.atomic():
    Order.objects.create(customer="Ada")
    {gives}
    count_orders()
"""


@control(here('"give()"', '"like_a_request(give)()"'))
@pytest.mark.parametrize(
    ("of", "packages"), [("celery", ("runners",)), ("celery", ("celery-5.5", "runners")), ("huey", ("runners",))]
)
def test_a_task_that_its_caller_does_keeps_the_transaction(
    project, server, server_version, migrated, of, packages
) -> None:
    """Celery's eager task, in 5.5 and 5.7, and Huey's immediate db_task see what their caller's transaction wrote.

    The caller's next query sees it too.
    """
    evidence.on(PostgreSQL=server_version)
    script = IMPORTS + AT_ONCE[of] + WITHIN_IT.format(gives="give()")
    with fresh(server, template=migrated) as database:
        settings = {"packages": packages, "DJANGO_SETTINGS_MODULE": "settings.celery"}
        status, said = project.run("-c", script, database_url=database.url, **settings)
    assert (status, DONE.findall(said)) == (0, ["1 orders", "1 orders"]), said


@control(here('"rq"', '"rq-one"'), fails_with="connections left: 0")
def test_rq_opens_a_connection_for_each_job(run_in) -> None:
    """RQ's own worker forks for each job, and the connection ends with that process, even with CONN_MAX_AGE."""
    found = counts(run_in("rq", "age-60"), {"left": 0})
    assert found == {"most": 1, "opened": "1", "left": 0, "lost": 0}


@control(here("more=OF_TWO", 'more=OF_TWO.replace("2", "1")'), fails_with="each has two: not within")
@control(here('"rq"', '"rq-one"'), fails_with="none is left: not within")
def test_each_job_of_rq_opens_all_of_djangos_pool(run_in) -> None:
    """With min_size = 2 each of two jobs, in a process of its own, opens two connections, and none is left."""
    at_work = run_in("rq", "pool", more=OF_TWO)
    assert each_opens_two(at_work) == 4


@control(here("cut=True", "cut=False"))
def test_a_session_lost_within_a_task_ends_djangos_worker(run_in) -> None:
    """When its session is terminated within a task, db_worker exits, and the task's row still says RUNNING."""
    at_work = run_in("tasks", "age-60")
    lost = at_work.wave(cut=True)
    assert lost == 1
    assert until("the worker ends", at_work.processes[0].ended)
    at_work.note()
    with at_work.database.connect() as connection:
        states = connection.execute("select status from django_tasks_database_dbtaskresult").fetchall()
    assert states == [("RUNNING",)]


# ---- Huey's signals --------------------------------------------------------------------------------------------

# Each signal is met twice: its handler asks the database, first as it is and then with the rule around it.
SIGNALLED = """
from huey import signals
from workers.on_huey import count_orders as done, huey

def ask(*args):
    Order.objects.exists()

@huey.task(retries=1)
def fails():
    raise ValueError

def kept():
    if pool := getattr(connection, "pool", None):
        return pool.get_stats()["pool_available"] == 0
    return connection.connection is not None

for signal, give in ((signals.SIGNAL_{complete}, done), (signals.SIGNAL_{retrying}, fails)):
    for handler in (ask, {around}(ask)):
        huey.signal(signal)(handler)
        give()
        huey.execute(huey.dequeue())
        print("kept" if kept() else "given back")
        huey.disconnect_signal(handler, signal)
        huey.flush()
        close_old_connections()
"""


@control(here('"COMPLETE"', '"EXECUTING"'))
@control(here('"RETRYING"', '"ERROR"'))
@control(here('"like_a_request"', '""'))
@pytest.mark.parametrize("settings", ["settings.prod", "settings.pool"])
def test_what_a_handler_of_hueys_signals_opens_is_kept(
    project, server, server_version, migrated, tmp_path, settings
) -> None:
    """After SIGNAL_COMPLETE and SIGNAL_RETRYING the connection stays open, or lent by Django's pool.

    With the rule around the handler it does not.
    """
    if settings == "settings.pool":
        needs_a_pool()
    evidence.on(PostgreSQL=server_version)
    script = IMPORTS + SIGNALLED.format(complete="COMPLETE", retrying="RETRYING", around="like_a_request")
    environment = {"DB_CONN_MAX_AGE": "0", "DB_POOL_SIZE": "1", "HUEY_FILE": str(tmp_path / "huey.db")}
    with fresh(server, template=migrated) as database:
        status, said = project.run(
            "-c",
            script,
            database_url=database.url,
            packages=("runners",),
            DJANGO_SETTINGS_MODULE=settings,
            **environment,
        )
    assert (status, re.findall("^kept|^given back", said, re.MULTILINE)) == (0, ["kept", "given back"] * 2), said


# A consumer's two tasks: what is left open after the first, and the second once that session was ended.
DB_TASK = """
settings.HUEY = {{"huey_class": "huey.SqliteHuey", "filename": {file!r}, "immediate": False}}
from huey.contrib.djhuey import HUEY as huey, db_task
give = db_task()(count_orders)

def work():
    give()
    huey.execute(huey.dequeue())

work()
print("open" if connection.connection else "closed")
with connection.cursor() as cursor:
    cursor.execute("select pg_backend_pid()")
    (mine,) = cursor.fetchone()
with connection.copy().cursor() as other:
    other.execute("select pg_terminate_backend(%s, 60000)", [mine])
work()
"""


@control(here("IMPORTS + DB_TASK", 'IMPORTS + DB_TASK.replace("db_task()", "huey.task()")'))
@pytest.mark.parametrize(("age", "left"), [("60", "open"), ("0", "closed")])
def test_hueys_db_task_does_as_the_recipe(project, server, server_version, migrated, tmp_path, age, left) -> None:
    """Its second task is done although the session was ended; an age of 0 leaves nothing open after a task."""
    evidence.on(PostgreSQL=server_version)
    script = IMPORTS + DB_TASK.format(file=str(tmp_path / "huey.db"))
    with fresh(server, template=migrated) as database:
        settings = {"packages": ("runners",), "DJANGO_SETTINGS_MODULE": "settings.prod", "DB_CONN_MAX_AGE": age}
        status, said = project.run("-c", script, database_url=database.url, **settings)
    assert (status, re.findall("^0 orders|^open|^closed", said, re.MULTILINE)) == (0, ["0 orders", left, "0 orders"])


# ---- Dramatiq's middleware -------------------------------------------------------------------------------------

# django_dramatiq with its own middleware, but for Prometheus', which has a server of its own.
IN_DJANGO = """
import os
from django.apps import AppConfig
from django_dramatiq.apps import DEFAULT_BROKER_SETTINGS

class Actors(AppConfig):
    name = __package__

    def ready(self):
        import dramatiq
        from orders.tasks import count_orders
        dramatiq.actor(count_orders, max_retries=0)

INSTALLED_APPS = [*INSTALLED_APPS, "django_dramatiq", f"{__name__}.Actors"]
default = DEFAULT_BROKER_SETTINGS["MIDDLEWARE"][1:]
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": os.environ["REDIS_URL"]},
    "MIDDLEWARE": sorted(default, key=lambda name: name.endswith("FIRST"), reverse=True),
}
"""
DJANGO_DRAMATIQ = dataclasses.replace(
    RUNNERS["dramatiq"],
    starts=("-m", "dramatiq", "django_dramatiq.setup", "--processes", "1", "--threads", "3"),
    gives="""
import django
django.setup()
import dramatiq
broker = dramatiq.get_broker()
broker.middleware.clear()  # else AdminMiddleware here writes that a task waits, perhaps after the worker wrote "done"
give = broker.get_actor("count_orders").send
""",
    packages=("runners", "workers"),
    first=("manage.py", "migrate", "django_dramatiq", "--verbosity", "0"),
)


def version(package: str) -> str:
    """Return the version of one of the packages of `workers`."""
    return dataclasses.replace(DJANGO_DRAMATIQ, by=package).version


def kept_as_done(at_work: Running) -> int:
    """Return how many tasks django_dramatiq's table has as done."""
    query = "select count(*) from django_dramatiq_task where status = 'done'"
    return int(at_work.holder.execute(query).fetchone()[0])  # type: ignore[index]


@control(here('"DbConnectionsMiddleware"', '"none"'), fails_with="connections left: 0")
@pytest.mark.parametrize(("put", "left"), [("by default", 3), ("first", 0)])
def test_what_closes_has_to_be_dramatiqs_first_middleware(run_in, put, left) -> None:
    """In django_dramatiq's order, three threads keep a connection of age 0 each; with the middleware first, none."""
    first = "DbConnectionsMiddleware" if put == "first" else "none"
    at_work = run_in(DJANGO_DRAMATIQ, "age-0", more=IN_DJANGO.replace("FIRST", first))
    assert at_work.wave() == 0
    # Each closes its connection and opens another one after its unit, to write this.
    until("AdminMiddleware has kept all three", lambda: kept_as_done(at_work) == 3)
    assert at_work.rest(left) == left
    at_work.note()
    evidence.on(**{"django-dramatiq": version("django-dramatiq")})


# An actor that is async, which Dramatiq's own middleware runs in an event loop, in a thread of the loop's.
ASYNC = """
import dramatiq
from dramatiq.middleware.asyncio import AsyncIO
from workers.on_dramatiq import broker
from orders.asynchronous import count_and_give_back
from orders.models import Order

broker.add_middleware(AsyncIO())

async def count():
    return await Order.objects.acount()

@dramatiq.actor(max_retries=0)
async def job():
    print(await {work}(), "orders", flush=True)
"""


@control(here("work=work", 'work="count_and_give_back"'), fails_with="connections left: 1")
@control(here("work=work", 'work="count"'), fails_with="connections left: 0")
@pytest.mark.parametrize(("work", "left"), [("count", 1), ("count_and_give_back", 0)])
def test_the_rule_does_not_reach_an_async_actor_of_dramatiq(run_in, tmp_path, work, left) -> None:
    """With the recipe and CONN_MAX_AGE = 0 its connection stays open, unless the actor gives it back."""
    (tmp_path / "asynced.py").write_text(ASYNC.format(work=work))
    worker = ("-m", "dramatiq", "asynced", "--processes", "1", "--threads", "3", "--path", str(tmp_path))
    gives = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from asynced import job; give = job.send"
    at_work = run_in(dataclasses.replace(RUNNERS["dramatiq"], starts=worker, gives=gives), "age-0")
    at_work.give(3)
    until("they are done", lambda: at_work.done() == 3)
    assert at_work.rest(left) == left
    at_work.note()


# ---- procrastinate, django-apscheduler -------------------------------------------------------------------------

PROCRASTINATE = dataclasses.replace(
    RUNNERS["huey"],
    by="procrastinate",
    kind="",
    gives=f"""
import django
django.setup()
from django.db import connection
connection.settings_dict["OPTIONS"]["application_name"] = "{GIVES}"
from procrastinate.contrib.django import app
give = app.tasks["count"].defer
""",
    packages=("workers",),
    first=("manage.py", "migrate", "procrastinate", "--verbosity", "0"),
)
ITS_TASK = """
from django.apps import AppConfig

class Tasks(AppConfig):
    name = __package__

    def ready(self):
        from orders.tasks import count_orders
        from procrastinate.contrib.django import app
        app.task(name="count")(count_orders)

INSTALLED_APPS = [*INSTALLED_APPS, "procrastinate.contrib.django", f"{__name__}.Tasks"]
"""
LISTENS = "select count(*) from pg_stat_activity where datname = %s and query like 'LISTEN%%'"


@control(here('"--no-listen-notify"', '"--listen-notify"'))
@control(here("[] if listens", '["--no-listen-notify"] if listens'), fails_with="it listens: not within")
@pytest.mark.parametrize("listens", [True, False])
def test_procrastinate_has_a_connection_that_listens(run_in, listens) -> None:
    """By default one of the worker's sessions has sent LISTEN; with --no-listen-notify none has. All tasks are done."""
    needs_psycopg_3()
    options = ("--fetch-job-polling-interval", "0.1", *([] if listens else ["--no-listen-notify"]))
    worker = dataclasses.replace(PROCRASTINATE, starts=("manage.py", "procrastinate", "worker", *options))
    at_work = run_in(worker, "age-60", more=ITS_TASK)

    def listening() -> int:
        return at_work.database.admin.execute(LISTENS, [at_work.database.name]).fetchone()[0]

    if listens:
        until("it listens", listening)
    for done in (3, 6, 9):
        at_work.give(3)
        until("all are done", lambda done=done: at_work.done() == done)
    at_work.note()
    assert listening() == int(listens)


# Each call comes on a connection whose session was ended.
STORE = """
import django
from django.conf import settings
settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_apscheduler"]
django.setup()
from django.core.management import call_command
from django.db import OperationalError, connection
from django_apscheduler import util
from django_apscheduler.jobstores import DjangoJobStore
from django_apscheduler.models import DjangoJob
call_command("migrate", "django_apscheduler", verbosity=0)
store, other = DjangoJobStore(), connection.copy()
for call in ({calls}):
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        mine = cursor.fetchone()
    with other.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(%s, 60000)", mine)
    print("answer", call())

tries = []

@util.retry_on_db_operational_error
def fails():
    tries.append(1)
    raise OperationalError

try:
    fails()
except OperationalError:
    print("tries", len(tries))
"""


@control(here('"store.get_all_jobs, ', '"DjangoJob.objects.count, '))
def test_django_apschedulers_store_asks_again(project, server, server_version, migrated) -> None:
    """Four calls of the store succeed without health checks, each on a connection whose session was ended."""
    evidence.on(PostgreSQL=server_version, **{"django-apscheduler": version("django-apscheduler")})
    script = STORE.format(
        calls="store.get_all_jobs, store.get_next_run_time, store.remove_all_jobs, store.get_all_jobs"
    )
    with fresh(server, template=migrated) as database:
        status, said = project.run(
            "-c",
            script,
            database_url=database.url,
            packages=("workers",),
            DJANGO_SETTINGS_MODULE="settings.prod",
            DB_CONN_HEALTH_CHECKS="false",
        )
    assert (status, re.findall("^answer (.*)", said, re.MULTILINE)) == (0, ["[]", "None", "None", "[]"]), said
    assert "tries 2\n" in said
