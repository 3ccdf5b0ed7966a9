"""One address for several servers: new connections go to those that are behind it now, open ones stay where they are.

What a Service is to the pods behind it, on this machine.
"""

import itertools
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress


class Handover:
    """Takes connections on a port of its own and passes on what comes, in both directions."""

    def __init__(self, *behind: int) -> None:
        """Listen, and lead to these ports on 127.0.0.1 in turn."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._turns = itertools.count()
        self.lead(*behind)
        threading.Thread(target=self._accept, daemon=True).start()

    def lead(self, *behind: int) -> None:
        """Have new connections go to these ports from now on."""
        self._behind: Sequence[int] = behind

    def stop(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for one
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it was stopped
            while True:
                client = self._listener.accept()[0]
                try:
                    port = self._behind[next(self._turns) % len(self._behind)]
                    server = socket.create_connection(("127.0.0.1", port))
                except OSError:
                    client.close()
                    continue
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Write to one end what is read from the other, until either is closed; then close both."""
    with source, suppress(OSError):
        while received := source.recv(65536):
            target.sendall(received)
        target.shutdown(socket.SHUT_RDWR)
