"""Hosts and the wire between them, kept as keeper.py keeps servers. network.py runs it, and gives the orders.

A host is a network namespace, and has one network card: an end of a veth pair. The other ends are here, in a namespace
of their own, where nothing but this program carries a packet from one to another. So it can lose it, hold it back, or
write it down. A namespace lasts as long as a process is in it or has it open: however this one ends, nothing stays.

Every card has the same hardware address, and so each takes whatever packet it is given, and none asks who has which:
a host that is cut off hears nothing, as behind a router far away, instead of that there is no such neighbour.
"""

import ctypes
import functools
import heapq
import os
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack import keeper

# Linux's own numbers: sched.h, rtnetlink.h, if_link.h, veth.h, if_ether.h, if_packet.h.
NEW_USER, NEW_NET = 0x10000000, 0x40000000
NEW_LINK, NEW_ADDRESS = 16, 20
REQUEST, ACKNOWLEDGE, CREATE = 1, 4, 0x400
UP, NO_ARP = 0x1, 0x80
HARDWARE_ADDRESS, NAME, LINK_INFO, NAMESPACE = 1, 3, 18, 28
KIND, DATA, PEER = 1, 2, 1
LOCAL = 2
IPV4, TCP = 0x0800, 6
SOL_PACKET, WITH_OFFLOADS = 263, 15
OFFLOADS, ETHERNET = 10, 14  # bytes before a packet: what is left for the card to do, and the card's own header
SYN = 0x02
SAME = b"\x02\0\0\0\0\x01"  # every card's hardware address
CARD = "eth0"


@dataclass
class Link:
    """How packets fare between two hosts."""

    cut: bool = False
    delay: float = 0.0  # seconds, each way
    loss: float = 0.0  # the share that is lost


class Wire(keeper.Keeper):
    """Hosts 1, 2, 3… and what carries packets between them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.namespaces: list[int] = []
        self.cards: list[socket.socket] = []  # our end of each host's, in their order
        self.links: dict[frozenset[int], Link] = {}
        self.packets: list[tuple[int, int, int, int, int, int]] = []
        self.known: set[frozenset] = set()  # connections
        self.heard: set[frozenset] = set()  # those that said something since others were last forgotten
        self.forgotten: set[frozenset] = set()
        self.lock = threading.Lock()
        self.carrier: threading.Thread | None = None
        self.over, self.end = socket.socketpair()

    def obey(self, order: dict[str, Any]) -> object:
        """Carry out one order and return the answer. Raises OSError where the kernel refuses."""
        if "hosts" in order:
            return self.make(order["hosts"])
        if "tune" in order:
            return self.tune(order["tune"], **order["to"])
        with self.lock:
            if "between" in order:
                link = self.links.setdefault(frozenset(order.pop("between")), Link())
                vars(link).update(order)
                return None
            if "forget" in order:
                here = {each for each in self.known if {host for host, _ in each} == set(order["forget"])}
                self.forgotten |= here - self.heard
                self.heard -= here
                return None
            if "packets" in order:
                seen, self.packets = self.packets, []
                return seen
        return super().obey(order)

    def make(self, hosts: int) -> list[int]:
        """Make hosts; return this process, and by which number of its open files it has each one's namespace."""
        allowed()
        middle = namespace()
        self.namespaces.append(middle)
        for number in range(1, hosts + 1):
            self.namespaces.append(namespace())
            plug_in(number, middle)
            enter(middle)
            turn_on(f"host{number}")
            self.cards.append(listen(f"host{number}"))
        self.carrier = threading.Thread(target=self.carry)
        self.carrier.start()
        return [os.getpid(), *self.namespaces[1:]]

    def tune(self, host: int, **to: int) -> None:
        """Set what a host's kernel does by itself: tune(1, tcp_retries2=3)."""
        enter(self.namespaces[host])
        for name, value in to.items():
            Path(f"/proc/sys/net/ipv4/{name}").write_text(str(value))
        enter(self.namespaces[0])

    def leave(self) -> None:
        """Let go of the hosts, which are gone then, and delete the folder."""
        self.end.close()
        if self.carrier:
            self.carrier.join()
        for card in (*self.cards, self.over):
            card.close()
        for descriptor in self.namespaces:
            os.close(descriptor)
        super().leave()

    def carry(self) -> None:
        """Take each packet from one host to the other, until this is over."""
        held: list[tuple[float, int, int, bytes]] = []  # until when, in which order they came, to whom, what
        for count, (source, packet) in enumerate(self._arriving(held)):
            with self.lock:
                target, wait = self.look(source, packet)
            if target:
                heapq.heappush(held, (time.monotonic() + wait, count, target, packet))

    def _arriving(self, held: list[tuple[float, int, int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Yield who sends what, and meanwhile deliver what was held back for long enough."""
        while True:
            while held and held[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(held)
                try:
                    self.cards[target - 1].send(packet)
                except OSError:
                    pass  # no room: a network may lose what it likes
            # Not selectors, which rounds a wait up to a millisecond.
            timeout = max(0.0, held[0][0] - time.monotonic()) if held else None
            ready = select.select([self.over, *self.cards], [], [], timeout)[0]
            if self.over in ready:
                return
            for card in ready:
                yield self.cards.index(card) + 1, card.recv(2**17)

    def look(self, source: int, packet: bytes) -> tuple[int, float]:
        """Write a packet down, and return whom it goes to, 0 for nobody, and how long it takes."""
        header = packet[OFFLOADS + ETHERNET :]
        target = header[19]  # the last number of the address
        if not 0 < target <= len(self.cards):
            return 0, 0
        link = self.links.get(frozenset((source, target)), Link())
        if header[9] == TCP and self._forgets(source, target, header):
            return 0, 0
        if link.cut or random.random() < link.loss:
            return 0, 0
        return target, link.delay

    def _forgets(self, source: int, target: int, header: bytes) -> bool:
        """Write down a packet of TCP, and return whether its connection is forgotten: until it is opened anew."""
        begins = 4 * (header[0] & 0xF)
        length = struct.unpack_from("!H", header, 2)[0]
        sport, dport = struct.unpack_from("!HH", header, begins)
        flags = header[begins + 13]
        payload = length - begins - 4 * (header[begins + 12] >> 4)
        self.packets.append((source, target, sport, dport, flags, payload))
        connection = frozenset(((source, sport), (target, dport)))
        if flags & SYN:
            self.forgotten.discard(connection)
        self.known.add(connection)
        self.heard.add(connection)
        return connection in self.forgotten


@functools.cache
def allowed() -> None:
    """Be allowed to make networks: as root we are, as anybody else only in a user namespace, where we stay who we are.

    Raises OSError where the kernel refuses.
    """
    if os.geteuid() == 0:
        return
    user, group = os.getuid(), os.getgid()
    unshare(NEW_USER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def namespace() -> int:
    """Make a network namespace, enter it, and return it as an open file."""
    unshare(NEW_NET)
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def plug_in(number: int, middle: int) -> None:
    """Give the host that we are in a card, whose other end is in the middle, and its address."""
    info = attribute(KIND, b"veth") + attribute(DATA, attribute(PEER, new(f"host{number}", middle)))
    ask(NEW_LINK, CREATE, new(CARD) + attribute(LINK_INFO, info))
    turn_on("lo")
    turn_on(CARD)
    address = socket.inet_aton(f"10.0.0.{number}")
    body = struct.pack("BBBBI", socket.AF_INET, 24, 0, 0, socket.if_nametoindex(CARD))
    ask(NEW_ADDRESS, CREATE, body + attribute(LOCAL, address))


def new(name: str, within: int | None = None) -> bytes:
    """Return how netlink describes a card that is to be made."""
    said = struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, NO_ARP, NO_ARP)
    said += attribute(NAME, name.encode() + b"\0") + attribute(HARDWARE_ADDRESS, SAME)
    return said if within is None else said + attribute(NAMESPACE, struct.pack("I", within))


def turn_on(name: str) -> None:
    """Turn a network device on, where we are."""
    ask(NEW_LINK, 0, struct.pack("BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), UP, UP))


def attribute(kind: int, value: bytes) -> bytes:
    """Return one of netlink's attributes, filled up to four bytes."""
    return struct.pack("HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def ask(kind: int, flags: int, body: bytes) -> None:
    """Ask the kernel for a change of the network that we are in. Raises OSError where it refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.bind((0, 0))
        kernel.send(struct.pack("IHHII", 16 + len(body), kind, REQUEST | ACKNOWLEDGE | flags, 1, 0) + body)
        refused = -struct.unpack_from("i", kernel.recv(4096), 16)[0]
    if refused:
        raise OSError(refused, os.strerror(refused), "network")


def listen(name: str) -> socket.socket:
    """Return what reads each packet that comes out of a card's end, and writes others into it."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    # Packets larger than the wire, and without a checksum, go through as they are: veth does the same.
    end.setsockopt(SOL_PACKET, WITH_OFFLOADS, 1)
    end.bind((name, IPV4))
    return end


def unshare(what: int) -> None:
    """Have a namespace of our own. Raises OSError where the kernel refuses."""
    _call("unshare", what)


def enter(descriptor: int) -> None:
    """Go into a namespace that is open. Raises OSError where the kernel refuses."""
    _call("setns", descriptor, 0)


def _call(name: str, *arguments: int) -> None:
    """Call the C library: Python has these only from 3.12 on."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


if __name__ == "__main__":
    keeper.main(Wire)
