"""Run a server on a leash: it ends when whoever started it does, however that happens.

A keeper (keeper.py) is a process that runs a process's servers and minds their folders. It reads its orders from a pipe
that only the owner holds. The pipe ends when the owner closes it, returns, crashes or is killed, SIGKILL included. Then
the servers are stopped and the folders are deleted. The keeper is in a session of its own, so Ctrl-C and a killed
process group miss it.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import SIGTERM, Signals
from typing import TYPE_CHECKING, Any, Literal

from tests.stack.wait import DEADLINE, free_port, until

if TYPE_CHECKING:
    from tests.stack.network import Host

NOBODY = 65534  # who runs the servers where we are root: PostgreSQL and PgBouncer refuse to be
# How Python starts a keeper: without what it would otherwise import, in a few milliseconds.
KEEPER = ("-I", "-S", Path(__file__).with_name("keeper.py"))
KEEPERS: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}  # of this process, by how they were started
# What PgBouncer, Gunicorn and PostgreSQL say of a port that is taken.
IN_USE = ("Address already in use", "Connection in use", "could not create any TCP/IP sockets")


def server_user() -> int | None:
    """Return the uid that servers run as, or None for our own."""
    return NOBODY if os.getuid() == 0 else None


def closed(folder: Path) -> bool:
    """Return whether the user that servers run as cannot pass through a folder, or one above it."""
    return server_user() is not None and any(not f.stat().st_mode & 0o001 for f in [folder, *folder.resolve().parents])


def temporary() -> Path:
    """Return a folder for temporary files that servers can reach."""
    usual = Path(tempfile.gettempdir())
    return Path("/tmp") if closed(usual) else usual


def give(*paths: Path) -> None:
    """Give files and folders to the user that servers run as."""
    user = server_user()
    if user is not None:
        for path in paths:
            os.chown(path, user, user, follow_symlinks=False)


class Server:
    """Something that is started on a port. Who inherits this says whether it has ended, what it said, and stops it."""

    def serve(
        self, what: str, start: Callable[[int], None], answers: Callable[[int], bool], port: int | None = None
    ) -> int:
        """Run a server on a free port, or on one that it had before, until it answers there; return the port.

        `start` runs it on a port, and is called again where that one got taken meanwhile. Raises RuntimeError with the
        server's last words where it does not start; then nothing is left of it.
        """
        try:
            for _ in range(5):
                at = port or free_port()
                start(at)
                state = until(f"{what} starts", functools.partial(self._state, answers, at))
                if state == "up":
                    return at
                if state == "failed":
                    break
                port = None
            raise RuntimeError(f"{what} did not start:\n{self.why()}")
        except BaseException:
            self.stop()
            raise

    def why(self) -> str:
        """Return the end of what the server has logged, for a message."""
        return "\n".join(self.said().splitlines()[-15:])

    def _state(self, answers: Callable[[int], bool], port: int) -> Literal["taken", "failed", "up"] | None:
        """Return what became of a server that was started. One that finds its port taken may keep on trying."""
        ended = self.ended()
        if any(words in self.said() for words in IN_USE):
            return "taken"
        if ended:
            return "failed"
        return "up" if answers(port) else None

    def ended(self) -> bool:
        """Return whether it has ended by itself."""
        raise NotImplementedError

    def said(self) -> str:
        """Return what it has logged."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        raise NotImplementedError


class Leash(Server):
    """A folder and the server that runs in it, from the owner's side."""

    def __init__(self, name: str, within: Path | None = None, keeper: Sequence[str | Path] = KEEPER) -> None:
        """Make a folder called after `name`, among the temporary files or `within` another folder."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"proven-{name}-", dir=within or temporary()))
        if server_user() is not None:
            self.folder.chmod(0o755)
        self.log = self.folder / "log"
        self.pid = 0  # the server's own
        self._before = 0  # how much of the log earlier servers wrote
        self._keeper = _started(tuple(map(str, keeper)))
        self._left = False
        self.order(alive=True)  # from here on the keeper knows of the folder

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder that only the server's user may read, and return its path."""
        file = self.folder / name
        file.write_text(text)
        file.chmod(0o600)
        give(file)
        return file

    def run(
        self,
        command: list[str],
        *,
        stop: Signals = SIGTERM,
        user: int | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        host: "Host | None" = None,
    ) -> None:
        """Run a server, in place of the one before; its output goes to the log, and `stop` is the signal that ends it.

        It runs on one of the network's hosts, or on this machine. Raises RuntimeError where the command cannot be run.
        """
        self.halt()
        if host:
            command, user = host.command(command, user), None
        self._before = self.log.stat().st_size if self.log.exists() else 0
        self.pid = self.order(run=command, stop=stop, user=user, env=env, cwd=str(cwd or self.folder))

    def ended(self) -> bool:
        """Return whether the server has ended by itself."""
        return not self.order(alive=True)

    def signal(self, number: Signals) -> None:
        """Send the server a signal, unless it has ended."""
        self.order(signal=number)

    def halt(self, number: Signals | None = None) -> None:
        """End the server, by its own signal or another, and wait until it is gone. The folder stays."""
        self.order(halt=number)

    def stop(self) -> None:
        """End the server, and wait until it is gone with its folder."""
        if not self._left:
            self._left = True
            self.order(leave=True)

    def said(self) -> str:
        """Return what the server has logged."""
        return self.log.read_bytes()[self._before :].decode(errors="replace") if self.log.exists() else ""

    def order(self, **order: Any) -> Any:
        """Give the keeper an order, and return what it answers.

        Raises RuntimeError where it could not be carried out.
        """
        assert self._keeper.stdin
        assert self._keeper.stdout
        try:
            self._keeper.stdin.write(json.dumps({**order, "folder": str(self.folder)}).encode() + b"\n")
            self._keeper.stdin.flush()
            answer = json.loads(self._keeper.stdout.readline())
        except (OSError, ValueError) as error:
            raise RuntimeError(f"the keeper of {self.folder} has ended: was it killed?") from error
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def _started(keeper: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Return this process's keeper of a kind. One keeps all folders: to start it costs more than most servers do."""
    if keeper not in KEEPERS:
        KEEPERS[keeper] = subprocess.Popen(
            [sys.executable, *keeper],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return KEEPERS[keeper]


def end_keepers() -> None:
    """End every keeper of this process, with whatever it still keeps."""
    while KEEPERS:
        KEEPERS.popitem()[1].communicate(timeout=DEADLINE)
