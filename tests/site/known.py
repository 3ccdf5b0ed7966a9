"""Which pages a browser has found in order, and need not visit again while nothing has changed.

A visit is known by the bytes of all that the page asked for, itself included, and of what checked it: the tests, axe,
the fonts and the browser. A fresh clone knows none.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from axe_playwright_python.base import AXE_FILE_PATH

from proven import ROOT, whole
from tests.site import chromium, fonts
from tests.site.server import leads_to

FOLDER = ROOT / "build" / "known"


@dataclass(frozen=True)
class Known:
    """What one test sees of one page of a site."""

    name: str  # of the test, with the page as its parameter
    site: Path
    folder: Path = FOLDER

    def recall(self) -> int | None:
        """Return what the page weighs that is known to be in order, or None where it is to be visited."""
        if not self._file.exists():
            return None
        known = json.loads(self._file.read_text(encoding="utf-8"))
        return known["weight"] if known["saw"] == self._saw(known["saw"]["site"]) else None

    def remember(self, sent: Iterable[str], weight: int) -> None:
        """Keep that the page is in order, the paths of all that it was sent, and its weight in bytes."""
        whole.write(self._file, json.dumps({"saw": self._saw(sent), "weight": weight}))

    @property
    def _file(self) -> Path:
        return self.folder / f"{quote(self.name, safe='')}.json"

    def _saw(self, sent: Iterable[str]) -> dict[str, Any]:
        return {"site": {path: digest(leads_to(path, self.site)) for path in sent}, "tests": tests()}


@cache
def digest(file: Path) -> str:
    """Return the digest of a file's bytes; nothing where there is no file."""
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


@cache
def tests() -> dict[str, Any]:
    """Return the digests of the tests of this folder, and the versions of what they use."""
    own = (file for file in Path(__file__).parent.iterdir() if file.is_file())
    files = [Path(AXE_FILE_PATH), *fonts.files(), *own]
    return {**{file.name: digest(file) for file in files}, "playwright": version("playwright"), "browser": browser()}


def browser() -> str:
    """Return which browser it is; nothing where there is none."""
    try:
        return chromium.version()
    except RuntimeError:  # whoever visits a page says what is missing
        return ""
