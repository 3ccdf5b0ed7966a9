"""Completes a built site with what no page shows: raw snippets and their catalogue, Markdown, llms.txt, cards.

MkDocs calls it after each build. Zensical calls nothing then:

    python -m proven.site.publish site
"""

import argparse
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from proven import catalogue, guide, macros
from proven.guide import Guide
from proven.site import cards, plain
from proven.sources import configuration, pages
from proven.sources.pages import Page

# What llms.txt says before it lists the pages. Source of its form: llmstxt.org.
FOR_MACHINES = """\
Every link below leads to a page's Markdown, which lies as index.md beside its HTML. Every code block is a file that a
test ran on real servers; the line below it says on which versions and when, and links to the file itself.
"""


def finish(site: Path, calls: macros.Macros) -> None:
    """Write what belongs to a site beside its pages."""
    of = calls.guide
    catalogue.write(site, of)
    if calls.problems:
        return
    settings = configuration.parse((of.root / configuration.FILE).read_text(encoding="utf-8"))
    rendered = {page.name: calls.rendered.get(page.name) or render(page, calls) for page in of.pages}
    for path, text in rendered.items():
        file = site / pages.url(path) / "index.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(plain.markdown(text, path), encoding="utf-8")
        if settings.get("site_url"):  # a shared link shows no picture whose address is relative
            name, promise = settings["site_name"], settings["site_description"]
            cards.draw(file.with_name("card.png"), _title(path, text), name, promise)
    (site / "llms.txt").write_text("\n".join(_llms(settings, rendered, of)) + "\n", encoding="utf-8")
    (site / "robots.txt").write_text("\n".join(_robots(settings)) + "\n", encoding="utf-8")


def render(page: Page, calls: macros.Macros) -> str:
    """Return a page's Markdown as its macros complete it."""
    calls.env.page = SimpleNamespace(path=page.name)
    return pages.TEMPLATES.from_string(page.text.lstrip("\n")).render(calls.calls())


def _llms(settings: dict[str, Any], rendered: dict[str, str], of: Guide) -> Iterator[str]:
    """List every page by the site's own navigation, each with its description."""
    yield f"# {settings['site_name']}\n\n> {settings.get('site_description', '')}\n\n{FOR_MACHINES}"
    base = settings.get("site_url") or ""
    descriptions = {page.path: page.description for page in of.pages}
    section = ""
    for path, headings in (of.navigation or dict.fromkeys(sorted(rendered), ())).items():
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
    return plain.bare(heading[1] if heading else path)


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
    finish(site, macros.Macros(SimpleNamespace(), guide.read()))


if __name__ == "__main__":
    main()
