"""What is published for machines beside each page: Markdown, llms.txt, robots.txt, and the card of a shared link."""

import re
from pathlib import Path
from textwrap import indent
from urllib.parse import urldefrag, urljoin

import pytest
from PIL import Image, ImageDraw, ImageFont

from proven.guide import Guide
from proven.macros import calls
from proven.macros.markup import bare
from proven.site import cards
from proven.sources import pages
from tests.site.fixtures import URL

LINK = re.compile(r"\]\((?P<markdown>[^)\s]+)|href=\"(?P<html>[^\"]+)\"")


@pytest.fixture(scope="module")
def texts(site: Path, the_guide: Guide) -> dict[str, str]:
    """Each page's Markdown, by its address."""
    found = {URL + file.relative_to(site).as_posix(): file.read_text() for file in site.rglob("index.md")}
    assert len(found) == len(the_guide.pages)
    return found


def test_every_link_in_the_markdown_leads_somewhere(site: Path, texts: dict[str, str]) -> None:
    """From one page's Markdown to another's, and to the raw files."""
    checked = 0
    for address, text in texts.items():
        for link in LINK.finditer(prose(text)):
            target, _ = urldefrag(urljoin(address, link["markdown"] or link["html"]))
            if target.startswith(URL):
                checked += 1
                assert (site / target.removeprefix(URL)).is_file(), f"{address} links to {link[0]}"
    assert checked > len(texts)


def test_the_markdown_shows_every_snippet_and_nothing_of_the_theme(texts: dict[str, str], the_guide: Guide) -> None:
    """The code is there to the byte; calls of macros, attributes and drawings are not."""
    shown = [(page, call.shows, call) for page, call in calls.named(the_guide, "snippet")]
    assert shown
    for page, path, call in shown:
        text = texts[URL + pages.url(page.path) + "index.md"]
        code = the_guide.snippets[path].show(call.given["region"]).rstrip("\n")
        # In a tab it stands further in.
        assert code in text or indent(code, "    ") in text, f"{page.path}:{call.line}"
    for address, text in texts.items():
        assert not re.search(r"\{\{|\{ ?[.#]|<svg", prose(text)), address


def test_llms_txt_lists_every_page(site: Path, texts: dict[str, str], the_guide: Guide) -> None:
    """Each by its Markdown's address, with its heading and its description."""
    entries = re.findall(r"^- \[(.+)\]\((\S+)\)(?:: (.+))?$", (site / "llms.txt").read_text(), re.MULTILINE)
    assert sorted(address for _, address, _ in entries) == sorted(texts)
    says = {address: (title, description) for title, address, description in entries}
    for page in the_guide.pages:
        address = URL + pages.url(page.path) + "index.md"
        assert page.description, f"{page.path} says nowhere what it answers"
        assert says[address] == (bare(texts[address].partition("\n")[0].removeprefix("# ")), page.description)


def test_robots_are_led_to_the_sitemap(site: Path) -> None:
    """They take its whole address."""
    assert f"Sitemap: {URL}sitemap.xml" in (site / "robots.txt").read_text()


def test_every_page_has_a_card_that_can_be_read(site: Path, texts: dict[str, str]) -> None:
    """As large as those who show it expect, its title within its edges, in signs that the typeface has."""
    box = drawn("\uffff")
    for address, text in texts.items():
        with Image.open(site / address.removeprefix(URL).replace("index.md", "card.png")) as card:
            assert card.size == (1200, 630)
        title = bare(text.partition("\n")[0].removeprefix("# "))
        assert len(cards.wrapped(title, cards.SIZES[-1])) <= 4, title
        for sign in set(title) - {" "}:
            assert drawn(sign) != box, f"{title}: the card's typeface has no {sign}"


def drawn(sign: str) -> bytes:
    """Return how the card's typeface draws a sign: all that it lacks look the same."""
    picture = Image.new("L", (60, 60))
    ImageDraw.Draw(picture).text((5, 5), sign, 255, ImageFont.load_default(40))
    return picture.tobytes()


def prose(text: str) -> str:
    """Return Markdown without its code."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]+`", "", text)
