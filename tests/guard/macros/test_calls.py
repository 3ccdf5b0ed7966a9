"""Calls that fit no macro, whichever it is."""

from pathlib import Path

import pytest

from proven.sources.pages import NO_LANGUAGE
from tests.guard.project import PAGE, Mistake, problems, refused

REFUSED: dict[str, Mistake] = {
    "wrong argument": (
        '{{ snippet("answer.py", regoin="answer") }}\n',
        1,
        "snippet() cannot be called so: got an unexpected keyword argument 'regoin'; did you mean region?",
    ),
    "argument of another type": (
        "{{ snippet(3) }}\n",
        1,
        "snippet() cannot be called so: path is 3, and has to be of type str",
    ),
    "argument of another type among others": (
        '{{ proven("test_answer", 3) }}\n',
        1,
        "proven() cannot be called so: names is 3, and has to be of type str",
    ),
    "optional argument of another type": (
        '{{ snippet("answer.py", region=["answer"]) }}\n',
        1,
        "snippet() cannot be called so: region is ['answer'], and has to be of type str | None",
    ),
    "missing argument": ("{{ snippet() }}\n", 1, "snippet() cannot be called so: missing a required argument: 'path'"),
    "claim of nothing": ("{{ proven() }}\n", 1, "proven() cannot be called so: missing a required argument: 'name'"),
    "too many arguments": ('{{ proofs("x") }}\n', 1, "proofs() cannot be called so: too many positional arguments"),
    "unknown macro": (
        'Text.\n\n{{ snipet("answer.py") }}\n',
        3,
        "no macro or variable is called 'snipet'; did you mean snippet?",
    ),
    "undefined variable": ("The limit is {{ limit }}.\n", 1, "no macro or variable is called 'limit'"),
    "macro that is not called": ("{{ snippet }}\n", 1, NO_LANGUAGE),
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
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_call_that_fits_no_macro_is_refused(case: str, tmp_path: Path) -> None:
    """The message names the page's line, and the nearest name where one is misspelled."""
    refused(tmp_path, REFUSED[case])


def test_every_call_of_a_line_is_named(tmp_path: Path) -> None:
    """One run finds them all."""
    assert problems(tmp_path, {PAGE: 'Text.\n\n{{ snippet("answer.py") }} {{ snippet("anwser.py") }}\n'}) == [
        f"{PAGE}:3: no snippet is called 'anwser.py'; did you mean answer.py?",
        f"{PAGE}:3: snippet() gives a block: put the call on a line of its own",
    ]
