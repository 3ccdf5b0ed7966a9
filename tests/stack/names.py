"""A name server on the loopback, whose answers a proof changes: a name that moves to another machine."""

import socket
import struct
import threading
from contextlib import suppress

TYPE_A = 1


class Names:
    """Answers questions for IPv4 addresses over UDP, which may be kept for `ttl` seconds; it knows of no others."""

    def __init__(self, **addresses: str) -> None:
        """Serve on a port of its own: Names(db="127.0.0.1")."""
        self.addresses = addresses
        self.ttl = 0
        self.asked = 0  # for an IPv4 address, of whichever name
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._stopped = False
        threading.Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._stopped = True
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))

    def _serve(self) -> None:
        with self._socket:
            while not self._stopped:
                packet, client = self._socket.recvfrom(4096)
                if len(packet) > 12:
                    self._socket.sendto(self._answer(packet), client)

    def _answer(self, packet: bytes) -> bytes:
        """Return the answer to a question. Source: RFC 1035, section 4."""
        labels, at = [], 12
        while length := packet[at]:
            labels.append(packet[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question = packet[12 : at + 5]
        (kind,) = struct.unpack("!H", question[-4:-2])
        address = self.addresses.get(labels[0].lower()) if kind == TYPE_A else None
        self.asked += kind == TYPE_A
        header = packet[:2] + struct.pack("!HHHHH", 0x8580, 1, bool(address), 0, 0)
        if not address:
            return header + question
        return header + question + struct.pack("!HHHIH", 0xC00C, TYPE_A, 1, self.ttl, 4) + socket.inet_aton(address)
