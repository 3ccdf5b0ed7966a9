"""Proves docs/how-to/lambda.md: a process that is given one request at a time, and is frozen in between."""

from os import kill
from signal import SIGCONT, SIGSTOP

import pytest

from proven.sources.controls import control, here
from tests.stack.runners import GIVER, NEW, Runner
from tests.stack.upstream import needs_a_pool
from tests.stack.wait import until

# The application is called once per event, as Zappa does it, without a server.
CALLED = """
from wsgiref.util import setup_testing_defaults
from wsgi import application

def give():
    event = {"HTTP_HOST": "127.0.0.1", "PATH_INFO": "/orders/"}
    setup_testing_defaults(event)
    status = []
    response = application(event, lambda given, headers: status.append(given))
    response.close()
    print("1 orders" if status == ["200 OK"] else f"django.db.utils.Error: {status}", flush=True)
"""
FUNCTION = Runner("", "a function", ("-c", GIVER.format(gives=CALLED)), at_once=1, own=True)
# The event that API Gateway passes to a function with Mangum's handler.
BY_MANGUM = """
from mangum import Mangum
from asgi import application

handler = Mangum(application, lifespan="off")
EVENT = {
    "version": "2.0",
    "rawPath": "/orders/",
    "rawQueryString": "",
    "headers": {"host": "127.0.0.1"},
    "requestContext": {"http": {"method": "GET", "path": "/orders/", "sourceIp": "127.0.0.1"}},
    "isBase64Encoded": False,
}

def give():
    status = handler(EVENT, None)["statusCode"]
    print("1 orders" if status == 200 else f"django.db.utils.Error: {status}", flush=True)
"""
MANGUM = Runner("Mangum", "", ("-c", GIVER.format(gives=BY_MANGUM)), at_once=1, packages=NEW, own=True)


@control(here('"age-60"', '"age-0"'))
def test_requests_of_one_environment_share_a_connection(run_in) -> None:
    """With CONN_MAX_AGE = 60, three calls of the application in one process use one connection, which stays open.

    With 0, each call opens its own, and none is left.
    """
    at_work = run_in(FUNCTION, "age-60")
    lost = [at_work.wave() for _ in range(3)]
    assert lost == [0, 0, 0]
    assert (len(at_work.seen), at_work.open()) == (1, 1)
    at_work.note()
    not_kept = run_in(FUNCTION, "age-0")
    lost = [not_kept.wave() for _ in range(3)]
    assert lost == [0, 0, 0]
    assert len(not_kept.seen) == 3
    until("none is left", lambda: not_kept.open() == 0)


@control(here('(MANGUM, "age-60")', '(FUNCTION, "age-60")'))
@control(here('(MANGUM, "age-0")', '(MANGUM, "age-60")'), fails_with="none is left: not within")
@control(here('"gc.enable()"', '"gc.disable()"'), fails_with="Python has collected some: not within")
def test_mangum_finds_no_connection_of_the_request_before(run_in) -> None:
    """With CONN_MAX_AGE = 60, three calls open three connections that stay open; with 0, three that are closed.

    Nothing but Python's garbage collector closes those that stayed open: the runner turns it off, and Python is on.
    """
    kept = run_in(MANGUM, "age-60")
    assert [kept.wave() for _ in range(3)] == [0, 0, 0]
    assert (len(kept.seen), kept.open()) == (3, 3)
    kept.note()
    not_kept = run_in(MANGUM, "age-0")
    assert [not_kept.wave() for _ in range(3)] == [0, 0, 0]
    assert len(not_kept.seen) == 3
    until("none is left", lambda: not_kept.open() == 0)
    collects = run_in(MANGUM, "age-60", "gc.enable()")
    until("Python has collected some", lambda: collects.wave() == 0 and collects.open() < len(collects.seen))


@control(here('"pool"', '"age-60"'))
def test_a_pool_lends_one_to_each_request_under_mangum(run_in) -> None:
    """Three calls of the application in one process use one connection, which stays open."""
    needs_a_pool()
    pooled = run_in(MANGUM, "pool")
    assert [pooled.wave() for _ in range(3)] == [0, 0, 0]
    assert (len(pooled.seen), pooled.open()) == (1, 1)
    pooled.note()


@control(here("'2s'", "0"), fails_with="PostgreSQL has ended it: not within")
@control(here("(by, keeps)", "(by, keeps, \"DATABASES['default']['CONN_HEALTH_CHECKS'] = False\")"))
@pytest.mark.parametrize(("by", "keeps"), [(FUNCTION, "age-60"), (MANGUM, "pool")], ids=["WSGI", "Mangum, a pool"])
def test_a_frozen_environment_finds_a_new_connection(run_in, by, keeps) -> None:
    """idle_session_timeout ends a frozen process's session; once thawed, it answers the next request over a new one.

    So it is with the application called by WSGI and CONN_MAX_AGE = 60, and with Mangum and a pool of one.
    """
    at_work = run_in(by, keeps)
    at_work.holder.execute(f"alter role {at_work.database.role.name} set idle_session_timeout = '2s'")
    first = at_work.wave()
    process = at_work.processes[0].pid
    kill(process, SIGSTOP)
    until("PostgreSQL has ended it", lambda: at_work.open() == 0)
    kill(process, SIGCONT)
    assert [first, at_work.wave()] == [0, 0]
    assert len(at_work.seen) == 2
    at_work.note()


@control(here("client_idle_timeout=1", "client_idle_timeout=0"), fails_with="PgBouncer has ended it: not within")
@control(here("'2s'", "0"), fails_with="PostgreSQL has ended its session: not within")
@control(here('"pgbouncer")', "\"pgbouncer\", \"DATABASES['default']['CONN_HEALTH_CHECKS'] = False\")"))
def test_behind_pgbouncer_a_frozen_environment_keeps_its_place(run_in) -> None:
    """idle_session_timeout ends PgBouncer's session, not the client of a frozen process, but client_idle_timeout does.

    Once thawed, the process answers the next request over a new one.
    """
    at_work = run_in(FUNCTION, "pgbouncer")
    bouncer, role = at_work.bouncer, at_work.database.role.name
    at_work.holder.execute(f"alter role {role} set idle_session_timeout = '2s'")

    def clients() -> set[str]:
        return {client["ptr"] for client in bouncer.show("clients") if client["user"] == role}

    first = at_work.wave()
    (frozen,) = clients()
    process = at_work.processes[0].pid
    kill(process, SIGSTOP)
    until("PostgreSQL has ended its session", lambda: at_work.open() == 0)
    until("PgBouncer knows", lambda: not [each for each in bouncer.show("servers") if each["user"] == role])
    assert clients() == {frozen}
    bouncer.set(client_idle_timeout=1)
    until("PgBouncer has ended it", lambda: not clients())
    bouncer.set(client_idle_timeout=0)  # on a busy machine the next one may be idle that long as it begins
    kill(process, SIGCONT)
    assert [first, at_work.wave()] == [0, 0]
    at_work.note()
