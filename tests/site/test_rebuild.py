"""What an edit costs: `make serve` on a copy of the guide itself. How long it takes is measured: `measure/edit.py`."""

import shutil
from pathlib import Path

from tests.site.test_serve import Served

EDITS = 10  # the cheapest counts: whatever else runs makes the same work cost more


def test_an_edit_costs_less_than_half_of_what_the_beginning_does(clone: Path, tmp_path: Path) -> None:
    """Of the server's own work: what did not change is not made again, on however slow a machine."""
    shutil.copytree(clone, tmp_path / "guide")
    served = Served(tmp_path / "guide")
    try:
        beginning = served.worked()
        taken: list[float] = []
        while len(taken) < EDITS and min(taken, default=beginning) >= beginning / 2:
            served.append(f"Edit {len(taken)}.")
            taken.append(served.worked() - beginning - sum(taken))
    finally:
        served.leash.stop()
    assert min(taken) < beginning / 2, f"seconds of the processor's time: {beginning} to begin with, then {taken}"
