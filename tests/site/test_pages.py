"""Every page on a first visit: on a phone in the dark scheme, then in a wide window in the light one, and copied from.

In wide fonts, which is where things get too wide; and how it is laid out, also in narrow ones.
"""

from functools import cache

import pytest
from playwright.sync_api import ElementHandle

from proven import ROOT
from proven.sources import snippets
from tests.site.server import leads_to
from tests.site.visit import DESKTOP, PHONE, PICTURED, Reader, Visit, Visited, pages, refuse

KB = 1000
HOME, ANY = 120 * KB, 180 * KB
CLIPBOARD = ["clipboard-read", "clipboard-write"]
COPY = "pre .md-code__nav [data-md-type=copy]"
# What is in the clipboard after a press. A script fills it some moments later, if at all.
COPIED = """async (button) => {
    await navigator.clipboard.writeText("")
    button.click()
    let text = ""
    for (let left = 50; !text && left; left--) {
        text = await navigator.clipboard.readText() || await new Promise((done) => setTimeout(done, 20, ""))
    }
    return text
}"""
PRESSES = 30  # should the page not have been ready for it yet


TASKS = [page for page in pages() if page.startswith("how-to/")]


class TestTasks:
    """The how-tos. In a class of their own, which a worker of its own takes: --dist=loadscope."""

    @pytest.mark.parametrize("page", TASKS)
    def test_nothing_is_wrong_with_a_page(self, page: str, visited: Visited) -> None:
        """No error, no other host, nothing too wide, missing, moving, unreachable or inaccessible; light; copied."""
        visited(page, visit_first)


class TestOthers:
    """Every other page."""

    @pytest.mark.parametrize("page", [page for page in pages() if page not in TASKS])
    def test_nothing_is_wrong_with_a_page(self, page: str, visited: Visited) -> None:
        """The same."""
        visited(page, visit_first)


@pytest.mark.parametrize("page", PICTURED)
def test_nothing_is_wrong_the_other_way_round(page: str, visited: Visited) -> None:
    """A page's own colours are the same in either width. What stands around every page is seen all four ways here."""
    visited(page, visit_other)


def visit_first(page: str, reader: Reader) -> Visit:
    """Visit a page for the first time and check all of it. Fails with everything that is wrong."""
    with reader(page, "dark", viewport=PHONE, permissions=CLIPBOARD) as visit:
        problems = [*too_heavy(page, visit.weigh()), *visit.moved(), *visit.problems(others=False)]
        problems += visit.layout("narrow")
        visit.turn(DESKTOP)
        problems += [*visit.moved(), *visit.problems(), *unoffered(visit), *uncopied(visit, shown())]
        problems += visit.layout("narrow")
    refuse(visit, problems)
    return visit


def visit_other(page: str, reader: Reader) -> Visit:
    """Visit a page with the schemes the other way round, in narrow fonts from the beginning."""
    with reader(page, "dark", "narrow", viewport=DESKTOP) as visit:
        problems = [*visit.moved(), *visit.problems()]
        visit.turn(PHONE)
        problems += [*visit.moved(), *visit.problems()]
    refuse(visit, problems)
    return visit


def too_heavy(page: str, weight: int) -> list[str]:
    """Say so where a page weighs more than it may, in bytes."""
    bar = ANY if page else HOME
    return [f"weighs {weight / KB:.0f} KB, more than {bar / KB:.0f}"] if weight > bar else []


@cache
def shown() -> set[str]:
    """Return every text that a block may give: snippets, their regions and their transcripts."""
    files = map(snippets.read, snippets.paths())
    texts = {file.read_text(encoding="utf-8") for file in (ROOT / snippets.FOLDER).rglob("*.out")}
    texts |= {snippet.show(region) for snippet in files for region in (None, *snippet.regions)}
    return {text.rstrip("\n") + "\n" for text in texts}  # a region may end in blank lines, which no page shows


def unoffered(visit: Visit) -> list[str]:
    """Say so where a block of the page's file has no button that copies it."""
    file = leads_to(visit.server.base + visit.path, visit.server.folder)
    blocks, buttons = file.read_text(encoding="utf-8").count("<pre"), visit.page.locator(COPY).count()
    return [] if blocks == buttons else [f"{blocks} blocks and {buttons} buttons that copy"]


def uncopied(visit: Visit, known: set[str]) -> list[str]:
    """Press the copy button of each block, and return what then is in the clipboard and in no snippet."""
    copies = [copied(button) for button in visit.page.query_selector_all(COPY)]
    return [f"copies what is in no snippet: {text[:80]!r}" for text in copies if text not in known]


def copied(button: ElementHandle) -> str:
    """Return what a button copies. Each press is a gesture of its own: a browser lets a page copy for five seconds."""
    return next(filter(None, (button.evaluate(COPIED) for _ in range(PRESSES))), "")
