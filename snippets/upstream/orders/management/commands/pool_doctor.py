"""Show on one screen what holds connections to PostgreSQL and what waits.

Exit status: 0 healthy, 1 warning, 2 critical, 3 unknown.
"""

import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import Error, connections
from django.utils.connection import ConnectionDoesNotExist

from . import _pool_doctor_console as console
from . import _pool_doctor_processes as processes
from ._pool_doctor_findings import (
    LEVELS,
    Finding,
    as_json,
    as_lines,
    as_prometheus,
    refused,
    worst,
)

QUERY = Path(__file__).with_suffix(".sql")
CLIENTS = """
select client_port, pid
from pg_stat_activity
where client_port > 0 and pid <> pg_backend_pid()
"""


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database", default="default", help="an alias in DATABASES"
        )
        parser.add_argument(
            "--console",
            default=os.environ.get("POOL_DOCTOR_CONSOLE"),
            help=f"the address of PgBouncer's console, like {console.LIKE}",
        )
        parser.add_argument(
            "--patience", help="what lasts longer is a warning: '5 min'"
        )
        parser.add_argument(
            "--since", type=Path, help="a file that keeps counts between runs"
        )
        output = parser.add_mutually_exclusive_group()
        for option, form in (("json", as_json), ("prometheus", as_prometheus)):
            output.add_argument(
                f"--{option}",
                action="store_const",
                const=form,
                dest="form",
                default=as_lines,
                help=f"print {option} for programs",
            )

    def handle(self, *args: object, **options: Any) -> None:
        findings, clients = look(**options)
        if options["console"]:
            more, others = console.look(options["console"])
            findings += more
            clients |= others
        findings += processes.look(clients)
        self.stdout.write(options["form"](findings))
        sys.exit(LEVELS[worst(findings).level])


def look(
    database: str, patience: str | None, since: Path | None, **others: object
) -> tuple[list[Finding], processes.Clients]:
    """Return PostgreSQL's findings, and its clients."""
    try:
        connection = connections[database]
        # A doctor that hangs when the server does reports nothing.
        connection.settings_dict["OPTIONS"].setdefault("connect_timeout", 5)
        last = since.read_text() if since and since.exists() else ""
        with connection.cursor() as cursor:
            findings, counted = ask(cursor, patience, last)
            cursor.execute(CLIENTS)
            theirs = cursor.fetchall()
        if since:
            since.write_text(counted)
    except (Error, ConnectionDoesNotExist, OSError) as error:
        full, other = "runbooks/too-many-clients/", "reference/every-error/"
        return [refused("connect", error, full, other)], {}
    ours = connection.connection.info.port
    return findings, {(port, ours): f"session {pid}" for port, pid in theirs}


def ask(cursor: Any, patience: str | None, last: str) -> tuple[list, str]:
    """Return what the query beside this file finds, and what it counts."""
    # With null, the role's own setting applies.
    cursor.execute(
        "select set_config('pool_doctor.patience', %s, false),"
        " set_config('pool_doctor.last', %s, false)",
        [patience, last],
    )
    cursor.execute(QUERY.read_text())
    findings = [Finding(*map(plain, row)) for row in cursor.fetchall()]
    cursor.execute("select current_setting('pool_doctor.last')")
    return findings, cursor.fetchone()[0]


def plain(value: Any) -> Any:
    """Return a Decimal as a float, which JSON can hold."""
    return float(value) if isinstance(value, Decimal) else value
