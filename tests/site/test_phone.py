"""Every page on a first visit with a narrow window, in the dark look."""

import pytest

from tests.site.visit import PHONE, Reader, pages, refuse


@pytest.mark.parametrize("page", pages())
def test_nothing_is_wrong_on_a_first_visit(page: str, reader: Reader) -> None:
    """No error, no other host, nothing too wide, missing, moving, unreachable or inaccessible."""
    with reader(page, "dark", viewport=PHONE) as visit:
        problems = visit.problems()
    refuse(visit, problems)
