"""The example project as a reader gets it: exported from the snippets, migrated, and served by Gunicorn."""

import http.client
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from threading import Event
from typing import Any

import django
import pytest

from proven import evidence
from proven.sources import snippets
from setup import others
from tests.stack.database import Database
from tests.stack.leash import Leash, Server
from tests.stack.network import Host
from tests.stack.wait import DEADLINE, until

WITNESS = Path(__file__).parent / "witness"


class Project:
    """The project in a folder of its own, with every process that runs in it watched for what it reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "upstream"
        self.snippets = {s.path: s for s in snippets.export(self.folder, below="upstream")}
        self.seen = folder / "seen"
        self.seen.touch()
        # What all processes of the project import is imported once.
        self.leash = Leash("project", keeper=("-m", "tests.stack.warm", self.folder))

    def environment(self, database_url: str, packages: tuple[str, ...] = (), **extra: str) -> dict[str, str]:
        """Return what a process of the project finds in its environment, and nothing of ours."""
        try:
            found = [str(others.packages(name)) for name in packages]
        except RuntimeError as error:
            pytest.skip(f"its packages cannot be fetched: {error}")
        return {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "DJANGO_SECRET_KEY": secrets.token_hex(32),
            "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join([str(WITNESS), *found]),
            "PROVEN_DRIVER": os.environ.get("PROVEN_DRIVER", ""),
            "PROVEN_WITNESS": f"{self.folder}{os.pathsep}{self.seen}",
            **extra,
        }

    def start(
        self,
        *arguments: str,
        database_url: str,
        packages: tuple[str, ...] = (),
        fresh: bool = False,
        host: Host | None = None,
        **extra: str,
    ) -> "Process":
        """Start what `python arguments…` runs in the project's folder, on a host of the network or on this machine.

        `packages` names what setup/others.py fetches for it. `fresh`: nothing may be imported yet, as where gevent
        takes the place of Python's own sockets and threads.
        """
        return Process(self, arguments, self.environment(database_url, packages, **extra), fresh, host)

    def run(self, *arguments: str, database_url: str, **extra: Any) -> tuple[int, str]:
        """Run `python arguments…` in the project's folder; return its exit status and all that it printed."""
        process = self.start(*arguments, database_url=database_url, **extra)
        until(f"{' '.join(arguments)[:60]} ends", process.ended)
        self.note()
        process.stop()
        return process.status, process.said()

    def stop(self) -> None:
        """End every process of the project."""
        self.leash.stop()

    def note(self, since: int = 0) -> None:
        """Tell the running proof which of the project's files its processes have read so far, or `since` then."""
        read = self.seen.read_bytes()[since:].decode()
        for path in sorted({_source(Path(line)) for line in {*read.splitlines()}}):
            if snippet := self.snippets.get(f"upstream/{path.relative_to(self.folder).as_posix()}"):
                evidence.ran(snippet)
        evidence.on(Django=version("django"), Python=sys.version.split()[0], **driver())


class Process(Server):
    """A Python process of the project."""

    def __init__(
        self,
        project: Project,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        fresh: bool = False,
        host: Host | None = None,
    ) -> None:
        self._leash = project.leash
        log = f"log-{secrets.token_hex(4)}"
        self.log = self._leash.folder / log
        self.status = 0  # when it has ended
        self.pid = self._leash.order(
            fork=arguments,
            env=environment,
            cwd=str(project.folder),
            log=log,
            fresh=fresh,
            namespaces=list(host.namespaces.values()) if host else [],
        )

    def ended(self) -> bool:
        """Return whether it has ended by itself."""
        return self._leash.order(status=self.pid) is not None

    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self, by: Signals = SIGTERM) -> None:
        """End it, where it still runs."""
        self.status = self._leash.order(end=self.pid, by=by)


class Gunicorn(Server):
    """The project served on a free port."""

    def __init__(self, project: Project, database: Database, options: str = "", **settings: Any) -> None:
        self.project = project
        self.database = database

        def start(port: int) -> None:
            self.port = port
            self.process = project.start(
                "-m",
                "gunicorn",
                database_url=database.url,
                GUNICORN_BIND=f"127.0.0.1:{port}",
                GUNICORN_CMD_ARGS=f"--no-control-socket {options}",
                **settings,
            )

        self.serve("Gunicorn", start, self._answers)

    def ended(self) -> bool:
        """Return whether its master process has ended by itself."""
        return self.process.ended()

    def said(self) -> str:
        """Return what it has logged."""
        return self.process.said()

    def request(self, path: str, method: str = "GET", body: str | None = None) -> tuple[int, dict[str, Any]]:
        """Send one request on a connection of its own; return the status and the JSON (empty where it is none)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        is_json = response.getheader("Content-Type", "").startswith("application/json")
        return response.status, json.loads(content) if is_json else {}

    def backend(self) -> int:
        """Return the PostgreSQL process that served a request."""
        status, found = self.request("/connection/")
        if status != 200:
            raise RuntimeError(f"/connection/ answered {status}:\n{self.why()}")
        return int(found["backend"])

    def kept_alive(self, requests: int) -> set[int]:
        """Send requests over one TCP connection, and return the PostgreSQL processes that served them."""
        found = set()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as client:
            for _ in range(requests):
                client.request("GET", "/connection/")
                found.add(int(json.loads(client.getresponse().read())["backend"]))
        return found

    def note(self) -> None:
        """Tell the running proof what it ran on."""
        self.project.note()
        evidence.on(Gunicorn=version("gunicorn"))

    def stop(self) -> None:
        """End it with its workers at once: told to stop, Gunicorn looks for their end every tenth of a second."""
        self.process.stop(SIGKILL)

    def _answers(self, port: int) -> bool:  # noqa: ARG002  (a request goes to the port that it is on)
        try:
            return self.request("/health/live/")[0] == 200
        except OSError:
            return False


def driver() -> dict[str, str]:
    """Return the driver that Django takes, and its version; PROVEN_DRIVER=psycopg2 asks for the older one."""
    if os.environ.get("PROVEN_DRIVER") == "psycopg2":
        return {"psycopg2": version("psycopg2-binary")}
    return {"psycopg": version("psycopg")}


def alone() -> None:
    """Let Django work in this process, without a project."""
    from django.conf import settings

    if not settings.configured:
        settings.configure(USE_TZ=True)  # by itself only since Django 5.0
        django.setup()


def needs_psycopg_3() -> None:
    """Leave a proof out where Django has the older driver."""
    if "psycopg2" in driver():
        pytest.skip("needs psycopg 3")


def needs_django_5_1() -> None:
    """Leave a proof out where Django is older than its pool."""
    if django.VERSION < (5, 1):
        pytest.skip("needs Django 5.1")


def needs_a_pool() -> None:
    """Leave a proof out where Django has no pool for its driver."""
    needs_psycopg_3()
    needs_django_5_1()


def _source(path: Path) -> Path:
    """Return the source of a compiled module: a process that finds one reads nothing else."""
    if path.parent.name != "__pycache__":
        return path
    return path.parent.parent / (path.name.partition(".")[0] + ".py")


@contextmanager
def asking(ask: Callable[[], object], clients: int) -> Iterator[None]:
    """Let so many clients ask, again and again, until the block ends. Raises what one of them met."""
    enough = Event()

    def again() -> None:
        # Until then, not a number of times: which thread of which worker takes a request is the machine's choice.
        while not enough.is_set():
            ask()

    with ThreadPoolExecutor(clients) as threads:
        asked = [threads.submit(again) for _ in range(clients)]
        try:
            yield
        finally:
            enough.set()
        for each in asked:
            each.result()


@contextmanager
def serving(project: Project, database: Database, options: str = "", **settings: Any) -> Iterator[Gunicorn]:
    """Serve the project for as long as the block lasts. `options` are Gunicorn's, `settings` its environment.

    Among these may be `packages` and `fresh`, which Project.start explains.
    """
    gunicorn = Gunicorn(project, database, options, **settings)
    try:
        yield gunicorn
    finally:
        gunicorn.stop()
