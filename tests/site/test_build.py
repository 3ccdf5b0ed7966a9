"""The files of the site as it is published."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from proven import ROOT
from proven.evidence import ledger
from proven.guide import Guide
from proven.macros import calls
from proven.macros.markup import proofs_page
from proven.sources import snippets
from proven.sources.pages import url

# What makes a browser ask for something; a link that a reader may follow does not.
ASKS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
HARMLESS = {"canonical", "prev", "next", "alternate"}


class Page(HTMLParser):
    """What a page asks a browser to fetch, and the text of its code blocks."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.code: list[str] = []
        self.in_code = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is fetched, and the beginning of a block."""
        given = {name: value or "" for name, value in attrs}
        if tag in ASKS and ASKS[tag] in given and given.get("rel") not in HARMLESS:
            self.fetched.append(given[ASKS[tag]])
        if tag == "pre":
            self.in_code = True
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a block."""
        if tag == "pre":
            self.in_code = False

    def handle_data(self, data: str) -> None:
        """Gather the text of a block."""
        if self.in_code:
            self.code[-1] += data


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Every page of the built site."""
    found = {file.relative_to(site).as_posix(): Page(file.read_text()) for file in site.rglob("*.html")}
    assert len(found) >= len(list((ROOT / "docs").rglob("*.md")))
    return found


def test_every_code_block_is_a_snippet_or_its_transcript(pages: dict[str, Page], the_guide: Guide) -> None:
    """What stands in a block on a page is what a file under snippets/ holds, to the byte, and no marker shows."""
    files = [file.read_text() for file in (ROOT / snippets.FOLDER).rglob("*.out")]
    whole = [snippet.text for snippet in the_guide.snippets.values()]
    parts = [snippet.show(region) for snippet in the_guide.snippets.values() for region in snippet.regions]
    known = {text.rstrip("\n") for text in (*files, *whole, *parts)}
    blocks = [(name, block) for name, page in pages.items() for block in page.code]
    assert blocks
    for name, block in blocks:
        assert block.rstrip("\n") in known, f"{name}: {block[:80]!r} comes from no snippet"


def test_no_page_asks_another_host_for_anything(pages: dict[str, Page]) -> None:
    """A reader's browser talks to this site alone."""
    for name, page in pages.items():
        for address in page.fetched:
            assert not re.match(r"(?:https?:)?//", address), f"{name} fetches {address}"


def test_every_claim_leads_to_its_proof(site: Path, the_guide: Guide) -> None:
    """Each mark's link ends at an anchor of a page of proofs, which exists."""
    for page, call, name in calls.claiming(the_guide):
        listed = site / url(proofs_page(the_guide.proofs[name].path)) / "index.html"
        assert f'id="{name}"' in listed.read_text(encoding="utf-8"), f"{page.path}:{call.line}: {name}"


def test_the_committed_ledger_speaks_of_the_snippets_as_they_are(the_guide: Guide) -> None:
    """A fresh clone shows proofs: each snippet and claim has committed evidence at its present digest."""
    committed = ledger.Ledger(ledger.load(ROOT / ledger.COMMITTED)).current(the_guide.proofs, the_guide.snippets)
    for path, snippet in the_guide.snippets.items():
        if snippet.text.strip():
            assert committed.of_snippet(path), f"{snippet.place} has no committed evidence: make record"
    for page, call, name in calls.claiming(the_guide):
        assert committed.of_proof(name), f"{page.path}:{call.line}: {name} has no committed evidence: make record"
