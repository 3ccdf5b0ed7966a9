"""What the engine adds to a build, in CPU: Material builds the same pages twice, once from finished Markdown."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from proven import ROOT
from proven.sources import configuration
from tests.lint import files

ROUNDS = 3
# MkDocs calls it after the macros: it writes down the Markdown that Material then turns into HTML.
FINISHED = """
from pathlib import Path

def on_page_markdown(markdown, page, config, files):
    file = Path(config.config_file_path).parent / "finished" / page.file.src_path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(markdown, encoding="utf-8")
"""


def main() -> None:
    """Build both in turn, and say what each took."""
    with tempfile.TemporaryDirectory(prefix="proven-measure-") as folder:
        guide = Path(folder) / "guide"
        files.clone(guide)
        settings = configuration.parse((guide / configuration.FILE).read_text(encoding="utf-8"))
        (guide / "finished.py").write_text(FINISHED, encoding="utf-8")
        build(guide, settings | {"hooks": ["finished.py"]})
        for file in (file for file in (guide / "docs").rglob("*") if file.is_file() and file.suffix != ".md"):
            copy = guide / "finished" / file.relative_to(guide / "docs")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        stock = {
            **settings,
            "docs_dir": "finished",
            "plugins": [plugin for plugin in settings["plugins"] if "macros" not in plugin],
        }
        both = [(build(guide, settings), build(guide, stock)) for _ in range(ROUNDS)]
    ours, bare = (statistics.median(taken) for taken in zip(*both, strict=True))
    print(f"A build takes {ours:.1f} s of CPU, Material alone {bare:.1f} s: {ours / bare:.2f} times as much.")


def build(guide: Path, settings: dict[str, Any]) -> float:
    """Build a site from these settings, and return the seconds of CPU that it took."""
    file = guide / "measured.yml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    before = _children()
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", file.name, "--site-dir", "built"]
    subprocess.run(command, cwd=guide, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
