"""Drops what a run made on a server that is not ours, however the run ended.

A server of our own goes with its folder. On the one that DATABASE_URL names, databases and roles would stay when a
run is killed. So a process on a leash waits for the run to end and then drops all that bears this run's prefix.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from proven import ROOT
from tests.stack import database
from tests.stack.leash import Leash


def start() -> Leash:
    """Start the janitor of this run, and give the run a prefix of its own."""
    database.PREFIX = f"{database.PREFIX}{os.getpid()}_"
    os.environ["PROVEN_PREFIX"] = database.PREFIX
    folder = Path(tempfile.mkdtemp(prefix="proven-janitor-"))
    command = [sys.executable, "-m", "tests.stack.janitor", database.PREFIX]
    return Leash(command, folder / "log", stop=signal.SIGTERM, remove=folder, cwd=ROOT)


def clean(url: str, prefix: str) -> None:
    """Drop every database and role whose name begins with the prefix."""
    begins = prefix.replace("_", r"\_") + "%"
    with psycopg.connect(url, autocommit=True) as connection:
        for (name,) in connection.execute("select datname from pg_database where datname like %s", [begins]).fetchall():
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        for (name,) in connection.execute("select rolname from pg_roles where rolname like %s", [begins]).fetchall():
            connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.pause()
    clean(os.environ["DATABASE_URL"], sys.argv[1])
