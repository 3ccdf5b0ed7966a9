"""How long a writer waits for an edit: `make serve` on a copy of the guide."""

import tempfile
import time
from pathlib import Path

from tests.lint import files
from tests.site.test_serve import Served
from tests.stack.leash import end_keepers

EDITS = 5


def main() -> None:
    """Edit a page several times, and say how long each edit took."""
    with tempfile.TemporaryDirectory(prefix="proven-measure-") as folder:
        guide = Path(folder) / "guide"
        files.clone(guide)
        served = Served(guide)
        taken = []
        try:
            for number in range(EDITS):
                began = time.monotonic()
                served.append(f"Edit {number}.")
                taken.append(time.monotonic() - began)
        finally:
            served.leash.stop()
            end_keepers()
    median = sorted(taken)[EDITS // 2]
    print(f"An edit is served after {median:.1f} s: {', '.join(f'{seconds:.1f}' for seconds in taken)}.")


if __name__ == "__main__":
    main()
