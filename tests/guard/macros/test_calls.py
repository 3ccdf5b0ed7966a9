"""Several mistakes in one line."""

from pathlib import Path

from tests.guard.project import PAGE, problems


def test_every_call_of_a_line_is_named(tmp_path: Path) -> None:
    """One run finds them all."""
    assert problems(tmp_path, {PAGE: 'Text.\n\n{{ snippet("answer.py") }} {{ snippet("anwser.py") }}\n'}) == [
        f"{PAGE}:3: no snippet is called 'anwser.py'; did you mean answer.py?",
        f"{PAGE}:3: snippet() gives a block: put the call on a line of its own",
    ]
