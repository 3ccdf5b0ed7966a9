"""Proves docs/how-to/dashboard.md: the real Prometheus evaluates every expression on what the real exporters show."""

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from threading import Event

import psycopg
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from proven import ROOT, evidence
from proven.evidence.measurements import FOLDER
from proven.problems import ProblemError
from proven.sources import snippets
from proven.sources.controls import control, each, edit
from tests.proofs.watched import POOL, fill, needs_monitoring, watching
from tests.stack import monitoring
from tests.stack.monitoring import faster
from tests.stack.upstream import serving
from tests.stack.wait import until

DASHBOARD = "monitoring/grafana/dashboard.json"
RECORDED = ROOT / FOLDER / "dashboard.json"
ACROSS = 24  # columns of Grafana's grid
UNITS = ("percentunit", "s", "short")  # of Grafana's many
# The panels that a page draws: a key, and the panel's title. A chart has up to three series.
DRAWN = {
    "slots": "Slots taken",
    "wait": "Longest wait for a server connection",
    "clients": "Clients at PgBouncer",
    "servers": "Server connections at work",
    "silent": "Oldest silent transaction",
    "sessions": "New sessions",
    "logins": "Failed logins",
    "django": "Django: connections opened and reused",
}


def panels() -> list[dict]:
    """Return the panels of the dashboard."""
    return json.loads(snippets.read(DASHBOARD).text)["panels"]


@pytest.fixture(scope="module")
def incident(cluster, project, tmp_path_factory):
    """The whole stack, with Django behind PgBouncer, after everything that the panels show has happened."""
    counts = str(tmp_path_factory.mktemp("counts") / "metrics")

    @contextmanager
    def serve(pooled, setup):
        migrate = ("manage.py", "migrate", "--verbosity=0")
        status, said = project.run(*migrate, database_url=setup.as_owner.url)
        assert status == 0, said
        metered = {"DJANGO_SETTINGS_MODULE": "settings.metered", "PROMETHEUS_MULTIPROC_DIR": counts}
        with serving(project, pooled, GUNICORN_WORKERS="1", GUNICORN_THREADS="4", **metered) as gunicorn:
            yield gunicorn

    with watching(cluster, "how-to-dashboard", serve) as watched:
        prometheus = watched.prometheus
        until("all four are scraped", lambda: len(prometheus.query("up == 1")) == 4)
        begun = prometheus.now()
        with ThreadPoolExecutor(max_workers=1) as visitors:
            stopped = Event()
            visits = visitors.submit(visit, watched.gunicorn, stopped)
            try:
                happen(watched)
            finally:
                stopped.set()
            visits.result()
        watched.begun = begun
        yield watched


def visit(gunicorn, stopped: Event) -> None:
    """Request thirty pages a second, until told to stop."""
    while not stopped.wait(0.03):
        gunicorn.request("/orders/")


def happen(watched) -> None:
    """Have forgotten transactions fill the pool, sessions fill the server, and logins fail on their passwords."""
    prometheus = watched.prometheus
    until("rates are known", lambda: prometheus.query(faster("rate(django_connections_reused_total[1m]) > 0")))
    held = [
        watched.pgbouncer.connect(watched.database, application_name="worker", autocommit=False) for _ in range(POOL)
    ]
    for client in held:
        client.execute("select 1")
    until("somebody waits", lambda: prometheus.query("max(pgbouncer_pools_client_maxwait_seconds) >= 2"))
    for client in held:
        client.close()
    with fill(watched.database, application_name="shell"):
        until("it is seen full", lambda: prometheus.alerts("SlotsFull"))
    recently = faster("increase(client_login_failures_total[1m]) > 0")

    def failures() -> list:
        for connect in (watched.pgbouncer.connect, lambda database, **wrong: database.connect(**wrong)):
            with pytest.raises(psycopg.OperationalError):
                connect(watched.database, password="wrong")
        return prometheus.query(recently)

    until("failures are seen", failures)
    until("they are over", lambda: not prometheus.query(recently))
    until(
        "the rush of sessions is over",
        lambda: not prometheus.query("sum(rate(pg_stat_database_sessions_total[2s])) > 9"),
    )


@pytest.fixture(autouse=True)
def noted(request) -> None:
    """Tell the ledger what the proof ran on."""
    needs_monitoring()
    if "incident" in request.fixturenames:
        request.getfixturevalue("incident").note()


def at(text: str) -> int:
    """Return the number of the first line that has a text."""
    lines = (ROOT / snippets.FOLDER / DASHBOARD).read_text(encoding="utf-8").splitlines()
    return next((n for n, line in enumerate(lines, start=1) if text in line), 1)


def here(expression: str) -> str:
    """Return an expression with Grafana's variables filled in, at the speed of the proofs.

    $__rate_interval is four scrapes here, as in Grafana's documentation of its Prometheus data source.
    """
    return faster(expression.replace("$__rate_interval", "1m"))


@control(
    edit(
        "monitoring/grafana/dashboard.json", "pgbouncer_pools_client_maxwait_seconds", "pgbouncer_pools_client_maxwait"
    )
)
def test_every_expression_has_data_from_the_real_exporters(incident, load, request) -> None:
    """Each query returns data; one for a metric or a label that no exporter has would return none, and fail here."""
    snippet = load(DASHBOARD)
    seconds = incident.prometheus.now() - incident.begun
    recorded = {"labels": {}}
    for panel in json.loads(snippet.text)["panels"]:
        drawn = {}
        for target in panel["targets"]:
            series = incident.prometheus.history(here(target["expr"]), seconds, 0.25)
            if not any(math.isfinite(float(value)) for one in series for _, value in one["values"]):
                message = f"{panel['title']}: {target['expr']} has no data"
                raise ProblemError(snippet.place, at(json.dumps(target["expr"])), message)
            for one in series:
                name = re.sub(
                    r"\{\{(\w+)\}\}", lambda found, one=one: one["metric"].get(found[1], ""), target["legendFormat"]
                )
                drawn[name] = [[round(float(t) - incident.begun, 2), round(float(v), 3)] for t, v in one["values"]]
        recorded |= charted(panel, drawn, recorded["labels"])
    evidence.ran(snippet, "checked", against=f"what Prometheus answers, {monitoring.version('prometheus')}")
    if request.config.getoption("record"):
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_text(json.dumps(recorded, indent=1).replace("\n   ", " ") + "\n", encoding="utf-8")


def charted(panel: dict, drawn: dict[str, list], labels: dict[str, str]) -> dict:
    """Return what a page draws of a panel: up to three series that say something, with their names in `labels`."""
    key = next((key for key, title in DRAWN.items() if title == panel["title"]), None)
    if key is None:
        return {}
    found = {}
    kept = [name for name in drawn if name not in ("pgbouncer", "postgres")][:3]
    for number, name in enumerate(kept):
        labels[f"{key}-{number}"] = name or "no name"
        found[f"{key}-{number}"] = {"drawn": "line", "points": [p for p in drawn[name] if math.isfinite(p[1])]}
    return {key: found}


@control(edit("monitoring/grafana/dashboard.json", '"description":', '"describes":'))
def test_grafana_s_own_model_knows_every_field(load) -> None:
    """Read and written by Grafana's Foundation SDK the dashboard is the same; a field unknown to it would be lost."""
    register_default_plugins()
    snippet = load(DASHBOARD)
    ours = json.loads(snippet.text)
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    for path, text in lost(json.loads(snippet.text), theirs):
        raise ProblemError(snippet.place, at(f'"{text}"'), f"Grafana does not know {path.lstrip('.')}")
    model = version("grafana-foundation-sdk").rpartition("!")[2]
    evidence.ran(snippet, "checked", against=f"Grafana's Foundation SDK, {model}")


def lost(ours, theirs, path: str = ""):
    """Yield the path and the name of what is missing from theirs or differs there."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            if not isinstance(theirs, dict) or key not in theirs:
                yield f"{path}.{key}", key
            else:
                yield from lost(value, theirs[key], f"{path}.{key}")
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            yield path, path.rpartition(".")[2]
            return
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif ours != theirs:
        yield f"{path} {ours!r}", path.rpartition(".")[2]


@control(
    each(
        "monitoring/grafana/dashboard.json",
        {"*.gridPos.h": "80", "*.gridPos.y": "3"},
        but={
            "for what nobody exports there is no data: the proof with the real exporters holds it": ["*.expr"],
            "it is for people to read": ["*title", "*description", "*.label", "*.legendFormat"],
            "how it looks is yours to choose": ["*.custom.*", "*.overrides.*.properties.*", "*.options.[lt]*.*"],
            "it is yours to choose": ["t[ai]*", "refresh", "editable", "graphTooltip"],
            "nothing refers to it": ["uid", "panels.*.id", "*.refId"],
            "Grafana takes older ones, and writes its own": ["schemaVersion"],
        },
    ),
    fails_with="unpack",
)
@control(edit("monitoring/grafana/dashboard.json", '"id": 1,', '"id": 10,'))
def test_every_panel_keeps_to_grafana_s_conventions(load) -> None:
    """Each has a title, a description, a unit, a data source that the reader chooses, and a place of its own.

    An axis begins at 0, and an override matches one of the panel's own lines.
    """
    snippet = load(DASHBOARD)
    board = json.loads(snippet.text)
    (variable,) = [variable for variable in board["templating"]["list"] if variable["type"] == "datasource"]
    assert variable["query"] == "prometheus"
    chosen = variable["name"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        where = panel["title"]
        assert where
        assert panel["description"].endswith("."), where
        drawn = panel["fieldConfig"]["defaults"]
        assert panel["type"] == "timeseries", where
        assert drawn["unit"] in UNITS, where
        assert (drawn["min"], drawn.get("max", 1)) == (0, 1), where
        lines = {target["legendFormat"] for target in panel["targets"]}
        for override in panel["fieldConfig"].get("overrides", []):
            assert override["matcher"]["id"] == "byRegexp", where
            assert any(re.fullmatch(override["matcher"]["options"], line) for line in lines), where
        assert {(target["range"], target["editorMode"]) for target in panel["targets"]} == {(True, "code")}, where
        for asks in (panel, *panel["targets"]):
            assert asks["datasource"] == {"type": "prometheus", "uid": f"${{{chosen}}}"}, where
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len({*refs}), where
        for target in panel["targets"]:
            windows = re.findall(r"\[([^]]+)\]", target["expr"])
            assert {*windows} <= {"$__rate_interval"}, f"{where}: a window of its own"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < ACROSS, where
        assert place["h"] < ACROSS, where
        assert not cells & taken, f"{where} lies over another panel"
        taken |= cells
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len({*numbers})
    evidence.ran(snippet, "checked", against=f"Grafana's JSON model, schema {board['schemaVersion']}")
