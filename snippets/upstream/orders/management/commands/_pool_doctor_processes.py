"""Which processes on this machine hold the sessions: on Linux, from /proc.

A process that it may not read counts as unknown: run it as root, or as the
application's user. Unix sockets do not show which process is behind them.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from ._pool_doctor_findings import Finding, found

PROC = Path("/proc")
ESTABLISHED = "01"
# Python's options that may precede the name of a script or a module.
PLAIN = re.compile("-(?=.)[BEIOPbdiqsuvx]*m?")
# The client's port and the server's, and what the connection is.
Clients = dict[tuple[int, int], str]


def look(clients: Clients) -> Iterator[Finding]:
    """Yield which programs hold sessions, and sessions that several share."""
    sockets = {inode: ports for inode, ports in local() if ports in clients}
    if not sockets:
        return
    holders = held(sockets)
    if any(len(pids) > 1 for pids in holders.values()):
        time.sleep(0.2)  # by then a program that is just starting has let go
        later = held(sockets)
        holders = {inode: holders[inode] & later[inode] for inode in sockets}
    for inode, pids in holders.items():
        if len(pids) > 1:
            each = (f"pid {pid} ({runner(pid)})" for pid in sorted(pids))
            who = ", ".join(each)
            yield found(
                "forked",
                len(pids),
                "processes",
                f"share {clients[sockets[inode]]}: {who}",
                "runbooks/shared-connection/",
                alarms=True,
            )
    runners = Counter(
        name
        for pids in holders.values()
        for name in {runner(pid) for pid in pids} or {"an unknown process"}
    )
    for name, count in runners.most_common(10):
        said = f"connections held by {name} on this machine"
        yield found("process", count, "", said)


def local() -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each TCP connection's inode, and its local and remote port."""
    for table in ("net/tcp", "net/tcp6"):
        file = PROC / table
        for line in file.read_text().splitlines()[1:] if file.exists() else []:
            _, here, there, state, *_, inode = line.split()[:10]
            if state == ESTABLISHED:
                yield inode, (port(here), port(there))


def port(end: str) -> int:
    return int(end.rpartition(":")[2], 16)


def held(sockets: dict[str, tuple[int, int]]) -> dict[str, set[int]]:
    """Return which processes hold each socket, as far as /proc shows it."""
    holders: dict[str, set[int]] = {inode: set() for inode in sockets}
    for process in PROC.glob("[0-9]*"):
        for inode in opened(process) & sockets.keys():
            holders[inode].add(int(process.name))
    return holders


def opened(process: Path) -> set[str]:
    """Return the sockets of a process; none if it has just ended."""
    inodes = set()
    with suppress(OSError):  # or if it is another user's
        for file in (process / "fd").iterdir():
            with suppress(OSError):
                name = str(file.readlink())
                inodes.add(name.removeprefix("socket:[").removesuffix("]"))
    return inodes


def runner(pid: int) -> str:
    """Return what a process runs, but no arguments: they may be passwords."""
    try:
        line = (PROC / str(pid) / "cmdline").read_text(errors="replace")
    except OSError:
        return "a process that has ended"
    words = line.split("\0")
    # A process that has set its title has all of it in the first word.
    name = Path(words.pop(0).split(" ")[0].strip("[:")).name
    if name.startswith("python"):
        options = [*takewhile(lambda word: word.startswith("-"), words)]
        words = words[len(options) :]
        if words and all(map(PLAIN.fullmatch, options)):
            name = Path(words.pop(0)).name
    if name == "manage.py" and words and words[0].isidentifier():
        name += f" {words[0]}"
    return name
