"""Whatever becomes of who started a server, nothing is left of it: no process and no file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from proven import ROOT
from tests.stack.leash import Leash
from tests.stack.wait import until

# A shell that runs the tests in the background has its children ignore Ctrl-C.
OWNER = """
import os, signal
from tests.stack.leash import Leash
signal.signal(signal.SIGINT, signal.default_int_handler)
leash = Leash("owned")
leash.run(["sleep", "60"])
print(leash.pid, leash.folder, flush=True)
"""

# A proof that starts servers of its own, and then kills the parallel worker that it runs in.
KILLS_ITS_WORKER = """
import os, signal
from pathlib import Path

def test_kills_its_worker(cluster, database, pooler):
    started, bouncer = cluster(max_connections=10), pooler(database)
    with bouncer.connect(database) as connection:
        connection.execute("select 1")
    leashes = [started.leash, bouncer.leash]
    Path("started").write_text("\\n".join(f"{leash.pid} {leash.folder}" for leash in leashes))
    os.kill(os.getpid(), signal.SIGKILL)

def test_goes_on_in_the_other(database):
    pass
"""


def gone(pid: int) -> bool:
    """Return whether a process has ended, be it that nobody has collected it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def nothing_is_left(started: str) -> None:
    """Wait until the server and the folder, named on each line, are gone. Raises TimeoutError where they stay."""
    for line in started.splitlines():
        pid, folder = line.split(maxsplit=1)
        until(f"process {pid} ends", lambda pid=int(pid): gone(pid))
        until(f"{folder} is deleted", lambda folder=Path(folder): not folder.exists())


@pytest.mark.parametrize(
    "end", ["", "os.abort()", "os.kill(os.getpid(), signal.SIGKILL)", "os.killpg(0, signal.SIGINT); signal.pause()"]
)
def test_a_server_and_its_folder_go_with_their_owner(end: str) -> None:
    """It may return, crash, be killed, or get Ctrl-C together with its whole process group."""
    owner = subprocess.run(
        [sys.executable, "-c", OWNER + end], cwd=ROOT, capture_output=True, text=True, start_new_session=True
    )
    assert owner.stdout, owner.stderr
    nothing_is_left(owner.stdout)


def test_servers_go_with_a_killed_parallel_worker(tmp_path: Path) -> None:
    """PostgreSQL and PgBouncer too, with the processes that they started, while the other worker goes on."""
    (tmp_path / "test_killed.py").write_text(KILLS_ITS_WORKER)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n2",
        "--max-worker-restart=0",
        "-p",
        "conftest",
        "-p",
        "no:examples",
    ]
    run = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert "1 failed, 1 passed" in run.stdout, run.stdout + run.stderr
    nothing_is_left((tmp_path / "started").read_text())


def test_a_server_that_ends_by_itself_is_noticed_and_its_log_stays() -> None:
    """Its last words are there to be shown until the owner lets go."""
    leash = Leash("brief")
    try:
        leash.run(["sh", "-c", "echo last words; exit 1"])
        until("it ends", leash.ended)
        assert leash.why() == "last words"
    finally:
        leash.stop()
    assert not leash.folder.exists()


@pytest.mark.parametrize("options", ["", "-m"])
def test_the_children_of_a_server_go_with_it(options: str) -> None:
    """Those too that it leaves behind when it ends, also in a process group of their own: sh -m makes one for each."""
    leash = Leash("parent")
    leash.run(["sh", *options.split(), "-c", "sleep 60 & echo $!; wait"])
    # Without a terminal, sh -m complains first.
    child = int(until("it has a child", lambda: re.search(r"^(\d+)$", leash.said(), re.MULTILINE))[1])
    leash.stop()
    until("its child ends", lambda: gone(child))


def test_a_command_that_is_not_there_is_named() -> None:
    """The message says what could not be run, and why."""
    leash = Leash("missing")
    try:
        with pytest.raises(RuntimeError, match="/no/such/server: No such file"):
            leash.run(["/no/such/server"])
    finally:
        leash.stop()
