"""What a page may not hold, and what it may. Each page is read beside a project with nothing wrong in it."""

from pathlib import Path

import pytest

from proven.sources import pages
from proven.sources.handmade import WHAT_TO_DO
from tests.guard.project import problems

PAGE = "docs/case.md"
FENCE = f"a code block is typed by hand: {WHAT_TO_DO}"
INDENTED = f"an indented code block is typed by hand: {WHAT_TO_DO}"
HTML = f"an HTML block of code is typed by hand: {WHAT_TO_DO}"
NO_LANGUAGE = "a page holds {{ macro calls }} and no other template language"
WRITTEN_OUT = "snippet() needs arguments that are written out"

# What it is: its text, the line that is named, and the message.
CODE_BY_HAND = {
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
    "HTML": ("Text.\n\n<pre>\nselect 1;\n</pre>\n", 3, HTML),
    "HTML in capitals": ("Text.\n\n<PRE class=x>select 1;</PRE>\n", 3, HTML),
    "HTML in a sentence": ("Text <pre>select 1;</pre> text.\n", 1, HTML),
    "HTML that is never closed": ("Text.\n\n<pre>select 1;\n", 3, HTML),
    "HTML text area": ("Text.\n\n<textarea>select 1;</textarea>\n", 3, HTML),
}
CALLS = {
    "unknown snippet": (
        'Text.\n\n{{ snippet("anwser.py") }}\n',
        3,
        "no snippet is called 'anwser.py'; did you mean answer.py?",
    ),
    "unknown snippet by keyword": (
        '{{ snippet(path="anwser.py") }}\n',
        1,
        "no snippet is called 'anwser.py'; did you mean answer.py?",
    ),
    "unknown region": (
        '{{ snippet("answer.py", region="anser") }}\n',
        1,
        "snippets/answer.py has no region 'anser'; did you mean answer?",
    ),
    "unknown region by position": (
        '{{ snippet("answer.py", "anser") }}\n',
        1,
        "snippets/answer.py has no region 'anser'; did you mean answer?",
    ),
    "unknown region in a call of two lines": (
        'Text.\n\n{{ snippet("answer.py",\n    region="anser") }}\n',
        3,
        "snippets/answer.py has no region 'anser'; did you mean answer?",
    ),
    "highlight that matches nothing": (
        '{{ snippet("answer.py", highlight="43") }}\n',
        1,
        "snippets/answer.py has nothing to highlight that reads '43'",
    ),
    "highlight outside the region": (
        '{{ snippet("answer.py", region="answer", highlight=["42", "print"]) }}\n',
        1,
        "snippets/answer.py has nothing to highlight that reads 'print'",
    ),
    "highlight by number": (
        '{{ snippet("answer.py", highlight=2) }}\n',
        1,
        "snippets/answer.py has nothing to highlight that reads 2",
    ),
    "transcript that is not there": (
        '{{ snippet("answer.py", transcript=True) }}\n',
        1,
        "snippets/answer.out is not there: make record ONLY=snippets/answer.py",
    ),
    "wrong argument": (
        '{{ snippet("answer.py", regoin="answer") }}\n',
        1,
        "snippet() cannot be called so: got an unexpected keyword argument 'regoin'; did you mean region?",
    ),
    "missing argument": ("{{ snippet() }}\n", 1, "snippet() cannot be called so: missing a required argument: 'path'"),
    "claim of nothing": ("{{ proven() }}\n", 1, "proven() cannot be called so: missing a required argument: 'name'"),
    "too many arguments": ('{{ proofs("x") }}\n', 1, "proofs() cannot be called so: too many positional arguments"),
    "computed argument": ('{{ snippet("answer" ~ ending) }}\n', 1, WRITTEN_OUT),
    "unpacked argument": ('{{ snippet(**{"path": "answer.py"}) }}\n', 1, WRITTEN_OUT),
    "unknown macro": (
        'Text.\n\n{{ snipet("answer.py") }}\n',
        3,
        "no macro or variable is called 'snipet'; did you mean snippet?",
    ),
    "undefined variable": ("The limit is {{ limit }}.\n", 1, "no macro or variable is called 'limit'"),
    "macro that is not called": ("{{ snippet }}\n", 1, NO_LANGUAGE),
    "filter": ('{{ snippet("answer.py") | replace("42", "43") }}\n', 1, NO_LANGUAGE),
    "statement": ("Text.\n\n{% set limit = 3 %}\n", 3, NO_LANGUAGE),
    "included file": ('{% include "snippets/answer.py" %}\n', 1, NO_LANGUAGE),
    "call in front matter": (
        "---\ntitle: x\ndescription: \"{{ proven('test_answer') }}\"\n---\n\nText.\n",
        3,
        "a macro is called in the front matter, where nothing runs it",
    ),
    "call that does not end": ('Text.\n\n{{ snippet("answer.py"\n', 3, "the macro call cannot be read: unexpected end"),
    "heading with an anchor that begins a comment": (
        "# Title {#anchor}\n",
        1,
        "the macro call cannot be read: Missing end of comment tag",
    ),
    "call in a sentence": (
        'Text {{ snippet("answer.py") }}\n',
        1,
        "snippet() gives a block: put the call on a line of its own",
    ),
    "call behind a bullet": (
        '- {{ snippet("answer.py") }}\n',
        1,
        "snippet() gives a block: put the call on a line of its own",
    ),
    "call that is a code block itself": ('Text.\n\n    {{ snippet("answer.py") }}\n', 3, INDENTED),
    "unknown folder": ('{{ project("answers/") }}\n', 1, "no folder of snippets is called 'answers/'"),
    "file as a folder": ('{{ project("answer.py") }}\n', 1, "no folder of snippets is called 'answer.py'"),
    "folder as a snippet": (
        '{{ snippet("answers/") }}\n',
        1,
        "no snippet is called 'answers/'; did you mean answer.py?",
    ),
    "unknown function": ('{{ compute("answer.py", "ask") }}\n', 1, "snippets/answer.py has no function 'ask'"),
    "unknown facts": ('{{ facts("x.json") }}\n', 1, "no facts in docs/data/ is called 'x.json'"),
    "unknown picture": ('{{ picture("x.svg") }}\n', 1, "no picture in docs/assets/ is called 'x.svg'"),
    "matrix of no proofs": (
        '{{ matrix("tests/proofs/test_indx.py", "Python") }}\n',
        1,
        "no proof is in 'tests/proofs/test_indx.py'; did you mean tests/proofs/test_index.py?",
    ),
    "unknown term": ('Text. {{ term("anwser") }}\n', 1, "the glossary does not explain 'anwser'"),
    "unknown proof": (
        'Text. {{ proven("test_anwser") }}\n',
        1,
        "no proof is called 'test_anwser'; did you mean test_answer?",
    ),
    "unknown proof among others": (
        'Text. {{ proven("test_answer", "test_anwser") }}\n',
        1,
        "no proof is called 'test_anwser'; did you mean test_answer?",
    ),
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
    "attributes": "## Title { #anchor }\n\nText.\n{ .proof }\n",
    "wrapped paragraph": "Text that is\n    wrapped.\n",
    "quote": "> Text.\n>\n> More.\n",
    "nested HTML": "<div>\n    <p>\n        Text.\n    </p>\n</div>\n",
    "comment": "<!-- No <pre> is shown. -->\n",
    "inline code": "A `<pre>` and a ``back`tick``.\n",
    "rule": "Text.\n\n---\n\nText.\n",
    "call of several lines": '{{ snippet(\n    "answer.py",\n    region="answer",\n) }}\n',
    "highlighted region": '{{ snippet("answer.py", highlight="answer") }}\n',
    "two claims in a sentence": 'One. {{ proven("test_answer") }} Two. {{ proven("test_answer", "test_answer") }}\n',
}


@pytest.mark.parametrize("case", CODE_BY_HAND)
def test_code_that_a_page_holds_itself_is_refused(case: str, tmp_path: Path) -> None:
    """Whatever the syntax and wherever it stands."""
    text, line, message = CODE_BY_HAND[case]
    assert problems(tmp_path, {PAGE: text}) == [f"{PAGE}:{line}: {message}"]


@pytest.mark.parametrize("case", CALLS)
def test_a_call_that_cannot_work_is_refused(case: str, tmp_path: Path) -> None:
    """The message names the page's line, and the nearest name where one is misspelled."""
    text, line, message = CALLS[case]
    (found,) = problems(tmp_path, {PAGE: text})
    assert found.startswith(f"{PAGE}:{line}: {message}")


@pytest.mark.parametrize("case", ALLOWED)
def test_what_only_looks_like_it_is_accepted(case: str, tmp_path: Path) -> None:
    """A guard that cries wolf is switched off sooner or later."""
    assert problems(tmp_path, {PAGE: ALLOWED[case]}) == []


def test_every_block_is_named_and_every_call(tmp_path: Path) -> None:
    """One run finds them all: two blocks of code, and two calls on one line."""
    calls = 'Text.\n\n{{ snippet("answer.py") }} {{ snippet("anwser.py") }}\n'
    assert problems(tmp_path, {PAGE: "One.\n\n    a = 1\n\nTwo.\n\n<pre>b</pre>\n", "docs/calls.md": calls}) == [
        "docs/calls.md:3: no snippet is called 'anwser.py'; did you mean answer.py?",
        "docs/calls.md:3: snippet() gives a block: put the call on a line of its own",
        f"{PAGE}:3: {INDENTED}",
        f"{PAGE}:7: {HTML}",
    ]


@pytest.mark.parametrize("name", ["case.markdown", "case.html", "how-to/case.mkd"])
def test_a_page_in_another_format_is_refused(name: str, tmp_path: Path) -> None:
    """MkDocs would publish it, and nothing here would have read it."""
    message = "a page is Markdown, and its name ends in .md: rename it"
    assert problems(tmp_path, {f"docs/{name}": "<pre>select 1</pre>\n"}) == [f"docs/{name}:1: {message}"]


def test_lines_are_counted_below_front_matter_as_mkdocs_drops_it() -> None:
    """A call in a tab is indented as its own line is, which must be the right one."""
    assert pages.front_matter_lines("---\ntitle: x\n---\n\n\n# Title\n") == 5
    assert pages.front_matter_lines("# Title\n") == 0
