"""Proves docs/reference/every-error.md: each text, provoked, and what each client makes of it."""

from collections.abc import Iterator

import asyncpg
import django
import pytest

from atlas.listed import says
from proven import evidence
from proven.sources.controls import control, here
from tests.proofs.reference.texts.bench import Bench
from tests.proofs.reference.texts.by_asyncpg import IMPATIENT, uncancelled, waited
from tests.proofs.reference.texts.every import CASES, TEXTS, provoked
from tests.proofs.reference.texts.said import Said
from tests.stack.console import at_least
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.postgres import own_major
from tests.stack.upstream import alone


@pytest.fixture(scope="module")
def bench(cluster) -> Iterator[Bench]:
    """One PostgreSQL and one PgBouncer for the whole table."""
    note_pgbouncer()
    # Other versions word it differently: texts.json, read from the programs, has which of them has which text.
    if not at_least(1, 26) or own_major() < 18:
        pytest.skip("was recorded on PgBouncer 1.26 and PostgreSQL 18")
    alone()
    made = Bench(cluster(max_connections=40, reserved_connections=3, log_min_messages="warning"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def said(pytestconfig, bench) -> Iterator[Said]:
    """What was recorded for each text."""
    kept = Said(pytestconfig.getoption("record"), bench.server.version())
    yield kept
    kept.write()


@pytest.fixture(autouse=True)
def noted(bench) -> None:
    """Record what each proof runs on."""
    note_pgbouncer()
    note_postgres(bench.server.version())
    evidence.on(Django=django.get_version())


@control(here("bench.hear(case)", "bench.leave_alone(case)"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_text_is_provoked(case, bench, said) -> None:
    """On real servers of the versions recorded, each client's text and exception are the recorded ones."""
    heard = bench.hear(case)
    assert [who for who, each in heard.items() if says(case.text, each.text)], f"nobody heard it: {heard}"
    assert said.agrees(case.text, heard)


@control(here("provoked(text, bench)", 'provoked("", bench)'))
@pytest.mark.parametrize("text", TEXTS)
def test_each_text_of_a_driver_is_provoked(text, bench, said) -> None:
    """So are the texts that drivers, pools, Django and Gunicorn produce themselves."""
    if "during app initialization" in text and django.VERSION < (5, 0):
        pytest.skip("needs Django 5.0")
    by, heard = provoked(text, bench)
    assert says(text, heard.text), f"it says: {heard.text}"
    assert said.agrees(text, {by: heard})


@control(here("waited(does, bench)", 'waited(IMPATIENT["fetch"][0], bench)'))
@control(here("timeout=0.1", "timeout=None", of="tests.proofs.reference.texts.by_asyncpg:of_call"))
@control(here("=2", "=None", of="tests.proofs.reference.texts.by_asyncpg:of_connection"))
@control(here("0.1", "None", of="tests.proofs.reference.texts.by_asyncpg:of_wait"))
@control(here("0.1", "None", of="tests.proofs.reference.texts.by_asyncpg:of_block"))
def test_a_timeout_of_asyncpg_has_no_text_and_its_traceback_tells_who_waited(bench) -> None:
    """It names acquire without connect, connect, or neither: then a query waited, and its connection still works.

    So it is whether the limit was the call's, the connection's, or that of wait_for() or asyncio.timeout().
    """
    for asked, each in IMPATIENT.items():
        for does in each:
            said, names = waited(does, bench)
            assert said.strip().rpartition(".")[2] == "TimeoutError"
            assert names & IMPATIENT.keys() == {asked}


@control(
    here(
        "os.kill(bench.cluster.leash.pid, signal.SIGSTOP)",
        "pass",
        of="tests.proofs.reference.texts.by_asyncpg:uncancelled",
    )
)
def test_asyncpg_closes_a_connection_when_its_cancel_takes_longer_than_command_timeout(bench) -> None:
    """PostgreSQL takes no new connection meanwhile, so no request to cancel."""
    with pytest.raises(asyncpg.InterfaceError, match="connection is closed"):
        uncancelled(bench)
