"""Make sure of every program that the tests start, before they do: `python -m tests.programs`.

Each is fetched where it is missing, all at once, and started: the servers, what watches them, the browser with its
driver, the packages that are no part of .venv, and whatever a wheel has put beside Python in it. One line says of each
that does not start why, and what to do. Its tests are then reported as not run. That is the end where it is PostgreSQL,
where it was asked for by name, and under CI=true, but for what a job may leave out.
"""

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

from setup import others
from setup.programs import Program, started
from tests.site import chromium
from tests.stack import haproxy, monitoring, patroni, pgbouncer, poolers, postgres, redis

# What a file begins with that is no script: Linux's programs, and those of macOS.
PROGRAM = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
# The variable that asks for each by name.
NAMED = {"pgbouncer": "PROVEN_PGBOUNCER", "monitoring": "PROVEN_MONITORING", "browser": "PROVEN_CHROMIUM"}
# On the reviewed list of what a job may leave out: not every distribution has them all.
MAY_BE_MISSING = {"monitoring", "poolers", "failover"}


def postgresql() -> None:
    """Make sure of PostgreSQL: without it nothing runs. Raises RuntimeError where it cannot be used."""
    postgres.given()
    _start_all(postgres.bin_dir())


# What makes sure of each, or of all of a kind, and raises RuntimeError where one is missing.
CHECKS: Mapping[str, Callable[[], object]] = {
    "pgbouncer": pgbouncer.version,
    "monitoring": lambda: [monitoring.version(name) for name in monitoring.PROGRAMS],
    "browser": chromium.version,
    "the browser's driver": chromium.driver,
    "poolers": lambda: [each.version() for each in (poolers.Odyssey, poolers.Pgagroal, poolers.Pgpool)],
    "failover": lambda: [patroni.versions(), haproxy.version()],
    "redis": redis.find,
    "packages of runners": lambda: [others.packages(name) for name in others.PACKAGES],
    "linters": lambda: _start_all(Path(sys.executable).parent),
}
# Those that proofs start, besides PostgreSQL, and what is on PATH or beside Python.
STARTED = ("pgbouncer", "monitoring", "browser", "poolers", "failover", "redis")


def missing(checks: Mapping[str, Callable[[], object]]) -> set[str]:
    """Return what cannot be had or does not start, and say of each why as soon as that is known."""
    found = set()
    with ThreadPoolExecutor() as pool:
        names = {pool.submit(check): name for name, check in checks.items()}
        for done in as_completed(names):
            try:
                done.result()
            except RuntimeError as error:
                found.add(names[done])
                print(f"{names[done]}: {error}", file=sys.stderr, flush=True)
    return found


def versions() -> list[str]:
    """Return what programs and packages proofs meet here: other words where any of them is another."""
    found = [postgres.version(), sys.version, *sorted(f"{each.name} {each.version}" for each in distributions())]
    for folder in os.get_exec_path():
        with suppress(OSError):
            found += sorted(f"{each} {each.lstat().st_mtime_ns}" for each in Path(folder).iterdir())
    for name in STARTED:
        try:
            found.append(f"{name}: {CHECKS[name]()}")
        except RuntimeError as error:
            found.append(f"{name}: {error}")
    return found


def needed() -> set[str]:
    """Return what nobody can go on without here."""
    named = {name for name, variable in NAMED.items() if os.environ.get(variable)}
    return named | (CHECKS.keys() - MAY_BE_MISSING if os.environ.get("CI") == "true" else set())


def _start_all(folder: Path) -> None:
    """Start every program of a folder that is no script, to hear which it is."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.is_symlink() and path.open("rb").read(4) in PROGRAM:
            started(Program(path), "--version")


if __name__ == "__main__":
    sys.exit(bool(missing({"postgresql": postgresql}) or missing(CHECKS) & needed()))
