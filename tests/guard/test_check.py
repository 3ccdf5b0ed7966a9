"""Proofs that cannot be told apart, and evidence that speaks of what was there before."""

import sys
from pathlib import Path

import pytest

from proven import check, guide
from proven.evidence import ledger
from proven.evidence.ledger import Run
from tests.guard.project import FILES, make, problems

MODULE = "tests/proofs/test_index.py"
EDITED = "has passed before, and since then {} was edited"


def test_a_project_with_nothing_wrong_in_it_is_accepted(tmp_path: Path) -> None:
    """So every other test here fails for the mistake that it makes."""
    assert problems(tmp_path) == []


def test_two_proofs_of_one_name_are_refused(tmp_path: Path) -> None:
    """Claims name a proof by its function alone."""
    changes = {"docs/how-to/ask.md": "Text.\n", "tests/proofs/how_to/test_ask.py": "\n\ndef test_answer(): assert 1\n"}
    message = "tests/proofs/how_to/test_ask.py:3 has a proof of this name already: rename one"
    assert problems(tmp_path, changes) == [f"{MODULE}:4: {message}"]


def test_a_module_of_proofs_without_its_page_is_refused(tmp_path: Path) -> None:
    """tests/proofs/ mirrors docs/."""
    changes = {"docs/how-to/ask.md": "Text.\n", "tests/proofs/how_to/test_aks.py": "def test_ask(): assert 1\n"}
    message = (
        "this module proves docs/how-to/aks.md, which is not there; did you mean docs/how-to/ask.md or docs/index.md?"
    )
    assert problems(tmp_path, changes) == [f"tests/proofs/how_to/test_aks.py:1: {message}"]


def test_a_passing_proof_at_the_present_digest_is_enough(tmp_path: Path) -> None:
    """The claim and the snippet that it ran are proven."""
    passed(make(tmp_path))
    assert unproven(tmp_path) == []


def test_what_never_ran_is_unproven(tmp_path: Path) -> None:
    """The claim and the snippet, each at its line of the page, each with the command that proves it."""
    make(tmp_path)
    assert unproven(tmp_path) == [
        f"docs/index.md:3: test_answer ({MODULE}:4) has not run: make prove ONLY=test_answer",
        "docs/index.md:5: snippets/answer.py has no passing proof at its present digest (test_answer has not run): "
        "make prove ONLY=snippets/answer.py",
    ]


@pytest.mark.parametrize(
    ("path", "edited"), [("snippets/answer.py", "snippets/answer.py"), (MODULE, f"{MODULE}::test_answer")]
)
def test_an_edit_makes_the_evidence_stale(path: str, edited: str, tmp_path: Path) -> None:
    """Of the snippet or of the proof: both are bound to their digests, and which was edited is said."""
    passed(make(tmp_path))
    (tmp_path / path).write_text(FILES[path].replace("42", "43"), encoding="utf-8")
    assert unproven(tmp_path) == [
        f"docs/index.md:3: test_answer ({MODULE}:4) {EDITED.format(edited)}: make prove ONLY=test_answer",
        "docs/index.md:5: snippets/answer.py has no passing proof at its present digest "
        f"(test_answer {EDITED.format(edited)}): "
        "make prove ONLY=snippets/answer.py",
    ]


def test_a_marker_is_no_edit(tmp_path: Path) -> None:
    """A reader never gets it, so the evidence stands."""
    passed(make(tmp_path))
    text = FILES["snippets/answer.py"].replace("# endregion", "# region: two\n# endregion") + "# endregion: two\n"
    (tmp_path / "snippets/answer.py").write_text(text, encoding="utf-8")
    assert unproven(tmp_path) == []


def test_a_failure_on_one_stack_outweighs_a_pass_on_another(tmp_path: Path) -> None:
    """A proof holds everywhere it ran, or not at all."""
    passed(make(tmp_path))
    passed(tmp_path, outcome="failed", stack={"PostgreSQL": "15.18"})
    assert [line.partition(": ")[0] for line in unproven(tmp_path)] == ["docs/index.md:3", "docs/index.md:5"]
    assert all("test_answer" in line and "failed" in line for line in unproven(tmp_path))


def test_a_snippet_that_no_proof_runs_is_refused(tmp_path: Path) -> None:
    """At the page that shows it."""
    passed(make(tmp_path, {"snippets/case.py": "a = 1\n", "docs/case.md": 'Text.\n\n{{ snippet("case.py") }}\n'}))
    message = "snippets/case.py is proven by nothing: add a proof under tests/proofs/"
    assert unproven(tmp_path) == [f"docs/case.md:3: {message}"]


@pytest.mark.parametrize("github", ["", "true"])
def test_the_command_that_publishing_begins_with_refuses_stale_evidence(
    github: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with 1 and prints each problem, in GitHub Actions also as an annotation of the page's line.

    So does a proof that was never seen to fail.
    """
    passed(make(tmp_path))
    (tmp_path / "snippets/answer.py").write_text(FILES["snippets/answer.py"] + "\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", github)
    monkeypatch.setattr(sys, "argv", ["check", "--root", str(tmp_path)])
    assert check.main() == 0
    monkeypatch.setattr(sys, "argv", ["check", "--proven", "--root", str(tmp_path)])
    assert check.main() == 1
    printed = capsys.readouterr().err.splitlines()
    message = f"test_answer ({MODULE}:4) {EDITED.format('snippets/answer.py')}: make prove ONLY=test_answer"
    assert f"docs/index.md:3: {message}" in printed
    assert (f"::error file=docs/index.md,line=3::{message}" in printed) == (github == "true")
    assert any(line.startswith(f"{MODULE}:4: test_answer states no control: ") for line in printed)


def passed(root: Path, outcome: str = "passed", stack: dict[str, str] | None = None) -> None:
    """Write evidence that the project's proof ran, as it is now."""
    of = guide.read(root)
    digests = {"answer.py": [of.snippets["answer.py"].digest, "ran"]}
    run = Run("test_answer", "", of.proofs["test_answer"].parts, outcome, "2030-01-01", 0.1, stack or {}, digests)
    ledger.write(root / ledger.COMMITTED, [run], of.proofs)


def unproven(root: Path) -> list[str]:
    """Return what has no passing proof at its present digest."""
    return [str(problem) for problem in check.unproven(guide.read(root))]
