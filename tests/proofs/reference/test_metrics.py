"""Proves docs/reference/metrics.md: every metric that is named anywhere is in a real scrape of the real exporters."""

import json
import os
import pprint
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from signal import SIGCONT, SIGSTOP

import pytest

from proven import ROOT, guide
from proven.problems import ProblemError, nearest
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from tests.proofs.watched import RULES, watching
from tests.stack import monitoring, postgres
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import DEFAULT_MAJOR, own_major
from tests.stack.scripts import execute
from tests.stack.wait import until

METRICS = "monitoring/metrics.py"
COLUMNS = "pgbouncer/columns.py"
DASHBOARD = "monitoring/grafana/dashboard.json"
RECORDED = re.compile(r"^RECORDED: .*?^(?=# endregion: recorded)", re.MULTILINE | re.DOTALL)
# What every Go program exports about itself, and PostgreSQL's settings, except for one.
OWN = re.compile(r"go_|process_|promhttp_|mtail_|.*_build_info$|pg_settings_(?!max_connections$)")
# Which row of a view, and which sample of a metric, is the application's.
WHERE: dict[str, dict[str, str]] = {
    "pools": {"user": "upstream", "database": "upstream"},
    "stats": {"database": "upstream"},
    "databases": {"name": "upstream"},
    "lists": {},
}
SETTINGS = ROOT / "tests/lint/pgbouncer.json"
SECONDS = 1_000_000  # columns of times are in microseconds
# What no state tells apart: each request to cancel that was passed on has a server connection of its own, and no name
# is looked up here.
TOGETHER = (
    {"cl_active_cancel_req", "sv_active_cancel"},
    {"dns_names", "dns_zones", "dns_queries"},
)
NAME = re.compile(r"(?<![\w.$/])((?:pg|pgbouncer|django|client_login|server_login)_\w+)(?![\w*]|\.\w)")


@pytest.fixture(scope="module")
def watched(cluster):
    """The exporters around a PgBouncer with a pool of two."""
    with watching(cluster, "reference-metrics") as made:
        yield made


@pytest.fixture(scope="module")
def client(watched):
    """A client that holds one of the two server connections."""
    with watched.pgbouncer.connect(watched.database) as connected:
        connected.execute("begin")
        yield connected


@pytest.fixture(autouse=True)
def noted(watched, client) -> None:  # noqa: ARG001  (its pool is there)
    """Tell the ledger what the proof ran on."""
    watched.note()


def scraped(watched) -> dict[str, str]:
    """Return the names that each exporter shows, except those about itself."""
    found = {}
    for exporter in watched.exporters.values():
        names = sorted({name for name, _, _ in exporter.metrics() if not OWN.match(name)})
        short = ".".join(monitoring.version(exporter.name).split(".")[:2])
        found[f"{exporter.name} {short}"] = " ".join(names)
    return found


@control(edit("monitoring/metrics.py", "pgbouncer_pools_client_maxwait_seconds", "pgbouncer_pools_client_maxwait"))
def test_every_metric_of_the_exporters_is_recorded_and_no_other(watched, load, request) -> None:
    """If one appears or disappears, the proof fails and names it."""
    snippet = load(METRICS)
    names = execute(snippet)
    now = scraped(watched)
    if own_major() != int(DEFAULT_MAJOR):  # of which an older PostgreSQL has fewer
        now = {program: shown for program, shown in now.items() if not program.startswith("postgres_exporter")}
        assert {*names["MEANINGS"]["postgres_exporter"]} <= {
            name for name, *_ in watched.exporters["postgres"].metrics()
        }
    if request.config.getoption("record") and not now.items() <= names["RECORDED"].items():
        file = ROOT / snippets.FOLDER / METRICS
        file.write_text(RECORDED.sub(lambda _: text_of(names["RECORDED"] | now), file.read_text()))
        names = execute(load(METRICS))
    for program, listed in now.items():
        recorded = names["RECORDED"].get(program, "").split()
        for name in sorted({*listed.split()} ^ {*recorded}):
            there = "is there" if name in listed.split() else "is gone"
            message = f"{name} {there} in {program}{nearest(name, recorded)}: make record ONLY={snippet.place}"
            raise ProblemError(snippet.place, 1, message)


def text_of(recorded: dict[str, str]) -> str:
    """Return the recorded names as the snippet has them."""
    text = "RECORDED: dict[str, str] = {\n"
    for program, names in sorted(recorded.items()):
        lines = pprint.pformat(names, width=64).strip("()").replace("'", '"').splitlines()
        inner = "(\n" + "".join(f"        {line.strip()}\n" for line in lines) + "    )"
        text += f'    "{program}": {inner if len(lines) > 1 else lines[0]},\n'
    return text + "}\n"


@control(
    edit(
        "pgbouncer/columns.py",
        '"cl_waiting": POOL + "client_waiting_connections"',
        '"cl_waiting": POOL + "client_active_connections"',
    )
)
@control(here("scale = SECONDS if", "scale = 1 if", of="tests.proofs.reference.test_metrics:looked"))
def test_each_metric_has_the_value_of_its_column(watched, client, load) -> None:
    """This holds in states that tell every two columns apart, except for those that never differ."""
    columns = execute(load(COLUMNS))["METRICS"]
    old = monitoring.version("pgbouncer_exporter") < "0.12"  # it has fewer of the totals, under shorter names
    named = {
        view: {column: metric.replace("_totals_", "_") if old else metric for column, metric in of_view.items()}
        for view, of_view in columns.items()
    }
    seen = [looked(watched, named) for _ in states_of(watched, client)]
    exported = {name for look in seen for name in look.exported}
    wrong = [f"{what}" for look in seen for metric, what in look.wrong.items() if metric in exported or not old]
    if wrong:
        raise ProblemError(f"{snippets.FOLDER}/{COLUMNS}", 1, "; ".join(dict.fromkeys(wrong)))
    same = [
        f"{view}: {one} and {other}"
        for view, of_view in named.items()
        for one, other in combinations(of_view, 2)
        if not any({one, other} <= alike for alike in TOGETHER)
        and all(abs(look.rows[view][one] - look.rows[view][other]) <= 2 * doubt(one, other) for look in seen)
    ]
    assert not same, f"no state tells them apart: {same}"
    for look in seen:
        values = {column: value for of_view in look.rows.values() for column, value in of_view.items()}
        assert [len({values[column] for column in alike}) for alike in TOGETHER] == [1, 1], values
        assert values["dns_names"] == 0
    # About itself, about settings, and clients by application, which SHOW CLIENTS has in rows.
    assert exported - {name for of_view in named.values() for name in of_view.values()} <= {
        "pgbouncer_up",
        "pgbouncer_version_info",
        "pgbouncer_client_connections",
        "pgbouncer_config_max_client_connections",
        "pgbouncer_config_max_user_connections",
    }


@dataclass
class Look:
    """What the console and the exporter showed in one state."""

    rows: dict[str, dict[str, float]]  # of each view, the columns
    exported: set[str]
    wrong: dict[str, str]  # each metric whose value is not that of its column, and its value


def looked(watched, named: dict[str, dict[str, str]]) -> Look:
    """Compare each metric with its column, which may have changed while the exporter looked."""
    before = rows_of(watched.pgbouncer, named)
    shown = [sample for sample in watched.exporters["pgbouncer"].metrics() if not OWN.match(sample[0])]
    after = rows_of(watched.pgbouncer, named)
    wrong = {}
    for view, of_view in named.items():
        for column, metric in of_view.items():
            scale = SECONDS if metric.endswith("_seconds_total") else 1
            found = [
                value * scale
                for name, labels, value in shown
                if name == metric and WHERE[view].items() <= labels.items()
            ]
            low, high = sorted((before[view][column], after[view][column]))
            if len(found) != 1 or not low - doubt(column) <= found[0] <= high + doubt(column):
                wrong[metric] = f"{view}.{column} is {low:g} to {high:g}, {metric} is {found}"
    return Look(before, {name for name, _, _ in shown}, wrong)


def doubt(*columns: str) -> float:
    """Return by how much a value may differ: the exporter was a client while it looked, and may not be one now."""
    return 1.5 if {"used_clients", "free_clients", "login_clients"} & {*columns} else 0.4


def rows_of(bouncer: PgBouncer, named: dict[str, dict[str, str]]) -> dict[str, dict[str, float]]:
    """Return the exported columns of each view for the application's database."""
    rows = {view: row_of(bouncer, view) for view in named}
    return {view: {column: float(rows[view][column]) for column in of_view} for view, of_view in named.items()}


def states_of(watched, client) -> Iterator[str]:
    """Bring PgBouncer into one state after another, in which its columns differ."""
    bouncer, database = watched.pgbouncer, watched.database
    with ThreadPoolExecutor(20) as threads, ExitStack() as stop:
        stop.callback(client.execute, "begin")
        stop.callback(client.execute, "rollback")
        others = [stop.enter_context(bouncer.connect(database)) for _ in range(3)]

        for number, other in enumerate(others):  # prepared three times, on one server connection, and run more often
            for _ in range(number + 1):
                other.execute("select 1", prepare=True)
        counts(bouncer, sv_active=1, sv_idle=1)
        yield "one server connection is idle"

        bouncer.set(server_check_delay=0)
        counts(bouncer, sv_active=1, sv_used=1)
        yield "and has been for long"
        bouncer.set(server_check_delay=30)

        others[0].execute("begin")
        waiting = [threads.submit(bouncer.connect(database).execute, "select 1") for _ in range(5)]
        until("they have waited", lambda: row_of(bouncer, "pools")["maxwait"] >= 1)
        yield "clients wait"
        others[0].execute("rollback")
        for each in waiting:
            each.result().connection.close()
        yield "and have waited"

        with bouncer.admin() as console:
            console.execute("disable upstream")
            yield "it takes nobody"
            console.execute("enable upstream")
            client.execute("rollback")
            console.execute("pause upstream")
            yield "it is paused"
            console.execute("resume upstream")
            client.execute("begin")

        yield from silences(watched, client, others[0])


def silences(watched, client, other) -> Iterator[str]:
    """Have PostgreSQL answer no new connection, while both of these clients need one."""
    bouncer, postmaster = watched.pgbouncer, watched.setup.cluster.leash.pid
    with ThreadPoolExecutor(20) as threads, ExitStack() as stop:
        stop.callback(os.kill, postmaster, SIGCONT)
        os.kill(postmaster, SIGSTOP)
        login = threads.submit(other.execute, "begin")
        counts(bouncer, sv_login=1)
        yield "the server is silent"
        os.kill(postmaster, SIGCONT)
        login.result()
        for _ in range(9):  # which begin to log in
            stop.enter_context(socket.create_connection(("127.0.0.1", bouncer.port))).send(b"\0")
        until("all have", lambda: row_of(bouncer, "lists")["login_clients"] == 9)
        os.kill(postmaster, SIGSTOP)
        cancels = [threads.submit(each.cancel_safe) for each in (client, other)]
        counts(bouncer, cl_active_cancel_req=2)
        cancels += [threads.submit(client.cancel_safe) for _ in range(3)]
        counts(bouncer, cl_waiting_cancel_req=3)
        other.execute("rollback")
        counts(bouncer, sv_being_canceled=1)
        yield "it is asked to cancel"
        os.kill(postmaster, SIGCONT)
        for each in cancels:
            each.result()


def counts(bouncer: PgBouncer, **wanted: int) -> None:
    """Wait until the pool shows these counts."""
    until(f"{wanted}", lambda: wanted.items() <= row_of(bouncer, "pools").items())


def row_of(bouncer: PgBouncer, view: str) -> dict:
    """Return what a view shows of the application's database."""
    rows = bouncer.show(view)
    if view == "lists":
        return {row["list"]: row["items"] for row in rows}
    (row,) = [row for row in rows if WHERE[view].items() <= row.items()]
    return row


@control(edit("monitoring/metrics.py", "pg_slots_taken", "pg_slots_took"))
def test_whatever_is_named_as_a_metric_is_one(watched, load) -> None:
    """Each name in the rules, the dashboard and the pages is in a scrape, or is one of PostgreSQL's or PgBouncer's."""
    snippet = load(METRICS)
    names = execute(snippet)
    exported = {name for listed in names["RECORDED"].values() for name in listed.split()}
    metered = re.findall(r"^    (django_\w+)  ", snippets.read("upstream/metered/base.py").text, re.MULTILINE)
    limits = re.findall(r"record: (\S+)", snippets.read(RULES).text)
    known = {*exported, *metered, *limits, "up"}
    explained = {name for meanings in names["MEANINGS"].values() for name in meanings}
    for name in sorted(explained | {*names["ELSEWHERE"]}):
        if name not in known:
            raise ProblemError(snippet.place, 1, f"nothing shows {name}{nearest(name, known)}")
    for path in (RULES, DASHBOARD):
        place = f"{snippets.FOLDER}/{path}"
        for number, name in named((ROOT / place).read_text(encoding="utf-8")):
            if name not in explained:
                raise ProblemError(place, number, f"{METRICS} does not say what {name} is{nearest(name, explained)}")
    query = """
        select relname from pg_class union select proname from pg_proc union select rolname from pg_roles
        union select name from pg_settings union select attname from pg_attribute union select typname from pg_type
    """
    known |= {name for (name,) in watched.setup.everything.admin.execute(query)}
    known |= json.loads(SETTINGS.read_text())["settings"].keys()
    known |= {program.name for program in postgres.bin_dir().iterdir()}
    for page in guide.remembered().pages:
        for number, name in named(page.text, code=True):
            if name not in known:
                raise ProblemError(page.path, number, f"{name} is no metric{nearest(name, known)}")


def named(text: str, code: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of what looks like a metric; in a page, only in its inline code."""
    for number, line in enumerate(text.splitlines(), start=1):
        for name in NAME.findall(" ".join(re.findall(r"`([^`]+)`", line)) if code else line):
            yield number, name
