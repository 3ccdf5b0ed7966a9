"""PgBouncer's console in psql, as an operator uses it."""

import os
import socket
from typing import Any

import psycopg

from proven import evidence
from proven.problems import ProblemError
from proven.sources.snippets import Snippet
from tests.stack.database import Database, run_psql
from tests.stack.pgbouncer import ADMIN, PgBouncer, version


def console(bouncer: PgBouncer, snippet: Snippet, **variables: str) -> str:
    """Run a snippet on the console and return what psql printed.

    Raises ProblemError where a command fails.
    """
    target = f"host=127.0.0.1 port={bouncer.port} dbname=pgbouncer user={ADMIN} password={bouncer.password}"
    return _psql(target, snippet, **variables)


def through(bouncer: PgBouncer, database: Database, snippet: Snippet, **variables: str) -> str:
    """Run a SQL snippet as the application does, through PgBouncer, and return what psql printed."""
    return _psql(bouncer.url(database), snippet, **variables)


def _psql(target: str, snippet: Snippet, **variables: str) -> str:
    evidence.ran(snippet)
    result = run_psql(target, snippet.text, **variables)
    if result.returncode:
        raise ProblemError(snippet.place, 1, result.stderr.strip())
    return result.stdout


def pool(bouncer: PgBouncer, database: Database) -> dict[str, Any]:
    """Return what the console shows of a database's pool, of its own role; zeros where there is none yet."""
    for row in bouncer.show("pools"):
        if (row["database"], row["user"]) == (database.name, database.role.name):
            return row
    return {"cl_active": 0, "cl_waiting": 0, "sv_active": 0, "sv_idle": 0, "maxwait": 0, "maxwait_us": 0}


def port_of(client: psycopg.Connection) -> int:
    """Return the port that a client comes from, by which SHOW CLIENTS tells it from others."""
    with socket.socket(fileno=os.dup(client.fileno())) as end:
        return end.getsockname()[1]


def at_least(*numbers: int) -> bool:
    """Return whether proofs run on this PgBouncer or a newer one: at_least(1, 21)."""
    return tuple(map(int, version().split("."))) >= numbers
