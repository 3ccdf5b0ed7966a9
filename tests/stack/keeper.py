"""Keeps servers, each with its folder, for leash.py, which runs this as a script and holds the other end of its input.

Each line of the input is an order, in JSON; each gets one line in answer, a message where it failed. However the
input ends, the servers are stopped and the folders deleted.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Seconds that a server has to end, and its children to leave the folder alone: more than they take on a busy machine.
PATIENCE = 60


class Keeper:
    """The server, from the side of its parent process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: subprocess.Popen[bytes] | None = None
        self.ends_with = signal.SIGTERM

    def obey(self, order: dict[str, Any]) -> object:
        """Carry out one order and return the answer. Raises OSError where a command cannot be run."""
        if "run" in order:
            return self.run(**order)
        if "halt" in order:
            return self.halt(order["halt"])
        alive = self.server is not None and self.server.poll() is None
        if "signal" in order and self.server and alive:
            self.server.send_signal(order["signal"])
        return alive

    def run(self, run: list[str], stop: int, user: int | None, env: dict[str, str] | None, cwd: str) -> int:
        """Start a server and return its process id."""
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(
                run,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=cwd,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        self.ends_with = signal.Signals(stop)
        return self.server.pid

    def halt(self, number: int | None = None) -> None:
        """End the server, with its children, and wait until it is gone."""
        if self.server is None:
            return
        self.server.send_signal(number or self.ends_with)
        try:
            self.server.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        kill_session(self.server.pid)  # what it left of its own children
        self.server = None

    def leave(self) -> None:
        """End the server and delete the folder."""
        self.halt()
        self.clear()

    def clear(self) -> None:
        """Delete the folder, into which grandchildren may write until they notice that they are alone."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            shutil.rmtree(self.folder, ignore_errors=True)
            if not self.folder.exists():
                return
            time.sleep(0.05)


def kill_session(number: int) -> None:
    """Kill every process of a session: a group may have left the server's, as pgagroal's do."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == number:
                os.kill(int(entry.name), signal.SIGKILL)
        except ProcessLookupError:
            pass


def main(kind: type[Keeper] = Keeper) -> None:
    """Take orders until there are no more. Each names its folder; `leave` is the last one for that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)  # a handler, not SIG_IGN, which the server would inherit
    keepers: dict[str, Keeper] = {}
    try:
        for line in sys.stdin.buffer:
            order = json.loads(line)
            folder = order.pop("folder")
            keeper = keepers.setdefault(folder, kind(Path(folder)))
            try:
                answer = keeper.leave() if order.get("leave") else keeper.obey(order)
            except OSError as error:
                answer = f"{error.filename}: {error.strerror}"
            if order.get("leave"):
                del keepers[folder]
            print(json.dumps(answer), flush=True)
    except BrokenPipeError:
        pass  # the owner is gone
    finally:
        for keeper in keepers.values():
            keeper.leave()


if __name__ == "__main__":
    main()
