"""Proves docs/how-to/workers.md: what becomes of a worker's connections, and of its work when they are lost."""

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.stack.database import fresh
from tests.stack.runners import counts
from tests.stack.upstream import driver
from tests.stack.wait import until

CLOSED = {"psycopg": "the connection is closed", "psycopg2": "connection already closed"}


@control(edit("upstream/workers/on_rq.py", "close_old_connections()", "pass"))
@control(edit("upstream/workers/on_dramatiq.py", "close_old_connections()", "pass"))
@control(edit("upstream/workers/on_huey.py", "close_old_connections()", "pass"))
@control(edit("upstream/workers/around.py", "close_old_connections()", "pass"))
@control(
    edit("upstream/orders/management/commands/count_orders.py", "close_old_connections()", "pass"),
    fails_with="all units have come that can: not within",
)
@pytest.mark.parametrize("runner", ["rq-one", "dramatiq", "huey", "apscheduler", "command"])
def test_no_work_is_lost_where_old_connections_are_closed_around_it(run_in, runner) -> None:
    """In each recipe a thread keeps one connection; once their sessions are ended, whatever comes next is done."""
    at_work = run_in(runner, "age-60")
    assert at_work.wave() == 0
    assert at_work.open() == at_work.runner.at_once
    at_work.cut()
    assert [at_work.wave(), at_work.wave()] == [0, 0]
    assert at_work.open() == at_work.runner.at_once
    at_work.note()


@control(here('"bare"', '"apscheduler"'))
def test_without_the_rule_all_work_is_lost_from_then_on(run_in) -> None:
    """Three threads of a worker that closes nothing: their sessions are ended, and each piece after that is lost."""
    at_work = run_in("bare", "age-60")
    assert at_work.wave() == 0
    at_work.cut()
    assert [at_work.wave(), at_work.wave()] == [3, 3]
    (text,) = [text for name, text in CLOSED.items() if name in driver()]
    assert text in at_work.said()
    at_work.note()


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
    """The job itself counts what was written; with the rule around it its query fails, and nothing is there."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server, template=migrated) as database:
        status, said = project.run("-c", WITHIN, database_url=database.url, DJANGO_SETTINGS_MODULE="settings.prod")
    assert (status, said) == (0, "1 orders\nno query any more\n0\n"), said


@control(here('"rq"', '"rq-one"'), fails_with="connections left: 0")
def test_rq_opens_a_connection_for_each_job(run_in) -> None:
    """RQ's own worker forks for each job, whose connection ends with its process: whatever CONN_MAX_AGE is."""
    found = counts(run_in("rq", "age-60"), {"left": 0})
    assert found == {"most": 1, "opened": "1", "left": 0, "lost": 0}


@control(here("cut=True", "cut=False"))
def test_a_session_lost_within_a_task_ends_djangos_worker(run_in) -> None:
    """Once its session is ended within a task, db_worker has ended, and the task's row says that it is running."""
    at_work = run_in("tasks", "age-60")
    lost = at_work.wave(cut=True)
    assert lost == 1
    assert until("the worker ends", at_work.processes[0].ended)
    at_work.note()
    with at_work.database.connect() as connection:
        states = connection.execute("select status from django_tasks_database_dbtaskresult").fetchall()
    assert states == [("RUNNING",)]
