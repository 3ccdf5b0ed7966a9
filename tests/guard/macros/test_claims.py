"""Claims of what nothing proves."""

from pathlib import Path

import pytest

from tests.guard.project import PAGE, problems


@pytest.mark.parametrize("call", ['proven("test_anwser")', 'proven("test_answer", "test_anwser")'])
def test_a_claim_without_its_proof_is_refused(call: str, tmp_path: Path) -> None:
    """With the nearest name, also where it stands among others."""
    found = problems(tmp_path, {PAGE: f"Text. {{{{ {call} }}}}\n"})
    assert found == [f"{PAGE}:1: no proof is called 'test_anwser'; did you mean test_answer?"]
