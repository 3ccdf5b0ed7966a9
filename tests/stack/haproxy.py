"""HAProxy, which leads to whichever server says that it writes: Debian's, unpacked into the cache without root."""

import functools
import re
import subprocess

from setup import debian
from setup.programs import started, unpacked
from tests.stack.leash import Leash, give
from tests.stack.network import Host
from tests.stack.patroni import as_server
from tests.stack.wait import until

SUITES = ("sid", "trixie")


class HAProxy:
    """HAProxy on a host of the network, at the address that its file says."""

    address, port = "127.0.0.1", 5000  # in the file

    def __init__(self, text: str, host: Host, port: int = 5000) -> None:
        """Start it with what a reader's file holds, but for the port. Raises RuntimeError where it does not start."""
        self.leash = Leash("haproxy")
        give(self.leash.folder)
        settings = self.leash.write("haproxy.cfg", text.replace(f":{self.port}", f":{port}"))
        self.leash.run([*as_server(), *find(), "-db", "-f", str(settings)], host=host)
        listens = host.command(["sh", "-c", f"grep -q ':{port:04X} 00000000:0000 0A' /proc/net/tcp"])
        try:
            until("HAProxy listens", lambda: subprocess.run(listens).returncode == 0 or self._over())
        except BaseException:
            self.leash.stop()
            raise

    def wait(self, standbys: int = 2) -> None:
        """Wait until it leads to the primary alone: it takes every server for one until it has asked."""
        until("HAProxy has checked the standbys", lambda: self.leash.said().count(" is DOWN") >= standbys)

    def _over(self) -> None:
        if self.leash.ended():
            raise RuntimeError(f"HAProxy did not start:\n{self.leash.why()}")

    def stop(self) -> None:
        """Stop it at once."""
        self.leash.stop()


@functools.cache
def _found() -> tuple[list[str], str]:
    program, said = started(unpacked(debian.fetch("haproxy", *SUITES), "usr/sbin/haproxy"), "-v")
    found = re.match(r"HAProxy version ([\d.]+)", said)
    if not found:
        raise RuntimeError("this is not HAProxy")
    return program.command, found[1]


def find() -> list[str]:
    """Return the command that runs it. Raises RuntimeError where it cannot be had."""
    return _found()[0]


def version() -> str:
    """Return its version."""
    return _found()[1]
