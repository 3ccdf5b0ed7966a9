"""Hosts of our own, and the network between them, on which wires are cut and routers forget.

A host is a network namespace of Linux. wire.py makes it and carries its packets; it ends with whoever asked for it, as
every server does. No host has a way to anywhere but the others.
"""

import os
import shutil
from typing import NamedTuple

from tests.stack.leash import Leash

WIRE = ("-S", "-m", "tests.stack.wire")


class Packet(NamedTuple):
    """A packet of TCP, as the wire has seen it, be it that it was lost then."""

    source: int  # the host's number
    target: int
    source_port: int
    target_port: int
    flags: int
    payload: int  # bytes of it that are the application's

    @property
    def connection(self) -> frozenset[tuple[int, int]]:
        """Both of its ends, each a host's number and a port."""
        return frozenset(((self.source, self.source_port), (self.target, self.target_port)))


class Host(NamedTuple):
    """A machine with an address: a network namespace."""

    number: int
    address: str
    keeper: int  # the process that has its namespace open, under this number
    descriptor: int

    @property
    def namespaces(self) -> dict[str, str]:
        """What a process enters to be on this host, by kind and in order."""
        user = {} if os.geteuid() == 0 else {"user": f"/proc/{self.keeper}/ns/user"}
        return {**user, "net": f"/proc/{self.keeper}/fd/{self.descriptor}"}

    def command(self, command: list[str], user: int | None = None) -> list[str]:
        """Return the command that runs another one on this host, as another user where that is given."""
        ways = [f"--{kind}={path}" for kind, path in self.namespaces.items()]
        who = ["--preserve-credentials"] if user is None else [f"--setuid={user}", f"--setgid={user}"]
        return ["nsenter", *ways, *who, "--", *command]


class Network:
    """Hosts 10.0.0.1, 10.0.0.2… in a namespace each, all on one wire."""

    def __init__(self, hosts: int) -> None:
        """Make it. Raises RuntimeError, in words that are published as the reason, where this machine has none."""
        self.leash = Leash("network", keeper=WIRE)
        try:
            if not shutil.which("nsenter"):
                raise RuntimeError("there is no nsenter")
            keeper, *descriptors = self.leash.order(hosts=hosts)
        except RuntimeError as error:
            self.leash.stop()
            raise RuntimeError(f"needs network namespaces: {error}") from error
        self.hosts = [Host(n, f"10.0.0.{n}", keeper, opened) for n, opened in enumerate(descriptors, 1)]

    def cut(self, one: Host, other: Host) -> None:
        """Lose every packet between two hosts from now on. Neither hears of it."""
        self.between(one, other, cut=True)

    def mend(self, one: Host, other: Host) -> None:
        """Lose no more."""
        self.between(one, other, cut=False)

    def between(self, one: Host, other: Host, **how: object) -> None:
        """Say how packets fare between two hosts: `cut`, `delay` in seconds each way, `loss` as a share."""
        self.leash.order(between=[one.number, other.number], **how)

    def forget(self, one: Host, other: Host) -> None:
        """Lose, as a router between two hosts does, every connection that has said nothing since this was last said.

        A new one is taken.
        """
        self.leash.order(forget=[one.number, other.number])

    def tune(self, host: Host, **to: int) -> None:
        """Set what a host's kernel does by itself, below net.ipv4: tune(app, tcp_retries2=3)."""
        self.leash.order(tune=host.number, to=to)

    def packets(self) -> list[Packet]:
        """Return what was sent since this was last asked."""
        return [Packet(*each) for each in self.leash.order(packets=True)]

    def stop(self) -> None:
        """Take it down."""
        self.leash.stop()
