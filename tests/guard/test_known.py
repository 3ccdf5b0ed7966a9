"""A run that leaves out what is known: what passed here, where nothing has changed that it can see."""

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proven import ROOT
from tests.guard.project import FILES, make
from tests.guard.test_pytest_plugin import run
from tests.known import LASTS, may_be_known, recall

PROOF = "tests/proofs/test_index.py"
# A proof in a module that reads files by itself: it can see all of the tree, the other proofs too.
READER = """\
from pathlib import Path


def test_reads() -> None:
    assert Path(__file__).exists()
"""
# One that edits what others can see.
EDITOR = """\
from pathlib import Path


def test_edits() -> None:
    assert Path("snippets/answer.py").write_text("answer = 42\\n")
"""
PROJECT = {
    "conftest.py": 'pytest_plugins = ["proven.pytest_plugin", "tests.known"]\n',
    "tests/__init__.py": "",
    "tests/programs.py": 'import os\n\n\ndef versions():\n    return [os.environ.get("SERVER", "1")]\n',
    "tests/proofs/test_reads.py": READER,
    "tests/proofs/test_counts.py": "def test_counts() -> None:\n    assert 6 * 7 == 42\n",
}
# What is changed after all proofs have passed, and which of them then run.
ALL = {"test_answer", "test_counts", "test_reads"}
EDITS = {
    "nothing": ("", "", "", set()),
    "the snippet": ("snippets/answer.py", "print", "print(1); print", ALL),
    "one of the proofs": (PROOF, "It is 42.", "It is a number.", {"test_answer", "test_reads"}),
    "a page, which one module reads": ("docs/index.md", "is known", "is well known", {"test_reads"}),
    "what starts the servers": ("tests/programs.py", "import os", "import  os", ALL),
    "any other file": ("mkdocs.yml", "plugins", "# plugins\nplugins", {"test_reads"}),
    "the ledger, which has lost them": ("build/ledger.json", "passed", "failed", ALL),
}
VARIABLES = {
    "another program": ({"SERVER": "2"}, ALL),
    "a variable that chooses a program": ({"PROVEN_SERVER": "2"}, ALL),
    "another variable": ({"TERM": "dumb"}, set()),
}
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
KEPT = '{{"tests/proofs/test_index.py::test_answer": ["test_answer", "0f", "{at}"]}}'
# What may stand in the file in which it is kept, and is not counted on.
WRONG = {
    "what passed the day before": KEPT.format(at=NOW - LASTS),
    "what will pass, by a clock that was wrong": KEPT.format(at=NOW + timedelta(seconds=1)),
    "no date": KEPT.format(at="today"),
    "an entry of two": '{"test_answer": ["test_answer", "0f"]}',
    "a list": "[]",
    "half of it": "{",
}


def passed(folder: Path, *options: str, **environment: str) -> set[str]:
    """Return which proofs run, and pass, in a project."""
    result = run(folder, "tests/proofs", "-v", *options, **environment)
    assert result.returncode == pytest.ExitCode.OK, result.stdout + result.stderr
    return set(re.findall(r"::(\w+) PASSED", result.stdout))


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three proofs, all of which have passed."""
    folder = make(tmp_path_factory.mktemp("project"), PROJECT)
    shutil.copy(ROOT / "tests/known.py", folder / "tests/known.py")
    assert passed(folder, "--unless-known") == ALL
    return folder


@pytest.fixture
def project(passes: Path, tmp_path: Path) -> Path:
    """A copy of it, to be edited."""
    return shutil.copytree(passes, tmp_path / "project")


@pytest.mark.parametrize("what", EDITS)
def test_a_proof_runs_again_where_it_can_see_what_was_edited(what: str, project: Path) -> None:
    """And otherwise not, for a day."""
    path, old, new, again = EDITS[what]
    if path:
        file = project / path
        edited = re.sub(old, new, file.read_text(), count=0 if path == "build/ledger.json" else 1)
        assert edited != file.read_text()
        file.write_text(edited)
    assert passed(project, "--unless-known") == again


@pytest.mark.parametrize("what", VARIABLES)
def test_a_proof_runs_again_where_its_programs_may_be_others(what: str, project: Path) -> None:
    """And otherwise not, whatever else the shell has."""
    variables, again = VARIABLES[what]
    assert passed(project, "--unless-known", **variables) == again


def test_in_continuous_integration_and_on_somebodys_server_nothing_is_known() -> None:
    """A server that is not ours may have changed."""
    assert may_be_known({})
    assert not any(may_be_known(each) for each in ({"CI": "true"}, {"DATABASE_URL": "postgres://"}))


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_counted_on_is_not_known(what: str, tmp_path: Path) -> None:
    """Then its proofs run, and it is written anew."""
    file = tmp_path / "proofs.json"
    file.write_text(KEPT.format(at=NOW - LASTS + timedelta(seconds=1)))
    assert [entry[0] for entry in recall(file, NOW).values()] == ["test_answer"]
    file.write_text(WRONG[what])
    assert recall(file, NOW) == {}


def test_what_was_edited_while_it_ran_is_not_known(project: Path) -> None:
    """It may have passed on either."""
    snippet = project / "snippets/answer.py"
    before = snippet.read_text()
    (project / "tests/proofs/test_edits.py").write_text(EDITOR)
    assert passed(project, "--unless-known") == {"test_edits", "test_reads"}
    snippet.write_text(before)
    assert passed(project, "--unless-known") == {"test_edits", "test_reads"}


def test_nothing_that_is_asked_for_is_no_success(project: Path) -> None:
    """A misspelt -k is told apart from proofs that are all known."""
    assert run(project, "tests/proofs", "--unless-known").returncode == pytest.ExitCode.OK
    misspelt = run(project, "tests/proofs", "--unless-known", "-k", "anwser")
    assert misspelt.returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_without_the_option_all_run(project: Path) -> None:
    """As plain `pytest` does."""
    assert passed(project) == ALL


def test_what_fails_is_not_known_any_more(project: Path) -> None:
    """However it was run."""
    (project / PROOF).write_text(FILES[PROOF].replace("assert answer.text", "assert not answer.text"))
    assert run(project, "tests/proofs").returncode == pytest.ExitCode.TESTS_FAILED
    (project / PROOF).write_text(FILES[PROOF])
    assert passed(project, "--unless-known") == {"test_answer"}


def test_the_run_says_how_many_were_left_out(project: Path) -> None:
    """With the command that runs them."""
    said = run(project, "tests/proofs", "--unless-known").stdout
    assert "proofs    3 not run again" in said
    assert "make test ALL=1 runs all" in said
