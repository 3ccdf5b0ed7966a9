"""Where a call stands: the page that is rendered, and the line of it that the call is on."""

import inspect
import posixpath
from typing import Any

from proven.guide import Guide
from proven.sources import characters, front_matter, pages

Block = list[str]  # lines of Markdown, which get the indentation of the call


class Place:
    """The place of the call that is being rendered.

    `env` is what MkDocs or Zensical hands to macros: it knows the page that is rendered.
    """

    def __init__(self, env: Any, guide: Guide) -> None:
        self.guide = guide
        self._env = env
        self._sources: dict[str, list[str]] = {}

    @property
    def page(self) -> str:
        """The page's path from docs/."""
        page = self._env.page
        return str(page.file.src_uri if hasattr(page, "file") else page.path)

    @property
    def line(self) -> int:
        """The page's line that is being rendered: Jinja keeps it for its own error messages."""
        frame = inspect.currentframe()
        while frame is not None:
            template = frame.f_globals.get("__jinja_template__")
            if template is not None:
                skipped = front_matter.lines("\n".join(self._source()) + "\n")
                return int(template.get_corresponding_lineno(frame.f_lineno)) + skipped
            frame = frame.f_back
        return 1

    @property
    def up(self) -> str:
        """The relative URL of the site's root."""
        return "../" * pages.url(self.page).count("/")

    def link(self, page: str) -> str:
        """Return the relative path to another page's Markdown."""
        return posixpath.relpath(page, posixpath.dirname(self.page) or ".")

    def indented(self, block: Block) -> str:
        """Return lines with the indentation of the call itself.

        A template's expression does not know what stands before it on its line, so this looks at the page.
        """
        line = self.line
        source = self._source()
        text = source[line - 1] if 0 < line <= len(source) else ""
        indent = text[: len(text) - len(text.lstrip())]
        first, *rest = block
        return "\n".join([first, *(indent + row if row else "" for row in rest)])

    def reads(self, text: str) -> None:
        """Use this text as the page's source, instead of what its file holds."""
        self._sources[self.page] = characters.lines(text)

    def _source(self) -> list[str]:
        page = self.page
        if page not in self._sources:
            file = self.guide.root / pages.FOLDER / page
            self._sources[page] = characters.lines(file.read_text(encoding="utf-8"))
        return self._sources[page]
