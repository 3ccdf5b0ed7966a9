"""Measure what reuse is worth on this machine, the first part of `make measure`: 12 minutes, or one with QUICK=1."""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from measure import clocks, environment, results, rounds
from measure.lane import Certificates, Lane, orders_for
from measure.plan import FULL, QUERIES, QUICK, Plan
from measure.rounds import Journal, Lanes
from proven import ROOT
from tests.stack import pgbouncer
from tests.stack.leash import end_keepers
from tests.stack.upstream import Project

MORE = 2  # rounds that are added to those from which nothing could be concluded


def main(arguments: list[str]) -> int:
    """Measure, say what was found, and publish it where it is safe to. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="measure", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four setups and the cheapest query, written nowhere")
    parser.add_argument("--again", action="store_true", help="only compute the file again from the published rounds")
    given = parser.parse_args(arguments)
    plan = QUICK if given.quick else FULL
    if given.again:
        results.publish(results.again())
        return 0
    try:
        if not clocks.here():
            raise RuntimeError("needs Linux, which reports the processor time of each process")
        environment.take_precedence()
        origin = environment.choose_postgresql()
        pgbouncer.find()
        return conclude(plan, run(plan, origin))
    except (OSError, RuntimeError) as error:
        print(f"measure: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmeasure: stopped. The same command continues after the last complete round")
        return 130
    finally:
        end_keepers()


def run(plan: Plan, origin: str) -> Journal:
    """Start every setup, and measure the rounds that are missing."""
    with ExitStack() as stack:
        lanes = _started(plan, stack)
        version = next(iter(lanes.values())).cluster.server.version()
        journal = Journal(plan, environment.describe(origin, version))
        if not journal.rounds:
            kept = lanes["kept", False]
            journal.begin({name: orders_for(kept, QUERIES[name].cost) for name in plan.queries})
        # A plan that is run again although all its rounds are there was refused before.
        missing = max(plan.rounds - len(journal.rounds), 0) or MORE
        if journal.rounds:
            print(f"measure: continuing after {len(journal.rounds)} rounds in {journal.file.relative_to(ROOT)}")
        # The first round is several times as fast as its first cells suggest: the time left is that of all so far.
        with tqdm(total=missing * plan.cells(), unit="cell", smoothing=0, dynamic_ncols=True) as bar:
            for _ in range(missing):
                journal.add(rounds.measure(plan, lanes, journal.orders, bar))
        return journal


def _started(plan: Plan, stack: ExitStack) -> Lanes:
    """Start every setup that a plan measures; they end with the stack."""
    project = Project(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proven-measure-"))))
    stack.callback(project.stop)
    wanted = sorted(plan.lanes())
    certificates = Certificates() if any(tls for _, tls in wanted) else None
    if certificates:
        stack.callback(certificates.leash.stop)
    lanes: Lanes = {}
    for name, tls in tqdm(wanted, desc="starting", unit="setup", leave=False):
        lanes[name, tls] = Lane(project, name, certificates if tls else None)
        stack.callback(lanes[name, tls].stop)
    return lanes


def conclude(plan: Plan, journal: Journal) -> int:
    """Say what was found; publish what the full plan found, unless noise makes it unsafe."""
    tree = results.summarize(journal.head, journal.orders, journal.rounds)
    print(results.told(tree))
    others = tree["noise"]["others"]["median"]["value"]
    print(f"\nOther programs took {others:g} % of the processors in the middle cell.")
    if plan is not FULL:
        journal.forget()
        print("Quick run: nothing was written. Without QUICK=1, this part takes 12 minutes and writes its file.")
        return 0
    if reasons := list(results.unsafe(tree)):
        print("\nmeasure: nothing was written, because the results support no conclusion:", file=sys.stderr)
        print("\n".join(f"  {reason}" for reason in reasons[:10]), file=sys.stderr)
        print(
            f"Run it again where less else runs: it adds {MORE} rounds. To begin anew, delete {journal.file}.",
            file=sys.stderr,
        )
        return 1
    results.publish(tree)
    journal.forget()
    print(f"written: {results.FILE.relative_to(ROOT)}. Run make serve to see the page with these numbers")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
