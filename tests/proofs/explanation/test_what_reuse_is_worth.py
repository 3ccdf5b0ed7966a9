"""Proves docs/explanation/what-reuse-is-worth.md: what holds on every machine, however fast it is.

How long anything takes is measured by measure/, and asserted nowhere.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from proven import ROOT, evidence, whole
from proven.evidence.measurements import FOLDER
from proven.sources.controls import control, edit, here
from tests.proofs.pooled import CERTIFICATES, certificates
from tests.stack.console import at_least
from tests.stack.database import Database, fresh
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.network import Network
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.upstream import Gunicorn, Project, needs_a_pool, needs_psycopg_3, serving
from tests.stack.wait import until

THREADS = 2 * 4


@pytest.fixture
def serve(project: Project, server, server_version, migrated) -> Iterator:
    """Serve the project with other settings, on a database of the proof's own."""
    evidence.on(PostgreSQL=server_version)
    with ExitStack() as stack:

        def start(**settings: str) -> Gunicorn:
            database = stack.enter_context(fresh(server, template=migrated))
            gunicorn = stack.enter_context(serving(project, database, **settings))
            stack.callback(gunicorn.note)
            return gunicorn

        yield start


def crowd(gunicorn: Gunicorn, clients: int, looks: Callable[[Database], list[int]], seconds: float = 0.05) -> int:
    """Have many clients send requests at once, and return the most backends that were seen at any time."""
    seen: list[int] = []

    def done() -> bool:
        seen.append(len(looks(gunicorn.database)))
        return all(answer.done() for answer in answers)

    with ThreadPoolExecutor(clients) as pool:
        answers = [pool.submit(gunicorn.request, f"/orders/report/?seconds={seconds}") for _ in range(clients)]
        until("all are answered", done)
    assert {answer.result()[0] for answer in answers} == {200}
    return max(seen)


@control(here('serve(DB_CONN_MAX_AGE="0")', 'serve(DB_CONN_MAX_AGE="0", GUNICORN_THREADS="8")'))
def test_a_crowd_opens_no_more_connections_than_there_are_threads_to_serve_it(serve) -> None:
    """For 64 clients, with none kept open: one connection at work per thread, besides those that are being closed."""
    gunicorn = serve(DB_CONN_MAX_AGE="0")
    seen = [0]

    def all_at_work() -> bool:
        # How many are seen at work depends on the machine: the longer each works, the more, until it is all.
        seen.append(crowd(gunicorn, clients=64, looks=at_work, seconds=0.05 * len(seen)))
        return max(seen) >= THREADS

    until("every thread has a connection", all_at_work)
    assert max(seen) == THREADS
    until("all of them close", lambda: gunicorn.database.backends() == [])


@control(
    edit("upstream/settings/pool.py", '"min_size": size, "max_size": size', '"min_size": 2, "max_size": 2'),
    fails_with="both pools are full: not within",
)
@control(edit("upstream/settings/pool.py", '"max_size": size}', '"max_size": size, "max_lifetime": 0.1}'))
def test_djangos_pool_keeps_as_many_connections_as_it_is_told_in_each_process(serve) -> None:
    """Two processes with a pool of four keep eight connections, and open none of them anew for a second crowd."""
    needs_a_pool()
    gunicorn = serve(DJANGO_SETTINGS_MODULE="settings.pool")

    def asked() -> int:
        return crowd(gunicorn, clients=32, looks=Database.backends)

    # A process opens its pool with its first request, and which process takes a request depends on the machine.
    kept = until("both pools are full", lambda: asked() <= THREADS and full(gunicorn.database))
    asked()
    assert gunicorn.database.backends() == kept


def at_work(database: Database) -> list[int]:
    """Return the backends that run a statement: a closed connection's lingers for a while, and runs none."""
    query = "select pid from pg_stat_activity where datname = %s and usename = %s and state = 'active'"
    return [pid for (pid,) in database.admin.execute(query, [database.name, database.role.name])]


def full(database: Database) -> list[int] | None:
    """Return the backends if there are as many as the pools may have, else None."""
    found = database.backends()
    return found if len(found) == THREADS else None


@control(
    edit("upstream/settings/prod.py", 'flag("DB_CONN_HEALTH_CHECKS", default=True)', "False"),
    fails_with="what it has counted is known: not within",
)
@pytest.mark.parametrize(("checked", "transactions"), [("False", 1), ("True", 2)])
def test_a_health_check_is_one_more_statement_in_each_request(serve, checked, transactions) -> None:
    """For a request with one query PostgreSQL counts one transaction, and with the check two."""
    gunicorn = serve(GUNICORN_WORKERS="1", GUNICORN_THREADS="1", DB_CONN_HEALTH_CHECKS=checked)

    def as_many() -> bool:
        few, many = (transactions_of(gunicorn, requests, transactions) for requests in (5, 15))
        return many - few == 10 * transactions

    # Repeated if autovacuum ran meanwhile, as its transactions are counted too.
    until(f"ten requests more are {10 * transactions} transactions more", as_many)


def transactions_of(gunicorn: Gunicorn, requests: int, each: int) -> int:
    """Return how many transactions are counted for a session that one request opens and `requests` more use.

    Raise TimeoutError if fewer than `each` are counted per request.
    """
    query = "select xact_commit from pg_stat_database where datname = %s"

    def counted() -> int:
        row = gunicorn.database.admin.execute(query, [gunicorn.database.name]).fetchone()
        return int(row[0])

    before = counted()
    until("a request opens a session", lambda: gunicorn.request("/connection/")[0] == 200)
    backend = {gunicorn.backend() for _ in range(requests)}.pop()
    gunicorn.database.terminate(backend)  # a session reports its counts when it ends, at the latest
    # Before PostgreSQL 15 it reports to a process, which passes them on.
    until("what it has counted is known", lambda: counted() - before >= requests * each)
    return counted() - before


@control(edit("upstream/orders/reports.py", "Order.objects.filter(pk__lte=first)", "Order.objects"))
def test_the_report_costs_what_it_reads(serve) -> None:
    """It names the customers with the most orders among the first orders, and no others."""
    gunicorn = serve(GUNICORN_WORKERS="1")
    with gunicorn.database.connect() as connection:
        connection.execute(
            "insert into orders_order (customer, placed_at) values ('Ada', now()), ('Bea', now()), ('Bea', now())"
        )
    asked = {first: gunicorn.request(f"/orders/busiest/?first={first}")[1]["customers"] for first in (1, 3)}
    assert asked[1] == [{"customer": "Ada", "orders": 1}]
    assert asked[3] == [{"customer": "Bea", "orders": 2}, {"customer": "Ada", "orders": 1}]


# Each connects, sends one query, and exits without a Terminate, to which there might be an answer.
PLAIN = """
import os, psycopg
connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
connection.execute("select 1")
os._exit(0)
"""
DJANGO = """
import os, django
django.setup()
from django.db import connection
connection.cursor().execute("select 1")
os._exit(0)
"""
DISTANCE = ROOT / FOLDER / "distance.json"
SYN = 0x02


class Far(NamedTuple):
    """PostgreSQL on another host than the application, and in another time zone than Django's."""

    network: Network
    database: Database
    project: Project

    def round_trips(self, program: str, url: str = "") -> int:
        """Return for how many answers the application waits while it runs a program: the fewer of two runs.

        TLS sends tickets that nothing waits for; one that arrives meanwhile would be taken for an answer.
        """
        return min(self._count(program, url or self.database.url) for _ in range(2))

    def _count(self, program: str, url: str) -> int:
        app = self.network.hosts[0]
        self.network.packets()
        settings = {"DJANGO_SETTINGS_MODULE": "settings.prod"}
        assert self.project.run("-c", program, database_url=url, host=app, **settings) == (0, "")
        sent = [p.source == app.number for p in self.network.packets() if p.payload or p.flags & SYN]
        return sum(asked and not more for asked, more in pairwise(sent))


@pytest.fixture(scope="module")
def far(network, project) -> Iterator[Far]:
    """The two hosts, with a delay between them: what is sent together is on its way before anything comes back."""
    made = network(2)
    cluster = Cluster(host=made.hosts[1], timezone="Europe/Berlin")
    made.between(*made.hosts, delay=0.02)
    try:
        with fresh(cluster.server) as database:
            yield Far(made, database, project)
    finally:
        cluster.stop()


def expected(request: pytest.FixtureRequest, found: dict[str, int]) -> dict[str, int]:
    """Return what the page has; with --record write what was found, and return that."""
    whole_file = json.loads(DISTANCE.read_text()) if DISTANCE.exists() else {}
    rows = whole_file.get("connects", {})
    if request.config.getoption("record"):
        rows |= {name: {"round_trips": count} for name, count in found.items()}
        labels = {"round_trips": "round trips", **LABELS}
        ordered = {name: rows[name] for name in LABELS if name in rows}
        whole.write(DISTANCE, json.dumps({"labels": labels, "connects": ordered}, indent=1, ensure_ascii=False) + "\n")
    return {name: rows[name]["round_trips"] for name in found}


LABELS = {
    "plain": "psycopg, `sslmode=disable`",
    "asks": "psycopg, and the server has no TLS",
    "tls13": "psycopg, PgBouncer with TLS 1.3",
    "tls12": "psycopg, PgBouncer with TLS 1.2",
    "django": "Django, and the server has no TLS",
    "django_role": "the same, with the role's time zone set",
}


@control(here('database.psql(load("postgres/role_time_zone.sql"), role=far.database.role.name)', "pass"))
@control(here('"?sslmode=disable"', '""'))
def test_a_connect_is_several_round_trips(far, load, request) -> None:
    """With SCRAM and one query; asking for TLS is one more, and so is Django's time zone unless the role has it."""
    needs_psycopg_3()
    note_postgres(far.database.server.version())
    database = far.database
    found = {
        "plain": far.round_trips(PLAIN, database.url + "?sslmode=disable"),
        "asks": far.round_trips(PLAIN),
        "django": far.round_trips(DJANGO),
    }
    database.psql(load("postgres/role_time_zone.sql"), role=far.database.role.name)
    found["django_role"] = far.round_trips(DJANGO)
    far.project.note()
    assert found["asks"] == found["django_role"] == found["plain"] + 1
    assert found["django"] == found["asks"] + 1
    assert found == expected(request, found)


KEPT = """
import os, django
django.setup()
from django.db import connection, transaction
def query():
    connection.cursor().execute("select %s", [1])
query()
{then}
os._exit(0)
"""


@control(edit("upstream/settings/prod.py", 'flag("DB_CONN_HEALTH_CHECKS", default=True)', "False"))
@control(here("with transaction.atomic(): query()", "query()"))
def test_a_query_on_a_kept_connection_is_one_round_trip(far) -> None:
    """And one more in a request with health checks; BEGIN and COMMIT are one each."""
    note_postgres(far.database.server.version())
    first, *more = (
        far.round_trips(KEPT.format(then=then))
        for then in (
            "",
            "query()",
            "connection.close_if_unusable_or_obsolete(); query()",  # as at the start of a request
            "with transaction.atomic(): query()",
        )
    )
    far.project.note()
    assert [each - first for each in more] == [1, 2, 3]


@control(here('client_tls_protocols="tlsv1.2"', 'client_tls_protocols="tlsv1.3"'))
def test_tls_is_a_round_trip_or_two_more(far, request) -> None:
    """Besides asking for it: one in version 1.3, two in 1.2. The server here is PgBouncer."""
    needs_psycopg_3()
    note_pgbouncer()
    evidence.ran(evidence.load(CERTIFICATES))
    found = {}
    with certificates("ours") as (folder,), ExitStack() as ends:
        own = folder / "pooler.internal"
        files = {"client_tls_key_file": f"{own}.key", "client_tls_cert_file": f"{own}.crt"}
        tls: dict[str, Any] = {"client_tls_sslmode": "require", **files}
        older: dict[str, Any] = dict(tls, client_tls_protocols="tlsv1.2")
        for name, more in (("tls13", tls), ("tls12", older), ("none", {})):
            bouncer = PgBouncer(far.database, host=far.network.hosts[1], **more)
            ends.callback(bouncer.stop)
            found[name] = far.round_trips(PLAIN, bouncer.url(far.database))
    none = found.pop("none")
    assert found == {"tls13": none + 1, "tls12": none + 2}
    assert found == expected(request, found)


@control(here("&sslnegotiation=direct", ""))
def test_to_begin_with_tls_saves_a_round_trip(far) -> None:
    """With sslnegotiation=direct the client does not ask whether there is TLS. The server is PgBouncer."""
    needs_psycopg_3()
    note_pgbouncer()
    if not at_least(1, 25):
        pytest.skip("needs PgBouncer 1.25, which brought direct TLS")
    evidence.ran(evidence.load(CERTIFICATES))
    with certificates("ours") as (folder,):
        own = folder / "pooler.internal"
        files = {"client_tls_key_file": f"{own}.key", "client_tls_cert_file": f"{own}.crt"}
        bouncer = PgBouncer(far.database, host=far.network.hosts[1], client_tls_sslmode="require", **files)
        try:
            url = bouncer.url(far.database) + "?sslmode=require"
            asks = far.round_trips(PLAIN, url)
            direct = far.round_trips(PLAIN, url + "&sslnegotiation=direct")
        finally:
            bouncer.stop()
    far.project.note()
    assert direct == asks - 1
