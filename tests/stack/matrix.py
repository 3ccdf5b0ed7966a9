"""Run every proof on every stack that this machine can make.

A stack differs from the one of `make test` in one part, and each PgBouncer also meets the PostgreSQL of Debian 12.
What passes, or is left out, is added to the committed ledger, from which the pages draw; transcripts are compared and
never recorded. `python -m tests.stack.matrix` runs all, and takes what pytest takes: `--only snippets/pgbouncer/`,
or `--only edited`: the proofs whose evidence is out of date, and those that have run on one stack alone.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from proven import ROOT, guide
from proven.evidence import ledger
from proven.macros.markup import counted
from setup import debian, others
from tests.stack.postgres import DEFAULT_MAJOR

# Debian's releases, and with them the PgBouncers that people have: 1.18, 1.24, and the newest.
SUITES = ("bookworm", "trixie", "sid")
MAJORS = ("14", "15", "16", "17", "18")
# Beside the LTS release that requirements.lock pins: the LTS release before it, and the newest.
DJANGOS = ("django-4.2", "django-6.1")
DEBIAN_12 = "15"  # its PostgreSQL
PARALLEL = (f"--numprocesses={2 * (os.cpu_count() or 1) + 2}", "--dist=loadscope", "--no-loadscope-reorder")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Stack:
    """What one run of the proofs runs on; "" is what `make test` takes."""

    pgbouncer: str = ""
    postgres: str = DEFAULT_MAJOR
    django: str = ""
    driver: str = ""

    def __str__(self) -> str:
        """Name it in one line."""
        others = [part for part in (self.django, self.driver) if part]
        return ", ".join([f"PgBouncer of {self.pgbouncer or 'this machine'}", f"PostgreSQL {self.postgres}", *others])


def stacks(pgbouncers: list[str], postgres: list[str], djangos: list[str]) -> Iterator[Stack]:
    """Return the stacks to run, of the parts that are here."""
    newest = pgbouncers[-1] if pgbouncers else ""
    for pgbouncer in pgbouncers or [""]:
        for major in postgres:
            if pgbouncer == newest or major in (DEBIAN_12, DEFAULT_MAJOR):
                yield Stack(pgbouncer, major)
    for django in djangos:
        yield Stack(newest, django=django)
    yield Stack(newest, driver="psycopg2")


def here(kind: str, names: tuple[str, ...], fetch: Callable[[str], Found], said: list[str]) -> dict[str, Found]:
    """Return what can be fetched, and say of the others why not."""
    found = {}
    for name in names:
        try:
            found[name] = fetch(name)
        except RuntimeError as error:
            said.append(f"not here  {kind} {name}: {error}")
    return found


def main(*arguments: str) -> int:
    """Run each stack, say how it ended, and return 1 where a proof failed."""
    before = guide.read()
    for name, proofs in sorted(ledger.outdated(before.history.runs, before.proofs, before.snippets).items()):
        print(f"out of date  {name}, on which {counted(len(proofs), 'proof')} rested")
    if arguments == ("--only", "edited"):
        arguments = (*PARALLEL, "--only", ",".join(edited(before)))
    said: list[str] = []
    pgbouncers = here("PgBouncer", SUITES, lambda suite: debian.fetch("pgbouncer", suite), said)
    postgres = here("PostgreSQL", MAJORS, others.postgres, said)
    djangos = here("Django", DJANGOS, others.environment, said)
    failed = False
    for stack in stacks(list(pgbouncers), list(postgres) or [DEFAULT_MAJOR], list(djangos)):
        print(f"\n{stack}", flush=True)
        python = djangos.get(stack.django, Path(sys.executable))
        binaries = str(postgres.get(stack.postgres, ""))
        which = {"PROVEN_PGBOUNCER": stack.pgbouncer, "PROVEN_PG_BIN": binaries, "PROVEN_DRIVER": stack.driver}
        passed = run(python, arguments, which)
        said.append(f"{'passed' if passed else 'FAILED':9} {stack}")
        failed = failed or not passed
    of = guide.read()
    ran = ledger.Ledger(ledger.load(ROOT / ledger.LOCAL)).current(of.proofs, of.snippets).runs
    # Where all stacks ran, what is outdated all the same is of versions that cannot be had any more.
    runs = [run for run in ran if run.outcome != "failed"]
    ledger.write(ROOT / ledger.COMMITTED, runs, of.proofs, outdated=bool(arguments))
    print("\n" + "\n".join(said))
    return int(failed)


def edited(of: guide.Guide) -> list[str]:
    """Return the proofs that want to run again: what they rest on was edited, or they have met one stack at most."""
    passed = [run for run in of.history.runs if run.outcome == "passed"]
    outdated = ledger.outdated(passed, of.proofs, of.snippets).values()
    met = {name: {run.stack_key for run in of.ledger.runs if run.proof == name} for name in of.proofs}
    return sorted({name for name in met if len(met[name]) < 2}.union(*outdated) & of.proofs.keys())


def run(python: Path, arguments: tuple[str, ...], which: dict[str, str]) -> bool:
    """Run proofs on one stack; return whether all passed."""
    # DATABASE_URL would come before any PostgreSQL that is named.
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | which
    # Asked for by name: what a stack leaves out is another's to prove. Few proofs are not worth the start of workers.
    command = [python, "-m", "pytest", *(arguments or (*PARALLEL, "--only", "tests/proofs"))]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sys.exit(main(*asked.parse_known_args()[1]))
