"""PgBouncer 1.21 or newer, the first that pools prepared statements in transaction mode.

The one that PROVEN_PGBOUNCER names, of whatever version: a program, or a suite of Debian as in "bookworm". Else the
one on PATH, else Debian's newest. What comes from Debian is unpacked into the cache without root.
"""

import functools
import hashlib
import hmac
import os
import pwd
import re
import secrets
import shutil
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGQUIT
from typing import Any

import psycopg
from psycopg.rows import dict_row

from proven import evidence
from proven.problems import ProblemError
from proven.sources.snippets import Snippet
from setup import debian
from setup.programs import Program, started, unpacked
from tests.stack.database import Database
from tests.stack.leash import Leash, give, server_user
from tests.stack.network import Host

OLDEST = (1, 21)
ADMIN = "proven_admin"
PLAIN = "[pgbouncer]\nauth_type = scram-sha-256\n"  # what is started where a proof brings no settings of its own
# A section opened twice would begin with PgBouncer's defaults again, so ours go to the end of the reader's.
SECTION = re.compile(r"^\[pgbouncer\].*\n(?:(?!\[).*\n)*", re.MULTILINE)
WRONG = re.compile(r" ERROR (?P<message>.*) in configuration \(\S+/pgbouncer\.ini:(?P<line>\d+)\)")


class Reached:
    """What applications reach databases through: on a port, under their names."""

    address = "127.0.0.1"
    port: int
    databases: dict[str, Database]

    def url(self, database: Database) -> str:
        """How the application reaches one of the databases through it."""
        name = next(name for name, served in self.databases.items() if served is database)
        return f"postgresql://{database.role.name}:{database.role.password}@{self.address}:{self.port}/{name}"

    def connect(self, database: Database, **options: Any) -> psycopg.Connection[tuple]:
        """Connect to one of the databases as the application, in autocommit."""
        options = {"autocommit": True, **options}
        return psycopg.connect(self.url(database), **options)


class PgBouncer(Reached):
    """PgBouncer on a port of its own, in front of databases that its clients reach under the same names."""

    def __init__(
        self,
        *databases: Database,
        named: Mapping[str, Database] | None = None,
        options: str = "",
        ini: Snippet | None = None,
        users: Mapping[str, str] | None = None,
        limits: Mapping[str, str] | None = None,
        peers: Mapping[str, str] | None = None,
        port: int | None = None,
        files: int | None = None,
        host: Host | None = None,
        suite: str = "",
        **settings: object,
    ) -> None:
        """Start one: PgBouncer(database, pool_mode="transaction", default_pool_size=2).

        `named` databases go under other names, and `options` end the line of each, as in "pool_size=1". `ini` is a
        reader's pgbouncer.ini, of which only that is replaced which ties it to a machine. `users` is the userlist,
        names and secrets, where it should be another than each database's role with the server's own secret. `limits`
        are the lines of [users], a user's name and what holds for that one. `peers` are the entries of that section,
        and `port` is that of another one which shares it. `files` is the limit of open files. On a `host` of the
        network it listens on that one's address; its console is reached from here too.
        `suite` of Debian has another version than proofs run on.

        Raises ProblemError with the snippet's line where PgBouncer refuses it, RuntimeError where it does not start.
        """
        self.databases = {database.name: database for database in databases} | dict(named or {})
        self.entries = {
            name: f"host={database.server.host} port={database.server.port} dbname={database.name} {options}"
            for name, database in self.databases.items()
        }
        self.ini = ini or Snippet("", PLAIN, {}, ())
        self.files = files
        self.host = host
        self.address = self.console = host.address if host else "127.0.0.1"
        self.command = of_suite(suite)[0] if suite else find()
        self.password = secrets.token_hex(16)  # the console's
        self._kept: psycopg.Connection[dict[str, Any]] | None = None
        users = scram(*self.databases.values()) if users is None else users
        self.leash = Leash("pgbouncer")
        admins = re.search(r"^admin_users *= *(.+)$", self.ini.text, re.MULTILINE)
        self.settings = {
            "listen_addr": self.address,
            "unix_socket_dir": self._socket() if host else "",
            "user": "",
            "logfile": "",
            "pidfile": "",
            "auth_file": self.leash.write("userlist.txt", _lines('"{}" "{}"', {**users, ADMIN: secret(self.password)})),
            "admin_users": f"{admins[1]}, {ADMIN}" if admins else ADMIN,
            **settings,
        }
        begin, end = self._halves()
        include = f"%include {self.leash.folder}/settings.ini\n"
        end += f"\n[databases]\n%include {self.leash.folder}/databases.ini\n"
        end += "[users]\n" + _lines("{} = {}", limits) if limits else ""
        end += "[peers]\n" + _lines("{} = {}", peers) if peers else ""
        self.leash.write("pgbouncer.ini", begin + include + end)
        try:
            self.port = self.leash.serve("PgBouncer", self._run, self._answers, port)
        except RuntimeError as error:
            wrong = WRONG.search(str(error))
            if wrong is None or ini is None:
                raise
            line = int(wrong["line"])
            line -= line > begin.count("\n")  # the line that was put in
            raise ProblemError(ini.place, ini.source_line(line), f"PgBouncer: {wrong['message']}") from None
        if ini:
            evidence.ran(ini, "started")

    def admin(self) -> psycopg.Connection[dict[str, Any]]:
        """Connect to the console, where a row is a dictionary."""
        return self._console(self.port)

    def show(self, what: str) -> list[dict[str, Any]]:
        """Return what the console shows: show("pools"). One console is kept for it, as proofs ask again and again."""
        if self._kept is None or self._kept.closed:
            self._kept = self.admin()
        try:
            return self._kept.execute(f"show {what}".encode()).fetchall()
        except psycopg.OperationalError:  # PgBouncer was started again
            self._kept = self.admin()
            return self._kept.execute(f"show {what}".encode()).fetchall()

    def reload(self, **settings: object) -> None:
        """Change settings as an administrator does: in the file, then RELOAD."""
        self.settings |= settings
        self._configure(self.port)
        with self.admin() as console:
            console.execute("reload")

    def set(self, **settings: object) -> None:
        """Change settings on the console, until the file is read again: no database is, as it is with RELOAD."""
        with self.admin() as console:
            for name, value in settings.items():
                console.execute(f"set {name} = '{value}'".encode())

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Have clients that wait for a server connection hear so soon, for as long as the block lasts.

        Only then, for on a busy machine those that are to be served wait as well: while PgBouncer logs in.
        """
        (usual,) = [row["value"] for row in self.show("config") if row["key"] == "query_wait_timeout"]
        self.set(query_wait_timeout=0.1)
        try:
            yield
        finally:
            self.set(query_wait_timeout=usual)

    def restart(self) -> None:
        """Stop it at once and start it again on the same port."""
        self.port = self.leash.serve("PgBouncer", self._run, self._answers, self.port)

    def stop(self) -> None:
        """Stop it at once; its folder goes with it."""
        if self._kept:
            self._kept.close()
        self.leash.stop()

    def _halves(self) -> tuple[str, str]:
        """Return what the ini says up to the end of its section [pgbouncer], and what it says then."""
        section = SECTION.search(self.ini.text + "\n")
        assert section, "a pgbouncer.ini has a section [pgbouncer]"
        return self.ini.text[: section.end()].rstrip("\n") + "\n", self.ini.text[section.end() :]

    def _configure(self, port: int) -> None:
        self.leash.write("settings.ini", _lines("{} = {}", {**self.settings, "listen_port": port}))
        self.leash.write("databases.ini", _lines("{} = {}", self.entries))

    def _socket(self) -> Path:
        """Make the folder of a Unix socket, over which the console is reached on every host."""
        folder = self.leash.folder / "socket"
        folder.mkdir()
        give(folder)
        self.console = str(folder)
        return folder

    def _run(self, port: int) -> None:
        self._configure(port)
        who = server_user()
        # It gives up being root by itself. So it may be where the other user could not reach it, in root's cache.
        drop = [] if who is None else ["-u", pwd.getpwuid(who).pw_name]
        # The soft limit alone, so that it could raise it.
        limit = [] if self.files is None else ["sh", "-c", 'ulimit -S -n "$0"; exec "$@"', str(self.files)]
        command = [*limit, *self.command, *drop, str(self.leash.folder / "pgbouncer.ini")]
        self.leash.run(command, stop=SIGQUIT, host=self.host)

    def _answers(self, port: int) -> bool:
        try:
            self._console(port).close()
        except psycopg.OperationalError:
            return False
        return True

    def _console(self, port: int) -> psycopg.Connection[dict[str, Any]]:
        address = f"host={self.console} port={port} dbname=pgbouncer user={ADMIN} password={self.password}"
        console = psycopg.Connection[dict[str, Any]].connect(address, autocommit=True, row_factory=dict_row)
        console.cursor_factory = psycopg.ClientCursor[dict[str, Any]]  # it knows the simple protocol only
        return console


def secret(password: str) -> str:
    """Return what a server stores of a password, after one round of arithmetic instead of thousands.

    Source: RFC 5802, section 3, and RFC 7677 for SHA-256; the notation is PostgreSQL's.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return "SCRAM-SHA-256$1:{}${}:{}".format(*(b64encode(part).decode() for part in (salt, client, server)))


def scram(*databases: Database) -> dict[str, str]:
    """Return each database's role with its secret as the server stores it.

    With it PgBouncer can check the client, and then log in to the server as the client.
    """
    found = {}
    for database in databases:
        query = "select rolname, rolpassword from pg_authid where rolname = %s"
        found |= dict(database.admin.execute(query, [database.role.name]).fetchall())
    return found


def find() -> list[str]:
    """Return the command that runs PgBouncer. Raises RuntimeError with what to do where there is none."""
    return _found()[0]


def version() -> str:
    """Return the version of the PgBouncer that proofs run on, as in "1.26.1". Raises RuntimeError as `find` does."""
    return _found()[1]


def _found() -> tuple[list[str], str]:
    found = _search()
    if isinstance(found, RuntimeError):
        raise found
    return found


@functools.cache
def _search() -> tuple[list[str], str] | RuntimeError:
    """Look for PgBouncer, once: to find that there is none can take long without a network."""
    named = os.environ.get("PROVEN_PGBOUNCER", "")
    try:
        if re.fullmatch(r"[a-z]+", named):
            return _from_debian(named)
        if named:
            return [named], _version(Program(Path(named)), ours=False)
        return _on_path() or _from_debian("sid", "trixie")
    except RuntimeError as error:
        if named:
            return RuntimeError(f"PROVEN_PGBOUNCER={named} cannot be taken: {error}")
        needed = ".".join(map(str, OLDEST))
        return RuntimeError(f"no PgBouncer {needed} or newer: install the package pgbouncer ({error})")


def _on_path() -> tuple[list[str], str] | None:
    """Return the command and the version of the machine's own PgBouncer, where it has one that is new enough."""
    # Debian keeps it where only root's PATH leads.
    found = shutil.which("pgbouncer", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))
    try:
        known = found and _version(Program(Path(found)), ours=False)
    except RuntimeError:
        return None
    return ([found], known) if found and known and tuple(map(int, known.split("."))) >= OLDEST else None


@functools.cache
def of_suite(suite: str) -> tuple[list[str], str]:
    """Return the command that runs the PgBouncer of a suite of Debian, and its version."""
    return _from_debian(suite)


def _from_debian(*suites: str) -> tuple[list[str], str]:
    """Return the command that runs the PgBouncer of the first of these suites, and its version."""
    program = unpacked(debian.fetch("pgbouncer", *suites), "usr/sbin/pgbouncer")
    return program.command, _version(program)


def _version(program: Program, ours: bool = True) -> str:
    """Return the version that a program says it is. Raises RuntimeError where it is no PgBouncer, or does not start."""
    found = re.match(r"PgBouncer ([\d.]+)", started(program, "--version", ours=ours)[1])
    if not found:
        raise RuntimeError(f"{program.path} is not PgBouncer")
    return found[1]


def _lines(form: str, of: Mapping[str, object]) -> str:
    return "".join(form.format(*item) + "\n" for item in of.items())
