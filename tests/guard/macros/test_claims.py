"""Claims of what nothing proves."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from proven.guide import read
from proven.macros.claims import TOLD
from proven.macros.markup import PROOFS_PAGE
from tests.guard.project import FILES, PAGE, Macros, make, problems

PROOF = "tests/proofs/test_index.py"
IMPORT = "from proven.sources.controls import control, here"


@pytest.mark.parametrize("call", ['proven("test_anwser")', 'proven("test_answer", "test_anwser")'])
def test_a_claim_without_its_proof_is_refused(call: str, tmp_path: Path) -> None:
    """With the nearest name, also where it stands among others."""
    found = problems(tmp_path, {PAGE: f"Text. {{{{ {call} }}}}\n"})
    assert found == [f"{PAGE}:1: no proof is called 'test_anwser'; did you mean test_answer?"]


@pytest.mark.parametrize("others", [0, 1, 2])
def test_of_many_controls_the_first_are_told_and_the_others_counted(others: int, tmp_path: Path) -> None:
    """The page of proofs has to load."""
    controls = "".join(f"@control(here('answer', 'answer{n}'))\n" for n in range(TOLD + others))
    proof = FILES[PROOF].replace("def test", f"{controls}def test").replace("\n\n\n", f"\n{IMPORT}\n\n\n", 1)
    of = read(make(tmp_path, {PROOF: proof, f"docs/{PROOFS_PAGE}": "# Proofs\n"}))
    shown = Macros(SimpleNamespace(page=SimpleNamespace(path=PROOFS_PAGE)), of).proofs()
    assert shown.count("Fails when") == TOLD
    assert ("Fails under" in shown) == bool(others)
    if others:
        assert f"Fails under {others} more change{'s' * (others > 1)}." in shown
