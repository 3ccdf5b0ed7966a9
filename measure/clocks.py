"""The processor time that processes have used, to the nanosecond: Linux's own clocks of other processes."""

import os
import resource
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq in the first line of /proc/stat
STOLEN = 7


def used(pid: int) -> float:
    """Return the CPU seconds of a running process, all its threads included; 0 where it has ended.

    The clock's number is what clock_getcpuclockid(3) makes of a process id, which Python does not offer.
    """
    try:
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    except OSError:
        return 0.0


def of_ended_children(pid: int) -> float:
    """Return the CPU seconds of a process's children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICK


def children(pid: int) -> list[int]:
    """Return a process's present children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def family(pid: int) -> float:
    """Return the CPU seconds of a process, of its children, and of those that have ended."""
    return of_ended_children(pid) + sum(used(each) for each in [pid, *children(pid)])


def own() -> float:
    """Return the CPU seconds of this process and of its children that have ended, which is k6."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def machine() -> tuple[float, float]:
    """Return the seconds that all processors together were busy, and those that the host kept from them."""
    fields = [int(field) / TICK for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(fields[index] for index in BUSY), fields[STOLEN]


def here() -> bool:
    """Return whether this machine has such clocks and lists a process's children."""
    me = os.getpid()
    return Path(f"/proc/{me}/task/{me}/children").exists() and used(me) > 0.0
