"""Chromium without windows, Debian's: it loads a page at half of what the whole one takes.

It is unpacked into the cache without root. What PROVEN_CHROMIUM names comes before it; where there is no Debian, so
does a browser on PATH. Each has the tests' fonts.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright._impl._driver import compute_driver_executable

from setup import debian
from setup.programs import Program, started, unpacked_here

WINDOWLESS = "chromium-headless-shell"
OTHERS = ("chromium", "google-chrome")
# What it does not depend on and needs all the same: its data.
BESIDE = ("chromium-common",)


def find() -> Program:
    """Return a browser that starts. Raises RuntimeError, with what to install, where there is none."""
    return _found()[0]


def version() -> str:
    """Return what the browser says that it is, as in "Chromium 156.0.8078.108". Raises RuntimeError as `find` does."""
    return _found()[1].strip()


def driver() -> Program:
    """Return the program that drives the browser. Raises RuntimeError, with what to install, where there is none."""
    return started(Program(Path(compute_driver_executable()[0])), "--version")[0]


@contextmanager
def driven() -> Iterator[None]:
    """Lend this process's environment what the driver needs to start, for as long as the block lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in driver().surroundings().items():
            patch.setenv(name, value)
        yield


def _found() -> tuple[Program, str]:
    named = os.environ.get("PROVEN_CHROMIUM")
    if named and not shutil.which(named):
        raise RuntimeError(f"PROVEN_CHROMIUM names no program: {named}")
    if found := shutil.which(named or WINDOWLESS):
        return started(Program(Path(found)), "--version", ours=False)
    try:
        folder = debian.fetch(WINDOWLESS, beside=BESIDE)
    except RuntimeError as error:
        if found := next(filter(None, map(shutil.which, OTHERS)), None):
            return started(Program(Path(found)), "--version", ours=False)
        raise RuntimeError(f"no browser for the pages: install chromium or google-chrome ({error})") from error
    return started(unpacked_here(folder, f"usr/lib/chromium/{WINDOWLESS}"), "--version")
