"""Proves docs/how-to/size-connections.md."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from proven import ROOT, evidence
from proven.evidence.measurements import FOLDER
from proven.sources.controls import control, edit, here
from tests.proofs.how_to.test_find_the_leak import Uvicorn
from tests.proofs.pooled import Existing
from tests.stack.database import Database, Role, fresh
from tests.stack.postgres import own_major
from tests.stack.runners import CLIMBS, POOL_SIZE, RUNNERS, STRATEGIES
from tests.stack.upstream import serving
from tests.stack.wait import until

SIZING = "sizing/connections.py"


def fill(database: Database, limit: int) -> tuple[int, str]:
    """Open connections until one is refused, at most `limit`; return how many there were, and the refusal."""
    opened = []
    try:
        while len(opened) < limit:
            opened.append(database.connect())
    except psycopg.OperationalError as error:
        return len(opened), str(error)
    finally:
        for connection in opened:
            connection.close()
    return limit, ""


def needs_16() -> None:
    """Skip a proof, saying why, if our own servers do not know reserved_connections."""
    if own_major() < 16:
        pytest.skip("needs PostgreSQL 16, which brought reserved_connections")


@control(edit("sizing/connections.py", "return processes * threads *", "return processes + threads *"))
def test_the_functions_give_what_their_comments_say(run_script, load) -> None:
    """The script prints what the comment after each print says."""
    run_script(load(SIZING))


@control(edit("sizing/connections.py", "return peak + superuser_reserved", "return peak"))
def test_every_row_of_the_table_adds_up(run_script, load) -> None:
    """In each deployment the peak is at least the web tier, and max_connections leaves exactly the peak usable."""
    names: dict[str, Any] = run_script(load(SIZING))
    rows = names["worked_deployments"]()
    assert rows
    for row in rows:
        assert row["At the peak"] >= row["Web tier"]
        assert names["usable_slots"](row["max_connections"]) == row["At the peak"]


@control(edit("sizing/connections.py", "return max_connections - superuser_reserved", "return max_connections"))
@control(here("as database, server.connect():", "as database:"))
def test_ordinary_roles_get_the_usable_slots_and_no_more(run_script, load, cluster) -> None:
    """On a real server, as many connections open as the function says, and the next one is refused.

    While a superuser is connected, it is one fewer: that session counts as well.
    """
    names: dict[str, Any] = run_script(load(SIZING))
    usable = names["usable_slots"](10)
    with fresh(cluster(max_connections=10).server) as database:
        opened, refusal = fill(database, limit=usable + 1)
    assert opened == usable
    assert "slots are reserved" in refusal
    server = cluster(max_connections=10).server  # nobody is connected any more
    with fresh(server) as database, server.connect():
        opened, refusal = fill(database, limit=usable + 1)
    assert opened == usable - 1
    assert "slots are reserved" in refusal


@control(edit("sizing/connections.py", "superuser_reserved - reserved", "superuser_reserved"))
def test_reserved_connections_take_slots_too(run_script, load, cluster) -> None:
    """From PostgreSQL 16 on, reserved_connections keeps slots from ordinary roles as well."""
    needs_16()
    names: dict[str, Any] = run_script(load(SIZING))
    usable = names["usable_slots"](10, reserved=2)
    with fresh(cluster(max_connections=10, reserved_connections=2).server) as database:
        opened, refusal = fill(database, limit=usable + 1)
    assert opened == usable
    assert 'reserved for roles with privileges of the "pg_use_reserved_connections" role' in refusal


@control(edit("sizing/connections.py", "return processes * threads *", "return processes + threads *"))
def test_ten_connections_are_too_few_for_eight_threads(run_script, load, cluster) -> None:
    """max_connections = 10, 8 threads plus 20 % rounded up, locks out the eighth thread."""
    names: dict[str, Any] = run_script(load(SIZING))
    threads = names["web_connections"](processes=2, threads=4)
    with fresh(cluster(max_connections=10).server) as database:
        opened, refusal = fill(database, limit=threads)
    assert opened == threads - 1
    assert "slots are reserved" in refusal


@control(edit("sizing/connections.py", "return peak + superuser_reserved", "return 1 + peak + superuser_reserved"))
def test_the_computed_max_connections_is_enough_and_one_less_is_not(run_script, load, cluster) -> None:
    """With the result of max_connections_for, the whole peak connects; with one slot fewer, the last is refused."""
    names: dict[str, Any] = run_script(load(SIZING))
    peak = names["peak_connections"](names["web_connections"](processes=1, threads=2), migrations=1, other=2)
    needed = names["max_connections_for"](peak)
    with fresh(cluster(max_connections=needed).server) as database:
        assert fill(database, limit=peak) == (peak, "")
    with fresh(cluster(max_connections=needed - 1).server) as database:
        opened, _ = fill(database, limit=peak)
    assert opened == peak - 1


# Temporary tables, which PostgreSQL drops when a session ends.
TABLES = "do $$ begin for n in 1..200 loop execute format('create temp table t%s ()', n); end loop; end $$"


@control(here("range(usable - 1)", "range(usable - 2)"), fails_with="one is refused: not within")
def test_a_slot_is_free_a_moment_after_its_connection_is_closed(run_script, load, cluster) -> None:
    """A client that connects right after the last slot's connection was closed is refused until that session ends."""
    usable = run_script(load(SIZING))["usable_slots"](10)
    with fresh(cluster(max_connections=10).server) as database, ExitStack() as kept:
        for _ in range(usable - 1):
            kept.enter_context(database.connect())

        def refused(statement: str) -> bool:
            try:
                last = database.connect()
                last.execute(statement)
                last.close()
                database.connect().close()
            except psycopg.OperationalError as error:
                return "slots are reserved" in str(error)
            return False

        until("one is refused", lambda: refused(TABLES))
        until("the slot is free", lambda: not refused("select 1"))


CLIMB = {"gevent", "granian-asgi", "uvicorn", "daphne", "hypercorn", "runserver", "celery55-gevent"}


@control(edit("sizing/connections.py", "return processes * threads *", "return processes + threads *"))
@control(edit("sizing/connections.py", "return pool_size * pairs *", "return 2 * pool_size * pairs *"))
@control(here('"age-60"', '"age-0"'))
def test_the_formula_gives_what_was_counted_of_each_runner(run_script, load) -> None:
    """It is processes × concurrent work, behind PgBouncer at most its pool; with an age, some climb without limit."""
    names: dict[str, Any] = run_script(load(SIZING))
    counted = json.loads((ROOT / FOLDER / "runners.json").read_text())
    found = {(way, name): counted[way][name]["most"] for way in STRATEGIES for name in RUNNERS}
    computed: dict[tuple[str, str], int | str] = {}
    for way, name in found:
        runner = RUNNERS[name]
        most = names["web_connections"](runner.processes, runner.at_once // runner.processes)
        if STRATEGIES[way].pooler:
            most = min(most, names["pooled_connections"](POOL_SIZE))
        computed[way, name] = CLIMBS if way == "age-60" and name in CLIMB else most
    assert found == computed


# One for each row of the page's table, with Gunicorn's and Celery's two kinds.
OF_EACH_ROW = ("sync", "gthread", "uwsgi", "uvicorn", "granian", "celery-prefork", "celery-threads", "rq", "dramatiq")
OF_EACH_ROW += ("huey", "multiprocessing", "command")
OF_TWO = 'DATABASES["default"]["OPTIONS"]["pool"] |= {"min_size": 2, "max_size": 2}'


@control(edit("sizing/connections.py", "return processes * threads *", "return processes + threads *"))
@control(here('"pool", of_two', '"pool", of_two.replace("2}", "3}")'))
@control(here('"pool", of_two', '"pool", of_two.replace("2}", "1}")'), fails_with="are under way: not within")
@pytest.mark.parametrize("runner", OF_EACH_ROW)
def test_with_a_pool_its_size_counts_and_not_the_threads(runner, run_in, run_script, load) -> None:
    """Processes that do one piece of work at a time, or three, have two connections each with a pool of two.

    A pool that begins with one grows to two under three pieces.
    """
    names: dict[str, Any] = run_script(load(SIZING))
    of_two = OF_TWO
    if RUNNERS[runner].at_once > RUNNERS[runner].processes:
        of_two = of_two.replace('"min_size": 2', '"min_size": 1')
    at_work = run_in(runner, "pool", of_two)
    processes, at_once = at_work.runner.processes, at_work.runner.at_once
    able = min(at_once, 2 * processes)
    with at_work.holder.transaction():
        at_work.holder.execute("lock table orders_order in access exclusive mode")
        at_work.give(at_once)
        until("all that can are under way", lambda: at_work.waiting() >= able)
        expected = names["web_connections"](processes, 2)
        until("so many are open", lambda: at_work.open() >= expected)
        assert at_work.rest(None) == expected
    until("all are done", lambda: at_work.done() == at_once)
    at_work.note()


@control(here("database, DB_CONN", 'database, "manage.py", "runserver", "--noreload", DB_CONN'))
def test_under_asgi_each_request_opens_one_also_over_one_tcp_connection(project, database) -> None:
    """With CONN_MAX_AGE, five consecutive requests on one TCP connection open five database connections."""
    uvicorn = Uvicorn(project, database, DB_CONN_MAX_AGE="60")
    try:
        assert len(uvicorn.kept_alive(5)) == 5
        uvicorn.note()
    finally:
        uvicorn.stop()


ALIASES = """
import django; django.setup()
from django.db import connection, connections
for alias in connections:
    connections[alias].ensure_connection()
with connection.cursor() as cursor:
    cursor.execute("select count(*) from pg_stat_activity where usename = current_user")
    print(*cursor.fetchone())
"""


@control(here("settings.pgbouncer", "settings.prod"))
def test_two_aliases_of_one_thread_are_two_connections(project, database) -> None:
    """This holds although both lead to the same database as the same role."""
    settings = {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer", "DATABASE_DIRECT_URL": database.url}
    assert project.run("-c", ALIASES, database_url=database.url, **settings) == (0, "2\n")


@control(here("signal.SIGHUP", "signal.SIGTTIN"), fails_with="the old worker's are closed: not within")
@control(here('"/orders/"', '"/health/live/"'), fails_with="it waits: not within")
def test_a_reload_has_old_and_new_workers_at_a_time(project, server, server_version, migrated) -> None:
    """While the old worker finishes its request, which waits for a lock, the new one has a connection of its own."""
    evidence.on(PostgreSQL=server_version)
    one = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "2"}
    with fresh(server, template=migrated) as database, serving(project, database, **one) as gunicorn:
        old = gunicorn.request("/connection/")[1]["process"]
        waiting = "select pid from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
        with server.connect(database.name) as holder, ThreadPoolExecutor(1) as thread:
            holder.execute("begin; lock table orders_order")
            asked = thread.submit(gunicorn.request, "/orders/")
            (held,) = until("it waits", lambda: database.admin.execute(waiting, [database.name]).fetchone())
            olds = {*database.backends()} - {holder.info.backend_pid}
            os.kill(gunicorn.process.pid, signal.SIGHUP)
            until("another serves", lambda: gunicorn.request("/connection/")[1]["process"] != old)
            new = gunicorn.backend()
            assert {held, new} <= {*database.backends()}
            holder.execute("rollback")
            assert asked.result()[0] == 200
            until("the old worker's are closed", lambda: not olds & {*database.backends()})
            assert new in database.backends()
        gunicorn.note()


@control(here("--max-requests 1", "--max-requests 0"), fails_with="its connection is closed: not within")
def test_a_worker_that_is_replaced_takes_its_connection_along(project, server, server_version, migrated) -> None:
    """With max_requests = 1 and CONN_MAX_AGE = 60 each of three requests opens a connection, and each is closed."""
    evidence.on(PostgreSQL=server_version)
    one = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "1", "DB_CONN_MAX_AGE": "60"}
    with (
        fresh(server, template=migrated) as database,
        serving(project, database, "--max-requests 1", **one) as gunicorn,
    ):
        served = set()
        for _ in range(3):
            served.add(gunicorn.backend())
            until("its connection is closed", lambda: database.backends() == [])
        assert len(served) == 3
        gunicorn.note()


@control(here("server.connect()", "database.connect()"), fails_with="reserved")
def test_a_superuser_still_gets_in(cluster) -> None:
    """With all ordinary slots taken, a superuser connects as long as other superusers leave a reserved slot."""
    server = cluster(max_connections=10).server
    with fresh(server) as database:
        held = [database.connect() for _ in range(7)]
        try:
            with server.connect() as connection:
                assert connection.execute("select current_setting('is_superuser')").fetchone() == ("on",)
                held += [server.connect() for _ in range(2)]
                with pytest.raises(psycopg.OperationalError, match="too many clients already"):
                    server.connect()
        finally:
            for connection in held:
                connection.close()


@control(edit("postgres/emergency_role.sql", "pg_use_reserved_connections, ", ""), fails_with="reserved")
@control(edit("postgres/emergency_role.sql", "pg_signal_backend", "pg_monitor"), fails_with="permission denied")
@control(edit("postgres/emergency_role.sql", " with inherit true", ""), fails_with="reserved")
def test_reserved_connections_let_a_role_of_your_choice_in(load, cluster) -> None:
    """With reserved_connections set, a role that was granted their use connects when the application no longer can.

    So does one with NOINHERIT. With close_idle.sql, it then ends the application's idle sessions.
    """
    needs_16()
    server = cluster(max_connections=10, reserved_connections=2).server
    with fresh(server) as database:
        oncall = Role(server)
        with server.connect() as connection:  # this role has only those rights whose grant says so
            connection.execute(f"alter role {oncall.name} noinherit")
        database.psql(load("postgres/emergency_role.sql"), role=oncall.name)
        until("psql's session has ended", server.quiet)
        held = [database.connect() for _ in range(5)]
        try:
            with pytest.raises(psycopg.OperationalError, match="pg_use_reserved_connections"):
                database.connect()
            with database.connect(user=oncall.name, password=oncall.password) as connection:
                seen = connection.execute("select count(state) from pg_stat_activity where state = 'idle'").fetchone()
            assert seen == (5,)
            own = Existing(server, database.name, oncall)
            ended = own.psql(load("postgres/close_idle.sql"), superuser=False, application="upstream", idle_for="0")
            assert ended.count("| t\n") == 5
            until("the slots are free", lambda: not database.backends())
            database.connect().close()
        finally:
            for connection in held:
                connection.close()
            with server.connect() as connection:
                oncall.drop(connection)
