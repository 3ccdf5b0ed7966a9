"""Run the Python snippets that are scripts, and check what they print against the `#>` comments in them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proven import ROOT, evidence
from proven.problems import ProblemError
from proven.snippets import Snippet


@pytest.fixture
def run_script(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Snippet], dict[str, object]]]:
    """Run a script and return its names: run_script(load("sizing/connections.py")).

    Raises ProblemError with the snippet's line where it raises or prints something else.
    """
    # Imported here: with its formatter it takes longer to import than most proofs to run.
    from pytest_examples import CodeExample, EvalExample

    runner = EvalExample(tmp_path=tmp_path, pytest_request=request)

    def run(snippet: Snippet) -> dict[str, object]:
        evidence.ran(snippet)
        evidence.on(Python=sys.version.split()[0])
        example = CodeExample.create(snippet.text, path=ROOT / snippet.place)
        main = sys.modules["__main__"]  # pytest-examples puts the script in its place
        try:
            return runner.run_print_check(example)
        except Exception as error:
            # Its rebuilt traceback crashes pytest on Python 3.11, so only the line is taken from it.
            line = _line(error, example.path)
            raise ProblemError(snippet.place, snippet.source_line(line), f"{type(error).__name__}: {error}") from None
        except pytest.fail.Exception as error:
            raise ProblemError(snippet.place, _printed(snippet, str(error)), str(error)) from None
        finally:
            sys.modules["__main__"] = main

    yield run


def _line(error: BaseException, path: Path) -> int:
    """Return the last line of the script that the error passed through."""
    line = 1
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _printed(snippet: Snippet, message: str) -> int:
    """Return the line of the first `#>` comment that a difference is about."""
    wrong = [row.lstrip("- ").strip() for row in message.splitlines() if row.strip().startswith("-") and "#>" in row]
    numbers = [n for n, line in enumerate(snippet.text.splitlines(), start=1) if wrong and line.strip() == wrong[0]]
    return snippet.source_line(numbers[0]) if numbers else 1
