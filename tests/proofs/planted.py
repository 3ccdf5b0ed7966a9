"""The cases in how_to/planted/: code that the audit must report, and similar code that is harmless."""

import re
from pathlib import Path

CASES = Path(__file__).with_name("how_to") / "planted"
EXPECTED = re.compile(r"expect(-below)?: (.+)")


def planted(into: Path) -> dict[Path, set[tuple[int, str]]]:
    """Write each case into a folder of its own; return for each folder the lines and rules to be found."""
    return {_written(file, into): _expected(file.read_text(encoding="utf-8")) for file in sorted(CASES.iterdir())}


def _written(file: Path, into: Path) -> Path:
    code = into / file.stem / (file.stem if "." in file.stem else "code.py")
    code.parent.mkdir(parents=True)
    code.write_bytes(file.read_bytes())
    return code.parent


def _expected(text: str) -> set[tuple[int, str]]:
    lines = enumerate(text.splitlines(), start=1)
    found = ((number, match) for number, line in lines if (match := EXPECTED.search(line)))
    return {(number + bool(match[1]), rule) for number, match in found for rule in match[2].split(", ")}
