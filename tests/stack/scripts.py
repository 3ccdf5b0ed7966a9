"""Run the Python snippets that are scripts, and check what they print against the `#>` comments in them."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proven import ROOT, evidence
from proven.problems import ProblemError
from proven.sources import snippets
from proven.sources.snippets import Snippet

Printed = Callable[..., str]


@pytest.fixture
def run_script(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[Snippet], dict[str, Any]]:
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
        runner.set_config(ruff_line_length=80, ruff_select=["E", "F", "I", "B", "SIM"])
        main = sys.modules["__main__"]  # pytest-examples puts the script in its place
        try:
            runner.lint_ruff(example)  # not its black: that one wants a single blank line between functions
            with snippets.beside(snippet.path):
                return runner.run_print_check(example)
        except Exception as error:
            # Its rebuilt traceback crashes pytest on Python 3.11, so only the line is taken from it.
            line = _line(error, example.path)
            raise ProblemError(snippet.place, snippet.source_line(line), f"{type(error).__name__}: {error}") from None
        except pytest.fail.Exception as error:
            raise ProblemError(snippet.place, _printed(snippet, str(error)), str(error)) from None
        finally:
            sys.modules["__main__"] = main

    return run


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """Run a script that reads its environment, and return what it printed: printed(snippet, DATABASE_URL=url)."""

    def run(snippet: Snippet, **environment: str) -> str:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        execute(snippet, "__main__")
        return capsys.readouterr().out

    return run


def execute(snippet: Snippet, name: str = "snippet") -> dict[str, Any]:
    """Run a Python snippet in this process and return its names. Raises ProblemError with its line where it raises."""
    evidence.ran(snippet)
    evidence.on(Python=sys.version.split()[0])
    names: dict[str, Any] = {"__name__": name}
    try:
        with snippets.beside(snippet.path):
            exec(compile(snippet.text, snippet.place, "exec"), names)
    except Exception as error:
        line = snippet.source_line(_line(error, Path(snippet.place)))
        raise ProblemError(snippet.place, line, f"{type(error).__name__}: {error}") from error
    return names


def _line(error: BaseException, path: Path) -> int:
    """Return the last line of the script that the error passed through."""
    line = 1
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _printed(snippet: Snippet, diff: str) -> int:
    """Return the line of the script where a diff of its `#>` comments begins."""
    number = 0
    for indented in diff.splitlines():
        row = indented.removeprefix("  ")
        if hunk := re.match(r"@@ -(\d+)", row):
            number = int(hunk[1])
        elif number and row[:1] in "+-":
            return snippet.source_line(number)
        elif number:
            number += 1
    return 1
