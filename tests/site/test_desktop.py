"""Every page on a first visit with a wide window, in the light look, and what it weighs."""

from collections.abc import Callable

import pytest

from tests.site.visit import DESKTOP, pages, refuse

KB = 1000
HOME, ANY = 120 * KB, 180 * KB


@pytest.mark.parametrize("page", pages())
def test_nothing_is_wrong_on_a_first_visit(page: str, reader: Callable, weigh: Callable) -> None:
    """No error, no other host, nothing too wide, missing, moving, unreachable or inaccessible; and light."""
    with reader(page, "light", viewport=DESKTOP) as visit:
        weight = visit.weight()
        weigh(page, weight)
        problems = visit.problems()
    bar = HOME if page == "" else ANY
    if weight > bar:
        problems.append(f"{weight / KB:.0f} KB are more than {bar / KB:.0f}")
    refuse(visit, problems)
