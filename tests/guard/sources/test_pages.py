"""How a page is read: what may not stand on it, whatever is called."""

import pytest

from proven.sources import front_matter, pages
from proven.sources.pages import NO_LANGUAGE
from tests.guard.project import PAGE, Mistake

WRITTEN_OUT = "snippet() needs arguments that are written out"

REFUSED: dict[str, Mistake] = {
    "computed argument": ('{{ snippet("answer" ~ ending) }}\n', 1, WRITTEN_OUT),
    "unpacked argument": ('{{ snippet(**{"path": "answer.py"}) }}\n', 1, WRITTEN_OUT),
    "filter": ('{{ snippet("answer.py") | replace("42", "43") }}\n', 1, NO_LANGUAGE),
    "statement": ("Text.\n\n{% set limit = 3 %}\n", 3, NO_LANGUAGE),
    "included file": ('{% include "snippets/answer.py" %}\n', 1, NO_LANGUAGE),
    "call in front matter": (
        "---\ntitle: x\ndescription: \"{{ proven('test_answer') }}\"\n---\n\nText.\n",
        3,
        "a macro is called in the front matter, where nothing runs it",
    ),
    "setting of its own": (
        "---\ntitle: x\nrender_macros: false\n---\n\nText.\n",
        3,
        "the front matter may not say 'render_macros'",
    ),
    "misspelled name": (
        "---\ndescripton: x\n---\n\nText.\n",
        2,
        "the front matter may not say 'descripton'; did you mean description?",
    ),
    "empty description": ("---\ndescription:\n---\n\nText.\n", 2, "description is None, and has to be a text"),
    "HTML in the title": (
        "---\ntitle: a < b\n---\n\nText.\n",
        2,
        "title holds <, which would be read as HTML: say it without",
    ),
    "front matter that is no YAML": ("---\ntitle: [\n---\n\nText.\n", 3, "the front matter is not YAML: "),
    "call that does not end": ('Text.\n\n{{ snippet("answer.py"\n', 3, "the macro call cannot be read: unexpected end"),
    "heading with an anchor that begins a comment": (
        "# Title {#anchor}\n",
        1,
        "the macro call cannot be read: Missing end of comment tag",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_macro_call_is_refused(case: str) -> None:
    """A page computes nothing itself, and what cannot be read is named with its line."""
    text, line, message = REFUSED[case]
    (found,) = pages.parse(PAGE, text).problems
    assert str(found).startswith(f"{PAGE}:{line}: {message}")


@pytest.mark.parametrize(
    "written", ["description: It is 42.", "description: >-\n  It is\n  42.", 'description: "It is 42."']
)
def test_a_description_is_read_as_yaml_has_it(written: str) -> None:
    """Lists and the box for errors show it."""
    assert pages.parse(PAGE, f"---\n{written}\n---\n\nText.\n").description == "It is 42."


def test_lines_are_counted_below_front_matter_as_mkdocs_drops_it() -> None:
    """A call in a tab is indented as its own line is, which must be the right one."""
    assert front_matter.lines("---\ntitle: x\n---\n\n\n# Title\n") == 5
    assert front_matter.lines("# Title\n") == 0
