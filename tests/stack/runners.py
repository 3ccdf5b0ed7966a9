"""However Django runs: each runner in a few lines, and what its connections come to.

A runner is started on the example project and given units of work: requests, or pieces for a worker. Several are under
way at a time, because the table that they read is locked until all have come that can. So nothing that is counted here
depends on how quick anybody is.
"""

import http.client
import os
import re
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from os import kill
from signal import SIGCONT, SIGKILL, SIGSTOP
from time import monotonic, sleep

from proven import evidence
from setup import others
from tests.stack.database import Database
from tests.stack.leash import Server
from tests.stack.pgbouncer import PgBouncer
from tests.stack.upstream import Process, Project, needs_django_5_1
from tests.stack.wait import DEADLINE, until

# What a unit of a worker's says, and what Django does of one that is lost.
DONE = re.compile(r"\d+ orders")
LOST = re.compile(r"^django\.db\.utils\.\w+: ", re.MULTILINE)
POOL_SIZE = 2  # PgBouncer's: fewer than the units that are under way
QUIET = 1.0  # seconds without a change, after which what is counted for the first time is taken to stay
CLIMBS = "climbs"
GIVES = "gives"  # the application_name of who gives units by the database: it is no part of the runner
# Hands units to a worker, as many as each line says that it is sent.
GIVER = """
import os
{gives}
for line in open(os.environ["UNITS"]):
    for _ in range(int(line)):
        give()
"""


@dataclass(frozen=True)
class Runner:
    """How one is started, and how it is given units."""

    by: str  # whose it is: a package; "" where it is Django's own
    kind: str  # of those that the package has
    starts: tuple[str, ...]  # what `python` runs; {port} and {redis} stand for theirs
    gives: str = ""  # Python that makes give(), which hands it a unit; "" where a unit is a request
    at_once: int = 3  # units that it does at a time
    processes: int = 1  # that do them
    packages: tuple[str, ...] = ()  # what it needs of setup/others.py
    fresh: bool = False  # it puts others in the place of Python's sockets and threads
    own: bool = False  # the process that is started takes the units itself
    looks: bool = False  # it looks for units in the database, every now and then
    new: bool = False  # it needs Django 5.1
    settings: str = ""  # what it needs besides the strategy's
    first: tuple[str, ...] = ()  # what `python` runs before

    @property
    def version(self) -> str:
        """The version of the package."""
        where = [*(str(others.packages(name)) for name in self.packages), *sys.path]
        return next(iter(metadata.distributions(name=self.by, path=where))).version

    @property
    def needs_redis(self) -> bool:
        """Whether its units wait in Redis."""
        return self.by in ("Celery", "RQ", "Dramatiq")

    def __str__(self) -> str:
        """Name it as a page does: Celery 5.7.0, prefork."""
        return ", ".join(filter(None, [f"{self.by} {self.version}" if self.by else "", self.kind]))


def gunicorn(*options: str) -> tuple[str, ...]:
    """Return what starts Gunicorn with these options."""
    return ("-m", "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", *options)


def uwsgi(*options: str) -> tuple[str, ...]:
    """Return what starts uWSGI, as the wheel pyuwsgi has it, with these options."""
    run = "import pyuwsgi; pyuwsgi.run()"
    return ("-c", run, "--http-socket", "127.0.0.1:{port}", "--module", "wsgi", "--master", *options)


def granian(interface: str, *options: str) -> tuple[str, ...]:
    """Return what starts Granian with an interface, "wsgi" or "asgi", and these options."""
    where = ("--host", "127.0.0.1", "--port", "{port}")
    return ("-m", "granian", "--interface", interface, *where, *options, f"{interface}:application")


def celery(pool: str, at_once: int) -> tuple[str, ...]:
    """Return what starts a worker of Celery's that does not talk to other workers."""
    alone = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    return ("-m", "celery", "-A", "workers.on_celery", "worker", "-P", pool, "-c", str(at_once), *alone)


NEW, OLD = ("runners",), ("celery-5.5", "runners")
BY_CELERY = "from workers.on_celery import count_orders; give = count_orders.delay"
RQ = ("-m", "rq.cli", "worker", "--url", "{redis}")
BY_RQ = """
from redis import Redis
from rq import Queue
queue = Queue(connection=Redis.from_url(os.environ["REDIS_URL"]))
give = lambda: queue.enqueue("orders.tasks.count_orders")
"""
DRAMATIQ = ("-m", "dramatiq", "workers.on_dramatiq", "--processes", "1", "--threads", "3")
BY_DRAMATIQ = "from workers.on_dramatiq import count_orders; give = count_orders.send"
QUIETLY = ("--logfile", os.devnull)  # Django's log has it all as well
HUEY = ("-m", "huey.bin.huey_consumer", "workers.on_huey.huey", "--workers", "3", "--max-delay", "0.1", *QUIETLY)
BY_HUEY = "from workers.on_huey import count_orders as give"
APSCHEDULER = """
import threading
from workers.on_apscheduler import scheduler
threading.Thread(target=scheduler.start, daemon=True).start()
job = scheduler.get_jobs()[0].func
give = lambda: scheduler.add_job(job, misfire_grace_time=None)
"""
BARE = APSCHEDULER.replace("job = scheduler.get_jobs()[0].func", "from orders.tasks import count_orders as job")
AROUND = """
import django
django.setup()
from orders.tasks import count_orders
from workers.around import like_a_request
job = like_a_request(count_orders)
"""
EXECUTOR = f"""{AROUND}
from concurrent.futures import ThreadPoolExecutor
executor = ThreadPoolExecutor(3)
give = lambda: executor.submit(job).add_done_callback(lambda done: done.result())
"""
FORKED = f"""{AROUND}
from multiprocessing import get_context
fork = get_context("fork")
queue = fork.SimpleQueue()
def work():
    while True:
        queue.get()
        job()
for _ in range(3):
    fork.Process(target=work, daemon=True).start()
give = lambda: queue.put(None)
"""
# It waits for tasks in the database itself, as does whoever gives them.
DB_WORKER = ("manage.py", "db_worker", "--no-startup-delay", "--interval", "0.5")
BY_TASKS = f"""
import django
django.setup()
from django.db import connection
connection.settings_dict["OPTIONS"]["application_name"] = "{GIVES}"
from workers.on_tasks import count_orders
give = count_orders.enqueue
"""
COMMAND = """
import os, sys
from django.core.management import execute_from_command_line
sys.stdin = (line for units in open(os.environ["UNITS"]) for line in range(int(units)))
execute_from_command_line(["manage.py", "count_orders"])
"""

ASGI = "asgi:application"

RUNNERS = {
    "sync": Runner(
        "Gunicorn", "`sync`", gunicorn("--worker-class", "sync", "--workers", "3", "--threads", "1"), processes=3
    ),
    "preload": Runner(
        "Gunicorn",
        "`sync` with `--preload`",
        gunicorn("--preload", "--worker-class", "sync", "--workers", "3", "--threads", "1"),
        processes=3,
    ),
    "gthread": Runner("Gunicorn", "`gthread`", gunicorn("--workers", "1", "--threads", "3")),
    "uwsgi": Runner(
        "pyuwsgi", "`lazy-apps`", uwsgi("--lazy-apps", "--processes", "3"), processes=3, packages=NEW, fresh=True
    ),
    "gevent": Runner(
        "Gunicorn",
        "`gevent`",
        gunicorn("--worker-class", "gevent", "--workers", "1"),
        packages=NEW,
        fresh=True,
    ),
    "granian": Runner("Granian", "WSGI", granian("wsgi", "--blocking-threads", "3"), packages=NEW),
    "granian-asgi": Runner("Granian", "ASGI", granian("asgi"), packages=NEW),
    "uvicorn": Runner("uvicorn", "", ("-m", "uvicorn", ASGI, "--port", "{port}")),
    "daphne": Runner("Daphne", "", ("-m", "daphne", "--port", "{port}", ASGI), packages=NEW),
    "hypercorn": Runner(
        "Hypercorn",
        "",
        # In the process itself: one that it spawned would leave semaphores behind when it is killed.
        ("-m", "hypercorn", "--workers", "0", "--bind", "127.0.0.1:{port}", ASGI),
        packages=NEW,
    ),
    "runserver": Runner("", "`runserver`", ("manage.py", "runserver", "--noreload", "127.0.0.1:{port}")),
    "celery-prefork": Runner("Celery", "prefork", celery("prefork", 3), BY_CELERY, processes=3, packages=NEW),
    "celery-threads": Runner("Celery", "threads", celery("threads", 3), BY_CELERY, packages=NEW),
    "celery-gevent": Runner("Celery", "gevent", celery("gevent", 3), BY_CELERY, packages=NEW, fresh=True),
    "celery-solo": Runner("Celery", "solo", celery("solo", 1), BY_CELERY, at_once=1, packages=NEW),
    "celery55-prefork": Runner("Celery", "prefork", celery("prefork", 3), BY_CELERY, processes=3, packages=OLD),
    "celery55-threads": Runner("Celery", "threads", celery("threads", 3), BY_CELERY, packages=OLD),
    "celery55-gevent": Runner("Celery", "gevent", celery("gevent", 3), BY_CELERY, packages=OLD, fresh=True),
    "celery55-solo": Runner("Celery", "solo", celery("solo", 1), BY_CELERY, at_once=1, packages=OLD),
    "rq": Runner("RQ", "a fork for each job", (*RQ, "--config", "workers.on_rq"), BY_RQ, at_once=1, packages=NEW),
    "rq-one": Runner(
        "RQ", "one process", (*RQ, "--worker-class", "workers.on_rq.Worker"), BY_RQ, at_once=1, packages=NEW
    ),
    "dramatiq": Runner("Dramatiq", "", DRAMATIQ, BY_DRAMATIQ, packages=NEW),
    "huey": Runner("Huey", "threads", HUEY, BY_HUEY, packages=NEW),
    "tasks": Runner(
        "django-tasks-db",
        "Django's own tasks",
        DB_WORKER,
        BY_TASKS,
        at_once=1,
        packages=("tasks",),
        looks=True,
        new=True,
        settings="from settings.tasks import INSTALLED_APPS, TASKS",
        first=("manage.py", "migrate", "django_tasks_database", "--verbosity", "0"),
    ),
    "apscheduler": Runner("APScheduler", "", ("-c", GIVER.format(gives=APSCHEDULER)), packages=NEW, own=True),
    "executor": Runner("", "an executor's threads", ("-c", GIVER.format(gives=EXECUTOR)), own=True),
    "multiprocessing": Runner("", "`multiprocessing`", ("-c", GIVER.format(gives=FORKED)), processes=3, own=True),
    "bare": Runner("", "threads that close nothing", ("-c", GIVER.format(gives=BARE)), packages=NEW, own=True),
    "command": Runner("", "a management command", ("-c", COMMAND), at_once=1, own=True),
}


@dataclass(frozen=True)
class Strategy:
    """What the project's settings say of connections."""

    name: str  # as a page calls it
    settings: str
    age: int = 0
    pooler: bool = False


STRATEGIES = {
    "age-0": Strategy("`CONN_MAX_AGE = 0`", "settings.prod"),
    "age-60": Strategy("`CONN_MAX_AGE = 60`, with checks", "settings.prod", age=60),
    "pool": Strategy("Django's pool", "settings.pool"),
    "pgbouncer": Strategy("PgBouncer", "settings.pgbouncer", age=60, pooler=True),
    "pgbouncer-age-0": Strategy("PgBouncer, `CONN_MAX_AGE = 0`", "settings.pgbouncer", pooler=True),
    "pgbouncer-pool": Strategy("PgBouncer, Django's pool", "settings.pooled", pooler=True),
}


class Running(Server):
    """A runner at work on a database with the project's tables."""

    def __init__(
        self,
        project: Project,
        database: Database,
        runner: Runner,
        strategy: Strategy,
        *,
        bouncer: PgBouncer | None = None,
        redis: str = "",
        more: str = "",
    ) -> None:
        """Start it. `more` is added to its settings."""
        if runner.new:
            needs_django_5_1()
        self.project, self.database, self.runner, self.strategy = project, database, runner, strategy
        self.bouncer = bouncer
        self.by_request = not (runner.gives or runner.own)
        self.given = 0  # units, so far
        self.began = project.seen.stat().st_size  # what the project's processes had read before
        self.most = 0
        self.seen: set[tuple[int, str]] = set()  # its sessions so far
        self.answers: list[Future[bool]] = []
        self.clients = ThreadPoolExecutor(runner.at_once)
        self.processes: list[Process] = []
        self.folder = project.folder / f"runner_{secrets.token_hex(6)}"
        self.folder.mkdir()
        self._write_settings(more)
        self.redis = redis
        self.holder = database.connect()
        try:
            if self.by_request:
                self.serve(str(runner), self._serve, self._answers)
            else:
                os.mkfifo(self.folder / "units")
                self.units = os.open(self.folder / "units", os.O_RDWR)  # for both: else this waits for a reader
                if runner.first:
                    until("the command that runs first has ended", self.start(*runner.first).ended)
                worker = self.start(*(part.replace("{redis}", redis) for part in runner.starts), fresh=runner.fresh)
                self.processes = [worker]
                if runner.gives:
                    self.start("-c", GIVER.format(gives=runner.gives), past_the_pooler=True)
        except BaseException:
            self.stop()
            raise

    def wave(self, cut: bool = False) -> int:
        """Give it as many units as it does at a time, and return how many of them are lost.

        They are let go on when all have come that can; with `cut`, after their sessions were ended.
        """
        done, lost = self.done(), self.lost()
        able = min(self.runner.at_once, POOL_SIZE if self.bouncer else self.runner.at_once)
        with self.holder.transaction():
            self.holder.execute("lock table orders_order in access exclusive mode")
            self.give(self.runner.at_once)
            until("the runner has taken every unit that it can", lambda: self.waiting() + self.lost() - lost >= able)
            self.most = max(self.most, self.open())
            self.seen |= self.sessions()
            if cut:
                self._end({pid for pid, _ in self.sessions()})
        until(
            "all units have ended", lambda: self.done() + self.lost() >= self.given
        )  # one may say twice that it is lost
        return self.runner.at_once - (self.done() - done)

    def give(self, n: int) -> None:
        """Give it so many units."""
        self.given += n
        if self.by_request:
            self.answers += [self.clients.submit(self._request) for _ in range(n)]
        else:
            os.write(self.units, f"{n}\n".encode())

    def open(self) -> int:
        """Return how many connections it has in PostgreSQL."""
        return len(self.sessions())

    def sessions(self) -> set[tuple[int, str]]:
        """Return its sessions, each by its process and when it began. What PostgreSQL counts of them comes later."""
        query = """
            select pid, backend_start::text from pg_stat_activity
            where datname = %s and backend_type = 'client backend' and pid <> %s and application_name <> %s
        """
        return {*self.database.admin.execute(query, [self.database.name, self.holder.info.backend_pid, GIVES])}

    def waiting(self) -> int:
        """Return how many of its units wait for the table."""
        query = """
            select count(*) from pg_locks join pg_database on pg_database.oid = pg_locks.database
            where datname = %s and not granted and relation is not null
        """
        return int(self.database.admin.execute(query, [self.database.name]).fetchone()[0])  # type: ignore[index]

    def rest(self, left: int | None) -> int:
        """Wait until so many connections are left; without a number, until none comes or goes. Return how many."""
        if left is not None:
            until(f"connections left: {left}", lambda: self.open() == left)
            return left if self.runner.looks else self.open()
        last, since = self.open(), monotonic()
        while monotonic() - since < QUIET:
            sleep(0.05)
            if self.open() != last:
                last, since = self.open(), monotonic()
        return last

    def cut(self) -> None:
        """End its sessions between two units, as a restart of PostgreSQL does."""
        if self.runner.looks:
            with self._between_two_looks() as sessions:
                self._end(sessions)
        else:
            self._end({pid for pid, _ in self.sessions()})

    @contextmanager
    def _between_two_looks(self) -> Iterator[set[int]]:
        """Hold up who looks for units in the database when it has just looked: within a look it would end itself.

        What it has connected meanwhile is not among the sessions that this gives.
        """
        last = "select pid, query from pg_stat_activity where datname = %s and pid = any(%s)"

        def held() -> tuple[set[int]] | None:
            kill(worker, SIGSTOP)
            found = dict(self.database.admin.execute(last, [self.database.name, [pid for pid, _ in self.sessions()]]))
            if {*found.values()} <= {"COMMIT"}:
                return ({*found},)
            return kill(worker, SIGCONT)

        worker = self.processes[0].pid
        (sessions,) = until("the sessions are known", held)
        try:
            yield sessions
        finally:
            kill(worker, SIGCONT)

    def _end(self, sessions: set[int]) -> None:
        for pid in sessions:
            self.database.terminate(pid)
        if bouncer := self.bouncer:
            until(
                "PgBouncer knows that they are gone",
                lambda: not sessions & {row["remote_pid"] for row in bouncer.show("servers")},
            )

    def done(self) -> int:
        """Return how many units are done so far."""
        if self.by_request:
            return sum(each.done() and each.result() for each in self.answers)
        return len(DONE.findall(self.said()))

    def lost(self) -> int:
        """Return how many units are lost so far."""
        if self.by_request:
            return sum(each.done() and not each.result() for each in self.answers)
        return len(LOST.findall(self.said()))

    def ended(self) -> bool:
        """Return whether it has ended by itself."""
        return self.processes[-1].ended()

    def said(self) -> str:
        """Return what it has logged."""
        return self.processes[-1 if self.by_request else 0].said()

    def note(self) -> None:
        """Tell the running proof what it ran on."""
        self.project.note(self.began)
        if self.runner.by:
            evidence.on(**{self.runner.by: self.runner.version})

    def stop(self) -> None:
        """End it, at once."""
        self.holder.close()
        for process in self.processes:
            process.stop(SIGKILL)
        self.clients.shutdown()
        if hasattr(self, "units"):
            os.close(self.units)
            del self.units

    def start(self, *arguments: str, fresh: bool = False, past_the_pooler: bool = False) -> Process:
        """Start one more of its processes."""
        runner = self.runner
        bouncer = None if past_the_pooler else self.bouncer
        process = self.project.start(
            *arguments,
            packages=runner.packages,
            fresh=fresh,
            database_url=bouncer.url(self.database) if bouncer else self.database.url,
            DATABASE_DIRECT_URL=self.database.url,
            DJANGO_SETTINGS_MODULE=f"{self.folder.name}.settings",
            DB_CONN_MAX_AGE=str(self.strategy.age),
            CELERY_BROKER_URL=self.redis,
            DB_POOL_SIZE=str(runner.at_once // runner.processes),
            HUEY_FILE=str(self.folder / "huey.db"),
            REDIS_URL=self.redis,
            UNITS=str(self.folder / "units"),
            TMPDIR=str(self.project.leash.folder),  # what it leaves there when it is killed goes with the folder
        )
        self.processes.append(process)
        return process

    def _serve(self, port: int) -> None:
        self.port = port
        self.start(*(part.replace("{port}", str(port)) for part in self.runner.starts), fresh=self.runner.fresh)

    def _request(self, path: str = "/orders/") -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            return response.status == 200
        finally:
            connection.close()

    def _answers(self, port: int) -> bool:  # noqa: ARG002  (a request goes to the port that it is on)
        try:
            return self._request("/health/live/")
        except OSError:
            return False

    def _write_settings(self, more: str) -> None:
        """Write settings of its own: what Celery reads, and the strategy's.

        Python collects no garbage: what a unit leaves behind stays to be counted.
        """
        strategy = self.strategy.settings
        needs = self.runner.settings
        text = f"import gc\ngc.disable()\nfrom settings.celery import *\nfrom {strategy} import *\n{needs}\n{more}\n"
        (self.folder / "settings.py").write_text(text)


Counts = dict[str, int | str]


def counts(running: Running, known: Counts | None = None) -> Counts:
    """Count what its connections come to; how many are left is waited for where it is `known`.

    most    open at a time
    opened  for each unit, once each place has done one
    left    open after all units
    lost    units of those that come after each session was ended
    """
    n = running.runner.at_once
    left = known and known["left"]

    def wave() -> int:
        running.wave()
        return running.open() if left == CLIMBS else running.rest(left if isinstance(left, int) else None)

    wave()
    first = len(running.seen)
    wave()
    stay = wave()
    opened = Fraction(len(running.seen) - first, 2 * n)
    most: int | str = running.most
    if stay == len(running.seen) > n:  # every unit has left its own behind
        most = stay = CLIMBS
    running.cut()
    lost = running.wave()
    running.note()
    return {"most": most, "opened": str(opened), "left": stay, "lost": lost}
