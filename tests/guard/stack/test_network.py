"""Hosts of our own: what is sent arrives, or does not, as it was said; and nothing is left of them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from proven import ROOT
from tests.guard.stack.test_leash import nothing_is_left
from tests.stack.leash import NOBODY, Leash, closed
from tests.stack.network import Host, Network
from tests.stack.wait import free_port, until

# Sends each byte back, to any number of clients.
ECHO = """
import socket, sys, threading
server = socket.create_server((sys.argv[1], 7000))
def serve(client):
    while said := client.recv(1):
        client.sendall(said)
while True:
    threading.Thread(target=serve, args=server.accept()[:1]).start()
"""
# Sends a byte for each signal, and says when it is back.
CLIENT = """
import signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
client = socket.create_connection((sys.argv[1], 7000))
print("connected", flush=True)
while True:
    signal.sigwait([signal.SIGUSR1])
    client.sendall(b"x")
    client.recv(1)
    print("answered", flush=True)
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))"
OWNER = """
import os, signal
from tests.stack.leash import Leash
from tests.stack.network import Network
try:
    network = Network(2)
except RuntimeError as error:
    raise SystemExit(str(error))
leash = Leash("owned")
leash.run(["sleep", "60"], host=network.hosts[0])
print(leash.pid, leash.folder)
print(network.hosts[0].keeper, network.leash.folder, flush=True)
signal.pause()
"""


class Programs:
    """A network of two hosts, on the second of which a server sends each byte back, and what talks to it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.one, self.other = network.hosts
        self.ends = ExitStack()
        self._start(self.other, ECHO)
        until("the server listens", lambda: heard(self.one, self.other.address, 7000) == "")

    def client(self) -> Leash:
        """Return a client that has connected."""
        started = self._start(self.one, CLIENT)
        until("it has connected", lambda: "connected" in started.said())
        return started

    def sent(self) -> bool:
        """Return whether the first host has sent a byte since this was last asked."""
        return any(packet.source == self.one.number and packet.payload for packet in self.network.packets())

    def _start(self, host: Host, program: str) -> Leash:
        leash = Leash("program")
        self.ends.callback(leash.stop)
        command = [sys.executable, "-I", "-S", "-c", program, self.other.address]
        leash.run(command, host=host, stop=signal.SIGKILL)
        return leash


@pytest.fixture
def programs(network: Callable[[int], Network]) -> Iterator[Programs]:
    """The hosts, with nothing done to the wire yet."""
    made = Programs(network(2))
    with made.ends:
        yield made


def ask(client: Leash) -> None:
    """Have a client send a byte."""
    client.signal(signal.SIGUSR1)


def answered(client: Leash, times: int) -> None:
    """Wait until a client has had so many bytes back."""
    until(f"it is answered {times} times", lambda: client.said().count("answered") == times)


def unheard(programs: Programs, client: Leash) -> None:
    """Have a client send a byte that nobody hears, and wait until it has been sent again."""
    programs.network.packets()  # those up to now
    ask(client)
    for _ in range(2):
        until("it sends", programs.sent)


def heard(host: Host, address: str, port: int) -> str:
    """Return what a host hears when it connects to an address: "" where somebody is there."""
    command = host.command([sys.executable, "-I", "-S", "-c", CONNECT, address, str(port)])
    return subprocess.run(command, capture_output=True, text=True).stderr.strip().rpartition("] ")[2]


def test_a_cut_wire_says_nothing_and_goes_on_when_it_is_mended(programs: Programs) -> None:
    """Nobody hears of it: what was sent is sent again until it arrives."""
    client = programs.client()
    ask(client)
    answered(client, 1)
    programs.network.cut(programs.one, programs.other)
    unheard(programs, client)
    assert client.said().count("answered") == 1
    assert not client.ended()
    programs.network.mend(programs.one, programs.other)
    answered(client, 2)


def test_a_router_forgets_who_says_nothing(programs: Programs) -> None:
    """It drops what comes from them, also from the other side, and takes new connections as before."""
    talks, rests = programs.client(), programs.client()
    programs.network.forget(programs.one, programs.other)  # everyone has just connected
    ask(talks)
    answered(talks, 1)
    programs.network.forget(programs.one, programs.other)
    unheard(programs, rests)
    ask(talks)
    answered(talks, 2)
    late = programs.client()
    ask(late)
    answered(late, 1)
    assert "answered" not in rests.said()


def test_a_wire_loses_its_share_and_holds_back_the_rest(programs: Programs) -> None:
    """What is lost is sent again. To connect takes a way there and a way back."""
    client = programs.client()
    programs.network.between(programs.one, programs.other, loss=0.3)
    for times in range(1, 6):
        ask(client)
        answered(client, times)
    programs.network.between(programs.one, programs.other, loss=0, delay=0.05)
    began = time.monotonic()
    assert heard(programs.one, programs.other.address, 7000) == ""
    assert time.monotonic() - began >= 2 * 0.05


def test_a_host_reaches_nothing_but_the_others(network: Callable[[int], Network]) -> None:
    """Neither what listens on this machine, nor what is beyond it."""
    one, other = network(2).hosts
    assert heard(one, other.address, free_port()) == "Connection refused"
    assert heard(one, "192.0.2.1", 7000) == "Network is unreachable"
    with socket.create_server(("127.0.0.1", 0)) as ours:
        assert heard(one, *ours.getsockname()) == "Connection refused"


@pytest.mark.parametrize("user", [None, NOBODY])
def test_hosts_go_with_their_owner(user: int | None) -> None:
    """However it ends, here by SIGKILL, as ourselves and as an ordinary user: no process is on a host any more."""
    python = sys.executable if user is None else shutil.which("python3", path="/usr/bin:/bin")
    if user and (os.geteuid() or python is None or closed(ROOT)):
        pytest.skip("needs root, and another user who can read this")
    with subprocess.Popen(
        [str(python), "-c", OWNER],
        user=user,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as owner:
        try:
            assert owner.stdout
            assert owner.stderr
            started = owner.stdout.readline() + owner.stdout.readline()
            if not started:
                pytest.skip(owner.stderr.read().strip())
            pid = int(started.split()[0])
            assert psutil.Process(pid).uids().real == (os.getuid() if user is None else user)
            until("it has gone to its host", lambda: on(pid) != on(os.getpid()))
            there = on(pid)
        finally:
            owner.kill()
    nothing_is_left(started)
    assert there not in {on(process.pid) for process in psutil.process_iter()}


def on(pid: int) -> str:
    """Return the network that a process is on; "" where it has just ended, or is another's."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""
