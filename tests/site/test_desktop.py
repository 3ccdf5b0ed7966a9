"""Every page on a first visit with a wide window, in the light look, and what it weighs."""

from collections.abc import Callable

import pytest

from tests.site.visit import DESKTOP, Reader, pages, refuse

KB = 1000
HOME, ANY = 120 * KB, 180 * KB


@pytest.mark.parametrize("page", pages())
def test_nothing_is_wrong_on_a_first_visit(page: str, reader: Reader, weigh: Callable[[str, int], None]) -> None:
    """No error, no other host, nothing too wide, missing, moving, unreachable or inaccessible; and light."""
    with reader(page, "light", viewport=DESKTOP) as visit:
        weight = visit.weight()
        weigh(page, weight)
        problems = [*too_heavy(page, weight), *visit.problems()]
    refuse(visit, problems)


def too_heavy(page: str, weight: int) -> list[str]:
    """Say so where a page weighs more than it may, in bytes."""
    bar = ANY if page else HOME
    return [f"weighs {weight / KB:.0f} KB, more than {bar / KB:.0f}"] if weight > bar else []
