"""The files of a site: their kinds, and their names, which are addresses. MkDocs publishes whatever else it finds."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from proven.problems import Problem
from proven.sources import pages, snippets

KINDS = ("*.md", "assets/*.svg", "data/*.json", "javascripts/*.js", "stylesheets/*.css", "*.schema.json")
NAME = re.compile(r"[A-Za-z0-9._/-]+")


def problems(root: Path) -> Iterator[Problem]:
    """Return a problem for each file in docs/ of an unknown kind, and each there or in snippets/ without an address."""
    for folder in (pages.FOLDER, snippets.FOLDER):
        for file in sorted((root / folder).rglob("*")):
            name = file.relative_to(root / folder).as_posix()
            place = f"{folder}/{name}"
            if file.is_symlink():
                yield Problem(place, 1, "a symbolic link: put the file itself here")
            elif not file.is_file() or "__pycache__" in name:
                continue
            elif not NAME.fullmatch(name):
                yield Problem(place, 1, "no address holds this name: write it in letters, digits and . _ - alone")
            elif folder == pages.FOLDER and not any(fnmatchcase(name, kind) for kind in KINDS):
                kinds = ", ".join(KINDS)
                yield Problem(place, 1, f"it would be published unseen: {folder}/ may hold {kinds} and nothing else")
