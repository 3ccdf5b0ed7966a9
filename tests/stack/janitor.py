"""Drops what a run made on a server that is not ours, however the run ended.

A server of our own goes with its folder. On the one that DATABASE_URL names, databases and roles would stay when a
run is killed. So another process waits for the run to end, on a pipe that only the run holds (as in leash.py), and
then drops all that bears the run's prefix.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import psycopg
from psycopg import sql

from proven import ROOT
from tests.stack.postgres import Server
from tests.stack.wait import DEADLINE


def start(server: Server) -> Callable[[], None]:
    """Start the janitor of this run, and return what makes it clean up and waits until it has."""
    janitor = subprocess.Popen(
        [sys.executable, "-m", "tests.stack.janitor", server.prefix],
        stdin=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": server.superuser},
        start_new_session=True,
    )
    return lambda: janitor.communicate(timeout=DEADLINE) and None


def clean(url: str, prefix: str) -> None:
    """Drop every database and role whose name begins with the prefix."""
    begins = prefix.replace("_", r"\_") + "%"
    with psycopg.connect(url, autocommit=True) as connection:
        for (name,) in connection.execute("select datname from pg_database where datname like %s", [begins]).fetchall():
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        for (name,) in connection.execute("select rolname from pg_roles where rolname like %s", [begins]).fetchall():
            # What it was granted in the database that we are connected to would keep it.
            connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    clean(os.environ["DATABASE_URL"], sys.argv[1])
