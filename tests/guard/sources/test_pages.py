"""How front matter is read."""

import pytest

from proven.sources import front_matter, pages
from tests.guard.project import PAGE


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
