"""The box for errors, as a reader meets it: in a real browser, on each page that has one."""

import pytest

from proven.guide import Guide
from tests.site.visit import Reader, Visit

PASTED = (
    'psycopg.OperationalError: connection failed: connection to server at "127.0.0.1", port 6432 failed: '
    "FATAL:  no more connections allowed (max_client_conn)"
)
RUNBOOK = "runbooks/pgbouncer-max-client-conn"
UNKNOWN = 'ERROR:  column "total" of orders does not exist\nLINE 1: select total\n               ^'


@pytest.mark.parametrize("path", ["", "runbooks/", "404.html"])
def test_a_pasted_error_leads_to_its_runbook(path: str, opened: Visit, the_guide: Guide) -> None:
    """With its answer, in one click; also from the pages that have no table of texts themselves."""
    page = opened.page
    page.goto(opened.server.address + path)
    page.fill("#error", PASTED)
    page.wait_for_selector(".answer .best")
    (answer,) = (each.description for each in the_guide.pages if each.name == f"{RUNBOOK}.md")
    assert answer in page.inner_text(".answer").splitlines()
    page.click(".answer .best a")
    page.wait_for_url(f"**/{RUNBOOK}/")
    assert "max_client_conn" in page.inner_text("h1")


def test_what_is_unknown_is_said_to_be_unknown_until_the_box_is_empty(opened: Visit) -> None:
    """It leads to the site's search, with its words in it, and to the table."""
    page = opened.page
    page.goto(opened.server.address)
    page.fill("#error", UNKNOWN)
    page.wait_for_selector(".answer .best")
    page.fill("#error", " ")
    page.wait_for_selector(".answer .best", state="detached")
    page.fill("#error", UNKNOWN)
    page.wait_for_selector(".answer .best")
    assert page.inner_text(".answer .best") == "No page here has this text."
    page.click(".answer a >> nth=0")
    page.wait_for_selector("[data-md-toggle=search]:checked", state="attached")
    assert page.input_value(".md-search__input") == "column orders does not exist"


def test_a_text_with_several_causes_asks_which(opened: Visit) -> None:
    """It says by which line it went, and nothing that was pasted becomes part of the page."""
    page = opened.page
    page.goto(opened.server.address)
    page.fill("#error", "<img src=x> server closed the connection unexpectedly")
    page.wait_for_selector(".answer .causes li")
    assert page.inner_text(".answer .best") == "Which of these do you see?"
    assert page.locator(".answer .causes li").count() > 2
    assert page.inner_text(".answer .by code") == "<img src=x> server closed the connection unexpectedly"
    assert page.locator(".answer img").count() == 0


def test_each_cause_that_is_asked_for_has_its_sign(opened: Visit) -> None:
    """Also one that has a name in it, which the table shows as code."""
    page = opened.page
    page.goto(opened.server.address)
    page.fill("#error", "psycopg.errors.ProtocolViolation: query_wait_timeout")
    page.wait_for_selector(".answer .causes li")
    asked = page.locator(".answer .causes li").all_inner_texts()
    assert [each for each in asked if each.startswith(":") or "::" in each] == []
    assert "sv_active in SHOW POOLS equals the pool's size" in asked[0]


def test_a_text_in_another_language_leads_to_the_same_page(opened: Visit) -> None:
    """The list of them is fetched only where nothing that has a reason is found without it."""
    page = opened.page
    page.goto(opened.server.address)
    page.fill("#error", "FATAL:  tut mir leid, schon zu viele Verbindungen")
    page.wait_for_selector(".answer .best a")
    page.click(".answer .best a")
    page.wait_for_url("**/runbooks/too-many-clients/")


def test_without_scripts_there_is_no_box_and_every_text(reader: Reader) -> None:
    """Nobody is asked for what nobody answers."""
    with reader("", java_script_enabled=False) as visit:
        assert not visit.page.is_visible("#error")
    with reader("reference/every-error/", java_script_enabled=False) as visit:
        assert visit.page.is_visible(".texts td:has-text('query_wait_timeout')")


def test_a_proof_line_unfolds_by_keyboard_and_by_touch(reader: Reader) -> None:
    """Without a pointer, and without JavaScript."""
    with reader("how-to/persistent-connections/", has_touch=True, java_script_enabled=False) as visit:
        full = visit.page.locator(".ran .full").first
        assert not full.is_visible()
        visit.page.locator(".ran").first.focus()
        full.wait_for(state="visible")
        visit.page.locator("h1").first.tap()
        visit.page.locator(".ran").nth(1).tap()
        visit.page.locator(".ran .full").nth(1).wait_for(state="visible")
