"""A snippet: a file under snippets/, the only home of code that a reader sees.

A region is a named part of it, between two comment lines, whatever the language's comment is:

    -- region: waiting
    select ...
    -- endregion: waiting

The comment lines are never shown, downloaded, run or counted in the digest.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proven import ROOT
from proven.problems import ProblemError, nearest
from proven.sources import characters

FOLDER = "snippets"
# Where the snippets are while a control is in force: a copy of the folder, with the control's edits.
ELSEWHERE = "PROVEN_EDITED_SNIPPETS"
MARKER = re.compile(
    r"^\s*(?:\#|--|;|//|<!--|\{\#)\s*(?P<kind>region|endregion):\s*(?P<name>[\w-]+)\s*(?:-->|\#\})?\s*$"
)
# What was probably meant as a marker, and readers would see. A command's option --region is none.
LIKE_A_MARKER = re.compile(
    r"(?:\#\s*|--\s+|;\s*|//\s*|<!--\s*|\{\#\s*|/\*\s*)(?:end)?region\b(?:\s*:|\s*[\w-]*\W*$)", re.IGNORECASE
)
# Pygments' name for a snippet's language, by how its path ends; all others are text.
LANGUAGES = {
    ".cfg": "ini",
    ".env": "bash",
    ".env.example": "bash",
    ".ini": "ini",
    ".json": "json",
    ".py": "python",
    ".sh": "bash",
    ".sql": "postgresql",
    ".tf": "terraform",
    ".yaml": "yaml",
    ".yml": "yaml",
    "Dockerfile": "docker",
    "odyssey.conf": "nginx",
    "postgresql.conf": "ini",
}


@dataclass(frozen=True)
class Region:
    """Lines `first` to `last` (from 1) of the text that a reader sees."""

    first: int
    last: int


@dataclass(frozen=True)
class Snippet:
    """One snippet. `path` is relative to snippets/; `text` is without markers."""

    path: str
    text: str
    regions: dict[str, Region]
    source_lines: tuple[int, ...]  # for each line of text, its line in the file

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes a reader gets, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def language(self) -> str:
        """The name by which Pygments knows the language."""
        return next((name for ending, name in LANGUAGES.items() if self.path.endswith(ending)), "text")

    @property
    def place(self) -> str:
        """The file's path from the project's root."""
        return f"{FOLDER}/{self.path}"

    def show(self, region: str | None = None) -> str:
        """Return the text of one region, less its common indentation, or all of it.

        Raises KeyError for a region that is not there.
        """
        if region is None:
            return self.text
        part = self.regions[region]
        lines = characters.lines(self.text)[part.first - 1 : part.last]
        margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        return "".join(line[margin:] + "\n" for line in lines)

    def lines_of(self, text: str, region: str | None = None) -> list[int]:
        """Return the lines, counted from 1 in what is shown, that belong to a region of this name or hold this text."""
        shown = self.regions[region] if region else Region(1, len(self.source_lines))
        if text in self.regions:
            part = self.regions[text]
            return [n - shown.first + 1 for n in range(part.first, part.last + 1) if shown.first <= n <= shown.last]
        return [n for n, line in enumerate(characters.lines(self.show(region)), start=1) if text in line]

    def source_line(self, line: int) -> int:
        """Return the file's line for a line of the text, both from 1; the nearest one for a line past the end."""
        if not self.source_lines:
            return 1
        return self.source_lines[max(0, min(line, len(self.source_lines)) - 1)]


def parse(path: str, source: str) -> Snippet:
    """Split a snippet's source into what is shown and where its regions are.

    Raises ProblemError, with the line, for a region that is unclosed, repeated, empty, never opened or misspelled.
    """
    place = f"{FOLDER}/{path}"
    shown: list[str] = []
    numbers: list[int] = []
    opened: dict[str, tuple[int, int]] = {}  # name: (line of the marker, first line of the text)
    regions: dict[str, Region] = {}
    for number, line in enumerate(characters.lines(source, keepends=True), start=1):
        marker = MARKER.match(line)
        if marker is None:
            if LIKE_A_MARKER.search(line):
                message = (
                    "a reader would see this marker: put it on its own line, as '# region: name' or '# endregion: name'"
                )
                raise ProblemError(place, number, message)
            shown.append(line)
            numbers.append(number)
            continue
        name = marker["name"]
        if marker["kind"] == "region":
            if name in opened or name in regions:
                raise ProblemError(place, number, f"region {name!r} is there twice: rename one of them")
            opened[name] = (number, len(shown) + 1)
        elif name not in opened:
            raise ProblemError(place, number, f"endregion {name!r} closes nothing{nearest(name, opened)}")
        else:
            begun, first = opened.pop(name)
            if not "".join(shown[first - 1 :]).strip():
                raise ProblemError(place, begun, f"region {name!r} is empty: put its lines in, or delete it")
            regions[name] = Region(first, len(shown))
    for name, (begun, _) in opened.items():
        raise ProblemError(place, begun, f"region {name!r} is never closed: add 'endregion: {name}'")
    return Snippet(path, "".join(shown), regions, tuple(numbers))


def folder_of(root: Path = ROOT) -> Path:
    """Return the folder that holds a project's snippets; of this one the edited copy, while a control is in force."""
    elsewhere = os.environ.get(ELSEWHERE) if root == ROOT else None
    return Path(elsewhere) if elsewhere else root / FOLDER


def paths(root: Path = ROOT) -> list[str]:
    """Return every snippet's path relative to snippets/, sorted. Transcripts are not snippets."""
    folder = folder_of(root)
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(
        file.relative_to(folder).as_posix()
        for file in found
        if file.suffix != ".out" and "__pycache__" not in file.parts
    )


def read(path: str, root: Path = ROOT) -> Snippet:
    """Return one snippet.

    Raises ProblemError for a broken region or an invisible character, FileNotFoundError where there is no such file.
    """
    return parse(path, characters.seen(folder_of(root) / path, f"{FOLDER}/{path}"))


@contextmanager
def beside(path: str, root: Path = ROOT) -> Iterator[None]:
    """Let a Python snippet import others in its folder, as a reader's copies can. They are unloaded afterwards."""
    folder = str((folder_of(root) / path).parent)
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in sys.modules.keys() - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(folder):
                del sys.modules[name]


def export(target: Path, below: str = "", root: Path = ROOT) -> list[Snippet]:
    """Write the snippets, or those `below` a folder of snippets/, as a reader gets them; return them.

    Raises ProblemError for a broken one.
    """
    exported = []
    for path in paths(root):
        if not Path(path).is_relative_to(below):
            continue
        snippet = read(path, root)
        file = target / Path(path).relative_to(below)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(snippet.text, encoding="utf-8")
        exported.append(snippet)
    return exported
