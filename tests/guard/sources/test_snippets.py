"""Regions that a reader would see or never get, and snippets and transcripts that belong nowhere."""

from pathlib import Path

import pytest

from tests.guard.project import problems

PLACE = "snippets/case.py"
SHOWN = {"docs/case.md": '{{ snippet("case.py") }}\n'}
MARKER = "a reader would see this marker: put it on its own line, as '# region: name' or '# endregion: name'"

# What it is: the snippet, the line that is named, and the message.
REGIONS = {
    "unclosed": ("a = 1\n# region: one\nb = 2\n", 2, "region 'one' is never closed: add 'endregion: one'"),
    "closed under another name": (
        "# region: one\na = 1\n# endregion: on\n",
        3,
        "endregion 'on' closes nothing; did you mean one?",
    ),
    "never opened": ("a = 1\n# endregion: one\n", 2, "endregion 'one' closes nothing"),
    "repeated": (
        "# region: one\na = 1\n# endregion: one\n# region: one\nb = 2\n# endregion: one\n",
        4,
        "region 'one' is there twice: rename one of them",
    ),
    "repeated inside itself": (
        "# region: one\n# region: one\na = 1\n",
        2,
        "region 'one' is there twice: rename one of them",
    ),
    "empty": ("# region: one\n\n# endregion: one\n", 1, "region 'one' is empty: put its lines in, or delete it"),
    "empty but for another": (
        "# region: one\n# region: two\n# endregion: one\na = 1\n# endregion: two\n",
        1,
        "region 'one' is empty: put its lines in, or delete it",
    ),
}
# Markers that a reader would see, and their lines.
SEEN = {
    "without its colon": {1: "# region one\na = 1\n"},
    "in capitals": {1: "# Region: one\na = 1\n"},
    "without a name": {2: "a = 1\n# endregion\n"},
    "of two words": {1: "# region: one two\na = 1\n"},
    "behind code": {1: "a = 1  # region: one\n"},
    "in a comment that it does not know": {1: "/* region: one */\na = 1\n"},
}
# Speaks of regions, and marks none.
ALLOWED = {
    "region of a cloud": "run = 'deploy --region europe-west1'\n",
    "region of the world": "# The region of the world that is nearest.\n",
    "nested regions": "# region: one\n# region: two\na = 1\n# endregion: two\nb = 2\n# endregion: one\n",
    "overlapping regions": "# region: one\na = 1\n# region: two\nb = 2\n# endregion: one\nc = 3\n# endregion: two\n",
}


@pytest.mark.parametrize("case", REGIONS)
def test_a_broken_region_is_refused(case: str, tmp_path: Path) -> None:
    """At its own line, once, however many pages show the snippet."""
    text, line, message = REGIONS[case]
    assert problems(tmp_path, {PLACE: text, **SHOWN}) == [f"{PLACE}:{line}: {message}"]


@pytest.mark.parametrize("case", SEEN)
def test_a_marker_that_a_reader_would_see_is_refused(case: str, tmp_path: Path) -> None:
    """It was probably meant as one, and marks nothing."""
    ((line, text),) = SEEN[case].items()
    assert problems(tmp_path, {PLACE: text, **SHOWN}) == [f"{PLACE}:{line}: {MARKER}"]


@pytest.mark.parametrize("case", ALLOWED)
def test_what_only_looks_like_a_marker_is_accepted(case: str, tmp_path: Path) -> None:
    """Regions may nest and overlap, and the word may be used."""
    assert problems(tmp_path, {PLACE: ALLOWED[case], **SHOWN}) == []


def test_a_snippet_that_no_page_shows_is_refused(tmp_path: Path) -> None:
    """A page that only names it does not count."""
    message = "no page shows this snippet: call it from one, or delete it"
    page = "See `case.py`.\n"
    assert problems(tmp_path, {PLACE: "a = 1\n", "docs/case.md": page}) == [f"{PLACE}:1: {message}"]


def test_a_transcript_without_its_snippet_is_refused(tmp_path: Path) -> None:
    """Its snippet was renamed, or is gone."""
    message = "this transcript belongs to no snippet: delete it"
    assert problems(tmp_path, {"snippets/gone.out": "42\n"}) == [f"snippets/gone.out:1: {message}"]


def test_a_transcript_that_a_page_names_wrongly_is_refused(tmp_path: Path) -> None:
    """The name is what stands between the snippet's name and .out, with spaces."""
    changes = {
        "snippets/answer.on-a-tuesday.out": "41\n",
        "docs/case.md": 'Text.\n\n{{ snippet("answer.py", transcript="on a monday") }}\n',
    }
    message = "snippets/answer.py has no transcript called 'on a monday'; did you mean on a tuesday?"
    assert problems(tmp_path, changes) == [f"docs/case.md:3: {message}"]


@pytest.mark.parametrize(
    "path", ["snippets/case.py", "snippets/answer.out", "docs/case.md", "tests/proofs/test_case.py"]
)
def test_a_file_that_is_no_text_is_refused(path: str, tmp_path: Path) -> None:
    """Before it stops the build with a traceback."""
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a\n\xff\xfe")
    assert problems(tmp_path) == [f"{path}:2: not UTF-8 text: save it as UTF-8, or delete it"]


def test_a_transcript_of_a_snippet_that_cannot_be_read_is_kept(tmp_path: Path) -> None:
    """It belongs to that snippet: nobody is told to delete it."""
    changes = {PLACE: "# region: one\na = 1\n", "snippets/case.out": "1\n", **SHOWN}
    assert problems(tmp_path, changes) == [f"{PLACE}:1: region 'one' is never closed: add 'endregion: one'"]
