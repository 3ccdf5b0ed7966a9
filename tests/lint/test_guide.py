"""The guide holds together, as far as that can be seen without running it."""

from proven import check, guide
from tests.lint.findings import refuse


def test_pages_snippets_and_proofs_fit_together() -> None:
    """Nothing is unknown, orphaned, typed by hand or named twice."""
    of = guide.read()
    assert of.pages
    assert of.snippets
    assert of.proofs
    refuse(check.problems(of))
