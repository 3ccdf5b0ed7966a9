"""A call that gives nothing: the build warns of it, and the page says so in its place."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proven import guide
from tests.guard.project import Macros, make

FUNCTIONS = {"snippets/answer.py": "def none(): ...\ndef blank(): return ' '\ndef rows(): return []\n"}
HOLLOW = "has nothing to show, or a link or an entry in it has no text"


@pytest.mark.parametrize(
    ("macro", "arguments"),
    [
        ("compute", ("answer.py", "none")),
        ("compute", ("answer.py", "blank")),
        ("compute", ("answer.py", "rows")),
        ("section", ()),  # the page beside this one has no description
        ("sign", ("",)),
    ],
)
def test_a_call_that_gives_nothing_is_named(
    macro: str, arguments: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is warned of, as whatever a strict build refuses is, and shown."""
    of = guide.read(make(tmp_path, {**FUNCTIONS, "docs/ask.md": "# Ask\n"}))
    page: Any = SimpleNamespace(page=SimpleNamespace(path="index.md"))
    shown = getattr(Macros(page, of), macro)(*arguments)
    assert f"docs/index.md:1: {macro}() {HOLLOW}" in caplog.text
    assert "has nothing to show" in shown
