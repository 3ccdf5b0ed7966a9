"""Questions that lead to what was never measured, or to what was measured otherwise."""

import json
from pathlib import Path

import pytest

from proven.macros import decision
from tests.guard.project import PAGE, problems

WAY = """\
questions: [{asks: ["Does it fit?"], answer: "yes", leaf: kept}]
otherwise: none
leaves:
  kept: {says: Keep it, heading: kept, opened: "0", for: [threads]}
  none: {says: Close it, heading: none, opened: "1", for: [threads]}
"""
COUNTED = {
    way: {"threads": {"most": 1, "opened": opened, "left": 0, "lost": 0}}
    for way, opened in (("kept", "0"), ("none", "1"))
}
MATRIX = {"docs/data/measurements/runners.json": json.dumps(COUNTED)}
BOTH = '{{ decision() }}\n\n{{ leaf("kept") }}\n'


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[threads]}\n  none", "[greenlets]}\n  none", "'runners.kept.greenlets' was not measured"),
        ('opened: "0"', 'opened: "1"', "runners.kept.threads.opened is 0, and its leaf says 1"),
        ("  kept:", "  kpt:", "decision.yaml has no leaf 'kept'; did you mean kpt?"),
    ],
)
def test_a_leaf_that_was_not_measured_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, says: str
) -> None:
    """At each call, with the cell that it names."""
    questions = tmp_path / "decision.yaml"
    monkeypatch.setattr(decision, "QUESTIONS", questions)
    questions.write_text(WAY)
    assert problems(tmp_path, {PAGE: BOTH, **MATRIX}) == []
    questions.write_text(WAY.replace(old, new, 1))
    found = problems(tmp_path, {PAGE: BOTH, **MATRIX})
    assert {f"{PAGE}:1: {says}", f"{PAGE}:3: {says}"} <= {*found}
