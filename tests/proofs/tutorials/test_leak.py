"""Proves docs/tutorials/leak.md: its commands, typed as a reader does, with Enter pressed four times."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from proven.sources.controls import control, edit
from proven.sources.snippets import Snippet
from tests.stack.database import Database, fresh
from tests.stack.fixtures import note_postgres
from tests.stack.upstream import Project
from tests.stack.wait import until

COMMAND = "upstream/orders/management/commands/count_in_threads.py"
SUSPECTS = "postgres/suspects.sql"


@pytest.fixture
def tables(server, server_version, migrated) -> Iterator[Database]:
    """A database of this proof's own with the project's tables."""
    note_postgres(server_version)
    with fresh(server, template=migrated) as database:
        yield database


def pressed(
    project: Project, database: Database, suspects: Snippet, *options: str, left: int
) -> tuple[str, list[int], int]:
    """Press Enter four times; return what was printed, what is open after each, and how many sessions are suspects.

    Each round leaves `left` connections. Its threads stay to the end; when the command ends, all connections close.
    """
    command = [sys.executable, "manage.py", "count_in_threads", *options]
    environment = project.environment(database.url, DJANGO_SETTINGS_MODULE="settings.prod")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    said, seen = "", []
    with subprocess.Popen(command, cwd=project.folder, env=environment, **pipes) as process:
        for number in range(1, 5):
            process.stdin.write("\n")
            process.stdin.flush()
            said += process.stdout.readline() + process.stdout.readline()
            # Plus one of the command's own, which looks.
            until("the round is over", lambda n=number: len(database.backends()) == n * left + 1)
            seen.append(len(database.backends()) - 1)
        idle = database.psql(suspects, superuser=False).count("| upstream ")
        assert psutil.Process(process.pid).num_threads() > 4 * 4
        process.stdin.close()
    until("its connections are gone", lambda: not database.backends())
    project.note()
    return said, seen, idle


@control(edit("upstream/orders/background.py", "return Order.objects.count()", "return 0"), fails_with="not within")
def test_each_round_of_threads_leaves_four_connections(project, tables, load, transcript) -> None:
    """Each Enter leaves four more open, sixteen after four rounds; all are suspects, and so is the command's own.

    They close with it.
    """
    said, seen, suspects = pressed(project, tables, load(SUSPECTS), left=4)
    assert seen == [4, 8, 12, 16]
    assert suspects == 16 + 1
    transcript(load(COMMAND), said, case="as-it-is")


@control(edit("upstream/orders/background.py", "connection.close()", "pass"), fails_with="not within")
def test_threads_that_close_leave_none(project, tables, load, transcript) -> None:
    """With --close none is open after any of four rounds, although the threads are still there."""
    said, seen, _ = pressed(project, tables, load(SUSPECTS), "--close", left=0)
    assert seen == [0, 0, 0, 0]
    transcript(load(COMMAND), said, case="with-close")
