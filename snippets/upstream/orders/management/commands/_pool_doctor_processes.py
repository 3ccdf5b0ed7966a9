"""Which processes of this machine have the sessions: on Linux, from /proc.

What it may not see it calls somebody else's: run it as root, or as the user
who started the application. Unix sockets do not tell who is behind them.
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
# Options of Python's behind which stands the name of a script or a module.
PLAIN = re.compile("-(?=.)[BEIOPbdiqsuvx]*m?")
# A client's port and its server's, and what is behind it.
Clients = dict[tuple[int, int], str]


def look(clients: Clients) -> Iterator[Finding]:
    """Tell who has the sessions, and which of them more than one has."""
    sockets = {inode: ports for inode, ports in local() if ports in clients}
    if not sockets:
        return
    holders = held(sockets)
    if any(len(pids) > 1 for pids in holders.values()):
        time.sleep(0.2)  # a program that is only just starting has let go then
        later = held(sockets)
        holders = {inode: holders[inode] & later[inode] for inode in sockets}
    for inode, pids in holders.items():
        if len(pids) > 1:
            who = ", ".join(f"pid {pid}, {runner(pid)}" for pid in sorted(pids))
            yield found(
                "forked",
                len(pids),
                "processes",
                f"on {clients[sockets[inode]]}: {who}",
                "runbooks/shared-connection/",
                alarms=True,
            )
    runners = Counter(
        name
        for pids in holders.values()
        for name in {runner(pid) for pid in pids} or {"somebody else"}
    )
    for name, count in runners.most_common(10):
        yield found("process", count, "", f"{name}, on this machine")


def local() -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each socket of this machine with its port and the other end's."""
    for table in ("net/tcp", "net/tcp6"):
        file = PROC / table
        for line in file.read_text().splitlines()[1:] if file.exists() else []:
            _, here, there, state, *_, inode = line.split()[:10]
            if state == ESTABLISHED:
                yield inode, (port(here), port(there))


def port(end: str) -> int:
    return int(end.rpartition(":")[2], 16)


def held(sockets: dict[str, tuple[int, int]]) -> dict[str, set[int]]:
    """Return which processes have each socket, as far as that can be seen."""
    holders: dict[str, set[int]] = {inode: set() for inode in sockets}
    for process in PROC.glob("[0-9]*"):
        for inode in opened(process) & sockets.keys():
            holders[inode].add(int(process.name))
    return holders


def opened(process: Path) -> set[str]:
    """Return the sockets of a process; none where it has just ended."""
    inodes = set()
    with suppress(OSError):  # also where it is another user's
        for file in (process / "fd").iterdir():
            with suppress(OSError):
                name = str(file.readlink())
                inodes.add(name.removeprefix("socket:[").removesuffix("]"))
    return inodes


def runner(pid: int) -> str:
    """Return what a process runs, and no more: arguments hold passwords."""
    try:
        line = (PROC / str(pid) / "cmdline").read_text(errors="replace")
    except OSError:
        return "has ended"
    words = line.split("\0")
    # A process that has named itself has all of that in the first word.
    name = Path(words.pop(0).split(" ")[0].strip("[:")).name
    if name.startswith("python"):
        options = [*takewhile(lambda word: word.startswith("-"), words)]
        words = words[len(options) :]
        if words and all(map(PLAIN.fullmatch, options)):
            name = Path(words.pop(0)).name
    if name == "manage.py" and words and words[0].isidentifier():
        name += f" {words[0]}"
    return name
