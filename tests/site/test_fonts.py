"""The browser has the fonts that the tests bring, and no other, whatever the machine has and the site's style names."""

import pytest

from tests.site.fonts import FAMILIES, Font
from tests.site.visit import Reader, Visit

ALL = {family for families in FAMILIES.values() for family in families}


def shown_in(visit: Visit, selector: str) -> set[str]:
    """Return the families from which the browser took the glyphs of some elements."""
    ask = visit.page.context.new_cdp_session(visit.page).send
    for domain in ("DOM", "CSS"):
        ask(f"{domain}.enable")
    root = ask("DOM.getDocument", {"depth": 0})["root"]["nodeId"]
    found = ask("DOM.querySelectorAll", {"nodeId": root, "selector": selector})["nodeIds"]
    fonts = [ask("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"] for node in found]
    return {font["familyName"] for each in fonts for font in each}


@pytest.mark.parametrize("font", FAMILIES)
def test_a_page_is_shown_in_the_fonts_of_the_tests_alone(font: Font, reader: Reader) -> None:
    """Titles, text and code have their own, and the other ones lend what is missing in these."""
    with reader("how-to/pgbouncer/", font=font) as visit:
        text, code = FAMILIES[font]
        assert shown_in(visit, "h1, h2, label") == {text}
        assert shown_in(visit, "pre code") == {code}
        assert shown_in(visit, "body *") <= ALL
