"""Proves docs/runbooks/pgbouncer-idle-in-transaction.md: ATOMIC_REQUESTS and a slow call, behind a pool of two."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.pooled import Pooled
from tests.stack import pgbouncer
from tests.stack.console import pool
from tests.stack.database import fresh
from tests.stack.fixtures import note_pgbouncer
from tests.stack.pgbouncer import PgBouncer
from tests.stack.upstream import serving
from tests.stack.wait import DEADLINE, until

CLIENTS = 8  # as many as Gunicorn has threads
SECONDS = 0.1  # how long the other service takes for a call, at first
RATE = (r"[\d.]+(?= requests per second)", "RATE")
ALONE = (r"[\d.]+(?= s for a single request)", "SECONDS")
PORT = (r"127\.0\.0\.1:\d+", "HOST")
AGES = (r"\d+:\d{2}:\d{2}", "AGE")
PIDS = (r"^ *\d+ \|", "PID |")


class Payments(ThreadingHTTPServer):
    """The other company's service: it answers after `seconds`, and not before `answer` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Slow)
        self.seconds = SECONDS
        self.calls = 0
        self.answer = Event()
        self.answer.set()


class Slow(BaseHTTPRequestHandler):
    """Answers late."""

    def do_POST(self) -> None:  # noqa: D102
        assert isinstance(self.server, Payments)
        answer = self.server.answer
        self.server.calls += 1
        time.sleep(self.server.seconds)  # this is its slowness, not a wait for some state
        answer.wait(DEADLINE)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


@contextmanager
def payments() -> Iterator[Payments]:
    """Run the other service."""
    with Payments() as service:
        thread = Thread(target=service.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield service
        finally:
            service.answer.set()
            service.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def shop(project, server, migrated):
    """The example project with ATOMIC_REQUESTS under Gunicorn, a PgBouncer with a pool of two, and the service."""
    note_pgbouncer()
    with fresh(server, template=migrated) as database, payments() as service:
        bouncer = PgBouncer(database, pool_mode="transaction", default_pool_size=2)
        settings = {
            "DJANGO_SETTINGS_MODULE": "settings.atomic",
            "PAYMENTS_HOST": f"127.0.0.1:{service.server_address[1]}",
            "PAYMENTS_TIMEOUT": str(DEADLINE),  # no request times out by itself
            "GUNICORN_WORKERS": "1",
            "GUNICORN_THREADS": str(CLIENTS),
        }
        try:
            with serving(project, Pooled(database, bouncer), **settings) as gunicorn:
                yield gunicorn, database, bouncer, service
        finally:
            bouncer.stop()


@pytest.fixture(autouse=True)
def noted(shop, server_version) -> None:
    """Tell the ledger what the proof ran on."""
    shop[0].note()
    evidence.on(PostgreSQL=server_version, PgBouncer=pgbouncer.version())


@control(
    edit("upstream/orders/payments.py", "@transaction.non_atomic_requests\n", ""),
    fails_with="twice as many requests are answered: not within",
)
def test_a_slow_call_outside_of_the_transaction_more_than_doubles_throughput(
    shop, load, printed, transcript, monkeypatch
) -> None:
    """With the same requests, threads and pool, a transaction around the call lets only two requests run at a time."""
    gunicorn, database, bouncer, service = shop
    views = [f"http://127.0.0.1:{gunicorn.port}/orders/{view}/" for view in ("pay-and-hold", "pay")]
    monkeypatch.setattr("sys.argv", ["throughput.py", *views])
    snippet = load("drill/throughput.py")

    def measured() -> str | None:
        output = printed(snippet, METHOD="POST", CLIENTS=str(CLIENTS), REQUESTS=str(4 * CLIENTS))
        held, released = map(float, re.findall(RATE[0], output))
        assert held <= 2 / service.seconds  # two at a time
        if released > 2 * held:
            return output
        service.seconds *= 2  # on a busy machine, a slower call keeps its share of the time
        return None

    try:
        output = until("twice as many requests are answered", measured)
    finally:
        service.seconds = SECONDS
    transcript(snippet, output, [RATE, ALONE, PORT])
    assert all(float(seconds) >= SECONDS for seconds in re.findall(ALONE[0], output))
    assert {row["pool_size"] for row in bouncer.show("databases") if row["name"] == database.name} == {2}


@control(
    edit("postgres/idle_in_transaction.sql", "backend_type = 'client backend'", "backend_type <> 'client backend'")
)
@control(
    edit("upstream/settings/atomic.py", '["ATOMIC_REQUESTS"] = True', '["ATOMIC_REQUESTS"] = False'),
    fails_with="all others wait: not within",
)
def test_silent_transactions_fill_the_pool_while_others_wait(shop, load, transcript) -> None:
    """Every session of the pool is idle in transaction, all other requests wait, and PostgreSQL has nothing to do."""
    gunicorn, database, bouncer, service = shop
    service.answer.clear()
    with ThreadPoolExecutor(CLIENTS) as clients:
        requests = [clients.submit(gunicorn.request, "/orders/pay-and-hold/", "POST") for _ in range(CLIENTS)]
        try:
            until("all others wait", lambda: pool(bouncer, database)["cl_waiting"] == CLIENTS - 2)
            until("both are silent", lambda: states(database) == ["idle in transaction"] * 2)
            snippet = load("postgres/idle_in_transaction.sql")
            transcript(snippet, database.psql(snippet, superuser=False), [AGES, PIDS], case="behind-PgBouncer")
        finally:
            service.answer.set()
        assert {request.result()[0] for request in requests} == {200}


@control(edit("postgres/end_idle_transactions.sql", "pg_terminate_backend", "pg_cancel_backend"))
@control(here('again = "0"', 'again = "1 hour"'))
def test_ending_a_silent_transaction_fails_its_request_and_frees_its_place(shop, load) -> None:
    """Both requests fail and are rolled back; the requests that wait get their places before the two notice.

    Now these two are silent, and a third waits: it gets a place when they are ended in their turn.
    """
    gunicorn, database, bouncer, service = shop
    snippet = load("postgres/end_idle_transactions.sql")
    before = placed(database)
    usual, (one, other, late) = service.answer, (Event(), Event(), Event())
    with ThreadPoolExecutor(CLIENTS) as clients:

        def request(answer: Event) -> Future[tuple[int, dict]]:
            service.answer = answer
            return clients.submit(gunicorn.request, "/orders/pay-and-hold/", "POST")

        try:
            calls = service.calls
            silent = request(one)
            until("one waits for the service", lambda: service.calls == calls + 1)
            too = request(other)
            until("two wait for the service", lambda: service.calls == calls + 2)
            waiting = [request(late)]
            until("one waits for a connection", lambda: pool(bouncer, database)["cl_waiting"] == 1)
            until("two are silent", lambda: states(database) == ["idle in transaction"] * 2)
            database.psql(snippet, superuser=False, silent_for="0")
            one.set()
            assert silent.result()[0] == 500
            waiting.append(request(late))
            until("two others have all places", lambda: service.calls == calls + 4)
            assert not too.done()
            third = request(late)
            until("a third waits", lambda: pool(bouncer, database)["cl_waiting"] == 1)
            until("the two are silent", lambda: states(database) == ["idle in transaction"] * 2)
            again = "0"
            ended = database.psql(snippet, superuser=False, silent_for=again)
            assert ended.count("| t\n") == 2
            until("the third has a place", lambda: service.calls == calls + 5)
            late.set()
            assert [each.result()[0] for each in (*waiting, third)] == [500, 500, 200]
            other.set()
            assert too.result()[0] == 500
        finally:
            service.answer = usual
            for each in (one, other, late):
                each.set()
    assert placed(database) == before + 1


@control(
    edit("upstream/orders/payments.py", "@transaction.non_atomic_requests\n", ""),
    fails_with="every order is there: not within",
)
def test_requests_outside_of_a_transaction_hold_no_server_connection(shop) -> None:
    """While every thread waits for the other service, the pool is free, and another client is served at once."""
    gunicorn, database, bouncer, service = shop
    before = placed(database)
    service.answer.clear()
    with ThreadPoolExecutor(CLIENTS) as clients:
        requests = [clients.submit(gunicorn.request, "/orders/pay/", "POST") for _ in range(CLIENTS)]
        try:
            until(
                "every order is there", lambda: placed(database) == before + CLIENTS and {*states(database)} == {"idle"}
            )
            with bouncer.connect(database) as other:
                assert other.execute("select 1").fetchone() == (1,)
            until("nobody waits", lambda: pool(bouncer, database)["cl_waiting"] == 0)
        finally:
            service.answer.set()
        assert {request.result()[0] for request in requests} == {200}


def states(database) -> list[str]:
    """Return the state of each session of a database."""
    query = "select state from pg_stat_activity where datname = %s and backend_type = 'client backend'"
    return [state for (state,) in database.admin.execute(query, [database.name])]


def placed(database) -> int:
    """Return how many orders are committed."""
    with database.connect() as connection:
        return connection.execute("select count(*) from orders_order").fetchone()[0]
