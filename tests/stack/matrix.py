"""Run the proofs of the version matrix on every stack that this machine can make.

Which proofs these are, the pages say: those of each `matrix(…)`. What passes is added to the committed ledger, from
which the pages draw; transcripts are compared and never recorded. `python -m tests.stack.matrix` runs all.
"""

import os
import subprocess
import sys
from pathlib import Path

from proven import ROOT, guide, ledger
from setup import debian
from tests.stack import postgres

# Debian's releases, and with them the PgBouncers that people have: 1.18, 1.24, and the newest.
SUITES = ("bookworm", "trixie", "sid")
MAJORS = ("14", "15", "16", "17", "18")  # the PostgreSQLs that are supported
INSTALLED = "/usr/lib/postgresql/*/bin/initdb"  # where Debian keeps PostgreSQL, of each version its own


def main() -> int:
    """Run each stack, say how it ended, and return 1 where a proof failed."""
    of = guide.read()
    tests = sorted({str(call.given["tests"]) for page in of.pages for call in page.calls if call.name == "matrix"})
    poolers, missing = poolers_here()
    said = [f"not here  PgBouncer {suite}: {why}" for suite, why in missing.items()]
    absent = [major for major in MAJORS if major not in postgres_here()]
    said += [f"not here  PostgreSQL {major}: nothing at {INSTALLED.replace('*', major)}" for major in absent]
    failed = False
    for pooler in poolers or [""]:
        for name, binaries in postgres_here().items():
            stack = f"PgBouncer {pooler or 'as installed'}, PostgreSQL {name}"
            print(f"\n{stack}", flush=True)
            passed = run(tests, {"PROVEN_PGBOUNCER": pooler, "PROVEN_PG_BIN": binaries})
            said.append(f"{'passed' if passed else 'FAILED':9} {stack}")
            failed = failed or not passed
    names = {proof.name for path in tests for proof in of.proofs_in(path)}
    runs = [run for run in ledger.load(ROOT / ledger.LOCAL) if run.proof in names and run.outcome == "passed"]
    ledger.write(ROOT / ledger.COMMITTED, runs, of.proofs)
    print("\n" + "\n".join(said))
    return int(failed)


def run(tests: list[str], which: dict[str, str]) -> bool:
    """Run proofs on one stack; return whether all passed."""
    # DATABASE_URL would come before any PostgreSQL that is named.
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | which
    return subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=ROOT, env=environment).returncode == 0


def poolers_here() -> tuple[list[str], dict[str, str]]:
    """Return the suites whose PgBouncer is or can be fetched, and of the others why not."""
    missing = {}
    for suite in SUITES:
        try:
            debian.fetch("pgbouncer", suite)
        except RuntimeError as error:
            missing[suite] = str(error)
    return [suite for suite in SUITES if suite not in missing], missing


def postgres_here() -> dict[str, str]:
    """Return the bin directories of the PostgreSQLs on this machine by their versions; "" is the embedded one."""
    installed = sorted(Path("/").glob(INSTALLED.lstrip("/")))
    return {postgres.DEFAULT_MAJOR: ""} | {initdb.parent.parent.name: str(initdb.parent) for initdb in installed}


if __name__ == "__main__":
    sys.exit(main())
