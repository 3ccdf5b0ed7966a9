"""CPU time of processes with all that they started, also of what still runs: servers outlive the proof that asks."""

from collections.abc import Iterable
from contextlib import suppress
from subprocess import Popen

import psutil


def seconds(processes: Iterable[Popen[bytes]] | None = None) -> float:
    """Return the CPU time of processes, by default of this one, and of all their descendants, in seconds.

    Those descendants that have ended are counted by whoever waited for them.
    """
    roots = [psutil.Process()] if processes is None else [psutil.Process(process.pid) for process in processes]
    total = 0.0
    for process in [child for root in roots for child in [root, *root.children(recursive=True)]]:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            total += sum(process.cpu_times()[:4])  # user and system, its own and its ended children's
    return total
