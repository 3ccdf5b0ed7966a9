"""The guide holds together, as far as that can be seen without running it."""

from proven import check
from proven.guide import Guide
from tests.lint.findings import refuse


def test_pages_snippets_and_proofs_fit_together(the_guide: Guide) -> None:
    """Nothing is unknown, orphaned, typed by hand or named twice."""
    assert the_guide.pages
    assert the_guide.snippets
    assert the_guide.proofs
    refuse(check.problems(the_guide))
