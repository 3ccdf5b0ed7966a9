"""Chromium without windows, Debian's: it loads a page at half of what the whole one takes.

It is unpacked into the cache without root. `python -m tests.site.chromium` makes sure that there is one. What
PROVEN_CHROMIUM names comes before it; where there is no Debian, so does a browser on PATH. Each has the tests' fonts.
"""

import os
import shutil
import sys

from setup import debian
from tests.site import fonts

WINDOWLESS = "chromium-headless-shell"
OTHERS = ("chromium", "google-chrome")
# What it does not depend on and needs all the same: its data.
BESIDE = ("chromium-common",)


def find() -> tuple[str, dict[str, str]]:
    """Return the path of a browser and the environment that it runs in.

    Raises RuntimeError, with what to install, where there is none.
    """
    named = os.environ.get("PROVEN_CHROMIUM")
    if named and not shutil.which(named):
        raise RuntimeError(f"PROVEN_CHROMIUM names no program: {named}")
    environment = {**os.environ, **fonts.environment()}
    if found := shutil.which(named or WINDOWLESS):
        return found, environment
    try:
        folder = debian.fetch(WINDOWLESS, beside=BESIDE)
    except RuntimeError as error:
        if found := next(filter(None, map(shutil.which, OTHERS)), None):
            return found, environment
        raise RuntimeError(f"no browser for the pages: install chromium or google-chrome ({error})") from error
    return str(folder / "usr/lib/chromium" / WINDOWLESS), {
        **environment,
        "LD_LIBRARY_PATH": debian.library_path(folder),
    }


if __name__ == "__main__":
    try:
        find()
    except RuntimeError as problem:
        sys.exit(str(problem))
