"""Every mistake of mistakes.yaml is refused: with its place, what is wrong, and what to do."""

from functools import cache
from pathlib import Path

import pytest
import yaml

from proven import check, guide
from tests.guard.project import PAGE, make, problems

SAYS = "says"
Case = dict[str, str | list[str]]


@cache
def table() -> dict[str, dict[str, Case]]:
    """Return every mistake: by its kind, and by what it is."""
    return yaml.load(Path(__file__).with_name("mistakes.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)


@pytest.mark.parametrize(("kind", "what"), [(kind, what) for kind, cases in table().items() for what in cases])
def test_a_mistake_is_refused(kind: str, what: str, tmp_path: Path) -> None:
    """And nothing else is said: one mistake has one message."""
    case = table()[kind][what]
    changes = {PAGE if path == "page" else path: str(text) for path, text in case.items() if path != SAYS}
    says = case[SAYS] if isinstance(case[SAYS], list) else [case[SAYS]]
    found = problems(tmp_path, changes)
    assert len(found) == len(says), found
    for problem, beginning in zip(found, says, strict=True):
        assert problem.startswith(beginning), problem


def test_a_page_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    """In one line, as every other that cannot be read."""
    (tmp_path / "docs/how-to.md").mkdir(parents=True)
    (tmp_path / "docs/case.md").symlink_to("case.md")
    assert problems(tmp_path) == [
        "docs/case.md:1: a symbolic link: put the file itself here",
        "docs/how-to.md:1: it cannot be read: Is a directory",
    ]


@pytest.mark.parametrize(("text", "line"), [("site_name: [\n", 2), ("just text\n", 1)])
def test_settings_that_cannot_be_read_are_named(text: str, line: int, tmp_path: Path) -> None:
    """MkDocs says the same; the check says it in one line, however many pages ask for them."""
    make(tmp_path, {PAGE: "- Text.\n\n    More.\n"})
    (tmp_path / "mkdocs.yml").write_text(text)
    found = [str(problem) for problem in check.problems(guide.read(tmp_path))]
    assert [problem.partition("read: ")[0] for problem in found] == [f"mkdocs.yml:{line}: the settings cannot be "]


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    """Whatever it leads to would be published."""
    (tmp_path / "docs/assets").mkdir(parents=True)
    (tmp_path / "docs/assets/case.svg").symlink_to("/etc/passwd")
    assert problems(tmp_path) == ["docs/assets/case.svg:1: a symbolic link: put the file itself here"]
