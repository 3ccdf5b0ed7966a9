"""Chromium without windows, Debian's: it loads a page at half of what the whole one takes.

It is unpacked into the cache without root, with fonts. `python -m tests.site.chromium` makes sure that there is one.
What PROVEN_CHROMIUM names comes before it; where there is no Debian, so does a browser on PATH.
"""

import os
import shutil
import sys
from pathlib import Path

from setup import debian

WINDOWLESS = "chromium-headless-shell"
OTHERS = ("chromium", "google-chrome")
# What it does not depend on and needs all the same: its data, and what it writes with.
BESIDE = ("chromium-common", "fonts-dejavu-core")


def find() -> tuple[str, dict[str, str]]:
    """Return the path of a browser and the environment that it runs in.

    Raises RuntimeError, with what to install, where there is none.
    """
    named = os.environ.get("PROVEN_CHROMIUM")
    if named and not shutil.which(named):
        raise RuntimeError(f"PROVEN_CHROMIUM names no program: {named}")
    if found := shutil.which(named or WINDOWLESS):
        return found, {**os.environ}
    try:
        folder = debian.fetch(WINDOWLESS, beside=BESIDE)
    except RuntimeError as error:
        if found := next(filter(None, map(shutil.which, OTHERS)), None):
            return found, {**os.environ}
        raise RuntimeError(f"no browser for the pages: install chromium or google-chrome ({error})") from error
    environment = {
        "LD_LIBRARY_PATH": debian.library_path(folder),
        "FONTCONFIG_FILE": str(Path(__file__).with_name("fonts.conf")),
        "XDG_DATA_HOME": str(folder / "usr/share"),  # where that file finds the fonts
    }
    return str(folder / "usr/lib/chromium" / WINDOWLESS), {**os.environ, **environment}


if __name__ == "__main__":
    try:
        find()
    except RuntimeError as problem:
        sys.exit(str(problem))
