"""Serves the site while it is written, rebuilt after every edit: `mkdocs serve`, but quicker, and no mistake ends it.

    python -m proven.site.serve                     at http://127.0.0.1:8000/
    python -m proven.site.serve 127.0.0.1:8001

A page's own mistakes are shown in their places on it (mistakes.py). Where the site cannot be built at all, the previous
one stays, and every page of it says why.
"""

import functools
import logging
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import jinja2
from click import ClickException
from material.plugins.search.plugin import SearchIndex
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.livereload import LiveReloadServer
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from proven import ROOT
from proven.evidence.ledger import LOCAL
from setup.address import check

Render = Callable[[Page, MkDocsConfig, Files], None]

ADDRESS = "127.0.0.1:8000"
# What MkDocs knows of a page once it has converted its Markdown.
RENDERED = ("content", "toc", "_title_from_render", "present_anchor_ids")
CONVERTED: list[str] = []  # the pages whose Markdown this build has converted
ARTICLE = re.compile(r"<article\b[^>]*>|<body\b[^>]*>")


class Site:
    """The site, built again and again, each time into a folder of its own."""

    def __init__(self, folder: Path, address: str) -> None:
        """Prepare a site in a folder. Raises ClickException where mkdocs.yml is wrong."""
        self.folder = folder
        self.address = address
        self.shown = folder / "shown"  # a link to one of them, so that the server's path stays the same
        self.good = Path(tempfile.mkdtemp(dir=folder))  # the last that succeeded
        self.engine = edited()
        config = self._configuration(self.good)
        # MkDocs polls the files twice a second; this polls them five times.
        self.server = LiveReloadServer(self.build, *config.dev_addr, root=str(self.shown), polling_interval=0.2)
        self.server.error_handler = self._error
        local = ROOT / LOCAL
        local.parent.mkdir(exist_ok=True)
        self.server.watch(str(local.parent), recursive=False)
        for path in (config.docs_dir, config.config_file_path, config.theme.custom_dir, *config.watch):
            if path:
                self.server.watch(path)

    def build(self) -> None:
        """Build the site. Never raises: what is wrong is put on the pages of the previous build."""
        before, self.engine = self.engine, edited()
        if before != self.engine:
            forget_engine()
        target = Path(tempfile.mkdtemp(dir=self.folder))
        CONVERTED.clear()
        try:
            config = self._configuration(target)
            config.plugins.on_startup(command="serve", dirty=False)
            build(config, serve_url=config.site_url)
        except (Exception, SystemExit) as error:  # mkdocs-macros exits
            why = reason(error)
            logging.getLogger("mkdocs").error(why)
            shutil.copytree(self.good, target, dirs_exist_ok=True)
            put_on_pages(target, why)
        else:
            self.good = target
            few = ", ".join(CONVERTED) if len(CONVERTED) < 4 else f"{len(CONVERTED)} pages"
            logging.getLogger("mkdocs").info("converted: %s", few)
        link = self.folder / "next"
        link.symlink_to(target)
        link.replace(self.shown)
        for old in self.folder.iterdir():
            if old not in (self.shown, target, self.good):
                shutil.rmtree(old)

    def _configuration(self, target: Path) -> MkDocsConfig:
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(target), dev_addr=self.address)
        config.site_url = f"http://{self.address}/"
        return config

    def _error(self, code: int) -> bytes | None:
        page = self.shown / f"{code}.html"
        return page.read_bytes() if page.exists() else None


def edited() -> dict[Path, int]:
    """Return when each module and template of the engine was last edited."""
    files = (file for file in (ROOT / "proven").rglob("*") if file.suffix not in ("", ".pyc"))
    return {file: file.stat().st_mtime_ns for file in files}


def forget_engine() -> None:
    """Have the engine imported again: mkdocs-macros runs site/build.py anew, but not what that imports."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "proven":
            del sys.modules[name]


def reason(error: BaseException) -> str:
    """Return why the site could not be built: MkDocs says it in a sentence, other errors say where they come from."""
    if isinstance(error, ClickException):
        return str(error)
    if isinstance(error, SystemExit):
        return "A macro failed: the terminal says which."
    return traceback.format_exc(limit=-1).strip()


def put_on_pages(site: Path, why: str) -> None:
    """Put on every page why the site could not be built."""
    box = (
        '<div class="admonition failure"><p class="admonition-title">The site cannot be built</p>'
        f"<pre><code>{escape(why)}</code></pre></div>"
    )
    for name in ("index.html", "404.html"):
        if not (site / name).exists():
            (site / name).write_text("<body></body>", encoding="utf-8")
    for page in site.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        last = max((found.end() for found in ARTICLE.finditer(html)), default=0)
        page.write_text(html[:last] + box + html[last:], encoding="utf-8")


def remembering(render: Render) -> Render:
    """Return MkDocs' Page.render with a memory: it does not convert the same Markdown again."""
    known: dict[str, tuple[Any, dict[str, Any]]] = {}

    @functools.wraps(render)
    def remember(page: Page, config: MkDocsConfig, files: Files) -> None:
        # Links lead to files, and mkdocs.yml says which extensions convert.
        settings = Path(config.config_file_path).stat().st_mtime_ns
        given = (page.markdown, settings, sorted(files.src_uris))
        before, made = known.get(page.file.src_uri, (None, {}))
        if before != given:
            render(page, config, files)
            CONVERTED.append(page.file.src_uri)
            made = {name: getattr(page, name) for name in RENDERED}
            known[page.file.src_uri] = (given, made)
        vars(page).update(made)

    return remember


def remembering_entries(add: Callable[[SearchIndex, Page], None]) -> Callable[[SearchIndex, Page], None]:
    """Return Material's function that adds a page to its search, with a memory: the same page has the same entries."""
    known: dict[str, tuple[Any, list[Any]]] = {}

    @functools.wraps(add)
    def remember(index: SearchIndex, page: Page) -> None:
        given = (page.content, page.meta, page.title)
        before, entries = known.get(page.url, (None, []))
        if before != given:
            first = len(index.entries)
            add(index, page)
            known[page.url] = (given, [dict(entry) for entry in index.entries[first:]])
        else:
            index.entries += map(dict, entries)  # Material may change them

    return remember


def remembering_code(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return Jinja's Environment.compile with a memory: each build has a new environment, but the same templates."""
    known: dict[tuple[Any, ...], Any] = {}

    @functools.wraps(compiled)
    def remember(environment: jinja2.Environment, source: Any, *named: Any) -> Any:
        settings = (environment.trim_blocks, environment.lstrip_blocks, bool(environment.autoescape))
        given = (source, *named, *settings, environment.undefined)
        if given not in known:
            known[given] = compiled(environment, source, *named)
        return known[given]

    return remember


def main(address: str = ADDRESS) -> None:
    """Serve the site until Ctrl-C or SIGTERM."""
    logging.basicConfig(format="%(levelname)-8s %(message)s")
    logging.getLogger("mkdocs").setLevel(logging.INFO)
    logging.getLogger("mkdocs.plugins").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    Page.render = remembering(Page.render)  # type: ignore[method-assign]
    SearchIndex.add_entry_from_context = remembering_entries(SearchIndex.add_entry_from_context)  # type: ignore
    jinja2.Environment.compile = remembering_code(jinja2.Environment.compile)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="proven-site-") as folder:
        try:
            check(address)
            site = Site(Path(folder), address)
            site.build()
            try:
                site.server.serve()
            finally:
                site.server.shutdown()
        except KeyboardInterrupt:
            pass
        except (ClickException, OSError, RuntimeError) as error:
            sys.exit(f"serve: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
