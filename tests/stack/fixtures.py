"""What proofs ask for by name. One server a run, started by the controlling process and shared by its workers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import django
import psycopg
import pytest

from proven import evidence
from proven.evidence import cpu, running
from proven.pytest_plugin import SESSION
from tests.stack import database as databases
from tests.stack import janitor, pgbouncer, postgres, wait
from tests.stack.database import Database
from tests.stack.leash import KEEPERS, end_keepers
from tests.stack.network import Network
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster, Server
from tests.stack.redis import Redis
from tests.stack.runners import POOL_SIZE, RUNNERS, STRATEGIES, Runner, Running
from tests.stack.upstream import Project, driver, needs_a_pool, needs_psycopg_3
from tests.stack.wait import until


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUN] = Run()
    if config.getoption("controls"):
        wait.DEADLINE = wait.UNDER_A_CONTROL


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the server that workers share while its CPU time can still be counted among the proofs'."""
    if session.config.getoption("dist", "no") != "no":
        session.config.stash[SESSION].cpu["server of all"] += cpu.seconds(KEEPERS.values())
    session.config.stash[RUN].stop()
    end_keepers()


def pytest_unconfigure(config: pytest.Config) -> None:
    if run := config.stash.get(RUN, None):  # none where the configuration failed before
        run.stop()
    end_keepers()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each parallel worker which server is this run's."""
    node.workerinput["server"] = asdict(node.config.stash[RUN].server())


class Run:
    """The server of this run, started when it is first asked for."""

    def __init__(self) -> None:
        self.started: Server | None = None
        self.stop: Callable[[], None] = lambda: None

    def server(self) -> Server:
        """Return the server that DATABASE_URL names, or one of our own. Where there is none, the run ends."""
        if self.started is None:
            try:
                self.started = postgres.given()
                if self.started is None:
                    cluster = Cluster()
                    self.started, self.stop = cluster.server, cluster.stop
                else:
                    self.stop = janitor.start(self.started)
            except RuntimeError as error:
                pytest.exit(str(error), pytest.ExitCode.USAGE_ERROR)
        return self.started


RUN = pytest.StashKey[Run]()


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    """The PostgreSQL server of this run."""
    shared = getattr(pytestconfig, "workerinput", {}).get("server")
    return Server(**shared) if shared else pytestconfig.stash[RUN].server()


@pytest.fixture(scope="session")
def server_version(server: Server) -> str:
    """Its version, as in "18.6"."""
    return server.version()


def note_postgres(version: str) -> None:
    """Tell the running proof which PostgreSQL it meets. Transcripts are recorded on the embedded one.

    What an older one printed holds for those before it as well. So are they with psycopg 3, and a Django with a pool.
    """
    evidence.on(PostgreSQL=version)
    major, default = int(version.partition(".")[0]), int(postgres.DEFAULT_MAJOR)
    others = sorted({major, *range(major, default)} - {default})
    drivers = driver().keys() - {"psycopg"}
    djangos = [f"Django-{'.'.join(map(str, django.VERSION[:2]))}"] if django.VERSION < (5, 1) else []
    running.current.variants = (*drivers, *djangos, *(f"PostgreSQL-{other}" for other in others))


def note_pgbouncer() -> str:
    """Tell the running proof which PgBouncer it meets, and return its version. Where there is none, it is not run."""
    try:
        known = pgbouncer.version()
    except RuntimeError as error:
        pytest.skip(str(error))
    evidence.on(PgBouncer=known)
    return known


@pytest.fixture
def database(server: Server, server_version: str) -> Iterator[Database]:
    """An empty database of this proof's own."""
    note_postgres(server_version)
    with databases.fresh(server) as made:
        yield made


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The example project, exported as a reader gets it."""
    made = Project(tmp_path_factory.mktemp("project"))
    yield made
    made.stop()


@pytest.fixture(scope="session")
def migrated(server: Server, project: Project) -> Iterator[str]:
    """The name of a template database that holds the project's tables."""
    with databases.fresh(server) as template:
        status, output = project.run("manage.py", "migrate", "--verbosity=0", database_url=template.url)
        assert status == 0, output
        # Whoever owns a copy may use the tables in it.
        with template.connect() as connection:
            connection.execute("grant all on all tables in schema public to public")
            connection.execute("grant all on all sequences in schema public to public")
        yield template.name


@pytest.fixture(scope="session")
def cluster() -> Iterator[Callable[..., Cluster]]:
    """Start a PostgreSQL server with settings of its own: cluster(max_connections=10).

    Proofs that ask for the same settings in one worker share it, each with a database of its own.
    """
    made: dict[str, Cluster] = {}

    def start(**settings: object) -> Cluster:
        key = repr(sorted(settings.items()))
        if key not in made:
            made[key] = Cluster(**settings)
        note_postgres(made[key].server.version())
        until("sessions of the proof before are gone", made[key].server.quiet)
        return made[key]

    yield start
    for started in made.values():
        started.stop()


@pytest.fixture(scope="module")
def network() -> Iterator[Callable[[int], Network]]:
    """Make a network of so many hosts: network(2). Where the machine has none, the proof is not run."""
    with ExitStack() as made:

        def make(hosts: int) -> Network:
            try:
                started = Network(hosts)
            except RuntimeError as error:
                pytest.skip(str(error))
            made.callback(started.stop)
            return started

        yield make


@pytest.fixture
def pooler() -> Iterator[Callable[..., PgBouncer]]:
    """Start PgBouncer in front of a database: pooler(database, pool_mode="transaction"). It ends with the proof."""
    note_pgbouncer()
    with ExitStack() as started:

        def start(*databases: Database, **settings: Any) -> PgBouncer:
            bouncer = PgBouncer(*databases, **settings)
            started.callback(bouncer.stop)
            return bouncer

        yield start


@pytest.fixture
def sessions() -> Iterator[Callable[..., psycopg.Connection[tuple]]]:
    """Open sessions that are closed after the proof: sessions(database, application_name="worker")."""
    opened: list[psycopg.Connection[tuple]] = []

    def connect(database: Database, **options: Any) -> psycopg.Connection[tuple]:
        opened.append(database.connect(**options))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture(scope="session")
def redis() -> Iterator[Callable[[], str]]:
    """Return the URL of an empty database in Redis, which is started when it is first asked for."""
    made: list[Redis] = []

    def empty() -> str:
        try:
            made[:] = made or [Redis()]
        except RuntimeError as error:
            pytest.skip(str(error))
        return made[0].empty()

    yield empty
    for each in made:
        each.stop()


@pytest.fixture
def run_in(
    server: Server, server_version: str, migrated: str, project: Project, redis: Callable[[], str], request: Any
) -> Iterator[Callable[..., Running]]:
    """Run the project in one of tests/stack/runners.py: run_in("celery-solo", "age-60"). It ends with the proof."""
    note_postgres(server_version)
    with ExitStack() as ends:

        def start(runner: str | Runner, strategy: str = "age-60", more: str = "") -> Running:
            how = STRATEGIES[strategy]
            what = RUNNERS[runner] if isinstance(runner, str) else runner
            if strategy == "pool":
                needs_a_pool()
            if what.fresh:
                needs_psycopg_3()  # psycopg2 lets no greenlet go on while a query waits
            tables = ends.enter_context(databases.fresh(server, template=migrated))
            settings = {"pool_mode": "transaction", "default_pool_size": POOL_SIZE}
            bouncer = request.getfixturevalue("pooler")(tables, **settings) if how.pooler else None
            queue = redis() if what.needs_redis else ""
            made = Running(project, tables, what, how, bouncer=bouncer, redis=queue, more=more)
            ends.callback(made.stop)
            return made

        yield start
