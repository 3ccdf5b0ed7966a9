"""What is fetched or made once on a machine, and kept: ~/.cache/connection-pooling-proven."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def folder() -> Path:
    """Return the cache's folder, made where it is missing.

    Raises RuntimeError where it cannot be made.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        made = base / "connection-pooling-proven"
        made.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise RuntimeError(f"no folder for a cache ({error}): set XDG_CACHE_HOME to one that can be written") from error
    return made


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache. Where it is missing, `make` first fills an empty one, which then takes its place.

    It is there whole or not at all: another process waits meanwhile, and what was interrupted is begun again. Raises
    whatever `make` does.
    """
    target = folder() / name
    if target.exists():
        return target
    part = target.with_name(f"{name}.part")
    with target.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            if part.exists():
                shutil.rmtree(part)
            part.mkdir()
            try:
                make(part)
            except BaseException:
                shutil.rmtree(part)
                raise
            part.rename(target)
    return target
