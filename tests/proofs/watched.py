"""The folder snippets/monitoring/ used as the pages describe: exporters and Prometheus around PgBouncer's setup."""

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from proven import evidence
from proven.sources.snippets import Snippet
from tests.proofs.pooled import Pooled, Setup, reader, settings_of
from tests.stack import monitoring
from tests.stack.database import Database
from tests.stack.monitoring import Exporter, Prometheus, environment
from tests.stack.postgres import Cluster, own_major
from tests.stack.upstream import Gunicorn

CONFIG = "monitoring/prometheus.yml"
RULES = "monitoring/rules.yml"
MAX_CONNECTIONS = 20
RESERVED = 2
POOL = 2  # server connections
Serve = Callable[[Pooled, Setup], AbstractContextManager[Gunicorn]]


class Watched:
    """A reader's PostgreSQL and PgBouncer, their exporters, and Prometheus, which scrapes them."""

    def __init__(self, setup: Setup, stop: ExitStack, serve: Serve | None) -> None:
        self.setup = setup
        self.database = setup.database
        self._ran: dict[str, Snippet] = {}
        needed = settings_of(self._load("monitoring/exporter.ini").text)
        self.pgbouncer = setup.start(default_pool_size=POOL, max_client_conn=30, **needed)
        stop.callback(self.pgbouncer.stop)
        self.exporters: dict[str, Exporter] = {}
        for name, start in (
            ("postgres", self.postgres_exporter),
            ("pgbouncer", self.pgbouncer_exporter),
            ("logs", self._logs),
        ):
            self.exporters[name] = start()
            stop.callback(self.exporters[name].stop)
        targets = {name: started.port for name, started in self.exporters.items()}
        if serve:
            self.gunicorn = stop.enter_context(serve(Pooled(self.database, self.pgbouncer), setup))
            targets["django"] = self.gunicorn.port
        self._targets = targets
        self._stop = stop

    @functools.cached_property
    def prometheus(self) -> Prometheus:
        """Prometheus, which scrapes them all, for the first time after five seconds."""
        started = Prometheus(evidence.load(CONFIG), evidence.load(RULES), self._targets)
        self._stop.callback(started.stop)
        return started

    def note(self) -> None:
        """Tell the running proof what this stack ran, and on which versions."""
        self.setup.note()
        for snippet in self._ran.values():
            evidence.ran(snippet)
        if "prometheus" in self.__dict__:
            evidence.ran(self.prometheus.config, "started")
            evidence.ran(self.prometheus.rules)
        evidence.on(
            Prometheus=monitoring.version("prometheus"),
            postgres_exporter=monitoring.version("postgres_exporter"),
            pgbouncer_exporter=monitoring.version("pgbouncer_exporter"),
            mtail=monitoring.version("mtail"),
        )

    def _load(self, path: str) -> Snippet:
        self._ran[path] = evidence.load(path)
        return self._ran[path]

    def postgres_exporter(self, queries: str = "{folder}/queries.yml") -> Exporter:
        """Start postgres_exporter as the page describes; without queries.yml, if `queries` is empty."""
        server, role = self.setup.server, self.setup.roles["upstream_monitor"]
        variables = self._environment(
            "monitoring/postgres_exporter.env",
            DATA_SOURCE_URI=f"{server.host}:{server.port}/upstream?sslmode=disable",
            DATA_SOURCE_PASS_FILE="{folder}/password",
            PG_EXPORTER_EXTEND_QUERY_PATH=queries,
        )
        files = {"password": role.password, "queries.yml": self._load("monitoring/queries.yml").text}
        return Exporter("postgres_exporter", *_arguments(variables), env=variables, files=files)

    def pgbouncer_exporter(self) -> Exporter:
        """Start pgbouncer_exporter as the page describes."""
        port, role = self.pgbouncer.port, self.setup.roles["pgbouncer_stats"]
        variables = self._environment(
            "monitoring/pgbouncer_exporter.env",
            PGPORT=str(port),
            PGPASSFILE="{folder}/pgpass",
        )
        files = {"pgpass": f"127.0.0.1:{port}:pgbouncer:{role.name}:{role.password}\n"}
        return Exporter("pgbouncer_exporter", *_arguments(variables), env=variables, files=files)

    def _logs(self) -> Exporter:
        logs = f"{self.pgbouncer.leash.log},{self.setup.cluster.leash.log}"
        variables = self._environment("monitoring/mtail.env", LOGS=logs, PORT="{port}")
        options = {"progs": "{folder}", "address": variables["HOST"], "port": variables["PORT"], "logs": logs}
        files = {"logins.mtail": self._load("monitoring/logins.mtail").text}
        return Exporter("mtail", *(f"--{name}={value}" for name, value in options.items()), files=files)

    def _environment(self, path: str, **instead: str) -> dict[str, str]:
        return environment(self._load(path), **instead)


def _arguments(variables: dict[str, str]) -> list[str]:
    """Return the options that Debian's service gives an exporter, with a port of its own."""
    return re.sub(r":\d+\b", ":{port}", variables.pop("ARGS")).split()


def needs_monitoring() -> None:
    """Skip the running proof where Prometheus and its exporters are not available."""
    try:
        monitoring.find("prometheus")
    except RuntimeError as error:
        pytest.skip(str(error))


@contextmanager
def watching(cluster: Callable[..., Cluster], name: str, serve: Serve | None = None) -> Iterator[Watched]:
    """Run all of it, PostgreSQL as `name`, for as long as the block lasts; `serve` runs Django behind PgBouncer."""
    needs_monitoring()
    # The exporters' driver refuses fewer iterations than the standard's 4096.
    since_16 = {"scram_iterations": 4096, "reserved_connections": RESERVED} if own_major() >= 16 else {}
    with reader(cluster, name, max_connections=MAX_CONNECTIONS, **since_16) as setup, ExitStack() as stop:
        yield Watched(setup, stop, serve)


@contextmanager
def fill(database: Database, **options: Any) -> Iterator[Callable[..., str]]:
    """Occupy every slot open to the application for as long as the block lasts.

    Each scrape uses a slot for a moment and frees it again. Yield a function that takes such slots as well, until it is
    refused, and returns the error.
    """
    held: list[psycopg.Connection[tuple]] = []

    def take(refusals: int = 1) -> str:
        words = ""
        while refusals:
            try:
                held.append(database.connect(**options))
            except psycopg.OperationalError as error:
                words = str(error)
                refusals -= 1
        return words

    try:
        take(20)
        yield take
    finally:
        for connection in held:
            connection.close()
