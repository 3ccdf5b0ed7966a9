"""The catalogue as it is published: its manifest, and the page that shows it."""

import hashlib
import json
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from proven import ROOT, guide
from proven.evidence import digests
from proven.guide import Guide
from proven.macros import catalogue
from proven.macros.markup import PROOFS_OF_HOW_TOS, PROOFS_PAGE
from proven.site import publish
from proven.sources import pages, snippets
from tests.guard.project import make

# What a manifest could get wrong: the field of a snippet, and a value that the schema refuses.
WRONG = {
    "sha256": "abc",
    "earlier": ["abc"],
    "level": "tested",
    "against": [{"level": "ran", "name": "a schema, 1"}],
    "date": "22 November",
    "url": "https://example.org/snippets/a.sql",
    "bytes": "12",
    "stacks": [{"PostgreSQL": 18}],
    "pages": ["how-to/"],
    "proofs": ["a test"],
    "unheard": "of",
}


class Cards(HTMLParser):
    """The cards of the catalogue's page, each with its attributes and the links in it, and the filter's choices."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cards: dict[str, dict[str, str]] = {}
        self.links: dict[str, list[str]] = {}
        self.choices: dict[str, set[str]] = {}
        self.card = self.field = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a card, a link in it, a field of the filter or a choice of that."""
        given = {name: value or "" for name, value in attrs}
        if given.get("class") == "catalogue-card":
            self.card = given["data-path"]
            self.cards[self.card] = given
        if tag == "a" and self.card:
            self.links.setdefault(self.card, []).append(given["href"])
        if tag == "select":
            self.field = given["name"]
        if tag == "option" and given["value"]:
            self.choices.setdefault(self.field, set()).add(given["value"])

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a card."""
        if tag == "li":
            self.card = ""


@pytest.fixture(scope="module")
def of(clone: Path) -> Guide:
    """The guide that the site was built from."""
    return guide.read(clone)


@pytest.fixture
def manifest(site: Path) -> dict[str, Any]:
    """The published manifest."""
    return json.loads((site / catalogue.MANIFEST).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(site: Path) -> Cards:
    """The page that shows every snippet."""
    return Cards((site / "reference/snippets/index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    """The published schema, itself valid."""
    described = json.loads((ROOT / "docs" / catalogue.SCHEMA).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(described)
    return Draft202012Validator(described)


def test_the_manifest_is_as_its_schema_says(site: Path, manifest: dict[str, Any], schema: Draft202012Validator) -> None:
    """The schema lies beside it, under the name that it gives."""
    schema.validate(manifest)
    assert (site / manifest["$schema"]).read_bytes() == (ROOT / "docs" / catalogue.SCHEMA).read_bytes()


@pytest.mark.parametrize("field", WRONG)
def test_the_schema_refuses_what_is_wrong(field: str, manifest: dict[str, Any], schema: Draft202012Validator) -> None:
    """Each field is described, and no other is known."""
    manifest["snippets"] = [manifest["snippets"][0] | {field: WRONG[field]}]  # which is enough, and checked sooner
    assert {"/".join(map(str, error.path)) for error in schema.iter_errors(manifest)} & {
        f"snippets/0/{field}",  # its value
        f"snippets/0/{field}/0",  # a value in it
        f"snippets/0/{field}/0/PostgreSQL",
        f"snippets/0/{field}/0/level",
        "snippets/0",  # its name
    }


def test_every_file_has_the_digest_in_the_manifest(site: Path, manifest: dict[str, Any], of: Guide) -> None:
    """Every snippet is listed, nothing else is published, and each file and archive has the bytes that are said."""
    assert [entry["path"] for entry in manifest["snippets"]] == list(of.snippets)
    listed = {entry["url"]: entry for entry in (*manifest["snippets"], *manifest["archives"])}
    published = (file for file in (site / snippets.FOLDER).rglob("*") if file.is_file())
    assert {file.relative_to(site).as_posix() for file in published} == set(listed)
    for url, entry in listed.items():
        content = (site / url).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry["sha256"], entry["bytes"]), url


def test_every_page_and_proof_in_the_manifest_is_there(site: Path, manifest: dict[str, Any]) -> None:
    """Each address leads to a page of that heading, each proof to its place on a page of proofs."""
    lists = (PROOFS_PAGE, PROOFS_OF_HOW_TOS)
    proofs = "".join((site / pages.url(page) / "index.html").read_text(encoding="utf-8") for page in lists)
    for entry in manifest["snippets"]:
        for shown in entry["pages"]:
            html = (site / shown["url"] / "index.html").read_text(encoding="utf-8")
            assert shown["title"] in unescape(html), shown["url"]
        for name in entry["proofs"]:
            assert f'id="{name}"' in proofs, entry["path"]


def test_the_manifest_has_a_line_for_each_snippet(site: Path, of: Guide) -> None:
    """A diff of two of them shows the snippets that differ and nothing else; the same guide gives the same bytes."""
    text = (site / catalogue.MANIFEST).read_text(encoding="utf-8")
    assert text == catalogue.as_text(catalogue.manifest(of))
    for entry in json.loads(text)["snippets"]:
        assert text.count(f'\n{{"path": "{entry["path"]}"') == 1


def test_a_broken_snippet_is_left_out(tmp_path: Path) -> None:
    """`make serve` goes on with the others."""
    of = guide.read(make(tmp_path, {"snippets/broken.py": "# region: never closed\n"}))
    publish.write_snippets(tmp_path / "site", of)
    listed = json.loads((tmp_path / "site" / catalogue.MANIFEST).read_text(encoding="utf-8"))
    assert [entry["path"] for entry in listed["snippets"]] == ["answer.py"]
    assert listed["archives"] == []


def test_every_digest_is_remembered(of: Guide) -> None:
    """Later on a copy of what is published now differs from an edited one."""
    known = digests.read()
    for path, snippet in of.snippets.items():
        assert snippet.digest in known.get(path, []), f"{snippet.place} is not in {digests.FILE}: make record"


def test_no_address_goes_away() -> None:
    """What was once recorded may have been published, and readers may have its address."""
    gone = set(digests.read()) - set(snippets.paths())
    todo = f"put it back, or take it out of {digests.FILE} if it was never published"
    assert not gone, "\n".join(f"{snippets.FOLDER}/{path} is gone: {todo}" for path in sorted(gone))


def test_the_page_shows_every_snippet(page: Cards, manifest: dict[str, Any]) -> None:
    """Each that is not empty has a card, with its digest and all that it can be filtered by."""
    listed = {entry["path"]: entry for entry in manifest["snippets"] if entry["bytes"]}
    listed |= {entry["url"]: entry for entry in manifest["archives"]}
    assert list(page.cards) == list(listed)
    for path, entry in listed.items():
        assert page.cards[path]["data-sha256"] == entry["sha256"]
        if "path" in entry:
            versions = {f"{name} {version}" for stack in entry["stacks"] for name, version in stack.items()}
            shown = {
                "kind": {entry["kind"]},
                "level": {entry["level"]},
                "stack": versions or {""},
                "page": {shown["url"] for shown in entry["pages"]},
            }
            assert {name: set(page.cards[path][f"data-{name}"].split("|")) for name in shown} == shown, path
            for name, values in shown.items():
                assert values - {""} <= page.choices[name]


def test_every_link_of_a_card_leads_somewhere(site: Path, page: Cards) -> None:
    """To the raw file, the pages and the proof: MkDocs does not check these."""
    assert page.links
    for path, links in page.links.items():
        assert len(links) >= 2 or path.endswith(".tar")
        for link in links:
            target = (site / "reference/snippets" / urlsplit(link).path).resolve()
            assert target.is_file() or (target / "index.html").is_file(), f"{path}: {link}"
