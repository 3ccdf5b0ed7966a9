"""The catalogue: what a site publishes of its snippets for machines, and for readers who copy.

    snippets.json            every snippet with its digest: one line for each, so that a diff reads well
    snippets/<path>          the snippet, byte for byte what its digest covers
    snippets/<folder>.tar    a folder of snippets that belong together

What the manifest's fields mean is in docs/snippets.schema.json, which is published beside it. All addresses in it are
relative to the manifest, so that it is the same wherever the site is.
"""

import hashlib
import io
import json
import re
import tarfile
from functools import cache, lru_cache
from typing import Any

from pygments.lexers import get_lexer_by_name

from proven.evidence import digests, levels, summary
from proven.evidence.ledger import Run
from proven.guide import Guide
from proven.macros import calls, code
from proven.macros.calls import macro
from proven.macros.markup import bare, html, proofs_page, sentence
from proven.macros.place import Block, Place
from proven.sources import pages, snippets
from proven.sources.snippets import Snippet

MANIFEST = "snippets.json"
SCHEMA = "snippets.schema.json"
# The folders that are published as archives too.
ARCHIVES = ("pgbouncer", "upstream")
# 1980-01-01, the earliest day that every archiver and file system knows.
DAY_ONE = 315532800
# What readers call a kind of file, by its ending, where Pygments has another name for its language.
KINDS = {".env": "Environment", ".env.example": "Environment", ".sh": "Shell", ".sql": "SQL", ".txt": "Text"}
# The comment or docstring that a file begins with, up to its first empty line.
OPENING = re.compile(
    r'(?:#![^\n]*\n)?(?:"""(?P<docstring>.+?)(?:\n\n|""")|(?P<comment>(?:(?:\#|--|;|//)[^\n]*\n)+))', re.DOTALL
)
COMMENT = re.compile(r"^(?:#|--|;|//) ?", re.MULTILINE)


@macro()
def catalogue(at: Place) -> Block:
    """Show every snippet that is not empty with its digest and its proof, for filtering, copying and downloading."""
    listed = manifest(at.guide)
    cards = [{**card} for card in listed["snippets"] if card["bytes"]]
    for card in cards:
        said = code.evidence(at.guide).get(card["path"], code.UNPROVEN)
        card["how_far"] = sentence(" · ".join(said["how_far"]))
        card["listed"] = [pages.url(proofs_page(at.guide.proofs[name].path)) for name in card["proofs"]]
        card["versions"] = {f"{name} {one}" for name, met in said["versions"].items() for one in met}
    return html(
        "catalogue.html",
        up=at.up,
        cards=cards,
        archives=listed["archives"],
        filters=_filters(cards),
        manifest=MANIFEST,
        schema=SCHEMA,
    )


def _filters(cards: list[dict[str, Any]]) -> list[tuple[str, str, dict[str, str]]]:
    """Return what the catalogue can be filtered by: a card's field, its label, and the values that there are."""
    versions = {version for card in cards for version in card["versions"]}
    met = {card["level"] for card in cards}
    shown = sorted({(page["title"], page["url"]) for card in cards for page in card["pages"]})
    return [
        ("kind", "Kind", {kind: kind for kind in sorted({card["kind"] for card in cards})}),
        ("page", "Explained in", {address: heading for heading, address in shown}),
        ("stack", "Ran on", {version: version for version in sorted(versions, key=_order_of_names)}),
        ("level", "Proof", {level: level.capitalize() for level in (*levels.LEVELS, "unproven") if level in met}),
    ]


def _order_of_names(part: str) -> tuple[str, str, list[int]]:
    """Return what sorts parts of stacks: "PgBouncer 1.18.0" before "PgBouncer 1.26.1" before "PostgreSQL 15.18"."""
    name, _, version = part.rpartition(" ")
    return name.lower(), name, summary.order(version)


@lru_cache(maxsize=1)  # a page shows it, and the site publishes it
def manifest(guide: Guide) -> dict[str, Any]:
    """Return the manifest, as docs/snippets.schema.json describes it."""
    known = digests.read(guide.root)
    return {
        "$schema": SCHEMA,
        "version": 1,
        "archives": [_archive_entry(guide, folder) for folder in archives(guide)],
        "snippets": [entry(guide, snippet, known.get(path, [])) for path, snippet in guide.snippets.items()],
    }


def as_text(manifest: dict[str, Any]) -> str:
    """Return a manifest as JSON, with a line for each archive and each snippet."""
    fields = []
    for name, value in manifest.items():
        rows = ",\n".join(json.dumps(row) for row in value) if isinstance(value, list) else ""
        fields.append(f'"{name}": ' + (f"[\n{rows}\n]" if rows else json.dumps(value)))
    return "{\n" + ",\n".join(fields) + "\n}\n"


def entry(guide: Guide, snippet: Snippet, known: list[str]) -> dict[str, Any]:
    """Return what the manifest says of one snippet, whose digests up to now are `known`."""
    said = code.evidence(guide).get(snippet.path, code.UNPROVEN)
    return {
        "path": snippet.path,
        "url": snippet.place,
        "kind": kind(snippet),
        "title": title(snippet.text),
        "bytes": len(snippet.text.encode()),
        "sha256": snippet.digest,
        "earlier": [digest for digest in known if digest != snippet.digest],
        "level": said["level"],
        "against": against(said["alike"], snippet.path),
        "date": said["day"],
        "stacks": sorted(summary.stacks(said["alike"]), key=json.dumps),
        "proofs": said["proofs"],
        "pages": _pages(guide, snippet.path),
    }


def against(runs: list[Run], path: str) -> list[dict[str, str]]:
    """Return what these runs compared a snippet with: descriptions before texts."""
    named = {word for run in runs for word in run.words(path) if levels.against(word)}
    return [{"level": levels.level_of(word), "name": levels.against(word)} for word in sorted(named)]


def kind(snippet: Snippet) -> str:
    """Return what a reader calls this kind of file."""
    named = (name for ending, name in KINDS.items() if snippet.path.endswith(ending))
    return next(named, None) or _called(snippet.language)


@cache  # Pygments searches all of its lexers
def _called(language: str) -> str:
    return get_lexer_by_name(language).name


def title(text: str) -> str:
    """Return the first sentence of the comment that a snippet begins with, or nothing where it has none."""
    opening = OPENING.match(text)
    said = (opening["docstring"] or COMMENT.sub("", opening["comment"])) if opening else ""
    return " ".join(re.split(r"(?<=[.?!])\s|\n(?=[A-Z])", said.strip())[0].split())


def archives(guide: Guide) -> list[str]:
    """Return the folders that are published whole."""
    return [folder for folder in ARCHIVES if any(path.startswith(f"{folder}/") for path in guide.snippets)]


def archive(guide: Guide, folder: str) -> bytes:
    """Return a folder's snippets as a tar: the same bytes on every machine and every version of Python.

    Nothing in it comes from the file system, and it is not compressed: what gzip makes of the same bytes depends on
    the version of zlib. A web server compresses it in transit.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, snippet in guide.snippets.items():
            if path.startswith(f"{folder}/"):
                content = snippet.text.encode()
                member = tarfile.TarInfo(path)
                member.size = len(content)
                member.mtime = DAY_ONE
                member.mode = 0o755 if content.startswith(b"#!") else 0o644
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _archive_entry(guide: Guide, folder: str) -> dict[str, Any]:
    content = archive(guide, folder)
    digest = hashlib.sha256(content).hexdigest()
    return {"folder": folder, "url": archive_url(folder), "bytes": len(content), "sha256": digest}


def archive_url(folder: str) -> str:
    """Return where a folder's archive is, from the site's root."""
    return f"{snippets.FOLDER}/{folder}.tar"


def _pages(guide: Guide, path: str) -> list[dict[str, str]]:
    """Return the pages that show a snippet, first those that show it by name: they explain it."""
    shown = sorted(calls.where_shown(guide, path), key=lambda found: (found[1].name != "snippet", found[0].path))
    return _distinct({"url": pages.url(page.path), "title": bare(page.title)} for page, _ in shown)


def _distinct(rows: Any) -> list[dict[str, str]]:
    """Return each of some dicts once, in the order in which they first come."""
    return list({tuple(sorted(row.items())): row for row in rows}.values())
