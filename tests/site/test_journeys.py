"""What a newcomer comes for, from the home page, in three clicks at most."""

import hashlib
from collections.abc import Iterator

import pytest

from proven.guide import Guide
from proven.sources import snippets
from tests.site.visit import DESKTOP, Reader, Visit

INI = "pgbouncer/pgbouncer.ini"


@pytest.fixture(scope="module")
def opened(reader: Reader) -> Iterator[Visit]:
    """A newcomer, who comes back to the home page. What was seen before is as good as any, and shown at once."""
    with reader("robots.txt", viewport=DESKTOP, permissions=["clipboard-read", "clipboard-write"]) as visit:
        yield visit


@pytest.fixture(scope="module")
def answers(the_guide: Guide) -> dict[str, str]:
    """What each page answers, in the sentence of its front matter: "how-to/encrypt.md" → "…"."""
    found = {page.name: page.description for page in the_guide.pages}
    assert all(found.values())
    return found


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


def test_a_pasted_error_leads_to_its_fix(home: Visit, answers: dict[str, str]) -> None:
    """Paste, read the answer in a sentence, and one click."""
    home.page.fill("#error", 'ERROR:  prepared statement "_pg3_0" already exists\nLINE 1: select 1')
    home.page.wait_for_selector(".answer .best")
    assert answers["runbooks/pgbouncer-prepared-statement.md"] in home.page.inner_text(".answer").splitlines()
    home.page.click(".answer .best a")
    home.page.wait_for_url("**/runbooks/pgbouncer-prepared-statement/")
    assert home.page.locator("h2:has-text('The lasting fix')").count() == 1


def test_every_error_text_says_what_its_runbook_answers(home: Visit, answers: dict[str, str]) -> None:
    """The list of all texts: each link has the runbook's title, and its answer as a tooltip."""
    click(home, "every error text")
    home.page.wait_for_url("**/reference/every-error/")
    links = home.page.locator(".texts td:last-child a").evaluate_all(
        "(links) => links.map((link) => [new URL(link.href).pathname, link.textContent, link.title])"
    )
    assert links
    for path, title, says in links:
        assert title, path
        assert says == answers[f"{path.strip('/')}.md"], path


def test_a_full_server_under_celery_is_two_clicks_away(home: Visit) -> None:
    """Paste what the application heard, open its runbook, and the way on to Celery says what a task does."""
    home.page.fill("#error", "FATAL: sorry, too many clients already")
    home.page.wait_for_selector(".answer .best")
    home.page.click(".answer .best a")
    home.page.wait_for_url("**/runbooks/too-many-clients/")
    click(home, "Celery")
    home.page.wait_for_url("**/how-to/celery/")
    assert "opens a connection and closes it, whatever CONN_MAX_AGE is" in home.page.inner_text("article")


def test_what_transaction_mode_breaks_is_one_click_away(home: Visit) -> None:
    """From the questions; each row says what happens, and what to do instead."""
    click(home, "See what breaks")
    home.page.wait_for_url("**/explanation/transaction-mode/")
    row = home.page.locator("tr:has(td:first-child:has-text('.iterator()'))").first
    assert "does not exist, which can come in the middle of the rows" in row.inner_text()
    assert "atomic() around the loop" in row.inner_text()


def test_a_pool_is_sized_with_a_readers_own_numbers(home: Visit) -> None:
    """Numbers in; a verdict, and the file to copy out."""
    click(home, "Size my pool")
    home.page.wait_for_url("**/reference/calculator/")
    home.page.fill("[name=max_connections]", "5")
    home.page.wait_for_function("document.querySelector('#calculator-verdict').textContent.startsWith('Too many')")
    assert "default_pool_size" in home.page.inner_text("[data-file='pgbouncer.ini'] samp")


def test_each_step_of_the_rollout_has_a_check_and_there_is_a_way_back(home: Visit) -> None:
    """As the home page promises."""
    click(home, "Roll out PgBouncer")
    home.page.wait_for_url("**/how-to/roll-out-pgbouncer/")
    text = home.page.inner_text("article")
    for step, then in (("1. Audit", "2. Staging"), ("2. Staging", "3. Canary"), ("3. Canary", "4. The way back")):
        assert "Check:" in text.partition(step)[2].partition(then)[0], step
    assert "Give the instance its old DATABASE_URL" in text.partition("4. The way back")[2]


@pytest.mark.parametrize("folder", ["tutorials", "how-to", "runbooks", "explanation", "reference"])
def test_every_list_of_pages_says_what_each_answers(folder: str, home: Visit, answers: dict[str, str]) -> None:
    """A term is the page's title, and below it is its answer."""
    home.page.goto(f"{home.server.address}{folder}/")
    says = home.page.locator("article dl dd").all_inner_texts()
    beside = {name for name in answers if name.startswith(f"{folder}/") and name != f"{folder}/index.md"}
    assert sorted(says) == sorted(answers[name] for name in beside)


def test_a_working_configuration_is_copied_and_its_digest_known(home: Visit) -> None:
    """Two links and a button; and beside that button is the digest."""
    click(home, "Reference", "Snippets")
    card = home.page.locator(f"li[data-path='{INI}']")
    card.locator("button[data-copies=contents]").click()
    home.page.wait_for_function("document.querySelector('#catalogue-said').textContent")
    copied = home.page.evaluate("navigator.clipboard.readText()")
    assert copied == snippets.read(INI).text
    assert card.get_attribute("data-sha256") == hashlib.sha256(copied.encode()).hexdigest()
