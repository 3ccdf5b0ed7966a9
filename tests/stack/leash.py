"""Run a server on a leash: it ends when whoever started it does, however that happens.

Started as a script, it runs the server as its child and reads standard input, a pipe that only its owner holds. The
pipe ends when the owner closes it, returns, crashes or is killed, SIGKILL included. Then the server is stopped and
its folders are deleted. The leash is in a session of its own, so Ctrl-C and a killed process group miss it.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

KEEP = b"keep"  # what the owner writes where the folder is to stay
NOBODY = 65534  # who runs the servers where we are root: PostgreSQL and PgBouncer refuse to be


def server_user() -> int | None:
    """Return the uid that servers run as, or None for our own."""
    return NOBODY if os.getuid() == 0 else None


class Leash:
    """A server process, from the owner's side."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        *,
        stop: signal.Signals = signal.SIGTERM,
        remove: Path | None = None,
        user: int | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        options = [str(int(stop)), str(remove or ""), "" if user is None else str(user)]
        self.command = command
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, *options, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline() or 0)  # the server's own

    def ended(self) -> bool:
        """Return whether the server has ended by itself."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        os.kill(self.pid, number)

    def stop(self, *, keep: bool = False) -> None:
        """End the server, if it still runs, and wait until it is gone, with its folder unless that is kept."""
        if self.process.stdin and not self.process.stdin.closed:
            if keep:
                self.process.stdin.write(KEEP)
            self.process.stdin.close()
        self.process.wait(timeout=30)
        if self.process.stdout:
            self.process.stdout.close()

    def why(self) -> str:
        """Return the end of the server's log, for a message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""


def main(stop: str, remove: str, user: str, *command: str) -> int:
    """Run the command until standard input ends; return its exit status."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a handler, not SIG_IGN, which the server would inherit
    who = {"user": int(user), "group": int(user), "extra_groups": []} if user else {}
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0, **who  # type: ignore[call-overload]
    )
    print(server.pid, flush=True)
    owner = threading.Thread(target=hold, args=(server, int(stop), said := []), daemon=True)
    owner.start()
    status = server.wait()
    try:
        os.killpg(server.pid, signal.SIGKILL)  # what the server left of its own children
    except ProcessLookupError:
        pass
    owner.join()  # a server that ended by itself leaves its log to be read until then
    if remove and said != [KEEP]:
        shutil.rmtree(remove, ignore_errors=True)
    return status if status >= 0 else 128 - status


def hold(server: subprocess.Popen[bytes], stop: int, said: list[bytes]) -> None:
    """Wait for the owner's end of the pipe to close, then end the server."""
    said.append(sys.stdin.buffer.read())
    server.send_signal(stop)
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
