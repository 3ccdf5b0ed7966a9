"""The list of texts: what is left out of it, and by which rule; and which row of the atlas has a text."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from atlas.text import Text

HERE = Path(__file__).parent
LIST = HERE.parent / "docs" / "data" / "texts.json"
ATLAS = HERE.parent / "docs" / "data" / "errors.json"
# What the atlas has in front of a text of which the program holds only the rest.
BEFORE = re.compile(r"^(?:FATAL|ERROR|PANIC|WARNING): *|^closing because: |^consuming input failed: ")

GAP = re.compile(r"\W*…\W*")


@dataclass(frozen=True)
class Rule:
    """Why texts are left out, and which."""

    because: str
    by: list[str]
    how: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def takes(self, text: Text) -> bool:
        """Return whether it leaves a text out: by how it is said, by its words, or by both where the rule has both."""
        said = any(re.search(pattern, text.text) for pattern in self.texts)
        called = text.how in self.how
        both = bool(self.how and self.texts)
        return text.by in self.by and ((said and called) if both else (said or called))


def rules() -> list[Rule]:
    """Return the rules by which texts are left out."""
    return [Rule(**rule) for rule in yaml.safe_load((HERE / "left_out.yaml").read_text(encoding="utf-8"))]


def left_out(text: Text, by: Iterable[Rule]) -> str:
    """Return why a text is left out; "" where it is not."""
    return next((rule.because for rule in by if rule.takes(text)), "")


def rows(by: str = "") -> list[str]:
    """Return the texts of the atlas, or those of them that one program says."""
    return [row["text"] for row in json.loads(ATLAS.read_text(encoding="utf-8"))["texts"] if by in ("", row["by"])]


def row_of(text: str, among: Iterable[str]) -> str | None:
    """Return the row that has a text: the longest of those that say it or a part of it, else an instance of it."""
    rows = list(among)
    found = [row for row in rows if says(row, text)] or [
        row for row in rows if "…" in text and says(text, row, whole=True)
    ]
    return max(found, key=lambda row: (len(BEFORE.sub("", row)), -len(row)), default=None)


def says(row: str, text: str, whole: bool = False) -> bool:
    """Return whether a row is within a text: … of either stands for whatever the other has there."""
    found = _found(text, whole)
    return bool(_pattern(row).fullmatch(found) if whole else _pattern(row).search(found))


def saying(among: Iterable[str], texts: Iterable[str]) -> set[str]:
    """Return those texts that contain any of some rows."""
    pattern = re.compile("|".join(_pattern(row).pattern for row in among))
    return {text for text in texts if pattern.search(_found(text))}


@cache
def _found(text: str, whole: bool = False) -> str:
    return _even(GAP.sub("…", BEFORE.sub("", text) if whole else text))


@cache
def _pattern(row: str) -> re.Pattern[str]:
    """Return the pattern of a row in a text: where a row ends in a colon, any reason may follow."""
    parts = GAP.split(BEFORE.sub("", re.sub(":$", ":…", row)))
    return re.compile(".*".join(re.escape(_even(part)) for part in parts))


def _even(text: str) -> str:
    return re.sub(r"[\s\"'`“”]", "", text.casefold())
