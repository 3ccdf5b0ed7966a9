"""The strict build of a site with mistakes in it, under the site's own settings for Markdown, links and macros."""

import os
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from proven.sources.handmade import WHAT_TO_DO
from tests.guard.project import make_site
from tests.stack.wait import DEADLINE

PAGE = """\
# Case

A [page](nowhere.md) that is not there, and an [anchor](index.md#nowhere).

{{ snippet("anwser.py") }}

```sql
select 1;
```
"""


Built = tuple[Path, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The project with a page of mistakes, built."""
    folder = make_site(tmp_path_factory.mktemp("project"), {"docs/case.md": PAGE})
    return folder, build(folder)


@pytest.mark.parametrize(
    "warning",
    [
        "docs/case.md:5: no snippet is called 'anwser.py'; did you mean answer.py?",
        f"docs/case.md:7: a code block is typed by hand: {WHAT_TO_DO}",
        "Doc file 'case.md' contains a link 'nowhere.md', but the target is not found among documentation files.",
        "Doc file 'case.md' contains a link 'index.md#nowhere', but the doc 'index.md' does not contain an anchor",
    ],
)
def test_the_build_warns_of_each_mistake(warning: str, built: Built) -> None:
    """The engine's mistakes and MkDocs' own, in one run."""
    assert f"WARNING -  {warning}" in built[1].stdout


def test_a_strict_build_fails_on_warnings(built: Built) -> None:
    """Whoever of them it is that warns."""
    assert built[1].returncode != 0
    assert "warnings in strict mode!" in built[1].stdout


def test_a_broken_block_is_shown_in_its_place(built: Built) -> None:
    """`make serve` goes on, and its reader sees what is wrong."""
    page = unescape((built[0] / "site/case/index.html").read_text(encoding="utf-8"))
    assert "This is broken" in page
    assert "docs/case.md:5: no snippet is called 'anwser.py'" in page


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build a project's site."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
