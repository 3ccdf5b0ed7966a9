"""How long a writer waits for an edit: `make serve` on a copy of the guide. It ends with 1 where that is too long."""

import sys
import tempfile
import time
from pathlib import Path

from tests.lint import files
from tests.site.test_serve import Served
from tests.stack.leash import end_keepers

BAR = 2.0  # seconds, as CONTRIBUTING.md promises
EDITS = 5


def main() -> int:
    """Edit a page some times, say how long each edit took, and return the exit status."""
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
    if median > BAR:
        print(f"measure: that is longer than {BAR:g} s, or too much else runs here", file=sys.stderr)
    return int(median > BAR)


if __name__ == "__main__":
    sys.exit(main())
