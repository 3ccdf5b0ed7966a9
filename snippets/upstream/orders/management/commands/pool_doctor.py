"""Say on one screen what holds connections to PostgreSQL and what waits.

Exit status: 0 healthy, 1 warning, 2 critical, 3 it cannot tell.
"""

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error, connections
from django.utils.connection import ConnectionDoesNotExist

QUERY = Path(__file__).with_suffix(".sql")
# The worst first, each with the exit status that it makes.
LEVELS = {"critical": 2, "warning": 1, "unknown": 3, "ok": 0}
# How a server or a pooler that is there says that it has no place for us.
FULL = ("connection slots are reserved", "too many", "no more connections")


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", default="default", help="an alias")
        parser.add_argument("--json", action="store_true", help="for programs")
        parser.add_argument("--patience", help="such as '5 min'")
        parser.add_argument("--since", type=Path, help="a file to remember by")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            findings = look(**options)
        except (Error, ConnectionDoesNotExist, OSError) as error:
            findings = [failure(" ".join(str(error).split()))]
        found = {finding["level"] for finding in findings}
        worst = next(level for level in LEVELS if level in found)
        if options["json"]:
            said = json.dumps({"level": worst, "findings": findings})
        else:
            said = "\n".join(line(**finding) for finding in findings)
        self.stdout.write(said)
        sys.exit(LEVELS[worst])


def look(
    database: str, patience: str | None, since: Path | None, **others: object
) -> list[dict[str, Any]]:
    """Return what the query beside this file finds."""
    connection = connections[database]
    # Who waits for as long as a frozen server does tells nobody.
    connection.settings_dict["OPTIONS"].setdefault("connect_timeout", 5)
    last = since.read_text() if since and since.exists() else ""
    with connection.cursor() as cursor:
        # With null the role's own setting holds.
        cursor.execute(
            "select set_config('pool_doctor.patience', %s, false),"
            " set_config('pool_doctor.last', %s, false)",
            [patience, last],
        )
        cursor.execute(QUERY.read_text())
        names = [column.name for column in cursor.description]
        rows = cursor.fetchall()
        cursor.execute("select current_setting('pool_doctor.last')")
        (counted,) = cursor.fetchone()
    if since:
        since.write_text(counted)
    return [dict(zip(names, row, strict=True)) for row in map(plain, rows)]


def plain(row: tuple) -> tuple:
    """Return a row with its decimal as a number that JSON has."""
    level, item, value, *others = row
    return (level, item, None if value is None else float(value), *others)


def failure(said: str) -> dict[str, Any]:
    """Return what it means that there was no connection."""
    level = "critical" if any(text in said for text in FULL) else "unknown"
    nothing = {"value": None, "unit": ""}
    return {"level": level, "item": "connect", **nothing, "finding": said}


def line(
    level: str, item: str, value: float | None, unit: str, finding: str
) -> str:
    """Return a finding as a line of text."""
    number = "" if value is None else f"{value:g}"
    return f"{level:8}  {item:11}  {number:>6} {unit:2}  {finding}"
