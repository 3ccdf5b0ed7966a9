"""What is fetched or made once on a machine, and kept: ~/.cache/connection-pooling-proven."""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DAY = 24 * 60 * 60  # seconds


def folder() -> Path:
    """Return the cache's folder, and create it where it is missing.

    Raises RuntimeError where it cannot be made.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        made = base / "connection-pooling-proven"
        made.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f"no cache folder ({error}): set XDG_CACHE_HOME to a folder that you may write to"
        ) from error
    return made


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache. Where it is missing, `make` first fills an empty one, which then takes its place.

    It is there whole or not at all: other processes wait meanwhile, and an interrupted one is filled again. Raises
    whatever `make` does.
    """
    target = folder() / name
    if not target.exists():
        with _alone(name):
            if not target.exists():
                _fill(target, make)
    return target


def fresh(name: str, make: Callable[[Path], None], days: int) -> Path:
    """Return a folder as `kept` does, but make it again where it is older than so many days.

    Where that raises RuntimeError, as it does without a network, the old one serves for as long again. The previous
    one stays too: another process may be using it.
    """

    def made() -> list[Path]:
        found = [path for path in folder().glob(f"{name}@*") if path.name.rpartition("@")[2].isdecimal()]
        return sorted(found, key=lambda path: int(path.name.rpartition("@")[2]))

    known = made()
    now = int(time.time())
    if known and now - known[-1].stat().st_mtime < days * DAY:
        return known[-1]
    with _alone(name):
        if made() != known:
            return made()[-1]  # another process was quicker
        newest = folder() / f"{name}@{now}"
        try:
            _fill(newest, make)
        except RuntimeError as error:
            if not known:
                raise
            print(f"{error}: using the copy from before", file=sys.stderr, flush=True)
            newest = known[-1]
        os.utime(newest)
        for old in known[:-1]:
            shutil.rmtree(old)
    return newest


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Make other processes that want the same folder wait for as long as the block lasts."""
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(target: Path, make: Callable[[Path], None]) -> None:
    """Make a folder beside its place, and move it there once it is whole."""
    part = target.with_name(f"{target.name.partition('@')[0]}.part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir()
    try:
        make(part)
    except BaseException:
        shutil.rmtree(part)
        raise
    part.rename(target)
