"""What every page has: an answer first, a way on, and a sentence that names it. And what a folder has: a list."""

import re

import pytest

from proven import ROOT
from proven.macros.markup import PROOFS_OF_HOW_TOS, PROOFS_PAGE
from proven.site import badge
from proven.sources import front_matter
from proven.sources.pages import FOLDER, parse

# Their names alone: every process that collects tests comes by here.
PAGES = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / FOLDER).rglob("*.md"))
HOME = f"{FOLDER}/index.md"
LISTED = (
    "proven",
    "proven/sources",
    "proven/evidence",
    "proven/macros",
    "proven/site",
    "atlas",
    "setup",
    "measure",
    "tests/stack",
    "tests/site",
    "tests/lint",
    "tests/guard",
)
# Lists of other pages, or of everything, are about nothing in particular.
TAGS = f"{FOLDER}/reference/tags.md"  # Zensical puts the list at its end, wherever it is asked for
LISTS = (f"{FOLDER}/reference/glossary.md", *(f"{FOLDER}/{page}" for page in (PROOFS_PAGE, PROOFS_OF_HOW_TOS)), TAGS)
ABOUT = (
    "Django",
    "PgBouncer",
    "PostgreSQL",
    "deployment",
    "error",
    "monitoring",
    "security",
    "settings",
    "sizing",
    "transaction mode",
)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_begins_with_its_answer_and_ends_with_what_is_next(path: str) -> None:
    """Whoever reads only the beginning has the answer; whoever comes to the end is not at the end."""
    page = parse(path, (ROOT / path).read_text(encoding="utf-8"))
    lines = [line for line in page.text.splitlines() if line.strip()]
    assert lines[0].startswith("# "), f"{path}: the first line is its heading"
    assert re.match(r"[^#!={|<-]|\{\{ (?:symptom|sign|term)\(", lines[1]), (
        f"{path}: below the heading stands the answer"
    )
    if path not in (HOME, TAGS):
        assert re.findall(r"^## (.+)$", page.text, re.MULTILINE)[-1] == "Next", f"{path}: the last part is Next"
        assert lines[-1].startswith("- "), f"{path}: Next is a list"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_described_and_tagged(path: str) -> None:
    """In one sentence that is not too long for a search's result."""
    meta, _ = front_matter.read(path, (ROOT / path).read_text(encoding="utf-8"))
    assert 20 < len(meta.get("description", "")) <= 120, f"{path}:1: description: one sentence, up to 120 characters"
    if not path.endswith("/index.md") and path not in LISTS:
        tags = meta.get("tags") or []
        assert tags, f"{path}:1: tags: what it is about"
        assert set(tags) <= set(ABOUT), f"{path}:1: tags: one of {', '.join(ABOUT)}"


def test_the_navigation_names_each_page_once() -> None:
    """Twice, and MkDocs shows it twice without a word."""
    named = re.findall(r"^ +- .*?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(named) > 50
    assert [name for name in {*named} if named.count(name) > 1] == []


@pytest.mark.parametrize("folder", LISTED)
def test_a_folder_lists_its_files(folder: str) -> None:
    """In the order in which they are read, each with a few words: whoever is new begins there."""
    text = (ROOT / folder / "__init__.py").read_text(encoding="utf-8")
    below = [ROOT / other for other in LISTED if other.startswith(f"{folder}/")]
    files = (file for file in (ROOT / folder).rglob("*.py") if file.name != "__init__.py")
    needed = [file for file in files if not any(file.is_relative_to(other) for other in below)]
    listed = re.findall(r"^ *([\w/]+\.py) ", text, re.MULTILINE)
    names = sorted(file.relative_to(ROOT / folder).as_posix() for file in needed)
    assert sorted(listed) == names, f"{folder}/__init__.py:1: lists each file once"


def test_the_badge_says_what_the_ledger_says() -> None:
    """It is drawn from the committed ledger, and drawn again whenever that changes."""
    drawn = badge.draw()
    assert (ROOT / badge.FILE).read_text(encoding="utf-8") == drawn, f"{badge.FILE}:1: python -m proven.site.badge"
