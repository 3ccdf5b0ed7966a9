"""Proofs that do not fail as they must while their control is in force, and controls that change nothing."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from proven import check, guide
from proven.evidence import seen
from proven.sources import proofs
from tests.guard.project import make, problems
from tests.guard.test_pytest_plugin import run

MODULE = "tests/proofs/test_index.py"
HEAD = """\
import pytest
from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, each, edit, here, no_control, replace
LIMIT = 42


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    snippets.export(folder)
    return {"__file__": str(folder / "answer.py")}


@pytest.fixture
def ready():
    assert answer() == 42


def answer():
    snippet = evidence.load("answer.py")
    evidence.ran(snippet)
    names = {}
    exec(snippet.text, names)
    return names["answer"]


"""
LINE = HEAD.count("\n") + 1  # on which the first proof begins
CONTROL = '@control(edit("answer.py", "42", "43"))\n'
# A proof, and how the run that puts its control in force says why it does not count; nothing where it counts.
RUNS = {
    "an assertion": (CONTROL + "def test_answer():\n    assert answer() == 42\n", ""),
    "a fixture of the whole session sees the edit": (
        CONTROL + 'def test_answer(exported):\n    assert "42" in open(exported["__file__"]).read()\n',
        "",
    ),
    "an error that was to be raised": (
        CONTROL
        + "def test_answer():\n    with pytest.raises(KeyError):\n        {}[answer()] if answer() == 42 else 0\n",
        "",
    ),
    "a setting in the proof's own lines": (
        '@control(here("= 42", "= 43"))\ndef test_answer():\n    given = 42\n    assert answer() == given\n',
        "",
    ),
    "two settings in its own lines": (
        '@control(here("= 42", "= 43"), here("= 1", "= 2"))\n'
        "def test_answer():\n    given = 42\n    least = 1\n    assert answer() == given or least == 1\n",
        "",
    ),
    "a helper's lines": (
        '@control(here("answer.py", "gone.py", of="tests.proofs.test_index:answer"), fails_with="gone.py")\n'
        "def test_answer():\n    assert answer() == 42\n",
        "",
    ),
    "another value of a name": (
        '@control(replace("tests.proofs.test_index:LIMIT", 41))\ndef test_answer():\n    assert answer() <= LIMIT\n',
        "",
    ),
    "an error that the control names": (
        '@control(edit("answer.py", "42", "0"), fails_with="ZeroDivisionError")\n'
        "def test_answer():\n    assert 84 / answer() == 2\n",
        "",
    ),
    "a case of several": (
        CONTROL + '@pytest.mark.parametrize("most", [42, 43])\ndef test_answer(most):\n    assert answer() <= most\n',
        "",
    ),
    "each value of a file of settings": (
        '@control(each("limits.ini", {"*.wait": "0"}))\n'
        'def test_answer(load):\n    evidence.ran(load("limits.ini"))\n    limits = load("limits.ini").text\n'
        '    assert "size = 20\\n" in limits\n    assert "wait = 0\\n" not in limits\n',
        "",
    ),
    "a value of them that may be another": (
        '@control(each("limits.ini"))\n'
        'def test_answer(load):\n    evidence.ran(load("limits.ini"))\n'
        '    assert "size = 20\\n" in load("limits.ini").text\n',
        "with another pgbouncer.wait it passes",
    ),
    "a proof that cannot fail": (CONTROL + "def test_answer():\n    assert answer()\n", "it passes"),
    "a failure in set-up": (
        CONTROL + "def test_answer(ready):\n    assert answer() == 42\n",
        "it fails in its setup, with AssertionError",
    ),
    "a timeout": (
        CONTROL + 'def test_answer():\n    if answer() != 42:\n        raise TimeoutError("not within 1 s")\n',
        "it fails with TimeoutError: not within 1 s, which the control does not name",
    ),
    "a missing name": (
        '@control(edit("answer.py", "answer = 42", "pass"))\ndef test_answer():\n    assert answer() == 42\n',
        "it fails as something is broken, with NameError: name 'answer' is not defined",
    ),
    "a program that is broken, in an assertion's message": (
        CONTROL + "def test_answer():\n    assert answer() == 42, \"NameError: name 'x' is not defined\"\n",
        "it fails as something is broken, with AssertionError: NameError",
    ),
    "another error than the control names": (
        '@control(edit("answer.py", "42", "0"), fails_with="KeyError")\n'
        "def test_answer():\n    assert 84 / answer() == 2\n",
        "it fails with ZeroDivisionError: division by zero, which the control does not name",
    ),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with all of these proofs, which pass, and what their run under controls prints."""
    proofs = [text.replace("def test_answer", f"def {name(what)}") for what, (text, _) in RUNS.items()]
    folder = project(tmp_path_factory.mktemp("project"), "\n\n".join(proofs))
    (folder / "snippets/limits.ini").write_text("[pgbouncer]\nsize = 20\nwait = 15\n")
    passed = run(folder, "tests/proofs")
    assert passed.returncode == pytest.ExitCode.OK, passed.stdout
    remembered(folder)  # as if each had failed before: what does not any more is forgotten
    result = run(folder, "--controls", "all", "tests/proofs")
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout + result.stderr
    return folder, result.stdout


def name(what: str) -> str:
    """Return what a proof is called."""
    return f"test_{re.sub('[^a-z]+', '_', what.lower())}"


@pytest.mark.parametrize("what", RUNS)
def test_only_a_failure_of_the_proofs_own_counts(what: str, ran: tuple[Path, str]) -> None:
    """Each proof passes, and then runs under its control. The run says why one does not count; the others are kept."""
    (folder, printed), why = ran, RUNS[what][1]
    says = [line for line in printed.splitlines() if f": {name(what)} does not fail when " in line]
    assert [line for line in unfailing(folder) if name(what) in line] or not why
    if why:
        assert [line for line in says if f": {why}" in line and line.startswith(f"{MODULE}:")]
    else:
        assert says == []
        assert name(what) in seen.read(folder)


def test_what_was_seen_is_not_run_again(ran: tuple[Path, str]) -> None:
    """A second run has what did not count, and nothing else."""
    folder, _ = ran
    assert f"{sum(not why for _, why in RUNS.values()) + 1} deselected" in controlled(folder).stdout


def test_a_run_where_nothing_was_edited_is_green(tmp_path: Path) -> None:
    """It has nothing to see."""
    folder = project(tmp_path, f"{CONTROL}def test_answer():\n    assert answer() == 42\n")
    remembered(folder)
    result = controlled(folder)
    assert "1 deselected" in result.stdout
    assert result.returncode == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ('edit("answer.py", "44", "43")', "this control changes nothing: '44' is not in snippets/answer.py"),
        ('edit("gone.py", "42", "43")', "this control changes nothing: '42' is not in snippets/gone.py"),
        (
            'here("== 42", "== 43")',
            "this control changes nothing: '== 42' is not in test_answer, outside of its assertions",
        ),
        (
            'here("answer", "another")',
            "this control changes nothing: 'answer' is not in test_answer, outside of its assertions",
        ),
        ('each("answer.py")', "this control changes nothing: snippets/answer.py is no file of settings"),
        ('edit("answer.py", LIMIT, "43")', "this control is not made of texts alone: "),
        ('edit("answer.py", "42")', "this control is not made of texts alone: "),
        ('each("limits.ini", but={"yours to choose": "*.wait"})', "this control is not made of texts alone: "),
        ('swap("answer.py", "42", "43")', "this control is not made of texts alone: "),
    ],
)
def test_a_control_that_changes_nothing_is_refused(control: str, message: str, tmp_path: Path) -> None:
    """Without running anything, at its line."""
    module = f"{HEAD}@control({control})\ndef test_answer():\n    assert answer() == 42\n"
    (found,) = problems(tmp_path, {MODULE: module})
    assert found.startswith(f"{MODULE}:{LINE}: {message}")


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (MODULE, '"43"', '"44"'),
        (MODULE, "assert answer() == 42\n", "assert answer() < 43\n"),
        (MODULE, "names = {}", "names = dict()"),
        ("snippets/answer.py", "answer = 42", "answer = 6 * 7 + 42 - 42"),
    ],
)
def test_an_edit_makes_a_control_unseen(path: str, old: str, new: str, tmp_path: Path) -> None:
    """Of the control, the proof, a helper that it calls, or the snippet."""
    folder = project(tmp_path, RUNS["an assertion"][0])
    remembered(folder)
    assert unfailing(folder) == []
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new))
    (found,) = unfailing(folder)
    assert found.startswith(f"{MODULE}:{LINE}: test_answer was not seen to fail when `42` is `4")
    assert found.endswith("in `answer.py`: make controls ONLY=test_answer")


def test_a_control_is_no_part_of_what_a_proof_rests_on(tmp_path: Path) -> None:
    """Whoever adds one outdates no evidence, and does not have the proof name a snippet."""
    bare = "def test_answer():\n    assert answer() == 42\n"
    (without,) = proofs.read(project(tmp_path, bare))[0].values()
    stated_so = f'{CONTROL}@control(\n    edit("a.py", "1", "2"),\n)\n{bare}'
    (stated,) = proofs.read(project(tmp_path, stated_so))[0].values()
    assert len(stated.controls) == 2
    assert replace(stated, controls=(), line=without.line) == without


def test_a_proof_states_a_control_or_why_it_has_none(tmp_path: Path) -> None:
    """And those that have none stay few."""
    proof = "def test_{}():\n    assert answer() == 42\n\n\n"
    folder = project(tmp_path, proof.format("answer"))
    assert unfailing(folder) == [
        f"{MODULE}:{LINE}: test_answer states no control: above it, say under which change it fails (CONTRIBUTING.md)"
    ]
    project(tmp_path, "@no_control('nobody can')\n" + proof.format("answer"))
    message = "1 of 1 proofs have no control: add one to this proof, or to another"
    assert unfailing(folder) == [f"{MODULE}:{LINE + 1}: {message}"]
    others = "".join(CONTROL + proof.format(number) for number in range(19))
    project(tmp_path, others + "@no_control('nobody can')\n" + proof.format("answer"))
    remembered(folder)
    assert unfailing(folder) == []


def project(folder: Path, proof: str) -> Path:
    """Return a project with one proof, or some, below what they share."""
    return make(folder, {MODULE: HEAD + proof, "conftest.py": 'pytest_plugins = ["proven.pytest_plugin"]\n'})


def controlled(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what was not seen to fail under its control."""
    return run(folder, "--controls", "edited", "tests/proofs")


def remembered(folder: Path) -> None:
    """Note that each proof was seen to fail, as if it had run."""
    now = guide.read(folder)
    days = {
        proof.name: {seen.digest(proof, each, now.snippets): "2026-11-28" for each in proof.controls}
        for proof in now.proofs.values()
    }
    seen.remember(days, now.proofs.values(), now.snippets, folder)


def unfailing(folder: Path) -> list[str]:
    """Return what `python -m proven.check --proven` says of controls."""
    return [str(problem) for problem in check.unfailing(guide.read(folder))]
