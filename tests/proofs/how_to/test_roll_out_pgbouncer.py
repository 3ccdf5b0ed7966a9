"""Proves docs/how-to/roll-out-pgbouncer.md: one instance behind PgBouncer beside one that is not."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.pooled import Pooled
from tests.stack import pgbouncer
from tests.stack.database import fresh
from tests.stack.fixtures import note_pgbouncer
from tests.stack.pgbouncer import PgBouncer
from tests.stack.upstream import serving
from tests.stack.wait import until

THREADS = 6
POOL = 2


@pytest.fixture(scope="module")
def shop(project, server, migrated):
    """Two instances on one database: one goes through PgBouncer, the other does not."""
    note_pgbouncer()
    threads = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": str(THREADS)}
    with fresh(server, template=migrated) as database:
        bouncer = PgBouncer(database, pool_mode="transaction", default_pool_size=POOL)
        try:
            pooled = {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer", "DATABASE_DIRECT_URL": database.url}
            with (
                serving(project, Pooled(database, bouncer), **threads, **pooled) as canary,
                serving(project, database, **threads) as stable,
            ):
                yield database, bouncer, canary, stable
        finally:
            bouncer.stop()


@pytest.fixture
def noted(shop, server_version) -> None:
    """Tell the ledger what the proof ran on."""
    shop[2].note()
    evidence.on(PostgreSQL=server_version, PgBouncer=pgbouncer.version())


def most_sessions(database, gunicorn, enough: int) -> int:
    """Keep every thread busy until there are enough sessions; return the most that PostgreSQL had at once."""
    seen = [0]

    def asked() -> bool:
        with ThreadPoolExecutor(2 * THREADS) as clients:
            requests = [clients.submit(gunicorn.request, "/orders/report/?seconds=0.03") for _ in range(4 * THREADS)]
            until("all are answered", lambda: seen.append(len(database.backends())) or all(r.done() for r in requests))
        assert {request.result()[0] for request in requests} == {200}
        return max(seen) >= enough

    until("there are enough sessions", asked)
    return max(seen)


@control(edit("postgres/clients.sql", "count(*) as connections", "1 as connections"))
@control(
    here("default_pool_size=POOL", "default_pool_size=THREADS", of="tests.proofs.how_to.test_roll_out_pgbouncer:shop")
)
@pytest.mark.usefixtures("noted")
def test_the_same_requests_need_fewer_sessions_through_pgbouncer(shop, load) -> None:
    """Six threads need six sessions directly, and two through a pool of two."""
    database, _, canary, stable = shop
    for pid in database.backends():  # kept by stable from another proof
        database.terminate(pid)
    assert most_sessions(database, canary, POOL) == POOL
    assert most_sessions(database, stable, THREADS) == POOL + THREADS
    (row,) = [line for line in database.psql(load("postgres/clients.sql")).splitlines() if "upstream" in line]
    assert row.split("|")[2].strip() == str(POOL + THREADS)


@control(edit("upstream/orders/views.py", "Placing(request.POST)", "Placing({})"))
@pytest.mark.usefixtures("noted")
def test_both_kinds_of_instances_serve_the_same_orders(shop) -> None:
    """An order placed through PgBouncer is listed by the instance without it, and the other way round."""
    _, _, canary, stable = shop
    for one, other, customer in ((canary, stable, "Ada"), (stable, canary, "Grace")):
        status, placed = one.request("/orders/", "POST", f"customer={customer}")
        assert status == 201
        assert {"id": placed["id"], "customer": customer} in other.request("/orders/")[1]["orders"]


@control(here("bouncer.leash.halt()", "pass"))
@control(here("serving(project, database", "serving(project, Pooled(database, bouncer)"))
@pytest.mark.usefixtures("noted")
def test_the_old_url_is_the_way_back(shop, project) -> None:
    """With PgBouncer down, the instance behind it is not ready; started with the direct DATABASE_URL, it is."""
    database, bouncer, canary, stable = shop
    assert canary.request("/health/ready/")[0] == 200
    bouncer.leash.halt()
    try:
        assert canary.request("/health/ready/")[0] == 503
        assert stable.request("/health/ready/")[0] == 200
        same = {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer", "DATABASE_DIRECT_URL": database.url}
        with serving(project, database, GUNICORN_WORKERS="1", **same) as again:
            assert again.request("/health/ready/")[0] == 200
    finally:
        bouncer.restart()


@control(here('"settings.pgbouncer"', '"settings.prod"'))
def test_without_the_direct_url_the_settings_do_not_load(project, database) -> None:
    """The error names the variable."""
    settings = {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    status, said = project.run("manage.py", "check", database_url=database.url, **settings)
    project.note()
    assert (status, "ImproperlyConfigured: DATABASE_DIRECT_URL must look like postgresql://" in said) == (1, True)
