"""A measurement as a command: it writes the file that pages draw from, unless noise makes that unsafe."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from measure import environment
from proven import ROOT
from tests.stack.leash import end_keepers


def command(
    file: Path,
    what: str,
    measure: Callable[[bool], dict[str, Any]],
    told: tuple[str, ...],
    unsafe: Callable[[dict[str, Any]], Iterable[str]],
) -> int:
    """Measure, and write the file, or with --quick print these parts of it; return the exit status.

    `measure` takes whether it is to be quick, and `unsafe` returns why nothing may be concluded from what it returned.
    """
    parser = argparse.ArgumentParser(description=f"Measure {what}.")
    parser.add_argument("--quick", action="store_true", help="a quick look, printed and not written")
    quick = parser.parse_args().quick
    try:
        environment.take_precedence()
        tree = measure(quick)
    except RuntimeError as error:
        print(f"measure: {error}", file=sys.stderr)
        return 1
    finally:
        end_keepers()
    if quick:
        print(json.dumps({name: tree[name] for name in told}, indent=1, ensure_ascii=False))
        return 0
    if reasons := list(unsafe(tree)):
        print("measure: nothing was written:\n" + "\n".join(f"  {reason}" for reason in reasons), file=sys.stderr)
        return 1
    file.write_text(json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    print(f"written: {file.relative_to(ROOT)}")
    return 0
