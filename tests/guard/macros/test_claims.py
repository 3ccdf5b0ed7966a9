"""Claims of what nothing proves."""

from pathlib import Path

import pytest

from tests.guard.project import Mistake, refused

REFUSED: dict[str, Mistake] = {
    "unknown proof": (
        'Text. {{ proven("test_anwser") }}\n',
        1,
        "no proof is called 'test_anwser'; did you mean test_answer?",
    ),
    "unknown proof among others": (
        'Text. {{ proven("test_answer", "test_anwser") }}\n',
        1,
        "no proof is called 'test_anwser'; did you mean test_answer?",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_claim_without_its_proof_is_refused(case: str, tmp_path: Path) -> None:
    """With its nearest name, also where it stands among others."""
    refused(tmp_path, REFUSED[case])
