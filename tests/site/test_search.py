"""The site's search, for what readers have: each text of an error finds a page that has it, among the first three."""

import html
import re

import pytest

from proven.guide import Guide
from proven.macros import errors
from tests.site.visit import DESKTOP, Reader

# The theme's own worker, asked as its search field asks it: one query after another, each with its first answers.
SEARCHED = """async (texts) => {
    const script = document.getElementById("__config")
    const { search, base } = JSON.parse(script.textContent)
    const worker = new Worker(search)
    const answers = []
    let heard
    worker.onmessage = ({ data }) => heard(data)
    const ask = (message, type) => new Promise((done) => {
        heard = (data) => data.type === type && done(data.data)
        worker.postMessage(message)
    })
    const index = await (await fetch(new URL("search/search_index.json", new URL(base, location) + "/"))).json()
    await ask({ type: 0, data: { config: index.config, docs: index.docs, options: { suggest: false } } }, 1)
    for (const text of texts) {
        const { items } = await ask({ type: 2, data: text }, 3)
        answers.push(items.slice(0, 3).map(([{ location }]) => location))
    }
    worker.terminate()
    return answers
}"""


@pytest.fixture(scope="module")
def found(reader: Reader, the_guide: Guide) -> dict[str, list[str]]:
    """The first three pages that the search gives for each text."""
    texts = [each.text for each in errors.listing(the_guide) if each.said]
    with reader("", viewport=DESKTOP) as visit:
        answers = visit.page.evaluate(SEARCHED, [sought(text) for text in texts])
    return dict(zip(texts, answers, strict=True))


def sought(text: str) -> str:
    """Return a text as somebody types it into the search: its words, without what differs each time."""
    return re.sub(r"[^\w]+", " ", text.replace("…", " ")).strip()


def test_the_search_finds_a_page_that_has_the_text(found: dict[str, list[str]], the_guide: Guide) -> None:
    """The page that explains it, or the list of all, which has it with a link to that page."""
    missed = {}
    for each in errors.listing(the_guide):
        if each.said:
            wanted = [page.name.removesuffix(".md") for page in each.pages] + ["reference/every-error"]
            if not [
                one for one in found[each.text] if any(html.unescape(one).startswith(f"{page}/") for page in wanted)
            ]:
                missed[each.text] = found[each.text]
    assert not missed, f"{len(missed)} of {len(found)}: {missed}"
