"""The way out of Material's end of life: Zensical builds the same site from the same mkdocs.yml.

The text of an article is compared word by word, its links one by one, and its code to the byte. Around it is Zensical's
own theme, which may differ. It calls nothing after a build, so `python -m proven.site.publish` completes the site.
"""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import yaml

from proven import ROOT
from proven.sources import configuration
from tests.site.fixtures import URL
from tests.stack.wait import DEADLINE

SETTINGS = configuration.parse((ROOT / configuration.FILE).read_text(encoding="utf-8"))


class Head(HTMLParser):
    """What a page's head tells machines, but for the theme's own."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self.feed(file.read_text(encoding="utf-8").partition("</head>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a description or an address."""
        given = {name: value or "" for name, value in attrs}
        if tag == "meta" and given.get("name") not in ("generator", "viewport", None):
            self.values[given["name"]] = given["content"]
        elif tag == "meta" and "property" in given:
            self.values[given["property"]] = given["content"]
        elif tag == "link" and given["rel"] in ("canonical", "alternate", "describedby"):
            # Zensical writes "./llms.txt" for "llms.txt".
            self.values[given["rel"]] = given["href"].removeprefix("./")


class Article(HTMLParser):
    """The text of a page's article, where its links lead, and the text of each block of code in it.

    Without the sign that links a heading to itself: Zensical gives none to the headings that its tags plugin writes.
    """

    def __init__(self, folder: Path, page: Path) -> None:
        super().__init__()
        self.address = urljoin(URL, page.as_posix())
        self.inside = {"article": 0, "pre": 0, "sign": 0}
        self.words: list[str] = []
        self.links: list[str] = []
        self.code: list[str] = []
        self.feed("".join((folder / page).read_text(encoding="utf-8").partition("<article")[1:]))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the beginning of an article, a block or a sign."""
        if ("class", "headerlink") in attrs:
            self.inside["sign"] = 1
        elif tag in self.inside:
            self.inside[tag] += 1
        elif tag == "a" and self.inside["article"]:
            self.links += [urljoin(self.address, value) for name, value in attrs if name == "href"]
        if tag == "pre":
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of one."""
        if tag == "a":
            self.inside["sign"] = 0
        elif tag in self.inside:
            self.inside[tag] -= 1

    def handle_data(self, data: str) -> None:
        """Gather the text."""
        if self.inside["article"] and not self.inside["sign"]:
            self.words += data.split()
            if self.inside["pre"]:
                self.code[-1] += data


@pytest.fixture(scope="module")
def other(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site that Zensical built, of a clone of its own: it builds into that."""
    folder = tmp_path_factory.mktemp("zensical") / "clone"
    shutil.copytree(clone, folder)
    # Not --strict: on a busy machine it may warn of the links of the first pages before it knows the others.
    result = run("zensical", folder)
    assert result.returncode == 0, result.stdout + result.stderr
    command = [sys.executable, "-m", "proven.site.publish", folder / "site"]
    subprocess.run(command, cwd=folder, env={**os.environ, "SITE_URL": URL}, check=True)
    return folder / "site"


def test_every_page_reads_as_material_shows_it(site: Path, other: Path) -> None:
    """The same pages at the same addresses, with the same text, links and code."""
    pages = sorted(file.relative_to(site) for file in site.rglob("*.html"))
    assert pages == sorted(file.relative_to(other) for file in other.rglob("*.html"))
    blocks = 0
    for page in pages:
        material, zensical = Article(site, page), Article(other, page)
        assert zensical.words == material.words, page
        assert zensical.links == material.links, page
        assert zensical.code == material.code, page
        blocks += len(zensical.code)
    assert blocks > len(pages), "the macros showed no snippets"


def test_machines_are_told_the_same(site: Path, other: Path) -> None:
    """Descriptions, canonical addresses and what a shared link shows: each page has the same from either."""
    for page in sorted(site.rglob("index.html")):
        head = Head(page)
        assert {"description", "canonical", "og:title", "og:image"} <= set(head.values), page
        assert Head(other / page.relative_to(site)).values == head.values, page


def test_every_page_is_in_the_sitemap(site: Path, other: Path) -> None:
    """Search engines find the same pages in either."""
    listed = [sorted(re.findall(r"<loc>(.+)</loc>", (of / "sitemap.xml").read_text())) for of in (site, other)]
    assert listed[0] == listed[1]
    assert listed[0] == sorted(Head(page).values["canonical"] for page in site.rglob("index.html"))


def test_what_is_published_beside_the_pages_is_the_same(site: Path, other: Path) -> None:
    """Raw snippets, Markdown, cards and the rest, to the byte."""
    themes = ("assets", "redirect.json", "search", "search.json", "sitemap.xml", "sitemap.xml.gz")  # each has its own

    def beside(folder: Path) -> dict[str, bytes]:
        files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".html")
        named = {file.relative_to(folder).as_posix(): file for file in files}
        return {name: file.read_bytes() for name, file in named.items() if name.split("/")[0] not in themes}

    material, zensical = beside(site), beside(other)
    assert sorted(zensical) == sorted(material)
    assert [name for name in material if zensical[name] != material[name]] == []


def test_a_macro_that_fails_stops_the_build(tmp_path: Path) -> None:
    """Zensical too would otherwise publish the error on the page."""
    folder = small(tmp_path, "The limit is {{ limit }}.\n", *(p for p in SETTINGS["plugins"] if "macros" in p))
    result = run("zensical", folder, "--strict")
    assert result.returncode != 0
    assert "'limit' is undefined" in result.stderr
    assert not (folder / "site/how-to/new").exists()


@pytest.mark.parametrize("program", ["mkdocs", "zensical"])
def test_a_moved_page_leads_on(program: str, tmp_path: Path) -> None:
    """The old address shows a page that sends browsers and search engines to the new one."""
    moved = {"redirects": {"redirect_maps": {"how-to/old.md": "how-to/new.md"}}}
    assert any("redirects" in plugin for plugin in SETTINGS["plugins"]), "mkdocs.yml does not name the plugin"
    folder = small(tmp_path, "It is here now.\n", moved)
    assert run(program, folder, "--strict").returncode == 0
    page = (folder / "site/how-to/old/index.html").read_text(encoding="utf-8")
    assert 'content="0; url=../new/"' in page
    assert 'rel="canonical" href="' in page


def small(folder: Path, text: str, *plugins: dict[str, Any]) -> Path:
    """Write a site of one page, with some plugins, and return its folder."""
    (folder / "docs/how-to").mkdir(parents=True)
    (folder / "docs/how-to/new.md").write_text(f"# New\n\n{text}", encoding="utf-8")
    (folder / "proven").symlink_to(ROOT / "proven")
    settings = {"site_name": "Case", "theme": "material", "plugins": list(plugins)}
    (folder / configuration.FILE).write_text(yaml.dump(settings), encoding="utf-8")
    return folder


def run(program: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build a site with the one or the other, and return how it ended."""
    command = [sys.executable, "-m", program, "build", "--clean", *options]  # -m: with the folder's own engine
    # NO_COLOR: the message is searched for as it reads.
    environment = {**os.environ, "SITE_URL": URL, "NO_COLOR": "1", "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=5 * DEADLINE)
