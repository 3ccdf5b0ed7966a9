"""A page that was in order is visited again as soon as anything has changed that the visit depends on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.site import known
from tests.site.known import Known

PAGE = '<link rel="canonical" href="https://guide.example/"><link rel="stylesheet" href="style.css">'


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str, str], Known]:
    """Return what is known of the page of a site, which each call builds anew: built(page, style)."""
    sites = iter(range(100))

    def build(page: str = PAGE, style: str = "") -> Known:
        site = tmp_path / f"site-{next(sites)}"
        site.mkdir()
        (site / "index.html").write_text(page)
        (site / "style.css").write_text(style)
        (site / "other.css").write_text(site.name)
        return Known("test_of_a_page[/]", site, tmp_path / "known")

    return build


def test_what_has_not_changed_is_known(built: Callable[..., Known]) -> None:
    """With its weight, also in a site that was built anew, and whatever changed that the page asks nothing of."""
    assert built().recall() is None
    built().remember({"/", "/style.css"}, 1234)
    assert built().recall() == 1234


@pytest.mark.parametrize("change", [{"page": f"{PAGE}."}, {"style": "p {}"}])
@pytest.mark.parametrize("query", ["", "?threads=4"])
def test_what_the_page_is_sent_counts(change: dict[str, str], query: str, built: Callable[..., Known]) -> None:
    """Each file to the byte, whatever was asked of it."""
    built().remember({f"/{query}", f"/style.css{query}"}, 1234)
    assert built(**change).recall() is None


@pytest.mark.parametrize(
    "name", ["visit.py", "checks.js", "test_pages.py", "axe.min.js", "Vera.ttf", "playwright", "browser"]
)
def test_what_checks_counts(name: str, built: Callable[..., Known], monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks, the fonts and the browser."""
    built().remember({"/", "/style.css"}, 1234)
    assert known.tests()[name]
    other = {**known.tests(), name: "another"}
    monkeypatch.setattr(known, "tests", lambda: other)
    assert built().recall() is None
