"""Code that stands on a page itself, wherever and however it is typed there."""

from pathlib import Path

import pytest

from proven import ROOT
from proven.problems import Problem
from proven.sources import handmade, pages
from proven.sources.handmade import WHAT_TO_DO
from tests.guard.project import PAGE, problems

FENCE = f"a code block is typed by hand: {WHAT_TO_DO}"
INDENTED = f"an indented code block is typed by hand: {WHAT_TO_DO}"

# What it is: its text, the line that is named, and the message.
REFUSED = {
    "fence": ("Text.\n\n```sql\nselect 1;\n```\n", 3, FENCE),
    "fence of tildes": ("Text.\n\n~~~\nselect 1;\n~~~\n", 3, FENCE),
    "fence with options": ('``` { .sql title="x" }\nselect 1;\n```\n', 1, FENCE),
    "fence that is never closed": ("Text.\n\n```sql\nselect 1;\n", 3, FENCE),
    "indented fence": ("  ```sql\n  select 1;\n  ```\n", 1, FENCE),
    "fence in an admonition": ("!!! note\n\n    ```sql\n    select 1;\n    ```\n", 3, FENCE),
    "fence in a list": ("- Text.\n\n    ```sql\n    select 1;\n    ```\n", 3, FENCE),
    "fence behind a bullet": ("1. ```sql\n   select 1;\n   ```\n", 1, FENCE),
    "fence after a numbered list": ("1. One.\n2. Two.\n\n```sql\nselect 1;\n```\n", 4, FENCE),
    "fence in a quote": ("> ```sql\n> select 1;\n> ```\n", 1, FENCE),
    "fence in a tab": ('=== "psql"\n\n    ```sql\n    select 1;\n    ```\n', 3, FENCE),
    "fence in a definition": ("Term\n:   ```sql\n    select 1;\n    ```\n", 2, FENCE),
    "fence in a footnote": ("Text.[^1]\n\n[^1]: ```sql\n    select 1;\n    ```\n", 3, FENCE),
    "fence below front matter": ("---\ntitle: x\n---\n\n```sql\nselect 1;\n```\n", 5, FENCE),
    "indented block": ("Text.\n\n    select 1;\n", 3, INDENTED),
    "block indented by a tab": ("Text.\n\n\tselect 1;\n", 3, INDENTED),
    "indented block at the top": ("    select 1;\n", 1, INDENTED),
    "indented block under a heading": ("# Title\n    select 1;\n", 2, INDENTED),
    "indented block after a list": ("- One.\n\nText.\n\n    select 1;\n", 5, INDENTED),
    "indented block in a list": ("- One.\n\n        select 1;\n", 3, INDENTED),
    "indented block in an admonition": ("!!! note\n\n    Text.\n\n        select 1;\n", 5, INDENTED),
    "indented block in a tab": ('=== "psql"\n\n    Text.\n\n        select 1;\n', 5, INDENTED),
    "indented block in a quote": ("Text.\n\n>     select 1;\n", 3, INDENTED),
    "indented block in HTML": ("<div markdown>\n\n    select 1;\n\n</div>\n", 3, INDENTED),
    "call that is a code block itself": ('Text.\n\n    {{ snippet("answer.py") }}\n', 3, INDENTED),
}
# Looks like the above, and is not.
ALLOWED = {
    "wrapped list": "- An item that is\n    wrapped twice\n    over.\n",
    "paragraph in a list": '1. One.\n\n    More.\n\n    {{ snippet("answer.py") }}\n\n    - Two.\n\n        More.\n',
    "admonition": '!!! note "Title"\n\n    Text.\n\n    {{ snippet("answer.py") }}\n',
    "details in a list": '- One.\n\n    ??? tip\n\n        {{ snippet("answer.py") }}\n',
    "tabs": '=== "one"\n\n    {{ snippet("answer.py") }}\n\n=== "two"\n\n    Text.\n',
    "definition": "Term\n\n:   Text.\n\n    More.\n",
    "table": "| a | b |\n| --- | --- |\n| `<pre>` | `select 1` |\n",
    "attributes": "## Title { #anchor }\n\nText.\n{ .small }\n",
    "wrapped paragraph": "Text that is\n    wrapped.\n",
    "quote": "> Text.\n>\n> More.\n",
    "HTML": '<div class="questions" markdown>\n\nText.\n\n</div>\n',
    "inline code": "A `<pre>` and a ``back`tick``.\n",
    "rule": "Text.\n\n---\n\nText.\n",
    "call of several lines": '{{ snippet(\n    "answer.py",\n    region="answer",\n) }}\n',
    "highlighted region": '{{ snippet("answer.py", highlight="answer") }}\n',
    "two claims in a sentence": 'One. {{ proven("test_answer") }} Two. {{ proven("test_answer", "test_answer") }}\n',
}


@pytest.mark.parametrize("case", REFUSED)
def test_code_that_a_page_holds_itself_is_refused(case: str) -> None:
    """In every syntax, and wherever it stands."""
    text, line, message = REFUSED[case]
    page = pages.parse(PAGE, text)
    assert handmade.problems(page.path, page.text, ROOT) == [Problem(PAGE, line, message)]


@pytest.mark.parametrize("case", ALLOWED)
def test_what_only_looks_like_it_is_accepted(case: str, tmp_path: Path) -> None:
    """A guard that cries wolf is switched off sooner or later."""
    assert problems(tmp_path, {PAGE: ALLOWED[case]}) == []


def test_every_block_is_named(tmp_path: Path) -> None:
    """One run finds them all."""
    assert problems(tmp_path, {PAGE: "One.\n\n    a = 1\n\nTwo.\n\n    b = 2\n"}) == [
        f"{PAGE}:3: {INDENTED}",
        f"{PAGE}:7: {INDENTED}",
    ]
