"""Each pooler in a few lines: how it is set up for one database, started, reloaded, paused.

Each starts from the file that a reader copies, of which only that is replaced which ties it to a machine. All are
Debian's, unpacked into the cache. PgBouncer is there in each version of the matrix.
"""

import functools
import os
import secrets
import select
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, SIGTRAP, SIGUSR2, Signals
from typing import Any, ClassVar

import psycopg

from proven import evidence
from proven.sources import snippets
from setup import debian
from setup.programs import Program, unpacked
from tests.stack.database import Database, Role
from tests.stack.leash import Leash, closed, give, server_user
from tests.stack.pgbouncer import PgBouncer, Reached, of_suite
from tests.stack.postgres import Cluster
from tests.stack.wait import free_port, until

SUITES = ("sid", "trixie")
# What Odyssey looks a client's secret up with. It logs in to PostgreSQL with a password that it has been told.
ASKS = """
        auth_query "select usename, passwd from pg_shadow where usename = $1"
        auth_query_user "{asks.name}"
        auth_query_db "{database}"
        storage_password "{role.password}"
"""
OTHER = """database "{database}" {{
    user "{asks.name}" {{
        authentication "block"
        storage "postgres"
        storage_user "{asks.name}"
        storage_password "{asks.password}"
        pool "transaction"
        pool_size 1
        pool_routing "internal"
    }}
"""
LISTENS = "0A"  # in /proc/net/tcp
PARTS: dict[str, Leash] = {}  # copies of programs that only root could reach in the cache


def short(cluster: Cluster) -> Cluster:
    """Have PostgreSQL listen on a port of four digits, where it does not yet; pgagroal 2.1 is aborted by longer ones.

    Source: https://github.com/pgagroal/pgagroal/issues/926
    """
    if cluster.server.port > 9999:
        cluster.leash.halt(SIGINT)
        cluster.start(free_port(5500, 9999))
    return cluster


def refuses(pooler: Reached, database: Database) -> bool:
    """Return whether a new client is not served, be it that it hears so or that it waits."""
    try:
        client = pooler.connect(database, connect_timeout=2)
    except psycopg.OperationalError:
        return True
    client.pgconn.send_query(b"select 1")
    client.pgconn.flush()
    answers = select.select([client.fileno()], [], [], 2)[0]
    client.close()
    return not answers


def listening(port: int) -> int:
    """Return how many sockets listen on a port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == LISTENS for row in rows)


@dataclass(frozen=True)
class Wanted:
    """How a pooler is to be set up beside the comparison's settings."""

    certificates: Path | None = None  # a folder of them: clients need TLS
    lookup: Role | None = None  # a superuser: it is told no client's secret, and asks PostgreSQL as that one
    replaceable: bool = False  # it may need settings more


class Pooler(Reached):
    """A pooler on a port of its own, in front of one database."""

    name: ClassVar[str]
    called: ClassVar[str]  # what is needed where it is not here
    # Whether a client keeps its server connection until it leaves, so that there must be one for each.
    keeps: ClassVar[bool] = False
    package: ClassVar[str]
    program: ClassVar[str]  # in the package
    files: ClassVar[tuple[str, ...]]  # a reader's, under snippets/
    ends: ClassVar[Signals] = SIGTERM

    def __init__(self, database: Database, pool: int = 2, **wanted: Any) -> None:
        """Start it with so many server connections at most, and what else is Wanted."""
        self.databases = {database.name: database}
        self.database, self.pool, self.wanted = database, pool, Wanted(**wanted)
        self.password = secrets.token_hex(16)  # the console's
        self.command = _run(self.package, self.program)
        self.leash = Leash(self.package)
        give(self.leash.folder)
        self.port = self.leash.serve(self.name, self._start, self._answers)
        for file in self.files:
            evidence.ran(evidence.load(file), "started")
        evidence.on(**{self.name: self.version()})

    @classmethod
    def version(cls) -> str:
        """Return its version. Raises RuntimeError where it cannot be had."""
        return _version(cls.package, cls.program)

    def resize(self, pool: int) -> None:
        """Change how many server connections there are, as an administrator does."""
        self.pool = pool
        self._write(self.port)
        self.leash.signal(SIGHUP)

    def drain(self) -> None:
        """Tell it to stop, as its documentation says to where clients are at work; it may take a while."""
        self.leash.signal(SIGTERM)

    def replace(self, leave: Callable[[], None]) -> None:
        """Have another one run in its place, as its documentation says. `leave` has its clients connect anew.

        Of one that knows no way for two to serve at the same time, the next begins when the first has ended.
        """
        self.drain()
        until("the pooler lets no client in", lambda: refuses(self, self.database))
        leave()
        until("the pooler has ended", self.leash.ended)
        self.port = self.leash.serve(self.name, self._start, self._answers, self.port)

    def stop(self) -> None:
        """Stop it at once; its folder goes with it."""
        self.leash.stop()

    def _start(self, port: int) -> None:
        self._write(port)
        home = {"HOME": str(self.leash.folder), "PATH": os.defpath}
        self.leash.run([*self.command, *self._arguments()], stop=self.ends, user=server_user(), env=home)

    def _answers(self, port: int) -> bool:
        self.port = port
        try:
            self.connect(self.database, connect_timeout=60).close()
        except psycopg.OperationalError:
            return False
        return True

    def _write(self, port: int) -> None:
        """Write what it reads."""
        raise NotImplementedError

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def _certified(self, folder: str) -> dict[str, str]:
        """Return what of a file names a certificate, and what it is to be."""
        return {f"{folder}pooler": f"{self.wanted.certificates}/pooler"} if self.wanted.certificates else {}

    def _put(self, file: str, ours: dict[str, str]) -> None:
        """Write a reader's file, with these texts replaced; without certificates it has no lines about TLS."""
        text = snippets.read(file).text
        if self.wanted.certificates is None:
            text = "".join(
                line for line in text.splitlines(keepends=True) if not line.lstrip().startswith(("tls", "ssl"))
            )
            text = text.replace("hostssl", "host")
        for old, new in ours.items():
            assert old in text, old
            text = text.replace(old, new)
        self.leash.write(file.rpartition("/")[2], text)


class Bouncer(PgBouncer):
    """PgBouncer with the settings of the comparison."""

    name: ClassVar[str] = "PgBouncer"
    called: ClassVar[str] = "PgBouncer of Debian"
    keeps: ClassVar[bool] = False
    suite: ClassVar[str]
    makes_way: ClassVar[Signals] = SIGTERM  # serves its clients, and lets no more in

    def __init__(self, database: Database, pool: int = 2, port: int | None = None, **wanted: Any) -> None:
        """Start it, as Pooler says: on the port of another one that it is to replace, where that is given."""
        self.pool = pool
        self.next: Bouncer | None = None
        own: dict[str, object] = {"pool_mode": "transaction", "default_pool_size": pool, "max_client_conn": 2000}
        needs = Wanted(**wanted)
        if needs.replaceable:
            own["so_reuseport"] = 1
        if needs.certificates:
            own["client_tls_sslmode"] = "require"
            own |= {f"client_tls_{kind}_file": _pair(needs.certificates)[kind] for kind in ("key", "cert")}
        if needs.lookup:
            own |= {"users": {needs.lookup.name: needs.lookup.password}, "auth_user": needs.lookup.name}
        super().__init__(database, suite=self.suite, port=port, **own)  # type: ignore[arg-type]
        evidence.on(PgBouncer=self.version())

    @classmethod
    def version(cls) -> str:
        """Return its version. Raises RuntimeError where it cannot be had."""
        return of_suite(cls.suite)[1]

    def resize(self, pool: int) -> None:
        """Change how many server connections there are, as an administrator does."""
        self.reload(default_pool_size=pool)

    def drain(self) -> None:
        """Tell it to stop, as Pooler says. Source: https://www.pgbouncer.org/usage.html#signals"""
        self.leash.signal(SIGINT)

    def replace(self, leave: Callable[[], None]) -> None:
        """Have another one run on the same port, as Pooler says, until its clients have gone there.

        Source: https://www.pgbouncer.org/usage.html#shutdown-wait_for_clients
        """
        (database,) = self.databases.values()
        self.next = type(self)(database, self.pool, replaceable=True, port=self.port)
        self.leash.signal(self.makes_way)
        until("one of the two lets clients in", lambda: listening(self.port) == 1)
        leave()
        until("the pooler has ended", self.leash.ended)

    def stop(self) -> None:
        """Stop it at once, and what has replaced it."""
        super().stop()
        if self.next:
            self.next.stop()


class Bookworm(Bouncer):
    """The one of Debian 12."""

    suite = "bookworm"
    makes_way = SIGINT  # SIGTERM ends it at once


class Trixie(Bouncer):
    """The one of Debian 13."""

    suite = "trixie"


class Newest(Bouncer):
    """Debian's newest."""

    suite = "sid"


class Odyssey(Pooler):
    """Threads of one process, each with coroutines."""

    name = called = "Odyssey"
    package, program = "odyssey", "usr/bin/odyssey"
    files = ("odyssey/odyssey.conf",)

    def _start(self, port: int) -> None:
        if self.wanted.replaceable:
            self.command = [str(self._itself())]
        super()._start(port)

    def _itself(self) -> Path:
        """Write a script that is Odyssey with its libraries: it starts another one by the name it was started by."""
        loader, *rest = _run(self.package, self.program)
        name = '--argv0 "$0" ' if rest else ""
        script = f'#!/bin/sh\nexec {loader} {name}{shlex.join(rest)} "$@"\n'
        file = self.leash.write("odyssey", script)
        file.chmod(0o700)
        return file

    def _write(self, port: int) -> None:
        ours = {
            "/run/odyssey": str(self.leash.folder),
            "port 6432": f"port {port}",
            "port 5432": f"port {self.database.server.port}",
            '"upstream"': f'"{self.database.name}"',
            f'user "{self.database.name}"': f'user "{self.database.role.name}"',
            "the role's password": self.database.role.password,
            "the administrator's password": self.password,
            "pool_size 20": f"pool_size {self.pool}",
        }
        if self.wanted.replaceable:
            ours["daemonize no\n"] = "daemonize no\nonline_restart_drop_options {\n    drop_enabled no\n}\n"
        if asks := self.wanted.lookup:
            ours |= {
                f'        password "{self.database.role.password}"': ASKS.format(
                    asks=asks, database=self.database.name, role=self.database.role
                ),
                f'database "{self.database.name}" {{': OTHER.format(asks=asks, database=self.database.name),
            }
        self._put("odyssey/odyssey.conf", ours | self._certified("/etc/odyssey/"))

    def _arguments(self) -> list[str]:
        return [str(self.leash.folder / "odyssey.conf")]

    def replace(self, leave: Callable[[], None]) -> None:
        """Have it start another one, as Pooler says, which ends the first as soon as it is there itself.

        Source: https://github.com/yandex/odyssey/blob/master/docs/features/online-restart.md
        """
        self.leash.signal(SIGUSR2)
        until("the new process has started", lambda: "send SIGTERM to parent" in self.leash.said())
        until("one of the two lets clients in", lambda: listening(self.port) == 1)
        leave()
        until("the pooler has ended", self.leash.ended)

    def console(self) -> psycopg.Connection[tuple]:
        """Connect to the console."""
        address = f"host=127.0.0.1 port={self.port} dbname=console user=odyssey_admin password={self.password}"
        return psycopg.connect(address, autocommit=True, cursor_factory=psycopg.ClientCursor)


class Pgagroal(Pooler):
    """A process for each client.

    Its transaction mode gives a server connection back where a read from PostgreSQL happens to begin with
    ReadyForQuery, which it does not after a usual query. Source: https://github.com/pgagroal/pgagroal/issues/973
    """

    keeps = True
    name = called = "pgagroal"
    package, program = "pgagroal", "usr/bin/pgagroal"
    files = (
        "poolers/pgagroal.conf",
        "poolers/pgagroal_hba.conf",
        "poolers/pgagroal_databases.conf",
        "poolers/pgagroal_users.sh",
    )
    ends = SIGINT  # as Debian's unit does

    def _write(self, port: int) -> None:
        folder = self.leash.folder
        ours = {
            "/run/pgagroal": str(folder),
            "port = 6432": f"port = {port}",
            "port = 5432": f"port = {self.database.server.port}",
            "max_connections = 20": f"max_connections = {self.pool}",
        }
        self._put("poolers/pgagroal.conf", ours | self._certified("/etc/pgagroal/"))
        who = f"{self.database.name} {self.database.role.name} "
        self._put("poolers/pgagroal_hba.conf", {"upstream  upstream ": who})
        sizes = f"{who} {self.pool} {self.pool} "
        self._put("poolers/pgagroal_databases.conf", {"upstream    upstream  20        20 ": sizes})
        if not (folder / "pgagroal_users.conf").exists():
            self._users()

    def _users(self) -> None:
        """Run the script that makes the file with the role's password."""
        folder = self.leash.folder
        script = snippets.read("poolers/pgagroal_users.sh").text.replace("-U upstream", f"-U {self.database.role.name}")
        admin = _run(self.package, "usr/bin/pgagroal-admin")
        script = script.replace("pgagroal-admin", " ".join(admin))
        _done(["sh", "-c", script], folder, UPSTREAM_PASSWORD=self.database.role.password)

    def drain(self) -> None:
        """Tell it to stop, as Pooler says. Source: https://github.com/pgagroal/pgagroal/blob/master/doc/CLI.md"""
        self.leash.signal(SIGTRAP)

    def _arguments(self) -> list[str]:
        names = {"c": "pgagroal", "a": "pgagroal_hba", "l": "pgagroal_databases", "u": "pgagroal_users"}
        return [part for flag, name in names.items() for part in (f"-{flag}", f"{self.leash.folder}/{name}.conf")]


class Pgpool(Pooler):
    """A process for each client, and in it a server connection for as long as the client stays."""

    keeps = True
    name = called = "Pgpool-II"
    package, program = "pgpool2", "usr/sbin/pgpool"
    files = ("poolers/pgpool.conf", "poolers/pool_hba.conf")
    ends = SIGINT  # fast: it waits for no client
    stopping: subprocess.Popen[bytes] | None = None

    def _write(self, port: int) -> None:
        folder = str(self.leash.folder)
        ours = {
            "'/run/pgpool": f"'{folder}",
            "port = 6432": f"port = {port}",
            "backend_port0 = 5432": f"backend_port0 = {self.database.server.port}",
            "num_init_children = 20": f"num_init_children = {self.pool}",
            "/etc/pgpool2/pool_passwd": f"{folder}/pool_passwd",
        }
        self._put("poolers/pgpool.conf", ours | self._certified("/etc/pgpool2/"))
        self._put("poolers/pool_hba.conf", {"upstream  upstream ": f"{self.database.name} {self.database.role.name} "})
        self.leash.write("pool_passwd", f"{self.database.role.name}:TEXT{self.database.role.password}\n")
        self.leash.write("pcp.conf", "")

    def drain(self) -> None:
        """Tell it to stop, as Pooler says; the command returns when it has.

        Source: https://www.pgpool.net/docs/latest/en/html/pgpool.html
        """
        user = server_user()
        command = [*self.command, *self._files(), "-m", "smart", "stop"]
        self.stopping = subprocess.Popen(command, stdout=subprocess.DEVNULL, user=user, group=user)

    def stop(self) -> None:
        """Stop it at once, as Pooler says."""
        super().stop()
        if self.stopping:
            self.stopping.wait()

    def _arguments(self) -> list[str]:
        return ["-n", *self._files()]

    def _files(self) -> list[str]:
        named = {"-f": "pgpool.conf", "-a": "pool_hba.conf", "-F": "pcp.conf"}
        return [part for flag, name in named.items() for part in (flag, f"{self.leash.folder}/{name}")]


POOLERS: dict[str, type[Bouncer] | type[Pooler]] = {
    "bookworm": Bookworm,
    "trixie": Trixie,
    "newest": Newest,
    "odyssey": Odyssey,
    "pgagroal": Pgagroal,
    "pgpool": Pgpool,
}


def _pair(certificates: Path) -> dict[str, Path]:
    return {kind: certificates / f"pooler.internal.{end}" for kind, end in (("key", "key"), ("cert", "crt"))}


def _done(command: list[str], folder: Path, **environment: str) -> None:
    """Run a command as the servers' user, in its folder. Raises CalledProcessError where it fails."""
    user = server_user()
    home = {"HOME": str(folder), "PATH": os.defpath, **environment}
    subprocess.run(command, cwd=folder, check=True, capture_output=True, user=user, group=user, env=home)


@functools.cache
def _version(package: str, path: str) -> str:
    done = subprocess.run([*_run(package, path), "--version"], capture_output=True, text=True)
    return next(word for word in (done.stdout + done.stderr).split() if word[0].isdecimal())


def _run(package: str, path: str) -> list[str]:
    return _program(package, path).command


@functools.cache
def _program(package: str, path: str) -> Program:
    """Return a program that the servers' user can run. Raises RuntimeError where it cannot be had."""
    folder = debian.fetch(package, *SUITES)
    if closed(folder):
        if package not in PARTS:
            PARTS[package] = Leash(f"{package}-program")
            shutil.copytree(folder, PARTS[package].folder / "it", symlinks=True)
        folder = PARTS[package].folder / "it"
    return unpacked(folder, path)
