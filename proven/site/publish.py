"""Completes a built site with what no page shows: raw snippets and their catalogue, Markdown, llms.txt, cards.

MkDocs calls it after each build. Zensical does not, so there it is a command:

    python -m proven.site.publish site
"""

import argparse
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from proven.guide import Guide, read
from proven.macros import catalogue
from proven.macros.markup import bare
from proven.site import plain
from proven.site.rendering import Rendering
from proven.sources import configuration, pages, snippets

# What llms.txt says before it lists the pages. Source of its form: llmstxt.org.
FOR_MACHINES = """\
Every link below leads to a page's Markdown, which lies as index.md beside its HTML. Every code block is a file that a
test ran on real servers; the line below it says on which versions and when, and links to the file itself.
"""


def finish(site: Path, rendering: Rendering) -> None:
    """Write what belongs to a site beside its pages."""
    guide = rendering.guide
    write_snippets(site, guide)
    if rendering.problems:
        return
    settings = configuration.parse((guide.root / configuration.FILE).read_text(encoding="utf-8"))
    rendered = {page.name: rendering.of_page(page) for page in guide.pages}
    for path, text in rendered.items():
        file = site / pages.url(path) / "index.md"
        _write(file, plain.markdown(text, path).encode())
        if settings.get("site_url"):  # a shared link shows no picture whose address is relative
            from proven.site import cards

            name, promise = settings["site_name"], settings["site_description"]
            cards.draw(file.with_name("card.png"), _title(path, text), name, promise)
    _write(site / "llms.txt", ("\n".join(_llms(settings, rendered, guide)) + "\n").encode())
    _write(site / "robots.txt", ("\n".join(_robots(settings)) + "\n").encode())


def write_snippets(site: Path, guide: Guide) -> None:
    """Write the manifest, the raw files and the archives into a built site.

    A snippet that is broken is left out. The build has said so: a strict one has failed, and `make serve` goes on.
    """
    for path, snippet in guide.snippets.items():
        _write(site / snippets.FOLDER / path, snippet.text.encode())
    for folder in catalogue.archives(guide):
        _write(site / catalogue.archive_url(folder), catalogue.archive(guide, folder))
    _write(site / catalogue.MANIFEST, catalogue.as_text(catalogue.manifest(guide)).encode())


def _write(file: Path, content: bytes) -> None:
    if not file.parent.is_dir():  # most folders hold several files, and asking is cheaper than making
        file.parent.mkdir(parents=True)
    file.write_bytes(content)


def _llms(settings: dict[str, Any], rendered: dict[str, str], guide: Guide) -> Iterator[str]:
    """List every page by the site's own navigation, each with its description."""
    yield f"# {settings['site_name']}\n\n> {settings.get('site_description', '')}\n\n{FOR_MACHINES}"
    base = settings.get("site_url") or ""
    descriptions = {page.path: page.description for page in guide.pages}
    section = ""
    for path, headings in (guide.navigation or dict.fromkeys(sorted(rendered), ())).items():
        if path not in rendered:
            continue  # a link out of the site
        heading = headings[0] if headings else "Pages"
        if heading != section:
            section = heading
            yield f"\n## {heading}\n"
        link = base + posixpath.join(pages.url(path), "index.md")
        yield f"- [{_title(path, rendered[path])}]({link}): {descriptions[f'{pages.FOLDER}/{path}']}".rstrip(": ")


def _title(path: str, text: str) -> str:
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    return bare(heading[1] if heading else path)


def _robots(settings: dict[str, Any]) -> Iterator[str]:
    yield "User-agent: *\nAllow: /"
    if base := settings.get("site_url"):
        yield f"\nSitemap: {base}sitemap.xml"


def main() -> None:
    """Complete the site in the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="the folder of a built site")
    site = parser.parse_args().site
    if not (site / "index.html").is_file():
        parser.error(f"{site} holds no built site: run make site")
    finish(site, Rendering(SimpleNamespace(), read()))


if __name__ == "__main__":
    main()
