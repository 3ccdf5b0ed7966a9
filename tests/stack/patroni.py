"""A cluster that chooses its primary by itself: on each of three hosts etcd, Patroni, and the PostgreSQL that it runs.

All are Debian's, unpacked into the cache; Patroni is a Python program, and finds in .venv what else it needs. A host's
processes, memory and network are namespaces of its own: they are killed, frozen and cut off as one.
"""

import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from setup import debian
from setup.programs import Program, started, unpacked
from tests.stack.leash import Leash, give, server_user
from tests.stack.network import Host, Network
from tests.stack.postgres import Cluster, Server, bin_dir, reachable, scratch
from tests.stack.wait import DEADLINE, until

SUITES = ("sid", "trixie")
# Patroni's own, and what it needs that is neither a library nor in .venv.
PYTHON = ("python3-etcd", "python3-ydiff", "python3-prettytable", "python3-wcwidth", "python3-dnspython")
SCOPE = "orders"
CLIENTS, PEERS, REST, POSTGRESQL = 2379, 2380, 8008, 5432
DEFAULTS = {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}  # Patroni's own
SOONEST = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}  # the least that it takes
# A host's programs: its first process is the shell, and all end with that.
PROGRAMS = "{who} {etcd} >etcd.log 2>&1 & {who} {patroni} & wait"
# Seconds in which it has found a primary: also where a proof is to fail, and nothing else is waited for so long.
LONG = 60.0
# What of it is imported once as whoever may write to the cache: compiled, it starts sooner.
COMPILED = "patroni.__main__, patroni.api, patroni.ctl, patroni.dcs.etcd3"
# Who is no root any more still reads the cache and Python, which may be root's alone.
READ_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


class Machine:
    """A host with its etcd, Patroni and PostgreSQL."""

    def __init__(self, host: Host, hosts: Sequence[Host], data: Path, timing: dict[str, int]) -> None:
        """Start them, on a copy of the data. `hosts` are all of the cluster's."""
        self.host, self.name = host, f"db{host.number}"
        self.leash = Leash(self.name, scratch())
        self.log = self.leash.log
        shutil.copytree(data, self.leash.folder / "data")
        (self.leash.folder / "socket").mkdir()
        self.leash.write("patroni.json", json.dumps(self._settings(hosts, timing)))
        give(self.leash.folder, *self.leash.folder.rglob("*"))
        (self.leash.folder / "data").chmod(0o700)
        self.start(hosts)

    def start(self, hosts: Sequence[Host]) -> None:
        """Start its programs."""
        programs = {
            "who": as_server(),
            "etcd": self._etcd(hosts),
            "patroni": [*patroni(), str(self.leash.folder / "patroni.json")],
        }
        script = PROGRAMS.format(**{name: shlex.join(command) for name, command in programs.items()})
        self.leash.run([*apart(), "sh", "-c", script], stop=signal.SIGKILL, env=surroundings(), host=self.host)

    @property
    def superuser(self) -> str:
        """How its superuser reaches PostgreSQL, past the network."""
        return f"host={self.leash.folder / 'socket'} port={POSTGRESQL} user=postgres connect_timeout=2"

    def writes(self) -> bool:
        """Return whether PostgreSQL takes writes there."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.superuser, autocommit=True) as connection:
            return connection.execute("select not pg_is_in_recovery()").fetchone() == (True,)
        return False

    def streams(self) -> bool:
        """Return whether it is a standby that follows."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.superuser, autocommit=True) as connection:
            return bool(connection.execute("select 1 from pg_stat_wal_receiver where status = 'streaming'").fetchone())
        return False

    def kill(self) -> None:
        """Kill all of its processes at once. Its kernel lives, and refuses who connects."""
        self.leash.halt()

    def freeze(self) -> None:
        """Stop all of its processes. Its kernel lives, and confirms what nobody reads."""
        send(self.leash.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Have them go on."""
        send(self.leash.pid, signal.SIGCONT)

    def _etcd(self, hosts: Sequence[Host]) -> list[str]:
        """Return the command that runs etcd."""
        own = f"http://{self.host.address}"
        options = {
            "name": self.name,
            "data-dir": self.leash.folder / "etcd",
            "listen-client-urls": f"{own}:{CLIENTS}",
            "advertise-client-urls": f"{own}:{CLIENTS}",
            "listen-peer-urls": f"{own}:{PEERS}",
            "initial-advertise-peer-urls": f"{own}:{PEERS}",
            "initial-cluster": ",".join(f"db{each.number}=http://{each.address}:{PEERS}" for each in hosts),
            "heartbeat-interval": 250,  # milliseconds: a busy machine is late
            "election-timeout": 2500,
            "log-level": "error",
        }
        return [*_etcd()[0].command, "--unsafe-no-fsync", *(f"--{name}={value}" for name, value in options.items())]

    def _settings(self, hosts: Sequence[Host], timing: dict[str, int]) -> dict[str, Any]:
        """Return what Patroni is told."""
        folder, address = self.leash.folder, self.host.address
        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": {"listen": f"{address}:{REST}", "connect_address": f"{address}:{REST}"},
            "etcd3": {"hosts": [f"{each.address}:{CLIENTS}" for each in hosts]},
            "bootstrap": {"dcs": {**timing, "postgresql": {"use_pg_rewind": True, "use_slots": False}}},
            "log": {"level": "WARNING"},
            "postgresql": {
                "listen": f"{address}:{POSTGRESQL}",
                "connect_address": f"{address}:{POSTGRESQL}",
                "use_unix_socket": True,
                "use_unix_socket_repl": True,
                "data_dir": str(folder / "data"),
                "bin_dir": str(reachable(bin_dir())),
                "pgpass": str(folder / "pgpass"),
                "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "postgres"}},
                "pg_hba": [
                    "local all,replication postgres trust",
                    "host all,replication postgres samenet trust",
                    "host all all samenet scram-sha-256",
                ],
                "parameters": {
                    "unix_socket_directories": str(folder / "socket"),
                    "fsync": "off",
                    "shared_buffers": "16MB",
                    "dynamic_shared_memory_type": "mmap",
                    "log_min_messages": "fatal",
                },
            },
        }


class Patroni:
    """Three machines, of which one is the primary."""

    def __init__(self, network: Network, seed: Cluster, *hosts: Host, timing: dict[str, int] | None = None) -> None:
        """Start them, and wait until both standbys follow. Each begins with what the seed holds, which is stopped.

        Raises RuntimeError where they do not start.
        """
        seed.leash.halt(signal.SIGINT)
        self.network, self.hosts = network, hosts
        self.machines: list[Machine] = []
        try:
            for host in hosts:
                self.machines.append(Machine(host, hosts, seed.data, timing or DEFAULTS))
            until("there is a primary with standbys", self.whole, LONG)
        except TimeoutError as error:
            said = "\n".join(f"{each.name}: {each.leash.why()}" for each in self.machines)
            self.stop()
            raise RuntimeError(f"{error}\n{said}") from error
        except BaseException:
            self.stop()
            raise

    @property
    def primary(self) -> Machine:
        """The one that takes writes, as soon as there is one."""
        return until("there is a primary", lambda: next((each for each in self.machines if each.writes()), None), LONG)

    def whole(self) -> bool:
        """Return whether one takes writes and the others follow."""
        if any(each.leash.ended() for each in self.machines):
            raise TimeoutError("a machine has ended")
        return sorted((each.writes(), each.streams()) for each in self.machines) == [
            (False, True),
            (False, True),
            (True, False),
        ]

    def cut(self, machine: Machine) -> None:
        """Lose what goes to a machine, and what comes from it."""
        for other in self.network.hosts:
            if other != machine.host:
                self.network.cut(machine.host, other)

    def mend(self, machine: Machine) -> None:
        """Lose no more of it."""
        for other in self.network.hosts:
            if other != machine.host:
                self.network.mend(machine.host, other)

    def server(self, address: str, port: int) -> Server:
        """Return the server that its clients find at an address: its superuser comes to what is the primary now."""
        return Server(self.primary.superuser, address, port)

    def ctl(self, host: Host, *arguments: str) -> str:
        """Run patronictl on a host of the network, and return what it printed. Raises RuntimeError where it fails."""
        settings = str(self.machines[0].leash.folder / "patroni.json")
        command = host.command([*ctl(), "--config-file", settings, *arguments])
        done = subprocess.run(command, env=surroundings(), capture_output=True, text=True, timeout=DEADLINE)
        if done.returncode:
            raise RuntimeError(f"patronictl {arguments[0]}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def script(self, host: Host, text: str, **wants: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script on a host of the network, which has patronictl and psql, and return how it ended.

        It finds in its environment where Patroni's settings are, PATRONI, and what else it wants.
        """
        with tempfile.TemporaryDirectory(prefix="proven-script-") as folder:
            program = Path(folder) / "patronictl"
            program.write_text(f'#!/bin/sh\nexec {shlex.join(ctl())} "$@"\n')
            program.chmod(0o755)
            environment = surroundings() | {
                "PATRONI": str(self.machines[0].leash.folder / "patroni.json"),
                "PATH": f"{folder}:{bin_dir()}:{os.defpath}",
                **wants,
            }
            command = host.command(["sh", "-c", text])
            return subprocess.run(command, env=environment, capture_output=True, text=True)

    def stop(self) -> None:
        """End it; the folders go with it."""
        for each in self.machines:
            each.leash.stop()


@functools.cache
def _etcd() -> tuple[Program, str]:
    return started(unpacked(debian.fetch("etcd-server", *SUITES), "usr/bin/etcd"), "--version")


@functools.cache
def _packages() -> Path:
    """Return the folder in which Python finds Patroni. Raises RuntimeError where it cannot be had."""
    folder = debian.fetch("patroni", *SUITES, beside=PYTHON) / "usr/lib/python3/dist-packages"
    started(Program(Path(sys.executable)), "-c", f"import sys; sys.path.append({str(folder)!r}); import {COMPILED}")
    return folder


def versions() -> dict[str, str]:
    """Return the versions of what makes a cluster. Raises RuntimeError where something cannot be had."""
    said = re.search(r"etcd Version: ([\d.]+)", _etcd()[1])
    (metadata,) = _packages().glob("patroni-*.egg-info")
    return {"Patroni": metadata.stem.removeprefix("patroni-"), "etcd": said[1] if said else "not named"}


def patroni() -> list[str]:
    """Return the command that runs Patroni."""
    return [sys.executable, "-W", "ignore", "-m", "patroni"]


def ctl() -> list[str]:
    """Return the command that runs patronictl."""
    return [sys.executable, "-W", "ignore", "-c", "from patroni.ctl import ctl; ctl(prog_name='patronictl')"]


def surroundings() -> dict[str, str]:
    """Return what Patroni and etcd find in their environment."""
    # What lets a standby follow looks for libpq where it was built: it would take another one of this machine's.
    own = {"LD_LIBRARY_PATH": str(reachable(bin_dir()).parent / "lib")}
    return {"PATH": os.defpath, "PYTHONPATH": str(_packages()), "GOMAXPROCS": "1", "LC_ALL": "C.UTF-8"} | own


def apart() -> list[str]:
    """Return the command that runs another one as a host's first process: with it all others end."""
    own = ["--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *own, *([] if os.geteuid() == 0 else ["--user", "--map-current-user"])]


def check() -> None:
    """Raise RuntimeError, in words that are published as the reason, where no cluster can be run."""
    try:
        done = subprocess.run([*apart(), "true"], capture_output=True, text=True)
    except OSError as error:
        raise RuntimeError(f"needs network namespaces: there is no {error.filename}") from error
    if done.returncode:
        raise RuntimeError(f"needs network namespaces, and those of processes: {done.stderr.strip()}")
    versions()


def as_server() -> list[str]:
    """Return the command that runs another one as the user that servers run as."""
    user = server_user()
    return [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *READ_ALL]


def processes(unshare: int) -> list[int]:
    """Return all processes of a host, of which the first is the child of unshare."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    own = Path(f"/proc/{children[0]}/ns/pid").readlink()
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _within(entry, own)]


def send(unshare: int, number: signal.Signals) -> None:
    """Send all processes of a host a signal."""
    for pid in processes(unshare):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _within(process: Path, namespace: Path) -> bool:
    try:
        return (process / "ns" / "pid").readlink() == namespace
    except OSError:
        return False  # it has ended, or is another's
