"""Chromium: the one that PROVEN_CHROMIUM names, else the one on PATH, else Debian's.

What comes from Debian is unpacked into the cache without root, with fonts. `python -m tests.site.chromium` makes sure
that there is one.
"""

import os
import shutil
import sys
from pathlib import Path

from setup import debian

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
# The smallest there is; the second holds its data, the third what it writes with.
PACKAGES = ("chromium-headless-shell", "chromium-common", "fonts-dejavu-core")


def find() -> tuple[str, dict[str, str]]:
    """Return the path of a browser and the environment that it runs in.

    Raises RuntimeError, with what to install, where there is none.
    """
    named = os.environ.get("PROVEN_CHROMIUM")
    if named and not shutil.which(named):
        raise RuntimeError(f"PROVEN_CHROMIUM names no program: {named}")
    for name in (named,) if named else NAMES:
        if found := shutil.which(name):
            return found, {**os.environ}
    first, *beside = PACKAGES
    try:
        folder = debian.fetch(first, beside=tuple(beside))
    except RuntimeError as error:
        raise RuntimeError(f"no browser for the pages: install chromium or google-chrome ({error})") from error
    environment = {
        "LD_LIBRARY_PATH": debian.library_path(folder),
        "FONTCONFIG_FILE": str(Path(__file__).with_name("fonts.conf")),
        "XDG_DATA_HOME": str(folder / "usr/share"),  # where that file finds the fonts
    }
    return str(folder / "usr/lib/chromium" / first), {**os.environ, **environment}


if __name__ == "__main__":
    try:
        find()
    except RuntimeError as problem:
        sys.exit(str(problem))
