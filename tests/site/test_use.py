"""What a reader does: searches, opens, switches, and goes about by keyboard."""

import html
import re
from pathlib import Path

import pytest
from playwright.sync_api import TimeoutError as NotInTime
from playwright.sync_api import ViewportSize

from proven import ROOT
from tests.site.visit import DESKTOP, PHONE, Reader, Visit, Visited, pages, refuse

# Between them they have all that can be operated: code, tabs, what unfolds, tables and the navigation.
WALKED = ("", "explanation/transaction-mode/")

# Of each tab, whether a click on it shows its block, and that alone: a set has its radio buttons and its blocks in the
# same order.
ALONE = """() => [...document.querySelectorAll(".tabbed-labels > label")].map((label) => {
    label.click()
    const set = label.closest(".tabbed-set")
    const number = [...set.querySelectorAll(":scope > input")].indexOf(label.control)
    const blocks = [...set.querySelector(".tabbed-content").children]
    return [label.innerText, blocks.every((block, at) => checks.visible(block) === (at === number))]
})"""


def go(visit: Visit, page: str, window: ViewportSize) -> None:
    """Go on to a page, through another window."""
    visit.path = page
    visit.page.set_viewport_size(window)
    visit.page.goto(visit.server.address + page)


def walk(visit: Visit, steps: int = 1000) -> list[str]:
    """Press the Tab key until it comes round, and return what it passed by, and where nobody saw the focus."""
    visit.page.evaluate("checks.unfold()")
    unseen = []
    for _ in range(steps):
        visit.page.keyboard.press("Tab")
        stop = visit.page.evaluate("checks.stop()")
        if stop is None or stop["again"]:
            break
        unseen += [f"the focus is not seen: {stop['unseen']}"] if stop["unseen"] else []
    return [*unseen, *(f"the Tab key passes by {name}" for name in visit.check("unvisited"))]


def test_the_search_finds_each_page_by_its_title(visited: Visited) -> None:
    """Among the first three. Its index comes when it is wanted, and not before."""
    visited("", search)


def search(page: str, reader: Reader) -> Visit:
    """Search for every title. Fails with those that lead to another page."""
    with reader(page, viewport=DESKTOP) as visit:
        index = visit.server.address + "search/search_index.json"
        assert index not in visit.asked
        visit.page.keyboard.press("/")
        missed = []
        for other in pages():
            file = visit.server.folder / other / "index.html"
            text = file.read_text(encoding="utf-8") if other.endswith("/") else ""
            source = ROOT / "docs" / f"{other.rstrip('/')}.md"
            title = re.search(r"<h1[^>]*>(.*?)<a class=\"headerlink", text, re.DOTALL)
            if title and source.exists() and "exclude: true" not in source.read_text(encoding="utf-8"):
                visit.page.keyboard.press("ControlOrMeta+A")
                visit.page.keyboard.insert_text(html.unescape(re.sub(r"<[^>]+>", "", title[1])))
                visit.page.keyboard.press("End")  # the search listens to keys
                result = visit.page.locator(f".md-search-result__item:nth-child(-n+3) > a[href*='/{other}']").first
                try:
                    result.wait_for(state="attached")
                except NotInTime:
                    missed.append(f"the search does not find it by its title: /{other}")
                    break  # one is enough to say, and to wait for
        assert index in visit.asked
    refuse(visit, missed)
    return visit


def test_the_look_stays_chosen(reader: Reader) -> None:
    """On the next page as well."""
    with reader("", "light", viewport=DESKTOP) as visit:
        visit.page.click("label[for=__palette_1]")
        visit.page.goto(visit.server.address + pages()[-1])
        assert visit.page.get_attribute("body", "data-md-color-scheme") == "slate"


@pytest.mark.parametrize("value", ["{", "", "null"])
def test_what_cannot_be_read_in_the_storage_ends_no_script(value: str, reader: Reader) -> None:
    """Of each name that Material keeps: the page is as without it, and the look can be chosen."""
    with reader("", "light", viewport=DESKTOP) as visit:
        kept = "value => { for (const name of ['__palette', '__tabs', '__search']) localStorage[`/.${name}`] = value }"
        visit.page.evaluate(kept, value)
        visit.page.goto(visit.server.address + pages()[-1])
        visit.page.click("label[for=__palette_1]")
        assert visit.page.get_attribute("body", "data-md-color-scheme") == "slate"
        refuse(visit, visit.console)


def test_the_drawer_opens_and_shuts_by_keyboard(opened: Visit) -> None:
    """A narrow window has no other navigation."""
    go(opened, "", PHONE)
    shown = "(links) => links.filter((link) => link.checkVisibility({ visibilityProperty: true })).length"
    assert opened.page.locator(".md-nav--primary a.md-nav__link").evaluate_all(shown) == 0
    menu = opened.page.get_by_role("button", name="Menu")
    menu.press("Enter")
    assert menu.get_attribute("aria-expanded") == "true"
    name = opened.page.locator(".md-nav--primary .md-nav__item--nested > .md-nav__toggle").first.get_attribute("id")
    opened.page.press(f"#{name}", "Space")
    assert opened.page.locator(f"#{name} ~ nav a").first.is_visible()
    opened.page.press(f"#{name}", "Space")
    menu.press("Enter")
    assert menu.get_attribute("aria-expanded") == "false"


def test_each_tab_shows_its_block(opened: Visit, site: Path) -> None:
    """And hides the others of its set."""
    for page in pages():
        if page.endswith("/") and 'class="tabbed-set' in (site / page / "index.html").read_text(encoding="utf-8"):
            go(opened, page, DESKTOP)
            tabs = opened.page.evaluate(ALONE)
            assert tabs
            for label, alone in tabs:
                assert alone, f"/{page}: {label}"


@pytest.mark.parametrize("page", WALKED)
@pytest.mark.parametrize("window", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_tab_key_goes_everywhere(page: str, window: ViewportSize, visited: Visited) -> None:
    """To all that takes the focus, and the reader always sees where that is."""

    def walked(page: str, reader: Reader) -> Visit:
        with reader(page, viewport=window) as visit:
            refuse(visit, walk(visit))
        return visit

    visited(page, walked)


# The labels of the tabs that are chosen, on the whole page.
CHOSEN = """() => [...document.querySelectorAll(".tabbed-set > input:checked")].map(
    (input) => document.querySelector(`label[for="${input.id}"]`).innerText.trim())"""


def test_a_chosen_tab_stays_chosen(reader: Reader) -> None:
    """The driver, the Django and where it runs: on every page that has the choice."""
    first = "how-to/persistent-connections/"
    chosen = {
        "how-to/direct-connection/": {"Kubernetes"},
        "runbooks/pgbouncer-query-wait-timeout/": {"psycopg2"},
        first: {"Kubernetes", "psycopg2", "Django 4.2 and 5.0"},
    }
    with reader(first, viewport=DESKTOP) as visit:
        assert not chosen[first] & set(visit.page.evaluate(CHOSEN))
        for label in chosen[first]:
            visit.page.locator(".tabbed-labels > label", has_text=label).first.click()
        for page, labels in chosen.items():
            visit.page.goto(visit.server.address + page)
            assert set(visit.page.evaluate(CHOSEN)) == labels, page
