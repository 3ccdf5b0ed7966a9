"""Tables and drawings that are not there, and lists of nothing."""

from pathlib import Path

from tests.guard.project import PAGE, problems


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With the folder in which it would have to be."""
    assert problems(tmp_path, {PAGE: '{{ facts("x.json") }}\n\n{{ picture("x.svg") }}\n'}) == [
        f"{PAGE}:1: no facts in docs/data/ is called 'x.json'",
        f"{PAGE}:3: no picture in docs/assets/ is called 'x.svg'",
    ]


def test_a_list_of_pages_has_pages_with_their_answers(tmp_path: Path) -> None:
    """Bare links say nothing that the navigation does not."""
    listing = {"docs/how-to/index.md": "# How-to\n\n{{ section() }}\n"}
    nothing = "section() lists the pages beside this one, and there are none"
    assert problems(tmp_path, listing) == [f"docs/how-to/index.md:3: {nothing}"]
    (found,) = problems(tmp_path, {**listing, "docs/how-to/ask.md": "# Ask\n"})
    assert found.startswith("docs/how-to/ask.md:1: docs/how-to/index.md lists this page with its answer: ")
    assert problems(tmp_path, {"docs/how-to/ask.md": "---\ndescription: As you like.\n---\n\n# Ask\n"}) == []
    # What cannot be read says nothing either, and nobody is told so: only why.
    (broken,) = problems(tmp_path, {"docs/how-to/ask.md": "---\ndescription: [\n---\n\n# Ask\n"})
    assert broken.startswith("docs/how-to/ask.md:3: the front matter is not YAML: ")
