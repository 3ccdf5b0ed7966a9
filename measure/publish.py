"""What was measured becomes a file that pages draw from, unless noise makes it unsafe."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from proven import ROOT


def publish(file: Path, tree: dict[str, Any], reasons: Iterable[str]) -> int:
    """Write the file, or say why nothing may be concluded from what was measured; return the exit status."""
    if found := list(reasons):
        print("measure: nothing was written:\n" + "\n".join(f"  {reason}" for reason in found), file=sys.stderr)
        return 1
    file.write_text(json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written: {file.relative_to(ROOT)}")
    return 0
