"""Proves docs/runbooks/worker-timeout.md."""

import os
import signal
import socket
from importlib.metadata import version

import pytest
from gunicorn.config import Timeout

from proven import evidence
from proven.sources.controls import control, here
from tests.proofs.reference.texts.by_runners import worker
from tests.stack.wait import until

# What Gunicorn's log contains once the worker is gone, and what it does not.
ENDS = {"psycopg": ("SystemExit: 1", "SIGKILL"), "psycopg2": ("was sent SIGKILL! Perhaps out of memory?", "SystemExit")}


@pytest.fixture(autouse=True)
def gunicorn() -> None:
    """Record which Gunicorn this is about."""
    evidence.on(Gunicorn=version("gunicorn"))


@control(here("pg_sleep(300)", "pg_sleep(0)"), fails_with="it says so: not within")
@control(here("pg_advisory_xact_lock(7), ", ""))
@pytest.mark.parametrize("driver", ENDS)
def test_a_worker_that_waits_for_the_database_is_killed(driver, database) -> None:
    """This is a sync worker: with psycopg 3 a traceback says where it waited; psycopg2 waits on until SIGKILL.

    psycopg 3 cancels its statement first. That of psycopg2 goes on and keeps its lock.
    """
    query = "select pg_advisory_xact_lock(7), pg_sleep(300)"
    asks = f"{driver}.connect({database.url!r}).cursor().execute({query!r})"
    last, other = ENDS[driver]
    log = worker(asks, last, "--timeout=2", imports=driver)(None)
    assert "WORKER TIMEOUT" in log.partition(last)[0]
    assert other not in log
    assert (f"execute({query!r})" in log) == (driver == "psycopg")
    assert (", in handle_abort" in log) == (driver == "psycopg")
    if driver == "psycopg":
        until("its statement has ended", lambda: database.backends() == [])
        return
    (pid,) = database.backends()
    state = "select state from pg_stat_activity where pid = %s"
    assert database.admin.execute(state, [pid]).fetchone() == ("active",)
    locks = "select objid from pg_locks where pid = %s and locktype = 'advisory' and granted"
    assert database.admin.execute(locks, [pid]).fetchall() == [(7,)]
    database.terminate(pid)


@control(here("os.kill(waiting.info.backend_pid, signal.SIGSTOP); ", ""), fails_with="it says so: not within")
def test_a_worker_whose_server_does_not_answer_is_killed_so_with_psycopg_3_as_well(database) -> None:
    """Its cancel request gets no answer, and no traceback says where it waited."""
    stops = "os.kill(waiting.info.backend_pid, signal.SIGSTOP); waiting.execute('select 1')"
    asks = f"waiting = psycopg.connect({database.url!r}); {stops}"
    last, never = ENDS["psycopg2"]
    try:
        log = worker(asks, last, "--timeout=2", imports="os, signal, psycopg")(None)
    finally:
        for pid in database.backends():
            os.kill(pid, signal.SIGCONT)
    assert "WORKER TIMEOUT" in log.partition(last)[0]
    assert never not in log


@control(here("postgresql://127.0.0.1:{port}/any", "postgresql://127.0.0.1:1/any"), fails_with="it says so: not within")
@pytest.mark.parametrize("driver", ENDS)
def test_a_worker_whose_connect_is_not_answered_is_killed_as_in_a_query(driver) -> None:
    """Something accepts the connection and says nothing: a traceback of psycopg 3 says where it waited."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        asks = f"{driver}.connect('postgresql://127.0.0.1:{port}/any')"
        last, other = ENDS[driver]
        log = worker(asks, last, "--timeout=2", imports=driver)(None)
    assert "WORKER TIMEOUT" in log.partition(last)[0]
    assert other not in log
    assert (asks in log) == (driver == "psycopg")


@control(here('holder.execute("select 1")', "pass"), fails_with="it says so: not within")
def test_a_worker_that_waits_for_a_server_connection_is_killed_so_too(database, pooler) -> None:
    """PgBouncer ignores psycopg 3's cancel request, so that it waits on until SIGKILL, and no traceback says where."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    asks = f"psycopg.connect({bouncer.url(database)!r}).execute('select 1')"
    last, never = ENDS["psycopg2"]
    with bouncer.connect(database, autocommit=False) as holder:
        holder.execute("select 1")
        log = worker(asks, last, "--timeout=2", imports="psycopg")(None)
    assert "WORKER TIMEOUT" in log.partition(last)[0]
    assert never not in log
    assert "cancel request for idle client" in bouncer.leash.said()


@control(here('"--threads=2"', '"--threads=1"'), fails_with="it says so: not within")
@pytest.mark.parametrize("driver", ENDS)
def test_a_worker_with_threads_lets_them_wait(driver, database) -> None:
    """Each of its threads waits for the database for longer than timeout allows, and the worker is not killed.

    Such a worker sends a heartbeat each second: with a timeout of one second it would sometimes be late.
    """
    waits = f"{driver}.connect({database.url!r}).cursor().execute('select pg_sleep(4.5)')"
    counts = "done.append(1); os.write(2, b'%d waited' % len(done))"
    log = worker(
        f"{waits}; {counts}", "2 waited", "--timeout=2", "--threads=2", imports=f"os, {driver}; done = []", requests=2
    )(None)
    assert "WORKER TIMEOUT" not in log


@control(here("Timeout.default", "120"))
def test_gunicorn_gives_up_long_before_pgbouncer(database, pooler) -> None:
    """By default, Gunicorn after 30 seconds, PgBouncer after 120."""
    gunicorn = Timeout.default
    (pgbouncer,) = [row["default"] for row in pooler(database).show("config") if row["key"] == "query_wait_timeout"]
    assert (gunicorn, float(pgbouncer)) == (30, 120)
