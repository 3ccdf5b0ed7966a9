"""Redis, where a worker's queue is: on PATH, else Debian's, unpacked into the cache without root."""

import itertools
import shutil
import socket
from pathlib import Path

from setup import debian
from setup.programs import Program, started, unpacked
from tests.stack.leash import Leash


class Redis:
    """A server of its own, which keeps nothing on disk."""

    def __init__(self) -> None:
        """Start it. Raises RuntimeError where there is none."""
        self.program = find()
        self.leash = Leash("redis")
        self.numbers = itertools.count()
        self.port = self.leash.serve("Redis", self._run, self._answers)

    def empty(self) -> str:
        """Return the URL of a database in it that nobody has used."""
        return f"redis://127.0.0.1:{self.port}/{next(self.numbers)}"

    def stop(self) -> None:
        """Stop it; its folder goes with it."""
        self.leash.stop()

    def _run(self, port: int) -> None:
        options = [
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--databases",
            "1000",
            "--save",
            "",
            "--dir",
            str(self.leash.folder),
        ]
        self.leash.run([*self.program.command, *options], env=self.program.surroundings())

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


def find() -> Program:
    """Return Redis's program. Raises RuntimeError with what to do where there is none."""
    own = shutil.which("redis-server")
    if own:
        return started(Program(Path(own)), "--version", ours=False)[0]
    try:
        return started(
            unpacked(debian.fetch("redis-server", beside=("redis-tools",)), "usr/bin/redis-server"), "--version"
        )[0]
    except RuntimeError as error:
        raise RuntimeError(f"no Redis: install the package redis-server ({error})") from error
