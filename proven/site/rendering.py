"""Pages as their macros complete them, with their mistakes shown on them."""

import logging
import re
import traceback
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from proven import check
from proven.guide import Guide
from proven.macros.calls import MACROS, Macro
from proven.macros.place import Place
from proven.problems import Problem
from proven.site import mistakes
from proven.sources import pages
from proven.sources.pages import Page

# MkDocs counts what this logger warns of, and a strict build fails on it.
log = logging.getLogger("mkdocs.proven")
# A link without its text or its tooltip, and a definition of nothing; code may hold whatever it likes.
HOLLOW = re.compile(r'\[\s*\]\(|\(\S* ""\)|^[ \t]*:[ \t]*$', re.MULTILINE)


def _hollow(text: str) -> bool:
    """Return whether anything in a text is empty. Looking again without code is expensive, so that comes second."""
    return bool(HOLLOW.search(text) and HOLLOW.search(pages.CODE.sub("code", text)))


class Rendering:
    """One build's pages, with the guide as it was read when the build began.

    `env` is what MkDocs or Zensical hands to macros; without either, it is anything that can have a page.
    """

    def __init__(self, env: Any, guide: Guide) -> None:
        self.env = env
        self.guide = guide
        self.place = Place(env, guide)
        self.problems = check.problems(guide)
        self.rendered: dict[str, str] = {}  # of each page that was built: its Markdown, completed

    def macros(self) -> dict[str, Callable[..., str]]:
        """Return the macros that pages call, by name."""
        return {name: self._answering(macro) for name, macro in MACROS.items()}

    def with_mistakes(self, markdown: str) -> str:
        """Return the Markdown of the page being rendered, with what is wrong with it in its place."""
        path = f"{pages.FOLDER}/{self.place.page}" if self.problems else ""
        for page in self.guide.pages:
            if page.path == path and (text := mistakes.shown(page, self.guide, self.problems)) != page.text:
                self.place.reads(text)
                return text
        return markdown

    def of_page(self, page: Page) -> str:
        """Return a page's Markdown as its macros complete it: from the build, or rendered now where it has none."""
        if page.name not in self.rendered:
            self.env.page = SimpleNamespace(path=page.name)
            template = pages.TEMPLATES.from_string(page.text.lstrip("\n"))
            self.rendered[page.name] = template.render(self.macros())
        return self.rendered[page.name]

    def _answering(self, macro: Macro) -> Callable[..., str]:
        """Return a macro that says so on the page if it raises, as a snippet's function may, or has nothing to show."""

        def call(*args: Any, **kwargs: Any) -> str:
            try:
                answer = macro.render(self.place, *args, **kwargs)
                text = answer if isinstance(answer, str) else self.place.indented(answer or [""])
                if text.strip() and (macro.shows or not _hollow(text)):
                    return text
                message = f"{macro.render.__name__}() has nothing to show, or a link or an entry in it has no text"
            except Exception as error:
                at = traceback.extract_tb(error.__traceback__)[-1]
                message = f"{type(error).__name__} at {at.filename}:{at.lineno}: {error}"
            problem = Problem(f"{pages.FOLDER}/{self.place.page}", self.place.line, message)
            log.warning("%s", problem)
            return f"**{mistakes.plain(str(problem))}**"

        return call
