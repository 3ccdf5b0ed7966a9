"""What a newcomer comes for, from the home page, in three clicks at most."""

import hashlib

from proven import snippets
from tests.site.visit import DESKTOP, Reader, Visit

INI = "pgbouncer/pgbouncer.ini"


def click(visit: Visit, *links: str) -> None:
    """Click one link after the other, each by what it says."""
    for link in links:
        # Not the same words in what is folded away.
        visit.page.locator("a:visible").get_by_text(link, exact=True).first.click()


def test_a_pasted_error_leads_to_its_fix(reader: Reader) -> None:
    """Paste, and one click."""
    with reader("", viewport=DESKTOP) as visit:
        visit.page.fill("#error", 'ERROR:  prepared statement "_pg3_0" already exists\nLINE 1: select 1')
        visit.page.click(".answer .best a")
        visit.page.wait_for_url("**/runbooks/pgbouncer-prepared-statement/")
        assert visit.page.locator("h2:has-text('The lasting fix')").count() == 1


def test_what_transaction_mode_breaks_is_one_click_away(reader: Reader) -> None:
    """From the questions."""
    with reader("", viewport=DESKTOP) as visit:
        click(visit, "See what breaks")
        visit.page.wait_for_url("**/explanation/transaction-mode/")
        assert visit.page.locator("table td:has-text('.iterator()')").count()


def test_a_working_configuration_is_copied_and_its_digest_known(reader: Reader) -> None:
    """Two links and a button; and beside that button is the digest."""
    with reader("", viewport=DESKTOP, permissions=["clipboard-read", "clipboard-write"]) as visit:
        click(visit, "Reference", "Snippets")
        card = visit.page.locator(f"li[data-path='{INI}']")
        card.locator("button[data-copies=contents]").click()
        visit.page.wait_for_function("document.querySelector('#catalogue-said').textContent")
        copied = visit.page.evaluate("navigator.clipboard.readText()")
        assert copied == snippets.read(INI).text
        assert card.get_attribute("data-sha256") == hashlib.sha256(copied.encode()).hexdigest()
