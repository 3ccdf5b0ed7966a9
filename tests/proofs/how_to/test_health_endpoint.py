"""Proves docs/how-to/health-endpoint.md: probes while every connection of the pool is in use."""

from http.client import HTTPConnection

import pytest
from psycopg import sql

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs import deployed
from tests.proofs.how_to.test_django_pool import calling, pool_of_one
from tests.proofs.how_to.test_persistent_connections import allow_connections
from tests.proofs.pooled import Pooled
from tests.stack.console import pool
from tests.stack.database import fresh
from tests.stack.upstream import needs_a_pool, serving
from tests.stack.wait import until


@pytest.fixture(scope="module")
def shop(project, server, migrated, tmp_path_factory):
    """Gunicorn with four threads and a pool of one connection, and the service that its views call."""
    with pool_of_one(project, server, migrated, tmp_path_factory.mktemp("settings")) as made:
        yield made


@pytest.fixture(autouse=True)
def noted(server_version) -> None:
    """Tell the ledger what the proof ran on."""
    evidence.on(PostgreSQL=server_version)


@control(here('"/orders/pay/"', '"/orders/invoice/"'))
def test_a_probe_over_the_pool_fails_while_all_is_lent(shop) -> None:
    """While a request holds the pool's only connection, liveness is 200 and readiness 503; afterwards it is 200."""
    gunicorn, _ = shop
    with calling(shop, "/orders/pay/"):
        assert gunicorn.request("/health/ready/")[0] == 503
        assert gunicorn.request("/health/live/")[0] == 200
    assert gunicorn.request("/health/ready/")[0] == 200


@control(edit("upstream/orders/health.py", '    own.settings_dict["OPTIONS"].pop("pool", None)\n', ""))
@control(edit("upstream/orders/health.py", "own.close()", "pass"), fails_with="its connection is gone: not within")
@control(edit("upstream/orders/health.py", "status=503", "status=200"))
@control(here("limit.format(role, 1)", "limit.format(role, 2)"))
def test_a_probe_past_the_pool_asks_postgresql(shop) -> None:
    """It is 200 with the pool exhausted, leaves no connection open, and is 503 when the database refuses logins.

    So it is when the role's limit is reached, while a query over the pool is still answered.
    """
    gunicorn, _ = shop
    database = gunicorn.database
    with calling(shop, "/orders/pay/"):
        assert gunicorn.request("/health/reachable/")[0] == 200
    until("its connection is gone", lambda: len(database.backends()) == 1)
    allow_connections(database, False)
    try:
        assert gunicorn.request("/health/reachable/")[0] == 503
    finally:
        allow_connections(database, True)
    limit = sql.SQL("alter role {} connection limit {}")
    role = sql.Identifier(database.role.name)
    database.admin.execute(limit.format(role, 1))
    try:
        assert [gunicorn.request(f"/health/{name}/")[0] for name in ("reachable", "ready")] == [503, 200]
    finally:
        database.admin.execute(limit.format(role, -1))
    gunicorn.note()


@control(here('GUNICORN_THREADS="1"', 'GUNICORN_THREADS="2"'))
def test_a_probe_that_gives_up_leaves_its_thread_waiting(project, database, pooler) -> None:
    """Readiness waits for PgBouncer's only server connection. The probe gives up, and its thread answers nobody.

    Once the server connection is free, the thread answers the next probe.
    """
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=1)
    with serving(project, Pooled(database, bouncer), GUNICORN_WORKERS="1", GUNICORN_THREADS="1") as gunicorn:
        gunicorn.note()
        with bouncer.connect(database, autocommit=False) as holder:
            holder.execute("select 1")
            probe = HTTPConnection("127.0.0.1", gunicorn.port)
            probe.request("GET", "/health/ready/")
            until("it waits", lambda: pool(bouncer, database)["cl_waiting"] == 1)
            probe.close()
            following = deployed.sent(gunicorn, "/health/live/")
            with pytest.raises(TimeoutError):
                following.result(timeout=0.5)
            assert pool(bouncer, database)["cl_waiting"] == 1
        assert following.result()[0] == 200


@control(
    edit("upstream/settings/base.py", '    "django.middleware.common.CommonMiddleware",\n', ""),
    edit("upstream/settings/base.py", '    "orders.origins.RefuseOtherOrigins",\n', ""),
)
@control(edit("upstream/orders/views.py", "@require_safe\ndef live", '@require_http_methods(["GET"])\ndef live'))
def test_a_probe_asks_under_an_allowed_name(shop) -> None:
    """Each of the three answers GET and HEAD with 200; a GET with another Host header gets 400."""
    gunicorn, _ = shop
    for name in ("live", "ready", "reachable"):
        path = f"/health/{name}/"
        assert deployed.status(gunicorn.port, path, "127.0.0.1", method="HEAD") == 200
        assert deployed.status(gunicorn.port, path, "127.0.0.1") == 200
        assert deployed.status(gunicorn.port, path, "10.1.2.3:8000") == 400


ATOMIC = """
from django.conf import settings
settings.DATABASES["second"] = settings.DATABASES["default"].copy()
import django; django.setup()
from django.db import transaction
from django.test import Client
from orders import health, views

def probe():
    client = Client(raise_request_exception=False, SERVER_NAME="127.0.0.1")
    print(*(client.get(f"/health/{path}/").status_code for path in ("live", "ready", "reachable")))

probe()
for view in (views.live, views.ready, health.reachable):
    transaction.non_atomic_requests(view)
probe()
for view in (views.live, views.ready, health.reachable):
    transaction.non_atomic_requests(using="second")(view)
probe()
"""
# A thread asks past the pool, twice, while another has the pool's only connection.
ATOMIC_AND_POOLED = """
from django.conf import settings

default = settings.DATABASES["default"]
default["CONN_MAX_AGE"] = 0
default.setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": 1}

import django; django.setup()
from threading import Thread
from django.db import connection, transaction
from django.test import Client
from orders import health

def probe():
    client = Client(raise_request_exception=False, SERVER_NAME="127.0.0.1")
    print(client.get("/health/reachable/").status_code)

connection.ensure_connection()
connection.pool.timeout = 0.3
for _ in range(2):
    asks = Thread(target=probe)
    asks.start()
    asks.join()
    transaction.non_atomic_requests(health.reachable)
connection.close()
connection.close_pool()
"""


def over_an_ended_session(project, server, migrated, path: str, health_checks: str) -> int:
    """Return a probe's status over a kept connection whose session was ended, while the database refuses logins."""
    one = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "1", "DB_CONN_MAX_AGE": "none"}
    atomic = {"DJANGO_SETTINGS_MODULE": "settings.atomic", "DB_CONN_HEALTH_CHECKS": health_checks}
    with fresh(server, template=migrated) as database, serving(project, database, **one, **atomic) as gunicorn:
        kept = gunicorn.backend()
        allow_connections(database, False)
        database.terminate(kept)
        status, _ = gunicorn.request(f"/health/{path}/")
        gunicorn.note()
    return status


@control(here('"settings.atomic"', '"settings.prod"'))
@control(
    here('"settings.atomic"', '"settings.prod"', of="tests.proofs.how_to.test_health_endpoint:over_an_ended_session")
)
@control(here("database.terminate(kept)", "pass", of="tests.proofs.how_to.test_health_endpoint:over_an_ended_session"))
@control(
    here("(database, False)", "(database, True)", of="tests.proofs.how_to.test_health_endpoint:over_an_ended_session")
)
@control(here('health_checks="False"', 'health_checks="True"'))
@control(here('"-c", ATOMIC', """"-c", ATOMIC.replace('(using="second")', "")"""))
def test_with_atomic_requests_each_probe_needs_a_connection_unless_it_is_taken_out(project, server, migrated) -> None:
    """With no server reachable, all three return 500; with non_atomic_requests, liveness is 200 and the others 503.

    It has to name each alias that has ATOMIC_REQUESTS, besides default.

    All also return 500 if a kept connection fails its health check and no new one can be opened. Without health
    checks, nothing queries over that connection before the view does, and liveness returns 200.
    """
    nowhere = "postgresql://upstream@127.0.0.1:1/upstream"
    status, said = project.run("-c", ATOMIC, database_url=nowhere, DJANGO_SETTINGS_MODULE="settings.atomic")
    assert status == 0, said
    assert [line for line in said.splitlines() if line[:1].isdigit()] == ["500 500 500"] * 2 + ["200 503 503"]
    probes = ("live", "ready", "reachable")
    checked = [over_an_ended_session(project, server, migrated, path, health_checks="True") for path in probes]
    assert checked == [500, 500, 500]
    unchecked = over_an_ended_session(project, server, migrated, "live", health_checks="False")
    assert unchecked == 200


@control(here('"settings.atomic"', '"settings.prod"'))
@control(here("ATOMIC_AND_POOLED,", 'ATOMIC_AND_POOLED.replace("transaction.non_atomic_requests(", "print("),'))
def test_with_atomic_requests_a_probe_past_the_pool_waits_for_it_unless_it_is_taken_out(project, database) -> None:
    """While the pool's only connection is lent, it returns 500 when the pool's timeout is over; taken out, 200."""
    needs_a_pool()
    settings = {"DJANGO_SETTINGS_MODULE": "settings.atomic"}
    status, said = project.run("-c", ATOMIC_AND_POOLED, database_url=database.url, **settings)
    assert status == 0, said
    assert "couldn't get a connection after 0.30 sec" in said
    assert [line for line in said.splitlines() if line.isdigit()] == ["500", "200"]
    project.note()
