"""Each text of an error has one runbook that is to be read first."""

from pathlib import Path

from proven import guide
from proven.macros import errors
from tests.guard.project import make, problems


def test_a_text_has_one_page_to_read_first(tmp_path: Path) -> None:
    """Two, or none, and the search would not know where to send a reader."""
    first, also = (
        '# A\n\n{{ symptom("lost", when="First:") }}\n',
        '# A\n\n{{ symptom("lost", also=True, when="Also:") }}\n',
    )
    assert problems(tmp_path, {"docs/a.md": first, "docs/b.md": also}) == []
    (found,) = problems(tmp_path, {"docs/a.md": first, "docs/b.md": first})
    assert found == "docs/b.md:3: docs/a.md is to be read first for 'lost': add also=True here"
    found = problems(tmp_path, {"docs/a.md": also, "docs/b.md": also})
    assert found[0] == "docs/a.md:3: no page is to be read first for 'lost': leave also=True out on one"


def test_the_page_to_read_first_is_named_first(tmp_path: Path) -> None:
    """Wherever the pages stand in the navigation."""
    also, first = (
        '# A\n\n{{ symptom("lost", also=True, when="Also:") }}\n',
        '# B\n\n{{ symptom("lost", when="First:") }}\n',
    )
    (found,) = errors.listing(guide.read(make(tmp_path, {"docs/a.md": also, "docs/b.md": first})))
    assert [page.path for page in found.pages] == ["docs/b.md", "docs/a.md"]


def test_several_causes_of_a_text_are_told_apart(tmp_path: Path) -> None:
    """Each has its sign, by which the box asks."""
    first, also = '# A\n\n{{ symptom("lost") }}\n', '# A\n\n{{ symptom("lost", also=True, when="Also:") }}\n'
    (found,) = problems(tmp_path, {"docs/a.md": first, "docs/b.md": also})
    assert found == "docs/a.md:3: 'lost' has several causes: say when= it is this one"
