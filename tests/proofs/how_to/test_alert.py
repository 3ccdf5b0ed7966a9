"""Proves docs/how-to/alert.md: every alert is made to fire and to resolve, on real servers, by the real Prometheus."""

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import psutil
import psycopg
import pytest
import yaml
from psycopg import sql

from proven import ROOT, evidence
from proven.problems import ProblemError
from proven.sources import snippets
from proven.sources.controls import control, each, edit, here, replace
from tests.proofs.heard import heard
from tests.proofs.watched import CONFIG, POOL, RULES, Watched, fill, needs_monitoring, watching
from tests.stack import monitoring
from tests.stack.monitoring import Exporter, Prometheus
from tests.stack.postgres import own_major
from tests.stack.wait import until

TESTS = "monitoring/tests/rules_test.yml"
GUIDE = "https://guide.example"
COMMANDS = (
    "pause",
    "resume",
    "disable upstream",
    "enable upstream",
    "kill upstream",
    "reconnect",
    "wait_close",
    "reload",
    "set verbose = 0",
    "shutdown",
)
ALERT = re.compile(r"^\*\*Alerts?:\*\* (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def watched(cluster):
    """The stack, started as the page describes, and a second Prometheus: both scrape only after five seconds."""
    with watching(cluster, "how-to-alert") as made, ExitStack() as stop:
        exporter = made.postgres_exporter()
        stop.callback(exporter.stop)
        targets = {"postgres": exporter.port}
        made.patient = Prometheus(snippets.read(CONFIG), snippets.read(RULES), targets, interval="90s")
        stop.callback(made.patient.stop)
        until("all three are scraped", lambda: len(made.prometheus.query("up == 1")) == 3)
        yield made


@pytest.fixture(autouse=True)
def noted(request) -> None:
    """Tell the ledger what the proof ran on."""
    needs_monitoring()
    if "watched" in request.fixturenames:
        request.getfixturevalue("watched").note()


@contextmanager
def raised(prometheus: Prometheus, *names: str, **labels: str) -> Iterator[Callable[..., None]]:
    """Assert that alerts do not fire before the block and resolve after it; yield a function that waits for them.

    It repeats what it is given until they fire: fire(provoke).
    """
    for name in names:
        until(f"{name} does not fire", lambda name=name: not prometheus.alerts(name))

    def fire(provoke: Callable[[], object] = lambda: None) -> None:
        for name in names:
            (alert, *_) = until(f"{name} fires", lambda name=name: (provoke(), prometheus.alerts(name))[1])
            assert labels.items() <= alert["labels"].items()
            assert alert["annotations"]["runbook_url"] == GUIDE + "/" + runbook_of(name)
            assert "{{" not in alert["annotations"]["summary"]

    yield fire
    for name in names:
        until(f"{name} resolves", lambda name=name: not prometheus.alerts(name))


@functools.cache
def rules() -> dict[str, dict]:
    """Return the alerting rules by name."""
    groups = yaml.safe_load(snippets.read(RULES).text)["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def runbook_of(name: str) -> str:
    """Return the path of an alert's runbook within the guide."""
    return rules()[name]["annotations"]["runbook_url"].partition("/")[2]


@control(
    edit("monitoring/queries.yml", "'client backend'", "'no backend'"), fails_with="SlotsNearlyFull fires: not within"
)
@control(edit("monitoring/rules.yml", "expr: 0.95", "expr: 9.5"), fails_with="SlotsFull fires: not within")
def test_a_server_that_fills_up_is_announced_and_then_alarmed(watched) -> None:
    """Both alerts on slots fire while the application is locked out, and resolve when slots are free again.

    The exporter reports it over a connection that it already had.
    """
    admin = watched.setup.everything.admin
    query = "select pid from pg_stat_activity where usename = 'upstream_monitor' and backend_start < %s"
    until("the exporter is there", lambda: admin.execute(query, ["infinity"]).fetchone())
    with raised(watched.prometheus, "SlotsNearlyFull", "SlotsFull") as fire, fill(watched.database) as take:
        (full,) = admin.execute("select clock_timestamp()").fetchone()
        fire(take)
        assert admin.execute(query, [full]).fetchone()


@control(
    edit("monitoring/rules.yml", "idle in transaction.*", "idle"), fails_with="IdleInTransaction fires: not within"
)
def test_a_forgotten_transaction_is_named(watched) -> None:
    """IdleInTransaction names the application and the database, and resolves with the transaction."""
    with raised(watched.prometheus, "IdleInTransaction", application_name="worker", datname="upstream") as fire:
        connection = watched.database.connect(application_name="worker")
        connection.execute("begin")
        fire()
        connection.close()


@control(
    edit("monitoring/queries.yml", "sessions as total", "0 as total"), fails_with="ConnectionChurn fires: not within"
)
@control(
    edit("monitoring/rules.yml", "rate(pg_stat_database_sessions_total[2m])", "pg_stat_database_numbackends - 1000"),
    fails_with="ConnectionChurn fires: not within",
)
def test_connections_that_are_not_kept_are_noticed(watched) -> None:
    """ConnectionChurn fires while sessions keep opening and closing, then resolves."""
    with raised(watched.prometheus, "ConnectionChurn", datname="upstream") as fire:
        fire(lambda: connect_often(watched))


def connect_often(watched: Watched) -> None:
    """Open and close a few sessions, as Django does without CONN_MAX_AGE."""
    for _ in range(10):
        watched.database.connect().close()


@control(
    edit(
        "monitoring/rules.yml",
        "- record: limit:client_wait:seconds\n        expr: 5",
        "- record: limit:client_wait:seconds\n        expr: 5000",
    ),
    fails_with="ClientsWait fires: not within",
)
def test_waiting_clients_and_their_full_pool_are_alarmed(watched) -> None:
    """Both alerts fire while two transactions hold the pool and a third client waits, and resolve afterwards."""
    with raised(watched.prometheus, "ClientsWait", "PoolSaturated", database="upstream", user="upstream") as fire:
        clients = [watched.pgbouncer.connect(watched.database, autocommit=False) for _ in range(POOL)]
        for client in clients:
            client.execute("select 1")
        waiting = watched.pgbouncer.connect(watched.database)
        waiting.pgconn.send_query(b"select 1")
        fire()
        for client in [*clients, waiting]:
            client.close()


@control(
    edit("monitoring/rules.yml", "pgbouncer_used_clients /", "pgbouncer_free_clients /"), fails_with="ClientsNearlyFull"
)
def test_client_connections_that_run_out_are_announced(watched) -> None:
    """Idle clients that use most of max_client_conn raise the alert until they leave."""
    with raised(watched.prometheus, "ClientsNearlyFull") as fire:
        clients = [watched.pgbouncer.connect(watched.database) for _ in range(27)]
        fire()
        for client in clients:
            client.close()


@control(edit("monitoring/rules.yml", "pgbouncer_databases_paused == 1 or ", ""), fails_with="PgBouncerPaused fires")
@control(edit("monitoring/rules.yml", " or pgbouncer_databases_disabled == 1", ""), fails_with="PgBouncerPaused fires")
@pytest.mark.parametrize(("begins", "ends"), [("pause", "resume"), ("disable", "enable")], ids=["PAUSE", "DISABLE"])
def test_a_pause_that_nobody_ends_is_alarmed(watched, begins, ends) -> None:
    """The alert fires after PAUSE or DISABLE, and resolves after RESUME or ENABLE."""
    with raised(watched.prometheus, "PgBouncerPaused", name="upstream") as fire, watched.pgbouncer.admin() as console:
        console.execute(f"{begins} upstream")
        fire()
        console.execute(f"{ends} upstream")


@control(here('execute("pause")', 'execute("pause upstream")'))
def test_a_pause_without_a_name_is_in_no_number_that_the_alert_reads(watched) -> None:
    """During a PAUSE of all databases the exporter shows pgbouncer_up 1, and no database as paused or disabled."""
    with watched.pgbouncer.admin() as console:
        console.execute("pause")
        began = time.time()
        try:
            scraped = "timestamp(pgbouncer_up)"
            until("it is scraped", lambda: (watched.prometheus.value(scraped) or 0) > began)
            assert watched.prometheus.value("pgbouncer_up") == 1
            assert not watched.prometheus.query(rules()["PgBouncerPaused"]["expr"])
        finally:
            for ends in ("resume", "resume upstream"):
                heard(console.execute, ends)


@control(
    edit("monitoring/rules.yml", "pgbouncer_up == 0", "pgbouncer_up == 2"), fails_with="PgBouncerDown fires: not within"
)
@control(here("< 11", ">= 11"), fails_with="RuntimeError")
def test_a_pgbouncer_that_is_down_is_alarmed(watched) -> None:
    """PgBouncerDown fires when PgBouncer is down or refuses its exporter; when it hangs, ExporterDown fires instead.

    Started while PgBouncer is down, an exporter from 0.11 on shows pgbouncer_up 0, and an older one exits.
    """
    with raised(watched.prometheus, "PgBouncerDown") as fire:
        watched.pgbouncer.leash.halt()
        fire()
        if int(monitoring.version("pgbouncer_exporter").split(".")[1]) < 11:
            with pytest.raises(RuntimeError, match="connection refused"):
                watched.pgbouncer_exporter()
        else:
            late = watched.pgbouncer_exporter()
            assert value(late, "pgbouncer_up") == 0
            late.stop()
        watched.pgbouncer.restart()
    with raised(watched.prometheus, "PgBouncerDown") as fire:
        watched.pgbouncer.reload(stats_users="")
        watched.pgbouncer.restart()  # an old exporter keeps its connection
        fire()
        assert value(watched.exporters["pgbouncer"], "pgbouncer_up") == 0
        watched.pgbouncer.reload(stats_users="pgbouncer_stats")
    with raised(watched.prometheus, "ExporterDown", job="pgbouncer") as fire:
        watched.pgbouncer.leash.signal(SIGSTOP)
        try:
            fire()
            assert not watched.prometheus.alerts("PgBouncerDown")
        finally:
            watched.pgbouncer.leash.signal(SIGCONT)


@control(
    edit("monitoring/logins.mtail", "SASL authentication failed|", ""),
    fails_with="who fails at PgBouncer is counted: not within",
)
@control(
    edit("monitoring/logins.mtail", "|no such (user|database)", ""), fails_with="with a name is counted: not within"
)
@control(
    edit("monitoring/logins.mtail", "|no pg_hba.conf entry", ""), fails_with="over its socket is counted: not within"
)
@control(
    edit("monitoring/logins.mtail", "password authentication failed|", ""),
    fails_with="who fails at PostgreSQL is counted: not within",
)
@control(
    edit(
        "monitoring/rules.yml",
        "increase(server_login_failures_total[5m]) > 0",
        "increase(server_login_failures_total[5m]) > 10000",
    ),
    fails_with="ServerLoginsFail fires: not within",
)
@control(here('password="", passfile', 'password="other", passfile'))
@control(edit("monitoring/logins.mtail", "|no pg_hba.conf entry", "|no pg_hba.conf entry|remaining"))
@control(
    here("    refuse_pgbouncer(watched)\n", "    log_in_wrongly(watched)\n"),
    fails_with="PgBouncer's are counted: not within",
)
def test_failed_logins_are_counted_from_the_logs(watched) -> None:
    """A login that fails on its password, name, database or pg_hba.conf is counted, at PgBouncer and at PostgreSQL.

    A client that has no password is counted at neither, nor is one that finds no slot. PgBouncer's own login, whose
    password was changed, is counted as that of a client of PostgreSQL, too. Both alerts fire.
    """
    logs, at_postgresql = watched.exporters["logs"], lambda database, **wrong: database.connect(**wrong)
    wrongly = (
        ("PgBouncer", watched.pgbouncer.connect, {"password": "wrong"}),
        ("PgBouncer with a name", watched.pgbouncer.connect, {"dbname": "nowhere"}),
        ("PgBouncer as nobody", watched.pgbouncer.connect, {"user": "nobody"}),
        ("PostgreSQL", at_postgresql, {"password": "wrong"}),
        ("PostgreSQL over its socket", at_postgresql, {"host": str(watched.setup.cluster.data)}),
    )
    first = value(logs, "client_login_failures_total") or 0
    for where, connect, wrong in wrongly:
        counted = value(logs, "client_login_failures_total") or 0
        if "password" in wrong:
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                connect(watched.database, password="", passfile="/dev/null")
        with pytest.raises(psycopg.OperationalError):
            connect(watched.database, **wrong)
        until(
            f"who fails at {where} is counted",
            lambda counted=counted: value(logs, "client_login_failures_total") == counted + 1,
        )
    assert value(logs, "client_login_failures_total") == first + len(wrongly)
    with fill(watched.database) as take:
        assert "remaining connection slots" in take()
    with pytest.raises(psycopg.OperationalError):
        at_postgresql(watched.database, password="wrong")
    until("a later one is counted", lambda: value(logs, "client_login_failures_total") > first + len(wrongly))
    assert value(logs, "client_login_failures_total") == first + len(wrongly) + 1
    both = ("client_login_failures_total", "server_login_failures_total")
    before = [value(logs, name) or 0 for name in both]
    refuse_pgbouncer(watched)

    def more() -> list[float]:
        return [(value(logs, name) or 0) - then for name, then in zip(both, before, strict=True)]

    until("PostgreSQL's line and PgBouncer's are counted", lambda: (new := more())[0] == new[1] > 0)
    with raised(watched.prometheus, "ClientLoginsFail", "ServerLoginsFail") as fire:
        fire(lambda: log_in_wrongly(watched))


def log_in_wrongly(watched: Watched) -> None:
    """Have clients, and then PgBouncer itself, log in with a wrong password."""
    for connect in (watched.pgbouncer.connect, lambda database, **wrong: database.connect(**wrong)):
        with pytest.raises(psycopg.OperationalError):
            connect(watched.database, password="wrong")
    refuse_pgbouncer(watched)


def refuse_pgbouncer(watched: Watched) -> None:
    """Have PostgreSQL refuse PgBouncer's login, for a client that PgBouncer lets in."""
    admin = watched.setup.everything.admin
    admin.execute("alter role upstream password 'another'")
    with watched.pgbouncer.admin() as console:
        console.execute("reconnect")
    with pytest.raises(psycopg.OperationalError):
        watched.pgbouncer.connect(watched.database).execute("select 1")
    admin.execute(sql.SQL("alter role upstream password {}").format(sql.Literal(watched.setup.users["upstream"])))


@pytest.fixture
def patient(watched) -> Prometheus:
    """Prometheus that gives postgres_exporter the second that it needs to report a failed connection."""
    until("it scrapes", lambda: watched.patient.query("pg_up == 1"))
    return watched.patient


@control(edit("monitoring/rules.yml", "pg_up == 0", "pg_up == 2"), fails_with="PostgreSQLUnseen fires: not within")
def test_a_postgresql_that_is_not_seen_is_alarmed(watched, patient) -> None:
    """An exporter that can no longer log in still answers, with pg_up 0 and no slots, and the alert fires."""
    admin = watched.setup.everything.admin
    with raised(patient, "PostgreSQLUnseen") as fire:
        admin.execute("alter role upstream_monitor nologin")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'upstream_monitor'")
        try:
            fire()
            shown = [value(watched.exporters["postgres"], name) for name in ("pg_up", "pg_slots_taken")]
        finally:
            admin.execute("alter role upstream_monitor login")
    assert shown == [0, None]


@control(
    here("tell(SIGSTOP)", "pass", of="tests.proofs.how_to.test_alert:hung"),
    fails_with="ExporterDown fires: not within",
)
def test_a_postgresql_that_hangs_makes_its_exporter_one_that_is_down(watched, patient) -> None:
    """With each process of PostgreSQL stopped, the exporter answers nothing: ExporterDown alone fires."""
    with raised(patient, "ExporterDown", job="postgres") as fire, hung(watched):
        fire()
        assert not patient.alerts("PostgreSQLUnseen")


@contextmanager
def hung(watched: Watched) -> Iterator[None]:
    """Stop each process of PostgreSQL for the duration of the block."""
    server = psutil.Process(watched.setup.cluster.leash.pid)
    processes = [server, *server.children(recursive=True)]

    def tell(number: int) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # a session may have ended meanwhile
                process.send_signal(number)

    tell(SIGSTOP)
    try:
        yield
    finally:
        tell(SIGCONT)


@control(edit("monitoring/rules.yml", "expr: up == 0", "expr: up == 2"), fails_with="ExporterDown fires: not within")
def test_an_exporter_that_is_down_is_alarmed(watched) -> None:
    """ExporterDown fires until the exporter runs again."""
    exporter = watched.exporters["logs"]
    with raised(watched.prometheus, "ExporterDown", job="logs") as fire:
        exporter.leash.halt()
        fire()
        port = exporter.port
        exporter.start(port)
        assert exporter.port == port


@control(edit("pgbouncer/roles.sql", " in role\npg_monitor;", ";"))
@control(edit("pgbouncer/roles.sql", " in role\npg_monitor;", " in role pg_monitor, pg_read_all_data;"))
def test_the_exporters_log_in_with_no_more_rights_than_they_need(watched) -> None:
    """postgres_exporter's role sees all queries and reads no table; pgbouncer_exporter's can only SHOW."""
    admin, monitor = watched.setup.everything.admin, watched.setup.roles["upstream_monitor"]
    query = "select 1 from pg_stat_activity where usename = 'upstream_monitor'"
    until("the exporter is there", lambda: admin.execute(query).fetchone())
    query = """
        select rolsuper, array(select roleid::regrole::text from pg_auth_members where member = pg_roles.oid)
        from pg_roles where rolname = 'upstream_monitor'
    """
    assert admin.execute(query).fetchone() == (False, ["pg_monitor"])
    with watched.setup.as_owner.connect() as owner:
        owner.execute("create table if not exists public.notes ()")
        with watched.database.connect(user=monitor.name, password=monitor.password) as looking:
            query = "select query from pg_stat_activity where pid = %s"
            assert "public.notes" in looking.execute(query, [owner.info.backend_pid]).fetchone()[0]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                looking.execute("table public.notes")
    assert "login attempt: db=pgbouncer user=pgbouncer_stats" in watched.pgbouncer.leash.log.read_text()
    console = watched.setup.console(watched.pgbouncer, "pgbouncer_stats")
    assert console.execute("show pools").fetchall()
    for command in COMMANDS:
        with pytest.raises(psycopg.Error, match="admin access needed"):
            console.execute(command)
    console.close()


@control(here('queries=""', ""))
def test_the_exporter_lacks_two_numbers_without_the_queries(watched) -> None:
    """Without queries.yml it shows neither usable slots nor sessions ever opened; with it, it also logs DEPRECATED."""
    needed = {"pg_slots_usable", "pg_stat_database_sessions_total"}
    exporter = watched.postgres_exporter(queries="")
    until("it sees PostgreSQL", lambda: value(exporter, "pg_up") == 1)
    shown = {name for name, _, _ in exporter.metrics()}
    assert not needed & shown
    assert not [name for name in shown if re.search("sessions|usable|slots_taken", name)]
    exporter.stop()
    exporter = watched.exporters["postgres"]
    assert needed <= {name for name, _, _ in exporter.metrics()}
    assert "DEPRECATED" in exporter.leash.said()


@control(here('ignore_startup_parameters=""', "ignore_startup_parameters=needed"))
def test_pgbouncer_must_ignore_what_the_exporters_driver_sends(watched) -> None:
    """Without ignore_startup_parameters it shows pgbouncer_up 0 or, before 0.11, exits; with it, it shows 1."""
    needed = watched.pgbouncer.settings["ignore_startup_parameters"]
    watched.pgbouncer.reload(ignore_startup_parameters="")
    try:
        exporter = watched.pgbouncer_exporter()
        assert value(exporter, "pgbouncer_up") == 0
        said = exporter.leash.said()
        exporter.stop()
    except RuntimeError as error:  # before 0.11 it exits instead
        said = str(error)
    finally:
        watched.pgbouncer.reload(ignore_startup_parameters=needed)
    assert "unsupported startup parameter: extra_float_digits" in said
    exporter = watched.pgbouncer_exporter()
    until("it sees PgBouncer", lambda: value(exporter, "pgbouncer_up") == 1)
    exporter.stop()


def value(exporter: Exporter, name: str) -> float | None:
    """Return the value of a metric that has one, or None where the exporter does not show it."""
    return next((value for metric, _, value in exporter.metrics() if metric == name), None)


@control(
    edit("monitoring/queries.yml", "current_setting('superuser_reserved_connections')::int", "0"),
    fails_with="it is seen: not within",
)
@control(here("max(pg_settings_max_connections)", "max(pg_slots_usable)"))
def test_limits_on_all_of_max_connections_are_never_reached(watched) -> None:
    """When PostgreSQL refuses clients, they are below 80 % of max_connections, and at 100 % of the usable slots."""
    if own_major() < 16:
        pytest.skip("needs PostgreSQL 16")  # before that, fewer slots are reserved: this server is full only above 80 %
    prometheus = watched.prometheus
    with fill(watched.database) as take:
        until("it is seen", lambda: take() and prometheus.query("pg_slots_taken / pg_slots_usable >= 1"))
        usual = 'sum(pg_stat_activity_count{backend_type="client backend"}) / max(pg_settings_max_connections)'
        of_all = prometheus.value(usual)
        assert of_all
        assert of_all < 0.8
        assert "remaining connection slots are reserved" in take()


@control(
    edit("monitoring/reserved.sql", "grant pg_use_reserved_connections to upstream_monitor;", ""),
    fails_with="it gets in: not within",
)
@control(replace("tests.proofs.watched:RESERVED", 1), fails_with="its second connection gets in: not within")
def test_a_reserved_slot_lets_an_exporter_in_that_starts_late(watched, load) -> None:
    """Started while the server is full, it shows pg_up 0 and nothing else; with reserved slots, other metrics too.

    One reserved slot is not enough for all of these: it opens two connections.
    """
    if own_major() < 16:
        pytest.skip("needs PostgreSQL 16")
    everything, before = watched.setup.everything, watched.exporters["postgres"]
    before.leash.halt()
    try:
        with fill(watched.database), ExitStack() as stop:
            late = watched.postgres_exporter()
            stop.callback(late.stop)
            assert value(late, "pg_up") == 0
            assert {name for name, _, _ in late.metrics() if re.match("pg_(?!exporter)", name)} == {"pg_up"}
            everything.psql(load("monitoring/reserved.sql"))
            until("it gets in", lambda: value(late, "pg_up") == 1)
            assert value(late, "pg_slots_taken") >= value(late, "pg_slots_usable")
            until("its second connection gets in", lambda: value(late, "pg_stat_database_numbackends") is not None)
    finally:
        everything.admin.execute("revoke pg_use_reserved_connections from upstream_monitor")
        before.start(before.port)


@control(here('read_text(encoding="utf-8")', 'read_text(encoding="utf-8").replace("PgBouncerDown", "Down")'))
def test_every_alert_was_made_to_fire() -> None:
    """A proof in this module makes each alert of the rules fire, and none names another alert."""
    provoked = re.findall(r"raised\([\w.]+, ((?:\"\w+\"(?:, )?)+)", Path(__file__).read_text(encoding="utf-8"))
    names = {name for found in provoked for name in re.findall(r"\w+", found)}
    for name in rules():
        if name not in names:
            raise ProblemError(f"{snippets.FOLDER}/{RULES}", line_of(name), f"no proof makes {name} fire")
    assert names <= {*rules()}


@control(
    each(
        "monitoring/rules.yml",
        {
            "groups.limits.*.expr": "100000",
            "*.ServerLoginsFail.expr": "increase(server_login_failures_total[5m]) > 100",
        },
        but={"nothing refers to it": ["groups.*.name"]},
    ),
    fails_with="snippets/monitoring/",  # promtool's own message follows
)
@control(
    each(
        "monitoring/tests/rules_test.yml",
        but={
            "the series is made up: any will do in which the alert fires and ends": ["*.input_series.*"],
            "any moment will do before, while and after it fires": ["*.eval_time"],
            "any will do": ["*interval"],
        },
    ),
    fails_with="snippets/monitoring/",
)
@control(edit("monitoring/rules.yml", "expr: 0.95", "expr: 1.5"), fails_with="name: SlotsFull")
def test_promtool_understands_the_rules_and_tries_each(load) -> None:
    """On made-up series each alert is quiet, then fires with its summary and its runbook, and then resolves."""
    config, rules_yml, tests = load(CONFIG), load(RULES), load(TESTS)
    monitoring.check(config, rules_yml)
    monitoring.promtool(
        "test", "rules", "tests/rules_test.yml", files={"rules.yml": rules_yml, "tests/rules_test.yml": tests}
    )
    tried = {group["name"]: group["alert_rule_test"] for group in yaml.safe_load(tests.text)["tests"]}
    assert {*tried} == {*rules()}
    for name, looks in tried.items():
        fires = [bool(look.get("exp_alerts")) for look in looks]
        assert fires == [False, True, False], f"{tests.place}: {name} is tried before, during and after"
        assert {look["alertname"] for look in looks} == {name}, f"{tests.place}: {name} is looked for by its name"


# In place of each limit, a plausible higher one, and one that is never reached.
RAISED = {"0.8": ("0.9", "1"), "0.95": ("0.98", "1"), "5": ("10", "400"), "60": ("600", "36000")}


@control(here("tried(1)", "tried(0)"))
def test_a_limit_that_is_raised_is_reached_and_one_out_of_reach_is_named(load) -> None:
    """With all limits raised plausibly, the tests of the rules pass; with limits out of reach, each alert is named."""
    rules_yml, tests = load(RULES), load(TESTS)

    def tried(which: int) -> None:
        text = re.sub(
            r"(?<=expr: )([\d.]+)$", lambda limit: RAISED[limit[1]][which], rules_yml.text, flags=re.MULTILINE
        )
        changed = dataclasses.replace(rules_yml, text=text)
        files = {"rules.yml": changed, "tests/rules_test.yml": tests}
        monitoring.promtool("test", "rules", "tests/rules_test.yml", files=files)

    tried(0)
    with pytest.raises(ProblemError) as failed:
        tried(1)
    assert {name for name in rules() if f"name: {name}" in str(failed.value)} == {
        *("SlotsNearlyFull", "SlotsFull", "ClientsNearlyFull", "ClientsWait"),
        *("IdleInTransaction", "ConnectionChurn", "ClientLoginsFail"),
    }
    evidence.ran(rules_yml)
    evidence.ran(tests)


@control(here('"pgbouncer_up === 0"', '"pgbouncer_up == 1"'))
def test_a_rule_that_is_wrong_is_refused_with_its_line(load) -> None:
    """promtool reports a syntax error with the rule's line."""
    config, good = load(CONFIG), load(RULES)
    monitoring.check(config, good)
    broken = dataclasses.replace(good, text=good.text.replace("pgbouncer_up == 0", "pgbouncer_up === 0"))
    with pytest.raises(ProblemError, match=r"snippets/monitoring/rules\.yml:\d+: (?s:.*)unexpected"):
        monitoring.check(config, broken)


@control(edit("monitoring/rules.yml", "/runbooks/connection-churn/", "/runbooks/too-many-clients/"))
def test_every_alert_leads_to_a_runbook_that_names_it() -> None:
    """Each alert and the runbook that names it lead to each other, and no runbook names another."""
    named = {}
    for path in sorted((ROOT / "docs/runbooks").glob("*.md")):
        for found in ALERT.findall(path.read_text(encoding="utf-8")):
            named.update(dict.fromkeys(re.findall(r"`(\w+)`", found), path))
    for name in rules():
        place = f"{snippets.FOLDER}/{RULES}"
        runbook = ROOT / "docs" / (runbook_of(name).rstrip("/") + ".md")
        if not runbook.exists():
            raise ProblemError(place, line_of(name), f"{name} leads to {runbook_of(name)}, which is no runbook")
        if named.pop(name, None) != runbook:
            raise ProblemError(place, line_of(name), f"{runbook.name} does not say **Alert:** `{name}`")
    assert not named, f"no alert in {RULES} is called {', '.join(named)}"


def line_of(name: str) -> int:
    """Return the line of the rules file on which an alert is named."""
    lines = (ROOT / snippets.FOLDER / RULES).read_text(encoding="utf-8").splitlines()
    return next(n for n, line in enumerate(lines, start=1) if line.endswith(f"alert: {name}"))
