"""What MkDocs calls while it builds, through mkdocs-macros; Zensical calls the first, and nothing else."""

import gc
from pathlib import Path
from typing import Any

from proven import ROOT
from proven.guide import remembered
from proven.site import publish
from proven.site.rendering import Rendering, log


def define_env(env: Any) -> None:
    """Hand the macros to the pages. MkDocs calls it once per build, Zensical once per page."""
    gc.set_threshold(100_000)  # a build makes many objects, and hardly any of them are garbage
    env.proven = Rendering(env, remembered(ROOT))
    for problem in env.proven.problems:
        log.warning("%s", problem)
    for name, macro in env.proven.macros().items():
        env.macro(macro, name)


def on_pre_page_macros(env: Any) -> None:
    """Show a page's mistakes in their places, before it is rendered."""
    env.markdown = env.proven.with_mistakes(env.markdown)


def on_post_page_macros(env: Any) -> None:
    """Keep a page's Markdown as its macros completed it, after it has been rendered."""
    env.proven.rendered[env.page.file.src_uri] = env.markdown


def on_post_build(env: Any) -> None:
    """Complete the site with what no page shows."""
    publish.finish(Path(env.conf["site_dir"]), env.proven)
