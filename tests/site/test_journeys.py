"""What a newcomer comes for, from the home page, in three clicks at most."""

import hashlib
from collections.abc import Iterator

import pytest

from proven.sources import snippets
from tests.site.visit import DESKTOP, Reader, Visit

INI = "pgbouncer/pgbouncer.ini"


@pytest.fixture(scope="module")
def opened(reader: Reader) -> Iterator[Visit]:
    """A newcomer, who comes back to the home page. What was seen before is as good as any, and shown at once."""
    with reader("robots.txt", viewport=DESKTOP, permissions=["clipboard-read", "clipboard-write"]) as visit:
        yield visit


@pytest.fixture
def home(opened: Visit) -> Visit:
    """The same, on the home page."""
    opened.page.goto(opened.server.address)
    return opened


def click(visit: Visit, *links: str) -> None:
    """Click one link after the other, each by what it says."""
    for link in links:
        # Not the same words in what is folded away.
        visit.page.locator("a:visible").get_by_text(link, exact=True).first.click()


def test_a_pasted_error_leads_to_its_fix(home: Visit) -> None:
    """Paste, and one click."""
    home.page.fill("#error", 'ERROR:  prepared statement "_pg3_0" already exists\nLINE 1: select 1')
    home.page.click(".answer .best a")
    home.page.wait_for_url("**/runbooks/pgbouncer-prepared-statement/")
    assert home.page.locator("h2:has-text('The lasting fix')").count() == 1


def test_what_transaction_mode_breaks_is_one_click_away(home: Visit) -> None:
    """From the questions."""
    click(home, "See what breaks")
    home.page.wait_for_url("**/explanation/transaction-mode/")
    assert home.page.locator("table td:has-text('.iterator()')").count()


def test_a_working_configuration_is_copied_and_its_digest_known(home: Visit) -> None:
    """Two links and a button; and beside that button is the digest."""
    click(home, "Reference", "Snippets")
    card = home.page.locator(f"li[data-path='{INI}']")
    card.locator("button[data-copies=contents]").click()
    home.page.wait_for_function("document.querySelector('#catalogue-said').textContent")
    copied = home.page.evaluate("navigator.clipboard.readText()")
    assert copied == snippets.read(INI).text
    assert card.get_attribute("data-sha256") == hashlib.sha256(copied.encode()).hexdigest()
