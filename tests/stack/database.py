"""One proof's own database, the roles that use it, and psql."""

import functools
import os
import re
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import conninfo, sql

from proven import evidence
from proven.problems import ProblemError
from proven.sources.snippets import Snippet
from tests.stack.postgres import Server, bin_dir
from tests.stack.wait import DEADLINE

# psql names the line on which the statement ended; LINE quotes the text that the server stumbled over.
AT = re.compile(r"^psql:[^:]*:(\d+): (?:ERROR|FATAL):\s+(.*)$", re.MULTILINE)
QUOTED = re.compile(r"^LINE \d+: (?:\.\.\.)?(.*?)(?:\.\.\.)?$", re.MULTILINE)


class Database:
    """A database of its own on a running server, owned by an application's role that is no superuser."""

    def __init__(self, server: Server, template: str = "template1", owner: "Role | None" = None) -> None:
        self.server = server
        self.name = server.prefix + secrets.token_hex(6)
        with server.connect() as connection:
            self.role = owner or Role(server, connection=connection)
            # Since PostgreSQL 15 the default writes every page to the log; a copy of the files costs a sixth of it.
            copy = sql.SQL("strategy file_copy" if connection.info.server_version >= 150000 else "")
            connection.execute(
                sql.SQL("create database {} template {} owner {} {}").format(
                    sql.Identifier(self.name), sql.Identifier(template), sql.Identifier(self.role.name), copy
                )
            )

    @property
    def url(self) -> str:
        """How the application reaches it."""
        return f"postgresql://{self.role.name}:{quote(self.role.password)}@{self.server.host}:{self.server.port}/{self.name}"

    @property
    def superuser(self) -> str:
        """How an administrator reaches it: a connection string."""
        return conninfo.make_conninfo(self.server.superuser, dbname=self.name)

    def connect(self, application_name: str = "upstream", **options: Any) -> psycopg.Connection[tuple]:
        """Connect as the application, in autocommit."""
        options = {"autocommit": True, "sslmode": "prefer", **options}
        return psycopg.connect(self.url, application_name=application_name, **options)

    @functools.cached_property
    def admin(self) -> psycopg.Connection[tuple]:
        """The superuser's session in another database, so as not to be counted among this one's."""
        return self.server.connect()

    def psql(self, snippet: Snippet, *, superuser: bool = True, **variables: str) -> str:
        """Run a SQL snippet in psql and return what it printed.

        Raises ProblemError with the snippet's line where a statement fails.
        """
        evidence.ran(snippet)
        result = run_psql(self.superuser if superuser else self.url, snippet.text, **variables)
        if result.returncode:
            raise ProblemError(snippet.place, snippet.source_line(_line(snippet, result.stderr)), result.stderr.strip())
        return result.stdout

    def sees_clients(self) -> bool:
        """Return whether the server sees clients where they are: nothing on the way gives them another address."""
        with self.connect() as client, socket.socket(fileno=os.dup(client.fileno())) as end:
            seen = client.execute("select host(inet_client_addr()), inet_client_port()").fetchone()
            return seen == end.getsockname()

    def sessions(self) -> int:
        """Return how many sessions this database has ever had, as pg_stat_database counts them."""
        row = self.admin.execute("select sessions from pg_stat_database where datname = %s", [self.name]).fetchone()
        return int(row[0]) if row else 0

    def backends(self) -> list[int]:
        """Return the process ids of the client backends that are connected to this database."""
        query = "select pid from pg_stat_activity where datname = %s and backend_type = 'client backend' order by pid"
        return [pid for (pid,) in self.admin.execute(query, [self.name])]

    def terminate(self, pid: int) -> None:
        """End one backend, as a failover or an administrator does, and wait until it is gone."""
        self.admin.execute("select pg_terminate_backend(%s, %s)", [pid, int(1000 * DEADLINE)])

    def follow(self, server: Server) -> None:
        """Go on with the same database after its server was restarted, which now listens on another port."""
        self.leave()
        self.server = server

    def leave(self) -> None:
        """End the superuser's session, where there was one."""
        if admin := self.__dict__.pop("admin", None):
            admin.close()

    def drop(self) -> None:
        """Drop the database with whoever is still connected, and its role."""
        self.leave()
        with self.server.connect() as connection:  # the server may have restarted since
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(self.name)))
            self.role.drop(connection)


class Role:
    """A login role with a password of its own, for as long as the proof runs."""

    def __init__(self, server: Server, options: str = "", connection: psycopg.Connection[tuple] | None = None) -> None:
        """Make one, over a superuser's connection where there is one already."""
        self.name = server.prefix + secrets.token_hex(6)
        self.password = secrets.token_hex(16)
        with nullcontext(connection) if connection else server.connect() as superuser:
            superuser.execute(
                sql.SQL("create role {} login password {} " + options).format(  # type: ignore[arg-type]
                    sql.Identifier(self.name), sql.Literal(self.password)
                )
            )

    def drop(self, connection: psycopg.Connection[tuple]) -> None:
        """Drop the role, if nothing of another database depends on it."""
        connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(self.name)))


def run_psql(target: str, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in psql as a reader would, stopping at the first error; return its result, also when it failed."""
    parts = {name: str(value) for name, value in conninfo.conninfo_to_dict(target).items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if "password" in parts:
        environment["PGPASSWORD"] = parts.pop("password")  # not on the command line, which others can read
    options = [option for name, value in variables.items() for option in ("--set", f"{name}={value}")]
    command = [bin_dir() / "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *options, "--file=-"]
    return subprocess.run(
        [*command, conninfo.make_conninfo(**parts)],
        input=script,
        capture_output=True,
        text=True,
        env=environment,
        timeout=DEADLINE,
    )


@contextmanager
def fresh(server: Server, **options: Any) -> Iterator[Database]:
    """Make a database for as long as the block lasts."""
    database = Database(server, **options)
    try:
        yield database
    finally:
        database.drop()


def _line(snippet: Snippet, errors: str) -> int:
    """Return the line of the snippet's text that psql's error is about."""
    at = AT.search(errors)
    ended = int(at[1]) if at else 1
    quoted = QUOTED.search(errors)
    lines = snippet.text.splitlines()
    if quoted:
        for number in range(min(ended, len(lines)), 0, -1):
            if quoted[1].strip() and quoted[1].strip() in lines[number - 1]:
                return number
    return ended
