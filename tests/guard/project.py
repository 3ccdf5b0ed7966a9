"""A project of four small files with nothing wrong in it, for tests that then make a mistake."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from proven import ROOT, check, guide
from proven.guide import Guide
from proven.site.rendering import Rendering
from proven.sources import configuration

PAGE = "docs/case.md"
FILES = {
    "docs/index.md": """\
# Answers

The answer is known. {{ proven("test_answer") }}

{{ snippet("answer.py", region="answer", highlight="42") }}
""",
    "snippets/answer.py": """\
# region: answer
answer = 42
# endregion: answer
print(answer)
""",
    "tests/proofs/test_index.py": '''\
from proven import evidence


def test_answer(load) -> None:
    """It is 42."""
    answer = load("answer.py")
    evidence.ran(answer)
    assert answer.text
''',
}


def make(root: Path, changes: dict[str, str] | None = None) -> Path:
    """Write the project into a folder, with some files changed or added, and return the folder."""
    shutil.copy(ROOT / "mkdocs.yml", root)
    for path, text in {**FILES, **(changes or {})}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
    return root


def make_site(root: Path, changes: dict[str, str] | None = None) -> Path:
    """Write the project with an engine of its own, and have its site in MkDocs' plainest theme; return the folder."""
    make(root, changes)
    shutil.copytree(ROOT / "proven", root / "proven", ignore=shutil.ignore_patterns("__pycache__"))
    site = configuration.parse((ROOT / configuration.FILE).read_text(encoding="utf-8"))
    plain = {"site_name": "Case", "theme": "mkdocs", "use_directory_urls": True}
    macros = [plugin for plugin in site["plugins"] if "macros" in plugin]
    kept = {key: site[key] for key in ("markdown_extensions", "validation", "watch")}
    (root / "mkdocs.yml").write_text(yaml.dump({**plain, **kept, "plugins": macros}), encoding="utf-8")
    return root


class Macros(SimpleNamespace):
    """The macros as a page calls them, where none is built: Macros(env, of).matrix("tests/proofs", "Python").

    `env` knows the page, as what MkDocs hands to macros does: it has a `page` with a `path` from docs/.
    """

    def __init__(self, env: Any, of: Guide) -> None:
        super().__init__(**Rendering(env, of).macros())


def problems(root: Path, changes: dict[str, str] | None = None) -> list[str]:
    """Return what is wrong with the project, as `python -m proven.check` prints it."""
    return [str(problem) for problem in check.problems(guide.read(make(root, changes)))]
