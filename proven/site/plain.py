"""A page's Markdown for those who read no HTML: what the macros rendered, without what only the theme understands.

It lies beside the page's HTML, as index.md, so that its links lead to the Markdown of other pages.
"""

import html
import posixpath
import re

from proven.macros.markup import ATTRIBUTES
from proven.sources import characters, pages

LINK = re.compile(r"(?<=\]\()(?P<target>(?!\w+:|/|#)[^)\s#]+)")
# A drawing that stands in the page itself: its <title> and <desc> say what it shows.
DRAWING = re.compile(r"<(?:figure[^>]*><)?svg\b.*?</svg>(?:<figcaption>.*?</figcaption>)?(?:</figure>)?")
SAID = re.compile(r"<(title|desc)\b[^>]*>(?P<text>.*?)</\1>")
FENCE = re.compile(r"\s*(?P<ticks>`{3,})")


def markdown(rendered: str, page: str) -> str:
    """Return a page's Markdown with links that hold at its URL. `page` is its path from docs/."""
    here = pages.url(page)

    def relink(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link["target"]))
        if target.endswith(".md"):
            target = posixpath.join(pages.url(target), "index.md")
        return posixpath.relpath(target, here or ".")

    lines = []
    fence = ""
    for line in characters.lines(rendered.strip("\n")):
        found = FENCE.match(line)
        if fence:
            fence = "" if line.strip() == fence else fence
            lines.append(line)
        elif found:
            fence = found["ticks"]
            lines.append(line)
        elif not line:
            lines.append("")
        elif (text := DRAWING.sub(_said, ATTRIBUTES.sub("", line))) and not text.lstrip().startswith("<"):
            lines.append(LINK.sub(relink, text).rstrip())  # HTML alone is for a browser: the manifest says the same
    return "\n".join(lines) + "\n"


def _said(drawing: re.Match[str]) -> str:
    return html.unescape(". ".join(said["text"] for said in SAID.finditer(drawing[0])))
