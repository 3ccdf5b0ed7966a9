"""CPU time of processes and of all that they started, what still runs included: servers outlive a proof."""

from collections.abc import Iterable
from contextlib import suppress
from subprocess import Popen

import psutil


def seconds(processes: Iterable[Popen[bytes]] | None = None) -> float:
    """Return the CPU time of processes, by default of this one, and of all their descendants, in seconds.

    Descendants that have ended are counted in the process that waited for them.
    """
    roots = [psutil.Process()] if processes is None else [psutil.Process(process.pid) for process in processes]
    total = 0.0
    for process in [child for root in roots for child in [root, *root.children(recursive=True)]]:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            total += sum(process.cpu_times()[:4])  # user and system, its own and its ended children's
    return total
