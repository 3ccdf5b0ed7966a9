"""Snippets, their parts, folders of them and what their functions return: what is not there cannot be shown."""

from pathlib import Path

import pytest

from tests.guard.project import Mistake, refused

REFUSED: dict[str, Mistake] = {
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
    "unknown folder": ('{{ project("answers/") }}\n', 1, "no folder of snippets is called 'answers/'"),
    "file as a folder": ('{{ project("answer.py") }}\n', 1, "no folder of snippets is called 'answer.py'"),
    "folder as a snippet": (
        '{{ snippet("answers/") }}\n',
        1,
        "no snippet is called 'answers/'; did you mean answer.py?",
    ),
    "unknown function": ('{{ compute("answer.py", "ask") }}\n', 1, "snippets/answer.py has no function 'ask'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_code_that_is_not_there_is_refused(case: str, tmp_path: Path) -> None:
    """The message names the page's line, and the nearest name where one is misspelled."""
    refused(tmp_path, REFUSED[case])
