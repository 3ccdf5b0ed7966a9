"""The catalogue: what a site publishes of its snippets for machines, and for readers who copy.

    snippets.json            every snippet with its digest: one line for each, so that a diff reads well
    snippets/<path>          the snippet, byte for byte what its digest speaks of
    snippets/<folder>.tar    a folder of snippets that belong together

What the manifest's fields mean is in docs/snippets.schema.json, which is published beside it. All addresses in it are
relative to the manifest, so that it is the same wherever the site is.
"""

import hashlib
import io
import json
import re
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from pygments.lexers import get_lexer_by_name

from proven.evidence import digests, levels
from proven.evidence.ledger import Run
from proven.guide import Guide
from proven.site import plain
from proven.sources import pages, snippets
from proven.sources.snippets import Snippet

MANIFEST = "snippets.json"
SCHEMA = "snippets.schema.json"
# The folders that are of use as a whole.
ARCHIVES = ("pgbouncer", "upstream")
# 1980-01-01, the earliest day that every archiver and file system knows.
DAY_ONE = 315532800
# What a reader calls a kind of file, by its ending, where Pygments has another name for its language.
KINDS = {".env": "Environment", ".env.example": "Environment", ".sh": "Shell", ".sql": "SQL", ".txt": "Text"}
# The comment or docstring that a file begins with, up to its first empty line.
OPENING = re.compile(
    r'(?:#![^\n]*\n)?(?:"""(?P<docstring>.+?)(?:\n\n|""")|(?P<comment>(?:(?:\#|--|;|//)[^\n]*\n)+))', re.DOTALL
)
COMMENT = re.compile(r"^(?:#|--|;|//) ?", re.MULTILINE)


def write(site: Path, of: Guide) -> None:
    """Write the manifest, the raw files and the archives into a built site.

    A snippet that is broken is left out. The build has said so: a strict one has failed, and `make serve` goes on.
    """
    for path, snippet in of.snippets.items():
        _write(site / snippets.FOLDER / path, snippet.text.encode())
    for folder in archives(of):
        _write(site / _archive_url(folder), archive(of, folder))
    _write(site / MANIFEST, as_text(manifest(of)).encode())


@lru_cache(maxsize=1)  # a page shows it, and the site publishes it
def manifest(of: Guide) -> dict[str, Any]:
    """Return the manifest, as docs/snippets.schema.json describes it."""
    known = digests.read(of.root)
    return {
        "$schema": SCHEMA,
        "version": 1,
        "archives": [_archive_entry(of, folder) for folder in archives(of)],
        "snippets": [entry(of, snippet, known.get(path, [])) for path, snippet in of.snippets.items()],
    }


def as_text(manifest: dict[str, Any]) -> str:
    """Return a manifest as JSON, with a line for each archive and each snippet."""
    fields = []
    for name, value in manifest.items():
        rows = ",\n".join(json.dumps(row) for row in value) if isinstance(value, list) else ""
        fields.append(f'"{name}": ' + (f"[\n{rows}\n]" if rows else json.dumps(value)))
    return "{\n" + ",\n".join(fields) + "\n}\n"


def entry(of: Guide, snippet: Snippet, known: list[str]) -> dict[str, Any]:
    """Return what the manifest says of one snippet, whose digests up to now are `known`."""
    runs = of.ledger.of_snippet(snippet.path)
    return {
        "path": snippet.path,
        "url": snippet.place,
        "kind": kind(snippet),
        "title": title(snippet.text),
        "bytes": len(snippet.text.encode()),
        "sha256": snippet.digest,
        "earlier": [digest for digest in known if digest != snippet.digest],
        "level": level(runs, snippet.path),
        "against": against(runs, snippet.path),
        "date": max((run.date[:10] for run in runs), default=None),
        "stacks": sorted(_distinct(run.stack for run in runs), key=json.dumps),
        "proofs": sorted({run.proof for run in runs}),
        "pages": _pages(of, snippet.path),
    }


def level(runs: list[Run], path: str) -> str:
    """Return how far these runs prove a snippet: the strongest word counts."""
    met = {levels.level_of(word) for run in runs for word in run.words(path)}
    return next((level for level in levels.LEVELS if level in met), "unproven")


def against(runs: list[Run], path: str) -> list[dict[str, str]]:
    """Return what these runs compared a snippet with: descriptions before texts."""
    named = {word for run in runs for word in run.words(path) if levels.against(word)}
    return [{"level": levels.level_of(word), "name": levels.against(word)} for word in sorted(named)]


def kind(snippet: Snippet) -> str:
    """Return what a reader calls this kind of file."""
    named = (name for ending, name in KINDS.items() if snippet.path.endswith(ending))
    return next(named, None) or get_lexer_by_name(snippet.language).name


def title(text: str) -> str:
    """Return the first sentence of the comment that a snippet begins with, or nothing where it has none."""
    opening = OPENING.match(text)
    said = (opening["docstring"] or COMMENT.sub("", opening["comment"])) if opening else ""
    return " ".join(re.split(r"(?<=[.?!])\s|\n(?=[A-Z])", said.strip())[0].split())


def archives(of: Guide) -> list[str]:
    """Return the folders that are published whole."""
    return [folder for folder in ARCHIVES if any(path.startswith(f"{folder}/") for path in of.snippets)]


def archive(of: Guide, folder: str) -> bytes:
    """Return a folder's snippets as a tar: the same bytes from every machine and every version of Python.

    Nothing in it comes from the file system, and it is not compressed: what gzip makes of the same bytes depends on
    the version of zlib. A web server compresses it on its way.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, snippet in of.snippets.items():
            if path.startswith(f"{folder}/"):
                content = snippet.text.encode()
                member = tarfile.TarInfo(path)
                member.size = len(content)
                member.mtime = DAY_ONE
                member.mode = 0o755 if content.startswith(b"#!") else 0o644
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _archive_entry(of: Guide, folder: str) -> dict[str, Any]:
    content = archive(of, folder)
    digest = hashlib.sha256(content).hexdigest()
    return {"folder": folder, "url": _archive_url(folder), "bytes": len(content), "sha256": digest}


def _archive_url(folder: str) -> str:
    return f"{snippets.FOLDER}/{folder}.tar"


def _pages(of: Guide, path: str) -> list[dict[str, str]]:
    """Return the pages that show a snippet, first those that show it by name: they explain it."""
    shown = sorted(of.where_shown(path), key=lambda found: (found[1].name != "snippet", found[0].path))
    return _distinct({"url": pages.url(page.path), "title": plain.bare(page.title)} for page, _ in shown)


def _distinct(rows: Any) -> list[dict[str, str]]:
    """Return each of some dicts once, where it comes first."""
    return list({tuple(sorted(row.items())): row for row in rows}.values())


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
