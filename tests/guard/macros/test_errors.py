"""Each text of an error has one runbook that is to be read first."""

from pathlib import Path

from proven import guide
from proven.macros import errors
from tests.guard.project import make, problems

ANSWER = "---\ndescription: It comes back.\n---\n\n"
FIRST = f'{ANSWER}# A\n\n{{{{ symptom("lost", when="First") }}}}\n'
ALSO = f'{ANSWER}# B\n\n{{{{ symptom("lost", also=True, when="Also") }}}}\n'


def test_a_text_has_one_page_to_read_first(tmp_path: Path) -> None:
    """Two, or none, and the search would not know where to send a reader."""
    assert problems(tmp_path, {"docs/a.md": FIRST, "docs/b.md": ALSO}) == []
    (found,) = problems(tmp_path, {"docs/a.md": FIRST, "docs/b.md": FIRST})
    assert found == "docs/b.md:7: docs/a.md is to be read first for 'lost': add also=True here"
    found = problems(tmp_path, {"docs/a.md": ALSO, "docs/b.md": ALSO})
    assert found[0] == "docs/a.md:7: no page is to be read first for 'lost': leave also=True out on one"


def test_the_page_to_read_first_is_named_first(tmp_path: Path) -> None:
    """Wherever the pages stand in the navigation."""
    (found,) = errors.listing(guide.read(make(tmp_path, {"docs/a.md": ALSO, "docs/b.md": FIRST})))
    assert [page.path for page in found.pages] == ["docs/b.md", "docs/a.md"]


def test_a_page_to_which_an_error_leads_says_what_it_answers(tmp_path: Path) -> None:
    """The box shows that below the link."""
    alone = FIRST.replace(', when="First"', "")
    (found,) = problems(tmp_path, {"docs/a.md": alone.removeprefix(ANSWER)})
    assert found.startswith("docs/a.md:1: the table of error texts lists this page with its answer: ")
    (page,) = errors.listing(guide.read(make(tmp_path, {"docs/a.md": alone})))[0].pages
    assert page.description == "It comes back."


def test_several_causes_of_a_text_are_told_apart(tmp_path: Path) -> None:
    """Each has its sign, by which the box asks; one alone has none."""
    (found,) = problems(tmp_path, {"docs/a.md": FIRST.replace(', when="First"', ""), "docs/b.md": ALSO})
    assert found == "docs/a.md:7: 'lost' has several causes: say when= it is this one"
    (found,) = problems(tmp_path, {"docs/a.md": FIRST, "docs/b.md": "# B\n"})
    assert found == "docs/a.md:7: 'lost' has one cause: leave when= out"


def test_a_row_says_who_says_its_text_and_stands_there_once(tmp_path: Path) -> None:
    """Each mistake is told at the line of its row."""
    rows = [
        '{"by": "libpq", "text": "lost", "says": "It went."}',
        '{"text": "gone", "says": "It left.", "unprovokd": "nobody can"}',
        '{"by": "libpq", "text": "lost", "says": "It went."}',
    ]
    found = problems(
        tmp_path, {"docs/a.md": "# A\n", "docs/data/errors.json": '{"texts": [\n' + ",\n".join(rows) + "\n]}"}
    )
    for expected in (
        "docs/data/errors.json:3: 'gone': say who says it, by",
        "docs/data/errors.json:3: 'gone': a row has no 'unprovokd'; did you mean unprovoked or proof?",
        "docs/data/errors.json:4: 'lost' has two rows: leave one out",
        "docs/data/errors.json:4: 'lost' needs a provocation, proof: the one on its page, or unprovoked: why not",
    ):
        assert expected in found
