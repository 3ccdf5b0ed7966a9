"""The site as its writer sees it: `make serve`, with every mistake that a writer makes."""

import re
import sys
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from tests.guard.project import FILES, make_site
from tests.stack.leash import Leash
from tests.stack.wait import DEADLINE, until

QUESTIONS = """\
# Questions

{{ compute("six.py", "six") }} times seven.
"""


class Served:
    """A project's site, served while its files are edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before: dict[str, str | None] = {}  # what edited files held
        self.leash = Leash("serve")
        self.port = self.leash.serve("the site", self._run, lambda port: self._get(port, "") is not None)

    def page(self, path: str = "") -> str:
        """Return the text of a page."""
        return unescape(re.sub(r"<[^>]+>", "", self._get(self.port, path) or ""))

    def edit(self, path: str, text: str | None) -> None:
        """Write a file, or delete it."""
        file = self.folder / path
        self.before.setdefault(path, file.read_text(encoding="utf-8") if file.exists() else None)
        if text is None:
            file.unlink()
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def mend(self) -> None:
        """Put back what was edited, and wait until nothing is wrong."""
        while self.before:
            self.edit(*self.before.popitem())
            self.before.popitem()
        until("the site is whole", lambda: "The answer is known." in (page := self.page()) and "broken" not in page)

    def shows(self, text: str, path: str = "") -> None:
        """Wait until a page shows a text."""
        try:
            until("", lambda: text in self.page(path))
        except TimeoutError:
            pytest.fail(f"/{path} does not show {text!r}:\n{self.page(path)}\n{self.leash.why()}", pytrace=False)

    def append(self, text: str) -> None:
        """Append a line to a page of the guide, and wait until it is served."""
        with (self.folder / "docs/how-to/see-connections.md").open("a", encoding="utf-8") as page:
            page.write(f"\n{text}\n")
        self.shows(text, "how-to/see-connections/")

    def _run(self, port: int) -> None:
        command = [sys.executable, "-B", "-m", "proven.site.serve", f"127.0.0.1:{port}"]
        self.leash.run(command, cwd=self.folder, env={"NO_MKDOCS_2_WARNING": "1"})

    def _get(self, port: int, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=DEADLINE) as answer:
                return answer.read().decode()
        except OSError:
            return None


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A small project, served."""
    extra = {"docs/questions.md": QUESTIONS, "snippets/six.py": "def six():\n    return 6\n"}
    made = Served(make_site(tmp_path_factory.mktemp("project"), extra))
    yield made
    made.leash.stop()


@pytest.fixture
def served(running: Served) -> Iterator[Served]:
    """The same, with every file as it was before the test."""
    yield running
    running.mend()


INDEX = FILES["docs/index.md"]
PROOFS = FILES["tests/proofs/test_index.py"]
MISTAKES = """\
---
title: [
---

# Answers

A claim. {{ proven("test_answers") }}

{{ snippet("answers.py") }}

1.  In a list:

    {{ snippet("answer.py", region="answers") }}

{{ snnippet("answer.py") }}

{{ snippet("answer.py" }}

<!-- for nobody -->

    an indented block

{% if %}

The last line. {{
"""


def test_every_mistake_of_a_page_is_shown_in_its_place(served: Served) -> None:
    """All at once, each with its line and what to do, and what is right beside them is there."""
    served.edit("docs/index.md", MISTAKES)
    served.shows("docs/index.md:3: the front matter is not YAML")
    page = served.page()
    for says in (
        "docs/index.md:7: no proof is called 'test_answers'; did you mean test_answer?",
        "A claim.",
        "docs/index.md:9: no snippet is called 'answers.py'",
        "docs/index.md:13: snippets/answer.py has no region 'answers'; did you mean answer?",
        "docs/index.md:15: no macro or variable is called 'snnippet'; did you mean snippet?",
        "docs/index.md:17: the macro call cannot be read: unexpected '}', expected ')'",
        "docs/index.md:19: '<!-- for nobody -->' is HTML that a page may not hold",
        "docs/index.md:23: the macro call cannot be read: Expected an expression, got 'end of statement block'",
        "The last line.",
    ):
        assert says in page
        page = page[page.index(says) :]
    served.mend()


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("docs/index.md", INDEX + "```\nls\n```\n", "docs/index.md:6: a code block is typed by hand"),
        ("snippets/answer.py", "# region: answer\n42\n", "snippets/answer.py:1: region 'answer' is never closed"),
        ("snippets/answer.py", None, "docs/index.md:5: no snippet is called 'answer.py'"),
        ("tests/proofs/test_index.py", PROOFS + "def\n", "tests/proofs/test_index.py:9: no proof in here can be read"),
        ("docs/data/ledger.json", "[\n{]", "docs/data/ledger.json:2: the ledger cannot be read"),
        ("build/ledger.json", "<<<<<<<", "build/ledger.json:1: the ledger cannot be read"),
        ("proven/guide.py", "def\n", "SyntaxError: invalid syntax"),
        ("proven/guide.py", "1 / 0\n", "ZeroDivisionError: division by zero"),
        ("mkdocs.yml", "site_name: [", "MkDocs encountered an error parsing the configuration file"),
    ],
)
def test_a_mistake_is_shown_until_it_is_mended(path: str, text: str | None, says: str, served: Served) -> None:
    """On the page that it concerns, or on all, and the server goes on."""
    served.edit(path, text)
    served.shows(says)
    served.mend()


def test_a_snippet_that_raises_is_told_of_where_it_is_called(served: Served) -> None:
    """In the sentence that needs what it gives; the rest of the page is there."""
    served.edit("snippets/six.py", "def six():\n    return 1 / 0\n")
    served.shows("docs/questions.md:3: ZeroDivisionError at snippets/six.py:2: division by zero times", "questions/")
    served.edit("snippets/six.py", "def six(:\n")
    served.shows("invalid syntax (six.py, line 1) times seven.", "questions/")
    served.mend()
    served.shows("6 times seven.", "questions/")


def test_every_kind_of_edit_is_seen(served: Served) -> None:
    """Of a page, a snippet, a proof, a ledger, the engine and the settings."""
    edits = {
        "docs/index.md": (INDEX.replace("is known", "was edited"), "The answer was edited."),
        "snippets/answer.py": (FILES["snippets/answer.py"].replace("42", "42  # still"), "# still"),
    }
    for path, (text, says) in edits.items():
        served.edit(path, text)
        served.shows(says)
