"""How far a long task is, reported every few seconds: nobody should have to guess whether it is still running."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY = 5  # seconds


@contextmanager
def of_files(what: str, folder: Path, count: int) -> Iterator[None]:
    """Report how many of `count` files a folder holds, for as long as the block lasts."""
    done = threading.Event()

    def say() -> None:
        while not done.wait(EVERY):
            there = sum(path.is_file() for path in folder.iterdir())
            print(f"{what}: {there} of {count} packages", file=sys.stderr, flush=True)

    watch = threading.Thread(target=say, daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()
