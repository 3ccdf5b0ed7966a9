"""Find what PgBouncer's transaction mode would break in a Django project.

python audit.py path/to/project

It reads text, so it finds more than there is: look at each line.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# region: patterns
PATTERNS = {
    r"\.iterator\(": "a cursor: set DISABLE_SERVER_SIDE_CURSORS",
    r"with\s+hold\b": "a cursor that outlives its transaction: go direct",
    r"pg_(try_)?advisory_(un)?lock": "use pg_advisory_xact_lock",
    r"[\"']\s*(un)?listen\s": "notifications get lost: go direct",
    r"[\"']\s*set\s+(?!local\b|transaction\b)\w+": "set local, or alter role",
    r"set_config\((?!.*\btrue\b)": "set_config with true, or alter role",
    r"create\s+temp(orary)?\s": "a temporary table: on commit drop",
    r"[\"']\s*prepare\s+\w+": "SQL's PREPARE: leave it to the driver",
    r"-c\s*\w+\s*=": "a setting at startup: alter role … set",
    r"assume_role": "the role leaks to others: log in as that role",
    r"prepare_threshold\W+(?!none\b)\w": "needs max_prepared_statements",
}
# endregion: patterns
SKIPPED = {".git", ".venv", "venv", "node_modules", "site-packages"}


def audit(project: Path) -> Iterator[str]:
    for file in sorted(project.rglob("*.py")):
        if SKIPPED & set(file.parts):
            continue
        lines = file.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            for pattern, advice in PATTERNS.items():
                if re.search(pattern, line, re.IGNORECASE):
                    name = file.relative_to(project)
                    yield f"{name}:{number}: {line.strip()}\n    {advice}"


if __name__ == "__main__":
    found = list(audit(Path(sys.argv[1])))
    print(*found, f"{len(found)} lines to look at", sep="\n")
    sys.exit(1 if found else 0)
