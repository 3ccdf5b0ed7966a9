"""Python imports this by itself: it writes down which of the example project's files a process really reads.

A proof may only call a file proven that its run has opened; PROVEN_WITNESS names the project and the list.

With PROVEN_DRIVER=psycopg2 a process finds no psycopg, and Django takes the other driver.
"""

import os
import sys


def watch(named: str) -> None:
    """Note every file that this process opens below the first of two paths, in a list that is the second."""
    project, _, seen = named.partition(os.pathsep)
    if not project:
        return
    descriptor = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = os.path.abspath(arguments[0])
            if path.startswith(project):
                os.write(descriptor, f"{path}\n".encode())

    sys.addaudithook(note)


if os.environ.get("PROVEN_DRIVER") == "psycopg2":
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # as where it is not installed
watch(os.environ.get("PROVEN_WITNESS", ""))
