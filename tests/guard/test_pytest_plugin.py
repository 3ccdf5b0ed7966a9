"""A run of proofs that fail: what it says of each, and of which line of which page."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proven import ROOT
from proven.evidence import digests, ledger
from tests.guard.project import make
from tests.stack.wait import DEADLINE

PROOFS = """\
import pytest

from proven import evidence
from proven.problems import ProblemError


def test_answer(load) -> None:
    snippet = load("answer.py")
    evidence.ran(snippet)
    raise ProblemError(snippet.place, 2, "42 is not the answer")


def test_forgets_to_run(load) -> None:
    load("answer.py")


def test_prints_something_else(load, transcript) -> None:
    snippet = load("answer.py")
    evidence.ran(snippet)
    transcript(snippet, "40\\n43\\n")


def test_asserts() -> None:
    assert 42 == 43, "numbers differ"


def test_is_left_out() -> None:
    pytest.skip("no server here")


def test_is_left_out_for_a_reason() -> None:
    pytest.skip("needs a server of its own")


def test_changes_what_it_runs(load) -> None:
    from dataclasses import replace

    snippet = load("answer.py")
    evidence.ran(replace(snippet, text=snippet.text.replace("42", "43")))
"""
PAGE = """\
# Answers

It is known. {{ proven("test_answer") }} It is a number. {{ proven("test_asserts") }}

{{ snippet("answer.py", transcript=True) }}
"""

FAILED = "snippets/answer.py:2: 42 is not the answer"
PROOF = "(tests/proofs/test_index.py:7 test_answer)"
# What it is, and how a run that fails says it.
SAYS = {
    "the block that shows the snippet": f"docs/index.md:5: snippets/answer.py: {FAILED}  {PROOF}",
    "the sentence that claims what the proof no longer shows": f"docs/index.md:3: this claim: {FAILED}  {PROOF}",
    "the claim of a proof without a snippet": "docs/index.md:3: this claim: AssertionError: numbers differ",
    "a proof that only loads its snippet": "test_forgets_to_run loads snippets/answer.py and never runs it: "
    "pass it to a runner of tests/stack, or do not load it",
    "a proof that changes its snippet": "test_changes_what_it_runs ran another text than snippets/answer.py holds: "
    "hand a runner what load() gave, and change the file",
    "a transcript that differs, with the command that accepts it": "snippets/answer.out:2: the output of "
    "snippets/answer.py differs; if the new output is right: make record ONLY=snippets/answer.py; "
    "for what differs from run to run, give volatile=\n"
    "--- recorded\n+++ this run\n@@ -1,2 +1,2 @@\n 40\n-42\n+43\n",
    "an annotation of the block": f"\n::error file=docs/index.md,line=5::snippets/answer.py: {FAILED}\n",
    "an annotation of the claim": f"\n::error file=docs/index.md,line=3::this claim: {FAILED}\n",
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run of failing proofs prints, in GitHub Actions."""
    folder = make(
        tmp_path_factory.mktemp("project"),
        {
            "docs/index.md": PAGE,
            "snippets/answer.out": "40\n42\n",
            "tests/proofs/test_index.py": PROOFS,
            "conftest.py": 'pytest_plugins = ["proven.pytest_plugin"]\n',
        },
    )
    result = run(folder, "tests/proofs", "-o", "may_be_left_out=needs a server", CI="true", GITHUB_ACTIONS="true")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("what", SAYS)
def test_a_run_says_what_failed_and_what_it_makes_untrue(what: str, printed: str) -> None:
    """Each on lines of its own."""
    assert SAYS[what] in printed


def test_a_proof_is_left_out_for_a_reviewed_reason(printed: str) -> None:
    """And is refused in continuous integration for every other."""
    assert "not run under CI=true: test_is_left_out: no server here" in printed
    assert "not run under CI=true: test_is_left_out_for_a_reason" not in printed


def test_a_page_that_nobody_knows_is_no_reason_to_run_nothing(tmp_path: Path) -> None:
    """`make prove ONLY=…` with a name that is wrong says so, with the nearest ones."""
    folder = make(tmp_path, {"conftest.py": 'pytest_plugins = ["proven.pytest_plugin"]\n'})
    result = run(folder, "--only", "snippets/anwser.py")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no snippet, page or proof is called 'snippets/anwser.py'; did you mean snippets/answer.py?" in result.stderr


def test_only_recording_remembers_a_digest(tmp_path: Path) -> None:
    """After those that the snippet has had before; those of a snippet that is gone stay."""
    folder = make(tmp_path, {"conftest.py": 'pytest_plugins = ["proven.pytest_plugin"]\n'})
    (folder / "docs/data").mkdir()
    (folder / digests.FILE).write_text('{"answer.py": ["0"], "gone.py": ["1"]}')
    for text, options in (("a = 1\n", []), ("a = 2\n", ["--record"])):
        (folder / "snippets/answer.py").write_text(text)
        result = run(folder, "tests/proofs", *options)
        assert result.returncode == pytest.ExitCode.OK, result.stdout + result.stderr
    assert digests.read(folder) == {"answer.py": ["0", hashlib.sha256(b"a = 2\n").hexdigest()], "gone.py": ["1"]}


HERE = """\
import os

import pytest

from proven import evidence

pytest_plugins = ["proven.pytest_plugin"]


@pytest.fixture
def here():
    evidence.on(Server=os.environ["SERVER"])
    if os.environ["SERVER"] == "1":
        pytest.skip("needs another server")
    evidence.on(Client="1")
    assert os.environ["OUTCOME"] == "passed"
"""
ANSWERS = """\
def test_answer(here) -> None:
    assert here is None
"""


def test_a_failure_counts_until_the_proof_passes_or_is_skipped_on_that_stack(tmp_path: Path) -> None:
    """A proof that learned to leave a stack out would else have failed there for good; one that passed has passed."""
    folder = make(tmp_path, {"conftest.py": HERE, "tests/proofs/test_index.py": ANSWERS})

    def outcomes(server: str, outcome: str) -> list[tuple[str, str]]:
        run(folder, "tests/proofs", SERVER=server, OUTCOME=outcome)
        return [(made.stack["Server"], made.outcome) for made in ledger.load(folder / ledger.LOCAL)]

    assert outcomes("2", "failed") == [("2", "failed")]
    assert outcomes("3", "passed") == [("2", "failed"), ("3", "passed")]
    (folder / "conftest.py").write_text(HERE.replace('== "1"', '== "2"'))
    assert outcomes("2", "") == [("3", "passed"), ("2", "not run")]
    (folder / "conftest.py").write_text(HERE.replace('== "1"', '== "3"'))
    assert outcomes("3", "") == [("3", "passed")]  # what was left out before an edit says nothing any more


def run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project, with an engine of its own: it reads the folder that it stands in."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "proven", folder / "proven", ignore=ignored, dirs_exist_ok=True)
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:examples", "--import-mode=importlib"]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CI", "GITHUB"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options],
        cwd=folder,
        env={**ours, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
