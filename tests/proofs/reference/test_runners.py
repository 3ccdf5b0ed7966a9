"""Proves docs/reference/runners.md: what each runner's connections come to. `make record` counts them anew."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import django
import psutil
import pytest

from proven import ROOT, evidence, whole
from proven.evidence.measurements import FOLDER
from proven.sources.controls import control, edit, here
from setup.others import packages
from tests.stack.forked import FORKING, answer
from tests.stack.runners import RUNNERS, STRATEGIES, Counts, Running, counts, granian
from tests.stack.upstream import needs_psycopg_3
from tests.stack.wait import until

FILE = ROOT / FOLDER / "runners.json"
USUAL = "age-60"  # the one with which `make test` counts each runner
ROWS = RUNNERS | FORKING
# Of those that fork: the other pages' proofs have the rest.
AT_TIMES = ("celery-prefork", "celery55-prefork", "rq", "multiprocessing")
COLUMNS = {
    "most": "at most",
    "opened": "opened for each unit",
    "left": "left open",
    "lost": "lost after a restart",
    "within": "lost within it",
    "plain": "answers",
    "module": "with the module",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let `make record` and `make prove ONLY=docs/reference/runners.md` count every cell."""
    asked = any("runners" in only for only in metafunc.config.getoption("only"))
    every = asked or metafunc.config.getoption("record")
    if "strategy" in metafunc.fixturenames:
        metafunc.parametrize("strategy", STRATEGIES if every else [USUAL])
        metafunc.parametrize("runner", RUNNERS)
    elif "column" in metafunc.fixturenames:
        metafunc.parametrize("column", ["plain", "module"] if every else ["plain"])
        metafunc.parametrize("runner", FORKING if every else AT_TIMES)


def known(table: str, runner: str) -> Counts | None:
    """Return what was counted before."""
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found.get(table, {}).get(runner)


def record(table: str, runner: str, found: Counts) -> None:
    """Store what was counted, beside what was there before."""
    with whole.alone(FILE.parent):
        before = json.loads(FILE.read_text()) if FILE.exists() else {}
        cells = {name: before.get(name, {}) for name in (*STRATEGIES, "fork")}
        cells[table][runner] = cells[table].get(runner, {}) | found
        labels = {name: each.name for name, each in STRATEGIES.items()} | {"fork": "After a fork"} | COLUMNS
        labels |= {name: str(each) for name, each in ROWS.items()}
        ordered = {name: {each: row[each] for each in ROWS if each in row} for name, row in cells.items()}
        whole.write(FILE, json.dumps({"labels": labels, **ordered}, indent=1, ensure_ascii=False) + "\n")


@control(
    edit("upstream/settings/prod.py", 'seconds("DB_CONN_MAX_AGE", default=60)', "0"), fails_with="connections left: 3"
)
@control(here("cut=True", "cut=False"))
@control(here("run_in(runner, strategy)", 'run_in(runner, "age-0" if runner == "uvicorn" else strategy)'))
def test_each_runner_has_the_connections_that_the_matrix_says(
    run_in, strategy, runner, request: pytest.FixtureRequest
) -> None:
    """The counts match the tables: open at most, opened per unit, left open, lost after a restart and within it."""
    before = None if request.config.getoption("record") else known(strategy, runner)
    at_work = run_in(runner, strategy)
    found = counts(at_work, before) | {"within": at_work.wave(cut=True)}
    if request.config.getoption("record"):
        return record(strategy, runner, found)
    assert found == before
    return None


@control(here("run_in(one, USUAL)", 'run_in("dramatiq", USUAL)'))
@pytest.mark.parametrize("one", [name for name, each in RUNNERS.items() if each.at_once == 1])
def test_a_runner_that_is_counted_with_one_piece_does_no_more_at_a_time(run_in, one) -> None:
    """Of two pieces the second one waits until the first is done."""
    at_work = run_in(one, USUAL)
    with at_work.holder.transaction():
        at_work.holder.execute("lock table orders_order in access exclusive mode")
        at_work.give(2)
        until("one is under way", at_work.waiting)
        at_work.rest(None)
        assert at_work.waiting() == 1
    until("both are done", lambda: at_work.done() == 2)
    at_work.note()


@control(here('"age-60"', '"age-0"'))
@control(here('"5"', '"600"'), fails_with="its threads have ended: not within")
def test_granians_idle_threads_end_and_leave_what_they_kept(run_in) -> None:
    """Under WSGI with CONN_MAX_AGE, three stay open while one thread is left, and three more requests open two more."""
    idle = granian("wsgi", "--blocking-threads", "3", "--blocking-threads-idle-timeout", "5")
    at_work = run_in(replace(RUNNERS["granian"], starts=idle), "age-60")
    assert at_work.wave() == 0
    (worker,) = psutil.Process(at_work.processes[0].pid).children()
    with_three = worker.num_threads()
    until("its threads have ended", lambda: worker.num_threads() <= with_three - 2)  # it keeps one
    assert at_work.open() == 3
    assert at_work.wave() == 0
    assert len(at_work.seen) == at_work.open() == 5
    at_work.note()


@control(here("workers=workers", "workers=1"))
def test_granian_divides_512_threads_among_its_workers() -> None:
    """Under WSGI with no option set one worker may have 512, two 256 each, four 128. Idle ones end after 30 seconds."""
    code = """if True:
        from granian import Granian
        server = Granian("", interface="wsgi", workers={workers})
        print(server.blocking_threads, server.blocking_threads_idle_timeout)
    """
    environment = {**os.environ, "PYTHONPATH": str(packages("runners"))}
    threads = {}
    for workers in (1, 2, 4):
        asked = [sys.executable, "-c", code.format(workers=workers)]
        threads[workers] = subprocess.check_output(asked, env=environment, text=True).split()
    assert threads == {1: ["512", "30"], 2: ["256", "30"], 4: ["128", "30"]}
    evidence.on(Granian=RUNNERS["granian"].version)


@control(here('"pgbouncer-pool"', '"pool"'))
@control(here('"pgbouncer-age-0"', '"age-0"'))
def test_behind_pgbouncer_each_strategy_counts_the_same() -> None:
    """Whatever the application keeps open, each runner has the same counts in PostgreSQL."""
    age_60, age_0, pool = (
        {runner: known(strategy, runner) for runner in RUNNERS}
        for strategy in ("pgbouncer", "pgbouncer-age-0", "pgbouncer-pool")
    )
    assert None not in age_60.values()
    assert age_60 == age_0
    assert age_60 == pool


@control(here('run_in("bare"', 'run_in("executor"'))
def test_behind_pgbouncer_threads_that_close_nothing_lose_what_follows_a_query_that_was_cut(run_in) -> None:
    """A cut between two jobs costs none. One in a query costs two threads that job and every one after it."""
    at_work = run_in("bare", "pgbouncer")
    assert at_work.wave() == 0
    at_work.cut()
    assert at_work.wave() == 0
    assert at_work.wave(cut=True) == 2
    for _ in range(2):
        assert at_work.wave() >= 2  # such a thread may be quick enough to take the third one's job as well
    at_work.note()


@control(here('"pgbouncer")', '"pgbouncer-age-0")'))
@control(here('"pgbouncer-age-0")', '"pgbouncer")'), fails_with="each has left: not within")
@pytest.mark.parametrize("runner", ["uvicorn", "gevent", "runserver"])
def test_behind_pgbouncer_clients_pile_up_where_threads_do_not_live_on(run_in, runner) -> None:
    """With CONN_MAX_AGE = 60 six requests leave six clients in PgBouncer; with 0 they leave none.

    Before its first request runserver asks which migrations are applied: with Django 4.2 that client stays, too.
    """

    def clients(at_work: Running) -> int:
        role = at_work.database.role.name
        return sum(client["user"] == role for client in at_work.bouncer.show("clients"))

    own = int(runner == "runserver" and django.VERSION < (5, 0))
    kept = run_in(runner, "pgbouncer")
    assert [kept.wave(), kept.wave()] == [0, 0]
    assert clients(kept) - own == 6
    not_kept = run_in(runner, "pgbouncer-age-0")
    assert [not_kept.wave(), not_kept.wave()] == [0, 0]
    until("each has left", lambda: clients(not_kept) == own)
    kept.note()


@control(here('module=column == "module"', 'module=runner == "rq"'))
def test_a_forked_process_gets_the_answers_that_the_matrix_says(
    run_in, column, runner, request: pytest.FixtureRequest
) -> None:
    """If a connection is open at the fork, answers are right or wrong as the table says."""
    needs_psycopg_3()  # it is asked through the driver's own calls
    found: Counts = {column: answer(run_in, FORKING[runner], module=column == "module")}
    if request.config.getoption("record"):
        return record("fork", runner, found)
    assert found[column] == (known("fork", runner) or {})[column]
    return None
