"""Proves docs/reference/metrics.md: every metric that is named anywhere is in a real scrape of the real exporters."""

import json
import pprint
import re
from collections.abc import Iterator

import pytest

from proven import ROOT, guide
from proven.problems import ProblemError, nearest
from proven.sources import snippets
from tests.proofs.watched import RULES, watching
from tests.stack import monitoring, postgres
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import DEFAULT_MAJOR, own_major
from tests.stack.scripts import execute

METRICS = "monitoring/metrics.py"
COLUMNS = "pgbouncer/columns.py"
DASHBOARD = "monitoring/grafana/dashboard.json"
RECORDED = re.compile(r"^RECORDED: .*?^(?=# endregion: recorded)", re.MULTILINE | re.DOTALL)
# What every program in Go shows of itself, and PostgreSQL's settings, but for one.
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
NAME = re.compile(r"(?<![\w.$/])((?:pg|pgbouncer|django|client_login|server_login)_\w+)(?![\w*]|\.\w)")


@pytest.fixture(scope="module")
def watched(cluster):
    """The exporters, and a client in a transaction."""
    with watching(cluster, "reference-metrics") as made, made.pgbouncer.connect(made.database) as client:
        client.execute("begin")
        yield made


@pytest.fixture(autouse=True)
def noted(watched) -> None:
    """Tell the ledger what the proof ran on."""
    watched.note()


def scraped(watched) -> dict[str, str]:
    """Return the names that each exporter shows, less those about itself."""
    found = {}
    for exporter in watched.exporters.values():
        names = sorted({name for name, _, _ in exporter.metrics() if not OWN.match(name)})
        short = ".".join(monitoring.version(exporter.name).split(".")[:2])
        found[f"{exporter.name} {short}"] = " ".join(names)
    return found


def test_every_metric_of_the_exporters_is_recorded_and_no_other(watched, load, request) -> None:
    """Where one appears or disappears, this fails and names it."""
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


def test_each_metric_has_the_value_of_its_column(watched, load) -> None:
    """One by one, for the pool of a client in a transaction; and pgbouncer_exporter has no other."""
    columns = execute(load(COLUMNS))["METRICS"]
    watched.pgbouncer.show("pools")  # so that the console is one of the clients, from here on
    shown = [sample for sample in watched.exporters["pgbouncer"].metrics() if not OWN.match(sample[0])]
    exported = {name for name, _, _ in shown}
    old = monitoring.version("pgbouncer_exporter") < "0.12"  # it has fewer of the totals, under shorter names
    known = {name for of_view in columns.values() for name in of_view.values()}
    wrong = []
    for view, of_view in columns.items():
        row = row_of(watched.pgbouncer, view)
        for column, newest in of_view.items():
            metric = newest.replace("_totals_", "_") if old else newest
            known.add(metric)
            found = [value for name, labels, value in shown if name == metric and WHERE[view].items() <= labels.items()]
            scale = SECONDS if metric.endswith("_seconds_total") else 1
            # The exporter was a client while it looked, and need not be one now.
            apart = 1.5 if view == "lists" else 0.5
            if (metric in exported or not old) and (
                len(found) != 1 or abs(found[0] * scale - float(row[column])) > apart
            ):
                wrong.append(f"{view}.{column} is {row[column]}, {metric} is {found}")
    if wrong:
        raise ProblemError(f"{snippets.FOLDER}/{COLUMNS}", 1, "; ".join(wrong))
    # About itself, about settings, and clients by application, which SHOW CLIENTS has in rows.
    assert exported - known <= {
        "pgbouncer_up",
        "pgbouncer_version_info",
        "pgbouncer_client_connections",
        "pgbouncer_config_max_client_connections",
        "pgbouncer_config_max_user_connections",
    }


def row_of(bouncer: PgBouncer, view: str) -> dict:
    """Return what a view shows of the application's database."""
    rows = bouncer.show(view)
    if view == "lists":
        return {row["list"]: row["items"] for row in rows}
    (row,) = [row for row in rows if WHERE[view].items() <= row.items()]
    return row


def test_whatever_is_named_as_a_metric_is_one(watched, load) -> None:
    """In the rules, the dashboard and on pages: a name is in a scrape, or it is one of PostgreSQL's or PgBouncer's."""
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
    for page in guide.read().pages:
        for number, name in named(page.text, code=True):
            if name not in known:
                raise ProblemError(page.path, number, f"{name} is no metric{nearest(name, known)}")


def named(text: str, code: bool = False) -> Iterator[tuple[int, str]]:
    """Find what looks like the name of a metric, of a page only in its inline code: its line, and the name."""
    for number, line in enumerate(text.splitlines(), start=1):
        for name in NAME.findall(" ".join(re.findall(r"`([^`]+)`", line)) if code else line):
            yield number, name
