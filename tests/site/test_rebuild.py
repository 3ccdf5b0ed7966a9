"""What an edit costs: `make serve` on a copy of the guide itself. How long it takes is measured: `measure/edit.py`."""

import re
import shutil
from pathlib import Path

from tests.site.test_serve import Served
from tests.stack.wait import until

CONVERTED = re.compile(r"converted: (.+)")


def test_after_an_edit_no_other_page_is_converted_again(clone: Path, tmp_path: Path) -> None:
    """At first all are; and then the one that was edited."""
    shutil.copytree(clone, tmp_path / "guide")
    served = Served(tmp_path / "guide")

    def builds(number: int) -> list[str]:
        """Return which pages each of so many builds has converted."""
        return until(
            "it is said", lambda: found if len(found := CONVERTED.findall(served.leash.said())) >= number else []
        )

    try:
        (first,) = builds(1)
        assert re.fullmatch(r"\d\d+ pages", first)
        served.append("An edit.")
        assert builds(2)[1:] == ["how-to/see-connections.md"]
    finally:
        served.leash.stop()
