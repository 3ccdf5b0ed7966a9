"""A keeper whose servers are Python programs: each is a fork of it, and finds Django and Gunicorn imported already.

They are the same programs, on the same files, in processes of their own. Only the two fifths of a second are saved
that each would take to import what it shares with all others; the example project itself is imported by each.
"""

import os
import runpy
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.stack import keeper, wire
from tests.stack.witness.sitecustomize import watch

SHARED = (
    "django.contrib.contenttypes.management",
    "django.core.management.commands.migrate",
    "django.core.management.commands.runserver",
    "django.core.wsgi",
    "django.db.backends.postgresql.base",
    "environ",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
)


class Warm(keeper.Keeper):
    """A keeper of any number of forks. Each writes into a log of its own in the keeper's folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.running: set[int] = set()
        self.ended: dict[int, int] = {}  # process id: exit status

    def obey(self, order: dict[str, Any]) -> object:
        """Carry out one order and return the answer."""
        if "fork" in order:
            return self.fork(**order)
        if "status" in order:
            return self.status(order["status"])
        if "end" in order:
            return self.end(order["end"], order["by"])
        return super().obey(order)

    def fork(self, fork: list[str], env: dict[str, str], cwd: str, log: str, fresh: bool, namespaces: list[str]) -> int:
        """Run what `python` would run with these arguments, and return its process id. `fresh`: in a new Python."""
        pid = os.fork()
        if pid == 0:
            for path in namespaces:
                wire.enter(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            become(fork, env, cwd, self.folder / log, fresh)
        self.running.add(pid)
        return pid

    def status(self, pid: int) -> int | None:
        """Return a fork's exit status, or None while it runs."""
        if pid in self.running:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._note(pid, status)
        return self.ended.get(pid)

    def end(self, pid: int, by: int) -> int | None:
        """End a fork with its children, by a signal, and return its exit status."""
        if pid in self.running:
            os.kill(pid, by)
            self._note(pid, os.waitpid(pid, 0)[1])
        return self.ended.get(pid)

    def halt(self, number: int | None = None) -> None:
        """End every fork."""
        for pid in list(self.running):
            self.end(pid, number or signal.SIGKILL)

    def _note(self, pid: int, status: int) -> None:
        self.running.remove(pid)
        self.ended[pid] = os.waitstatus_to_exitcode(status)
        try:
            os.killpg(pid, signal.SIGKILL)  # what it left of its own children
        except ProcessLookupError:
            pass


def become(arguments: list[str], env: dict[str, str], cwd: str, log: Path, fresh: bool) -> NoReturn:
    """Be a new Python: with this environment in this folder, and run what it would run with these arguments."""
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(cwd)
    if fresh:
        os.execve(sys.executable, [sys.executable, *arguments], env)  # noqa: S606  (it is the one that this one is)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [cwd, *env["PYTHONPATH"].split(os.pathsep)]
    watch(env.get("PROVEN_WITNESS", ""))
    status = 0
    try:
        run(*arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # not sys.exit: what the keeper is in the middle of is not this process's to finish


def run(first: str, *rest: str) -> None:
    """Run `-c code`, `-m module` or a file, as `python` would."""
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = list(rest)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def main(project: str) -> None:
    """Import what is shared, where the project is: Gunicorn remembers in which folder it was imported."""
    os.chdir(project)
    for module in SHARED:
        import_module(module)
    keeper.main(Warm)


if __name__ == "__main__":
    main(*sys.argv[1:])
