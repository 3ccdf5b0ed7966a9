"""Which files there are, by kind: all that git has or would take."""

import shutil
import subprocess
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from proven import ROOT

SHELL = ("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash")


@cache
def every() -> tuple[str, ...]:
    """Return every file of the project, from its root: what is committed or not ignored, and still there."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(path for path in listing.split("\0") if path and (ROOT / path).is_file()))


def clone(folder: Path) -> None:
    """Copy every file of the project into a folder, as a fresh clone would have it."""
    for path in every():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)


def matching(*patterns: str, without: tuple[str, ...] = ()) -> list[str]:
    """Return the files that match one of the patterns, in which * also stands for folders.

    Fails the test where there are none: a check that checks nothing must not pass.
    """
    found = [path for path in every() if _any(path, patterns) and not _any(path, without)]
    if not found:
        pytest.fail(f"nothing was checked: no file matches {' or '.join(patterns)}", pytrace=False)
    return found


def shell() -> list[str]:
    """Return the shell scripts: by their ending, or by their first line where they have none."""
    unnamed = [path for path in every() if "." not in path.rpartition("/")[2] and _first_line(path).startswith(SHELL)]
    return matching("*.sh", *unnamed)


def formatted_snippets() -> list[str]:
    """Return the Python snippets that a formatter may touch.

    Not those that say in `#>` comments what they print: pytest-examples knows these only without the space.
    """
    prints = [path for path in matching("snippets/*.py") if "#> " in (ROOT / path).read_text(encoding="utf-8")]
    return matching("snippets/*.py", without=tuple(prints))


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _first_line(path: str) -> str:
    with (ROOT / path).open(encoding="utf-8", errors="replace") as file:
        return file.readline()
