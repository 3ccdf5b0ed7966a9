"""One setup, standing ready: PostgreSQL, PgBouncer, Gunicorn, and what it costs them to serve.

Each setup has a PostgreSQL of its own, so that every process and session of it belongs to that setup alone.
"""

import math
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from measure import clocks
from measure.plan import AGE, PROCESSES, SETUPS, THREADS, Setup
from proven.sources import snippets
from tests.stack.database import Database
from tests.stack.leash import Leash, give
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.upstream import Gunicorn, Project
from tests.stack.wait import until

INI, CERTIFICATES = "pgbouncer/pgbouncer.ini", "pgbouncer/certificates.sh"
ORDERS, CUSTOMERS = 500_000, 1000
# Where the test clusters differ from PostgreSQL's default: a login costs what it costs a reader. Nothing is written
# here, and other processes that the server would start are not backends of the application.
POSTGRESQL = {"scram_iterations": 4096, "autovacuum": "off", "max_parallel_workers_per_gather": 0}
PATH = "/orders/busiest/?first="
LOOK = 0.005  # seconds between two counts of the backends
# The statement of orders/reports.py, as Django sends it except for its quotation marks.
BUSIEST = (
    "select customer, count(id) as orders from orders_order where id <= %s"
    " group by customer order by orders desc, customer limit 5"
)


class Certificates:
    """Certificates for this machine's address, from the script that the guide shows."""

    def __init__(self) -> None:
        self.leash = Leash("certificates")
        script = self.leash.write("certificates.sh", snippets.read(CERTIFICATES).text)
        folder = self.leash.folder / "made"
        folder.mkdir()
        made = subprocess.run(["sh", script, "server", "127.0.0.1"], cwd=folder, capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(f"openssl could not make the certificates:\n{made.stderr.strip()}")
        folder.chmod(0o755)
        give(folder, *folder.iterdir())
        self.authority, self.certificate, self.key = (folder / name for name in ("ca.crt", "server.crt", "server.key"))

    @property
    def url(self) -> str:
        """How the URL of a client ends that verifies the server."""
        return f"?sslmode=verify-full&sslrootcert={self.authority}"

    @property
    def postgresql(self) -> dict[str, Any]:
        """The settings of a server that uses them."""
        return {"ssl": "on", "ssl_cert_file": self.certificate, "ssl_key_file": self.key}

    @property
    def pgbouncer(self) -> dict[str, Any]:
        """The same for PgBouncer, on both of its sides."""
        client = {"tls_sslmode": "require", "tls_key_file": self.key, "tls_cert_file": self.certificate}
        server = {"tls_sslmode": "verify-full", "tls_ca_file": self.authority}
        return {f"client_{name}": value for name, value in client.items()} | {
            f"server_{name}": value for name, value in server.items()
        }


class Reached(Database):
    """A database that the application reaches at an address of its own."""

    def __init__(self, database: Database, url: str) -> None:
        self.server, self.name, self.role = database.server, database.name, database.role
        self.through = url

    @property
    def url(self) -> str:
        """How the application reaches it."""
        return self.through


@dataclass(frozen=True)
class Reading:
    """What a setup has used so far: sessions, and CPU seconds."""

    sessions: int
    postgresql: float
    pgbouncer: float
    app: float


class Lane:
    """One setup, with TLS or without, ready to be measured."""

    def __init__(self, project: Project, name: str, certificates: Certificates | None) -> None:
        self._stack = ExitStack()
        try:
            self._start(project, SETUPS[name], certificates)
        except BaseException:
            self.stop()
            raise

    def _start(self, project: Project, setup: Setup, certificates: Certificates | None) -> None:
        self.cluster = Cluster(**POSTGRESQL, **(certificates.postgresql if certificates else {}))
        self._stack.callback(self.cluster.stop)
        self.database = self._filled(project)
        self._stack.callback(self.database.leave)
        ending = certificates.url if certificates else "?sslmode=disable"
        url = direct = self.database.url + ending
        settings = dict(setup.settings)
        self.bouncer: PgBouncer | None = None
        if setup.pooler:
            tls = certificates.pgbouncer if certificates else {}
            self.bouncer = PgBouncer(named={"upstream": self.database}, ini=snippets.read(INI), **tls)
            self._stack.callback(self.bouncer.stop)
            url = self.bouncer.url(self.database) + ending
            settings |= {"DJANGO_SETTINGS_MODULE": "settings.pgbouncer", "DATABASE_DIRECT_URL": direct}
        assert self.database.admin  # opens its session before anything is counted
        steady("who filled the table has left", lambda: len(clocks.children(self.cluster.leash.pid)))
        self.before = set(clocks.children(self.cluster.leash.pid))
        sizes = {"GUNICORN_WORKERS": str(PROCESSES), "GUNICORN_THREADS": str(THREADS)}
        # Nothing watches which files these processes read, so that only the application is measured.
        unwatched = {"PYTHONPATH": "", "PROVEN_WITNESS": ""}
        self.gunicorn = Gunicorn(project, Reached(self.database, url), **settings, **sizes, **unwatched)
        self._stack.callback(self.gunicorn.stop)
        self.keeps = setup.settings["DB_CONN_MAX_AGE"] == str(AGE)
        self.opened = -math.inf  # when the kept connections were opened

    def _filled(self, project: Project) -> Database:
        """Return a database of the project's with orders in it."""
        database = Database(self.cluster.server)
        status, output = project.run("manage.py", "migrate", "--verbosity=0", database_url=database.url)
        if status:
            raise RuntimeError(f"manage.py migrate failed:\n{output}")
        with database.connect(sslmode="prefer") as owner:
            owner.execute(
                "insert into orders_order (customer, placed_at) select 'customer ' || n %% %s, now()"
                " from generate_series(1, %s) n",
                [CUSTOMERS, ORDERS],
            )
            owner.execute("vacuum analyze orders_order")
            owner.execute(BUSIEST, [ORDERS])  # from here on all of it is in memory
        return database

    def url(self, orders: int) -> str:
        """Return the address of the report on so many orders."""
        return f"http://127.0.0.1:{self.gunicorn.port}{PATH}{orders}"

    def warm(self, seconds: float) -> None:
        """Have every thread serve a request before anything counts, and wait until backends without a client are gone.

        If kept connections would reach their age within the next `seconds`, wait until they have. All of them are then
        reopened within a moment, which in so short a measurement would weigh many times what it does in a minute.
        """
        left = AGE - (time.monotonic() - self.opened)
        if self.keeps and 0 < left < seconds:
            time.sleep(left)
            left = 0
        with ThreadPoolExecutor(2 * PROCESSES * THREADS) as clients:
            answers = list(clients.map(self.gunicorn.request, [PATH + "1"] * (4 * PROCESSES * THREADS)))
        if {status for status, _ in answers} != {200}:
            raise RuntimeError(f"{PATH}1 failed:\n{self.gunicorn.why()}")
        if left <= 0:
            self.opened = time.monotonic()
        self.settle()

    def settle(self) -> None:
        """Wait until backends whose client has left are gone."""
        steady("backends have ended", self.backends)

    def backends(self) -> int:
        """Return how many backends the application has now: PostgreSQL's children, except those it started with."""
        return len(set(clocks.children(self.cluster.leash.pid)) - self.before)

    def read(self) -> Reading:
        """Return what has been used so far."""
        return Reading(
            self.database.sessions(),
            clocks.family(self.cluster.leash.pid),
            clocks.used(self.bouncer.leash.pid) if self.bouncer else 0.0,
            clocks.family(self.gunicorn.process.pid),
        )

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """Count backends for as long as the block lasts; the list that it yields ends up with the highest count."""
        peak = [0]
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK):
                peak[0] = max(peak[0], self.backends())

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield peak
        finally:
            ended.set()
            watcher.join()

    def stop(self) -> None:
        """End its servers."""
        self._stack.close()


def steady(what: str, probe: Callable[[], int]) -> int:
    """Wait until a number is the same in four looks, and return it."""
    seen: list[int] = []

    def same() -> bool:
        seen.append(probe())
        return len(seen) > 3 and len(set(seen[-4:])) == 1

    until(what, same)
    return seen[-1]


def orders_for(lane: Lane, milliseconds: float) -> int:
    """Return how many orders a report has to read to take so much of PostgreSQL's CPU time; 1 for no time at all.

    Raises RuntimeError where the table is too small for it.
    """
    if not milliseconds:
        return 1
    orders = ORDERS // 10
    with lane.database.connect(sslmode="prefer") as connection:
        pid = connection.info.backend_pid
        for _ in range(3):  # what it takes is nearly proportional to what it reads
            took = _milliseconds(connection, pid, orders)
            orders = min(max(round(orders * milliseconds / took), 1), ORDERS)
    if orders == ORDERS:
        raise RuntimeError(f"{ORDERS} orders are read in less than {milliseconds:g} ms: raise ORDERS in {__name__}")
    return orders


def _milliseconds(connection: Any, pid: int, orders: int, times: int = 15) -> float:
    connection.execute(BUSIEST, [orders])
    before = clocks.used(pid)
    for _ in range(times):
        connection.execute(BUSIEST, [orders])
    return (clocks.used(pid) - before) * 1000 / times
