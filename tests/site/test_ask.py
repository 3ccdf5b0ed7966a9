"""The box for errors, as a reader meets it: in a real browser, on each page that has one."""

from collections.abc import Callable

import pytest

PASTED = (
    'psycopg.OperationalError: connection failed: connection to server at "127.0.0.1", port 6432 failed: '
    "FATAL:  no more connections allowed (max_client_conn)"
)
UNKNOWN = 'relation "orders_order" does not exist'


@pytest.mark.parametrize("path", ["", "runbooks/", "404.html"])
def test_a_pasted_error_leads_to_its_runbook(path: str, reader: Callable) -> None:
    """In one click, also from the pages that have no table of texts themselves."""
    with reader(path) as visit:
        visit.page.fill("#error", PASTED)
        visit.page.click(".answer .best a")
        visit.page.wait_for_url("**/runbooks/pgbouncer-max-client-conn/")
        assert "max_client_conn" in visit.page.inner_text("h1")


def test_an_unknown_error_is_said_to_be_unknown(reader: Callable) -> None:
    """It leads to the site's search, with its words in it, and to the table."""
    with reader("") as visit:
        visit.page.fill("#error", UNKNOWN)
        visit.page.wait_for_selector(".answer .best")
        assert visit.page.inner_text(".answer .best") == "No runbook here has this text."
        visit.page.click(".answer a >> nth=0")
        visit.page.wait_for_selector("[data-md-toggle=search]:checked", state="attached")
        assert visit.page.input_value(".md-search__input") == "relation does not exist"


def test_an_empty_box_says_nothing(reader: Callable) -> None:
    """Also after it has said something."""
    with reader("") as visit:
        visit.page.fill("#error", UNKNOWN)
        visit.page.wait_for_selector(".answer .best")
        visit.page.fill("#error", " ")
        visit.page.wait_for_selector(".answer .best", state="detached")


def test_without_scripts_there_is_no_box_and_every_text(reader: Callable) -> None:
    """Nobody is asked for what nobody answers."""
    with reader("", java_script_enabled=False) as visit:
        assert not visit.page.is_visible("#error")
        assert visit.page.is_visible(".texts td:has-text('query_wait_timeout')")


def test_a_proof_line_unfolds_by_keyboard_and_by_touch(reader: Callable) -> None:
    """Without a pointer, and without JavaScript."""
    with reader("how-to/persistent-connections/", has_touch=True, java_script_enabled=False) as visit:
        full = visit.page.locator(".ran .full").first
        assert not full.is_visible()
        visit.page.locator(".ran").first.focus()
        full.wait_for(state="visible")
        visit.page.locator("h1").first.tap()
        visit.page.locator(".ran").nth(1).tap()
        visit.page.locator(".ran .full").nth(1).wait_for(state="visible")
