"""Every page without JavaScript and without images, and on paper."""

import pytest

from tests.site.visit import PHONE, Reader, Visit, Visited, pages, refuse

PAPER = {"width": 700, "height": 1000}  # what A4 leaves between its margins, in CSS's pixels


@pytest.mark.parametrize("page", pages())
def test_a_page_is_read_without_javascript_and_on_paper(page: str, visited: Visited) -> None:
    """Its text stands in the file that is sent. On paper there is all of it, and nothing to press."""
    visited(page, visit_plain)


def visit_plain(page: str, reader: Reader) -> Visit:
    """Visit a page without JavaScript, and print it. Fails with everything that is wrong."""
    with reader(page, viewport=PHONE, java_script_enabled=False) as visit:
        problems = [*visit.check("unread"), *visit.check("tooWide")]
        visit.page.set_viewport_size(PAPER)
        visit.page.emulate_media(media="print")
        problems += [f"on paper: {problem}" for problem in [*visit.check("unread"), *visit.check("unprinted")]]
        visit.picture("print")
    refuse(visit, problems)
    return visit
