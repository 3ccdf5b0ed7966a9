"""Proves docs/how-to/pgbouncer.md: the reader's folder and the example project, used as they are copied."""

import json
import re
import resource
import secrets
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from signal import SIGQUIT

import psutil
import psycopg
import pytest

from proven import evidence
from proven.problems import ProblemError
from proven.sources.controls import control, edit, here
from proven.sources.snippets import parse
from tests.proofs.heard import heard
from tests.proofs.pooled import INI, TAKEN_OVER, Pooled, pool, section, settled, starting
from tests.stack import pgbouncer
from tests.stack.console import at_least
from tests.stack.console import pool as pool_of
from tests.stack.database import run_psql
from tests.stack.leash import Leash, server_user
from tests.stack.pgbouncer import scram
from tests.stack.upstream import serving
from tests.stack.wait import free_port, until

LINTED = Path(__file__).parents[2] / "lint" / "pgbouncer.json"


@pytest.fixture(scope="module")
def as_shipped(setup):
    """PgBouncer as the reader starts it."""
    bouncer = setup.start()
    yield bouncer
    bouncer.stop()


@pytest.fixture(scope="module")
def served(setup, as_shipped, project):
    """The example project behind it: two workers with five threads each, migrated past PgBouncer."""
    urls = {"DATABASE_DIRECT_URL": setup.as_owner.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    migrate = ("manage.py", "migrate", "--database=direct", "--verbosity=0")
    status, said = project.run(*migrate, database_url=as_shipped.url(setup.database), **urls)
    assert status == 0, said
    urls["DATABASE_DIRECT_URL"] = setup.database.url
    through = Pooled(setup.database, as_shipped)
    with serving(project, through, GUNICORN_WORKERS="2", GUNICORN_THREADS="5", **urls) as gunicorn:
        yield gunicorn


@pytest.fixture(autouse=True)
def noted(request, setup) -> None:
    """Tell the ledger what the proof ran on."""
    if "served" in request.fixturenames:
        request.getfixturevalue("served").note()
    setup.note()


@pytest.fixture
def start(setup):
    """Start a PgBouncer of the proof's own: start(default_pool_size=1)."""
    with starting(setup) as one:
        yield one


def begin(bouncer, database, **options) -> psycopg.Connection:
    """Open a client that is in the middle of a transaction."""
    client = bouncer.connect(database, autocommit=False, **options)
    client.execute("select 1")
    return client


# ---- the smallest working setup ------------------------------------------------------------------------------


@control(edit("pgbouncer/pgbouncer.ini", "pool_mode = transaction", "pool_mode = session"))
@control(edit("pgbouncer/roles.sql", "grant select, insert, update, delete on tables", "grant select on tables"))
def test_django_works_through_pgbouncer_as_the_page_sets_it_up(served, as_shipped) -> None:
    """With all files as copied, an order placed through PgBouncer in transaction mode is listed."""
    status, placed = served.request("/orders/", "POST", "customer=Ada")
    assert status == 201
    assert {"id": placed["id"], "customer": "Ada"} in served.request("/orders/")[1]["orders"]
    assert pool(as_shipped)["pool_mode"] == "transaction"
    clients = [row for row in as_shipped.show("clients") if row["database"] == "upstream"]
    assert {row["application_name"] for row in clients} == {"upstream"}


@control(
    edit("upstream/settings/environment.py", "Env.db_url_config(url)", 'Env.db_url_config(url.replace("%40", "-"))')
)
def test_a_password_is_written_as_in_any_url(project) -> None:
    """Percent-encoded special characters in the settings' two URLs are decoded."""
    code = "from django.conf import settings; print(*(each['PASSWORD'] for each in settings.DATABASES.values()))"
    url = "postgresql://upstream:a%40b%2Fc@127.0.0.1:6432/upstream"
    urls = {"DATABASE_DIRECT_URL": url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    assert project.run("-c", code, database_url=url, **urls) == (0, "a@b/c a@b/c\n")


@control(
    edit("pgbouncer/pgbouncer.ini", "pool_mode = transaction", "pool_mode = session"),
    fails_with="the pool shows {'cl_active': 10",
)
def test_ten_idle_django_clients_hold_no_server_connection(served, as_shipped) -> None:
    """Each thread keeps its connection to PgBouncer; no server connection is in use, and no client waits."""
    until("every thread has a connection", lambda: fill(served) or pool(as_shipped)["cl_active"] == 10)
    settled(as_shipped, cl_active=10, cl_waiting=0, sv_active=0)


@control(
    edit("upstream/settings/prod.py", "default=60", "default=0"), fails_with="every thread has a connection: not within"
)
@control(edit("pgbouncer/pgbouncer.ini", "[pgbouncer]", "[pgbouncer]\nlog_connections = 0"))
def test_a_kept_connection_saves_the_login_to_pgbouncer(served, as_shipped) -> None:
    """With the default CONN_MAX_AGE ten threads have logged in, and 20 requests in a row reuse the connections."""
    until("every thread has a connection", lambda: fill(served) or pool(as_shipped)["cl_active"] == 10)
    assert logins(as_shipped) >= 10

    def saved() -> bool:
        before = logins(as_shipped)
        for _ in range(20):
            served.backend()
        return logins(as_shipped) == before

    until("no request has logged in", saved)  # one that has, had an expired connection


@control(edit("upstream/settings/prod.py", 'seconds("DB_CONN_MAX_AGE", default=60)', "60"))
@pytest.mark.usefixtures("served")
def test_age_zero_logs_in_to_pgbouncer_for_each_request(setup, as_shipped, project) -> None:
    """With CONN_MAX_AGE = 0, ten queries, each followed by close_old_connections, are ten logins to PgBouncer."""
    code = (
        "import django; django.setup()\n"
        "from django.db import close_old_connections\n"
        "from orders.models import Order\n"
        "for _ in range(10): Order.objects.exists(); close_old_connections()\n"
    )
    before = logins(as_shipped)
    urls = {"DATABASE_DIRECT_URL": setup.database.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    url = as_shipped.url(setup.database)
    assert project.run("-c", code, database_url=url, DB_CONN_MAX_AGE="0", **urls) == (0, "")
    assert logins(as_shipped) - before == 10


def fill(gunicorn) -> None:
    """Send concurrent requests, so that each thread gets one."""
    with ThreadPoolExecutor(max_workers=20) as users:
        for _ in range(20):
            users.submit(gunicorn.request, "/orders/report/?seconds=0.02")


def logins(bouncer) -> int:
    """Return how often a client has logged in to the application's database."""
    return bouncer.leash.said().count("login attempt: db=upstream user=upstream ")


# ---- settings ------------------------------------------------------------------------------------------------


@control(edit("pgbouncer/pgbouncer.ini", "default_pool_size = 20", "default_pool_size = 020"))
def test_every_setting_is_in_effect_as_it_is_written(as_shipped, load, request) -> None:
    """SHOW CONFIG has each key of the ini, all but four with its value, and agrees with the linter's list of keys."""
    shown = {row["key"]: row for row in as_shipped.show("config")}
    for key, value in section(load(INI), "pgbouncer").items():
        assert key in shown, key
        assert key in TAKEN_OVER or shown[key]["value"] == value, key
    listed = {"version": pgbouncer.version(), "settings": {key: row["default"] for key, row in shown.items()}}
    known = json.loads(LINTED.read_text()) if LINTED.exists() else {}
    if request.config.getoption("record") and known.get("version", "") <= listed["version"]:
        LINTED.write_text(json.dumps(listed, indent=2) + "\n")
    elif known["version"] == listed["version"]:
        assert known == listed


@control(here("parse(INI, text)", "setup.load(INI)"))
@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize("wrong", ["pool_mod = transaction", "pool_mode = transactional"])
def test_a_misspelt_setting_stops_the_start_and_is_named_with_its_line(setup, wrong) -> None:
    """PgBouncer's error gives the setting, its value and the line."""
    text = "".join(f"{wrong if line.startswith('pool_mode') else line}\n" for line in setup.load(INI).text.splitlines())
    line = text.splitlines().index(wrong) + 1
    key, value = wrong.split(" = ")
    with pytest.raises(ProblemError) as refused:
        pgbouncer.PgBouncer(named={"upstream": setup.database}, ini=parse(INI, text), users=setup.users)
    assert str(refused.value) == f'snippets/{INI}:{line}: PgBouncer: invalid value "{value}" for parameter {key}'


@control(here("reload(wrong)", 'reload("pool_mode = transaction")'))
@pytest.mark.parametrize("wrong", ["pool_mod = transaction", "pool_mode = transactional"])
def test_a_mistake_at_a_reload_gives_the_settings_below_it_their_defaults(setup, start, wrong) -> None:
    """Whoever is connected keeps a server connection then, as in session mode, until the file is right and reloaded.

    PgBouncer 1.26 answers that RELOAD failed, 1.24 does not; the log of both says so.
    """
    bouncer, own = start(query_wait_timeout=20), section(setup.load(INI), "pgbouncer")
    file = bouncer.leash.folder / "pgbouncer.ini"

    def reload(line: str) -> str:
        """Write the page's settings below those of the proof, with this line for the mode; return what RELOAD says."""
        lines = {key: f"{key} = {value}\n" for key, value in own.items() if key not in TAKEN_OVER}
        theirs = "".join({**lines, "pool_mode": f"{line}\n"}.values())
        include = f"%include {bouncer.leash.folder}"
        file.write_text(f"[databases]\n{include}/databases.ini\n[pgbouncer]\n{include}/settings.ini\n{theirs}")
        with bouncer.admin() as console:
            return heard(console.execute, "reload")

    def values(*keys: str) -> list[str]:
        shown = {row["key"]: row["value"] for row in bouncer.show("config")}
        return [shown[key] for key in keys]

    changed = "pool_mode", "max_client_conn", "idle_transaction_timeout"
    with bouncer.connect(setup.database) as client:
        said = reload(wrong)
        assert "config file loading failed" in bouncer.leash.said()
        assert said == ("RELOAD failed, see logs for additional details" if at_least(1, 26) else "")
        assert values("stats_users", *changed) == [own["stats_users"], "session", "100", "0"]
        client.execute("select 1")
        assert pool(bouncer)["sv_active"] == 1
        assert reload("pool_mode = transaction") == ""
        assert values(*changed) == [own[key] for key in changed]


@control(here("start(**{key: value})", "start()"))
@pytest.mark.parametrize(
    ("setting", "becomes"), [("default_pool_size = -3", "-3"), ("max_packet_size = 99999999999", "1215752191")]
)
def test_a_number_that_makes_no_sense_is_taken_as_it_is(start, setting, becomes) -> None:
    """PgBouncer starts with a negative size, and turns a number that is too large into another one."""
    key, value = setting.split(" = ")
    bouncer = start(**{key: value})
    assert {row["key"]: row["value"] for row in bouncer.show("config")}[key] == becomes


@control(here("[pgbouncer]\\nlisten_port", "[pgbouncer]\\nlisten_addr = 127.0.0.1\\nlisten_port"))
def test_without_listen_addr_there_is_only_a_unix_socket() -> None:
    """The socket is there, and PgBouncer listens at no address, of IPv4 or of IPv6."""
    leash = Leash("pgbouncer")
    try:
        port = free_port()
        settings = f"[pgbouncer]\nlisten_port = {port}\nunix_socket_dir = {leash.folder}\nauth_type = scram-sha-256\n"
        ini = leash.write("pgbouncer.ini", f"[databases]\n{settings}auth_file = {leash.write('userlist.txt', '')}\n")
        if server_user() is not None:
            leash.folder.chmod(0o777)
        drop = [] if server_user() is None else ["-u", "nobody"]
        leash.run([*pgbouncer.find(), *drop, str(ini)], stop=SIGQUIT)
        until("the socket is there", (leash.folder / f".s.PGSQL.{port}").is_socket)
        assert psutil.Process(leash.pid).net_connections("inet") == []
    finally:
        leash.stop()


@control(edit("pgbouncer/pgbouncer.ini", "stats_users = pgbouncer_stats", "stats_users = pgbouncer_stats, upstream"))
@control(edit("pgbouncer/pgbouncer.ini", "= pgbouncer_admin", "= pgbouncer_admin, pgbouncer_stats"))
def test_the_console_over_tcp_is_for_those_who_are_named(setup, as_shipped) -> None:
    """admin_users may run commands, stats_users may only look, and the application may not log in."""
    with setup.console(as_shipped) as console:
        assert console.execute("show version").fetchone()
        console.execute("reload")
    with setup.console(as_shipped, "pgbouncer_stats") as console:
        assert console.execute("show pools").fetchall()
        for command in ("reload", "pause", "resume", "reconnect", "kill upstream", "shutdown", "set verbose = 1"):
            with pytest.raises(psycopg.Error, match="admin access needed"):
                console.execute(command)
    with pytest.raises(psycopg.OperationalError, match="FATAL:  not allowed"):
        setup.console(as_shipped, "upstream")


@control(here("autocommit=False", "autocommit=True"))
def test_the_console_wants_autocommit_and_no_parameters(setup, as_shipped) -> None:
    """It rejects BEGIN, and the extended query protocol, which sends parameters separately."""
    admin = {"dbname": "pgbouncer", "user": "pgbouncer_stats", "password": setup.roles["pgbouncer_stats"].password}
    with (
        as_shipped.connect(setup.database, **admin, autocommit=False) as console,
        pytest.raises(psycopg.Error, match="invalid command 'BEGIN'"),
    ):
        console.execute("show version")
    with (
        as_shipped.connect(setup.database, **admin) as console,
        pytest.raises(psycopg.Error, match="extended query protocol not supported by admin console"),
    ):
        console.execute("show %s", ["version"])


@control(here("default_pool_size=3", "default_pool_size=4"))
def test_the_pool_size_is_a_maximum(setup, start) -> None:
    """Clients that take turns share one server connection; concurrent transactions get one each, up to the maximum."""
    bouncer = start(default_pool_size=3)
    clients = [bouncer.connect(setup.database) for _ in range(12)]
    for client in clients:
        client.execute("select 1")
    assert settled(bouncer, cl_active=12, sv_active=0)["sv_idle"] == 1
    for client in clients[:3]:
        client.execute("begin")
        client.execute("select 1")
    with bouncer.impatient(), pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
        clients[3].execute("select 1")
    assert pool(bouncer)["sv_active"] == 3
    clients[0].execute("commit")
    clients[4].execute("select 1")
    for client in clients:
        client.close()


@control(here("max_db_connections=1, ", ""))
def test_the_pool_size_counts_for_each_user_in_each_database(setup, start) -> None:
    """Two users get one server connection each, unless max_db_connections limits them together."""
    users = {**setup.users, "upstream_owner": setup.roles["upstream_owner"].password}
    owner = {"user": "upstream_owner", "password": setup.roles["upstream_owner"].password}
    bouncer = start(default_pool_size=1, users=users)
    with begin(bouncer, setup.database), begin(bouncer, setup.database, **owner):
        assert pool(bouncer)["sv_active"] == pool(bouncer, "upstream_owner")["sv_active"] == 1
        for again in ({}, owner):
            with bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
                begin(bouncer, setup.database, **again)
    bouncer = start(default_pool_size=1, max_db_connections=1, users=users)
    with begin(bouncer, setup.database), bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
        bouncer.connect(setup.database, **owner)


@control(here("min_pool_size=2", "min_pool_size=0"), fails_with="one of the two is closed: not within")
@control(here("server_lifetime=0.1", "server_lifetime=3600"), fails_with="the other one is closed: not within")
@control(here('holder.execute("begin")', "pass"), fails_with="one of the two is closed: not within")
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_only_what_no_client_has_can_be_idle_for_too_long_or_too_old(database, pooler, mode) -> None:
    """Beside one that a client has, two are free: min_pool_size spares one of them, until it is too old.

    In session mode the client has it and does nothing, so that PostgreSQL shows it as idle. SHOW POOLS tells.
    """
    bouncer = pooler(database, pool_mode=mode, default_pool_size=3, min_pool_size=2)
    with bouncer.connect(database) as holder:
        if mode == "transaction":
            holder.execute("begin")
        (own,) = holder.execute("select pg_backend_pid()").fetchone()
        with begin(bouncer, database), begin(bouncer, database):
            pass
        until("two are free", lambda: pool_of(bouncer, database)["sv_idle"] == 2)
        old = {*database.backends()}
        bouncer.set(server_idle_timeout=0.1)
        until("one of the two is closed", lambda: len(database.backends()) == 2)
        left = {*database.backends()}
        assert own in left < old
        bouncer.set(server_idle_timeout=600, server_lifetime=0.1)
        until("the other one is closed", lambda: {*database.backends()} & old == {own})
        until("another is in its place", lambda: len(database.backends()) == 2)
        state = database.admin.execute("select state from pg_stat_activity where pid = %s", [own]).fetchone()
        assert state == ("idle" if mode == "session" else "idle in transaction",)
        assert pool_of(bouncer, database)["sv_active"] == 1
        bouncer.set(min_pool_size=0, server_idle_timeout=0.1, server_lifetime=3600)
        until("what is free is closed", lambda: database.backends() == [own])
        assert holder.execute("select pg_backend_pid()").fetchone() == (own,)
        bouncer.set(server_idle_timeout=600, server_lifetime=0.1)
        holder.execute("rollback")
    until("it is closed when its client has left", lambda: own not in database.backends())


@control(here('"max_db', '"max_user'), fails_with="query_wait_timeout")
@control(here("begin(another", "begin(bouncer"), fails_with="query_wait_timeout")
def test_max_db_connections_is_for_each_entry_though_they_lead_to_one_database(database, pooler) -> None:
    """With one for each, two entries have two, and one of a second PgBouncer makes it three."""
    entries = {database.name: database, "other": database}
    limits = {"pool_mode": "transaction", "max_db_connections": 1, "query_wait_timeout": 20}
    bouncer, another = (pooler(named=entries, **limits) for _ in range(2))
    with begin(bouncer, database), begin(bouncer, database, dbname="other"), begin(another, database):
        assert len(database.backends()) == 3


@control(here("limit: 1", "limit: 2"))
@pytest.mark.parametrize("limit", ["max_db_connections", "max_user_connections"])
def test_at_a_limit_what_is_free_in_another_pool_gives_way_and_what_is_in_use_does_not(
    database, pooler, second_user, limit
) -> None:
    """Two users of an entry, or one user in two entries: the second waits while the first one's is in use."""
    entries = {database.name: database, "other": database}
    settings = {limit: 1, "users": scram(database, second_user)}
    bouncer = pooler(named=entries, pool_mode="transaction", **settings)
    who = {"user": second_user.role.name, "password": second_user.role.password}
    second = who if limit == "max_db_connections" else {"dbname": "other"}
    with begin(bouncer, database) as first:
        with bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
            begin(bouncer, database, **second)
        used = database.backends()
        first.commit()
        with begin(bouncer, database, **second):
            # The one that gave way is still there for a moment.
            until("there is another in its place", lambda: len(now := database.backends()) == 1 and now != used)


@control(here("pool_size=1", "pool_size=2"))
@control(here("user={role.name} ", ""))
def test_who_is_forced_to_be_one_user_shares_that_ones_pool(database, pooler, second_user) -> None:
    """Two users of an entry with `user=` are one pool of one; two entries are two."""
    role = database.role
    users = {**scram(second_user), role.name: role.password}
    who = {"user": second_user.role.name, "password": second_user.role.password}
    entries = {database.name: database, "other": database}
    bouncer = pooler(named=entries, options=f"user={role.name} pool_size=1", pool_mode="transaction", users=users)
    with begin(bouncer, database):
        with bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
            begin(bouncer, database, **who)
        assert [row["user"] for row in bouncer.show("pools") if row["database"] == database.name] == [role.name]
        with begin(bouncer, database, dbname="other", **who) as served:
            assert served.execute("select current_user").fetchone() == (role.name,)


@control(here("max_client_conn=2", "max_client_conn=3"))
def test_max_client_conn_counts_every_client_and_lets_the_console_in(setup, start) -> None:
    """One more client is refused, although the others are idle; an administrator can still log in to the console."""
    bouncer = start(max_client_conn=2)
    with bouncer.connect(setup.database), bouncer.connect(setup.database):
        with pytest.raises(psycopg.OperationalError, match=r"no more connections allowed \(max_client_conn\)"):
            bouncer.connect(setup.database)
        with setup.console(bouncer) as console:
            assert console.execute("show version").fetchone()


@control(here("files=24", "files=2400"), fails_with="it has run out: not within")
def test_where_open_files_run_out_a_client_hangs_and_the_log_says_why(setup, start) -> None:
    """Long before max_client_conn, a client gets no answer; it is served when others have left."""
    bouncer = start(files=24)
    with ThreadPoolExecutor(20) as threads, bouncer.connect(setup.database):  # opens a server connection
        clients = [threads.submit(bouncer.connect, setup.database) for _ in range(20)]
        until("it has run out", lambda: "accept() failed: Too many open files" in bouncer.leash.said())
        assert not all(client.done() for client in clients)
        for client in as_completed(clients):
            client.result().close()


@control(edit("pgbouncer/limits.conf", "LimitNOFILE=8192", "LimitNOFILE=512"))
@control(here("files=limit", "files=limit - 1"))
@control(here('if name != "upstream"', ""))
def test_the_limit_for_the_service_has_room_for_what_pgbouncer_expects(setup, start, load) -> None:
    """Started with it, PgBouncer logs that limit, and an expected use that fits in it and exceeds max_client_conn.

    A user that is not in the userlist is not counted, such as one that auth_query finds.
    """
    limits = load("pgbouncer/limits.conf")
    (limit,) = map(int, re.findall(r"^LimitNOFILE=(\d+)$", limits.text, re.MULTILINE))
    if limit > resource.getrlimit(resource.RLIMIT_NOFILE)[1]:
        pytest.skip(f"needs to be allowed to open {limit} files")
    words = re.compile(r"kernel file descriptor limit: (\d+) .*max expected fd use: (\d+)")
    listed = {name: secret for name, secret in setup.users.items() if name != "upstream"}
    said, without = (words.search(start(files=limit, users=users).leash.said()) for users in (setup.users, listed))
    assert said
    assert int(said[1]) == limit
    assert limit >= int(said[2]) > int(section(load(INI), "pgbouncer")["max_client_conn"])
    assert int(said[2]) - int(without[2]) >= int(section(load(INI), "pgbouncer")["default_pool_size"])
    evidence.ran(limits, "checked", against=f"what PgBouncer says of its limit, {pgbouncer.version()}")


@control(edit("pgbouncer/limits.conf", "LimitNOFILE", "LimitFiles"))
def test_systemd_knows_the_limit(load, tmp_path) -> None:
    """systemd-analyze verify accepts it as a unit's drop-in, starting nothing."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    limits = load("pgbouncer/limits.conf")
    (tmp_path / "pgbouncer.service.d").mkdir()
    (tmp_path / "pgbouncer.service.d/limits.conf").write_text(limits.text)
    unit = tmp_path / "pgbouncer.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert "limits.conf" not in checked.stderr
    known = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout.split()[1]
    evidence.ran(limits, "checked", against=f"systemd-analyze, {known}")


@control(here("default_pool_size=1", "default_pool_size=2"))
def test_a_client_that_waits_too_long_gets_an_error(setup, start) -> None:
    """psycopg 3 raises ProtocolViolation with the text query_wait_timeout."""
    bouncer = start(default_pool_size=1)
    with (
        begin(bouncer, setup.database),
        bouncer.connect(setup.database) as waiting,
        bouncer.impatient(),
        pytest.raises(psycopg.errors.ProtocolViolation, match="query_wait_timeout"),
    ):
        waiting.execute("select 1")


@control(
    here("idle_transaction_timeout=0.1", "idle_transaction_timeout=0"), fails_with="the pool shows {'cl_active': 0"
)
def test_a_silent_transaction_is_closed(setup, start) -> None:
    """idle_transaction_timeout ends it: no server connection stays in use, and the client's next statement fails."""
    bouncer = start(default_pool_size=1)
    silent = begin(bouncer, setup.database)
    bouncer.set(idle_transaction_timeout=0.1)  # only now: on a busy machine it may be idle that long as it begins
    settled(bouncer, cl_active=0, sv_active=0)
    with pytest.raises(psycopg.OperationalError, match="idle transaction timeout"):
        silent.execute("select 1")
    silent.close()


@control(
    edit("pgbouncer/pgbouncer.ini", "max_prepared_statements = 200", "max_prepared_statements = 0"),
    fails_with="prepared statement",
)
def test_prepared_statements_work_in_transaction_mode(setup, as_shipped) -> None:
    """PgBouncer prepares a client's statement again on whichever server connection the client gets."""
    evidence.on(psycopg=psycopg.__version__)
    with as_shipped.connect(setup.database, prepare_threshold=0) as one:
        before, _ = one.execute("select pg_backend_pid(), %s::int", [1]).fetchone()
        with begin(as_shipped, setup.database):  # takes the server connection on which it was prepared
            now, given = one.execute("select pg_backend_pid(), %s::int", [2]).fetchone()
            assert (now != before, given) == (True, 2)
            again = "select count(*) from pg_prepared_statements where statement like 'select pg_backend_pid(), $1%'"
            assert one.execute(again, prepare=False).fetchone() == (1,)


@control(here("(3600, 0)", "(0, 0)"), fails_with="one serves: not within")
def test_a_failed_login_to_the_server_is_repeated_from_memory(setup, start) -> None:
    """Until server_login_retry has passed, clients get an error whose cause is gone: from 1.24 on, the server's own."""
    waits, tries = (start(server_login_retry=seconds) for seconds in (3600, 0))

    def hears(bouncer) -> str:
        try:
            with bouncer.connect(setup.database) as client:
                client.execute("select 1")
        except psycopg.Error as error:
            return str(error)
        return "served"

    assert hears(waits) == hears(tries) == "served"
    setup.database.admin.execute("alter role upstream nologin")
    try:
        for pid in setup.database.backends():
            setup.database.terminate(pid)
        for bouncer in (waits, tries):
            settled(bouncer, sv_idle=0)
            assert "not permitted to log in" in hears(bouncer)
    finally:
        setup.database.admin.execute("alter role upstream login")
    until("one serves", lambda: "(server_login_retry)" in hears(waits) and hears(tries) == "served")
    assert ("not permitted to log in (server_login_retry)" in hears(waits)) == at_least(1, 24)


# ---- roles ---------------------------------------------------------------------------------------------------


@control(
    edit(
        "pgbouncer/roles.sql",
        "grant usage on schema public to upstream;",
        "grant create, usage on schema public to upstream;",
    )
)
@control(edit("pgbouncer/roles.sql", "pg_monitor;", "pg_monitor, pg_read_all_data;"))
@control(edit("pgbouncer/roles.sql", "create role pgbouncer_admin nologin", "create role pgbouncer_admin login"))
@control(edit("pgbouncer/roles.sql", "create role pgbouncer_stats nologin", "create role pgbouncer_stats login"))
@pytest.mark.usefixtures("served")
def test_each_role_may_do_what_it_needs_and_no_more(setup) -> None:
    """The application writes rows, not tables; monitoring sees sessions, not rows; the console roles cannot log in."""
    monitor = setup.roles["upstream_monitor"]
    with setup.database.connect() as application:
        application.execute("insert into orders_order (customer, placed_at) values ('Eve', now())")
        application.execute("update orders_order set customer = 'Mallory' where customer = 'Eve'")
        application.execute("delete from orders_order where customer = 'Mallory'")
        makes = ("create table t (n int)", "create temporary table t (n int)")
        for forbidden in (*makes, "alter table orders_order add n int", "drop table orders_order"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(forbidden)
        with setup.database.connect(user=monitor.name, password=monitor.password) as watching:
            seen = "select count(*) from pg_stat_activity where usename = 'upstream' and state is not null"
            assert watching.execute(seen).fetchone()[0] >= 1
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                watching.execute("select * from public.orders_order")
            tables = (
                "select relname, has_any_column_privilege(oid, 'select') from pg_class"
                " where relkind = 'r' and relnamespace = 'public'::regnamespace"
            )
            readable = dict(watching.execute(tables).fetchall())
            assert readable.keys() >= {"django_migrations", "orders_order"}
            assert not any(readable.values())
    for name in ("pgbouncer_admin", "pgbouncer_stats"):
        with pytest.raises(psycopg.OperationalError, match="is not permitted to log in"):
            setup.database.connect(user=name, password=setup.roles[name].password)


@control(here("* 1024", "* 128"))
@control(edit("pgbouncer/roles.sql", " in role\npg_monitor;", ";"), fails_with="its statement is shown: not within")
@pytest.mark.usefixtures("served")
def test_the_monitoring_role_sees_the_values_in_statements(setup, as_shipped, project) -> None:
    """By default Django puts values into the statement, so pg_stat_activity shows what it filtered by.

    Of a longer statement it shows the first 1023 bytes, with the default track_activity_query_size.
    """
    code = "from orders.models import Order; Order.objects.filter(customer='Eve').count()"
    urls = {"DATABASE_DIRECT_URL": setup.database.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    url = as_shipped.url(setup.database)
    assert project.run("-c", f"import django; django.setup(); {code}", database_url=url, **urls) == (0, "")
    monitor = setup.roles["upstream_monitor"]
    with setup.database.connect(user=monitor.name, password=monitor.password) as watching:
        seen = "select count(*) from pg_stat_activity where usename = 'upstream' and query like %s"
        until("its statement is shown", lambda: watching.execute(seen, ["%'Eve'%"]).fetchone() == (1,))
        with setup.database.connect(cursor_factory=psycopg.ClientCursor) as application:
            application.execute("select %s", ["Mallory" * 1024])
            size = "select octet_length(query) from pg_stat_activity where pid = %s"
            assert watching.execute(size, [application.info.backend_pid]).fetchone() == (1023,)


# ---- console -------------------------------------------------------------------------------------------------


def console(setup, bouncer, snippet, **variables):
    """Run a script on the console in psql, as its administrator."""
    evidence.ran(snippet)
    role = setup.roles["pgbouncer_admin"]
    address = f"host=127.0.0.1 port={bouncer.port} dbname=pgbouncer user={role.name} password={role.password}"
    result = run_psql(address, snippet.text, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout


@control(
    edit("pgbouncer/console/pause.sql", 'pause :"database";', "show version;"),
    fails_with="the server connections are closed: not within",
)
def test_pause_keeps_clients_waiting_and_resume_serves_them(setup, start, load) -> None:
    """A statement sent during PAUSE is answered after RESUME; meanwhile there is no server connection."""
    bouncer = start()
    with bouncer.connect(setup.database) as client:
        client.execute("select 1")
        console(setup, bouncer, load("pgbouncer/console/pause.sql"), database="upstream")
        until("the server connections are closed", lambda: sum(row["port"] > 0 for row in bouncer.show("servers")) == 0)
        client.pgconn.send_query(b"select 42")
        settled(bouncer, cl_waiting=1)
        console(setup, bouncer, load("pgbouncer/console/resume.sql"), database="upstream")
        assert answer(client) == b"42"


@control(edit("pgbouncer/console/reload.sql", "reload;", "show version;"))
@control(
    here('"upstream = {upstream}\\n"', '"upstream = {upstream}\\nother = {upstream}\\n"'),
    fails_with="it has left: not within",
)
def test_reload_takes_new_settings_over_and_loses_no_client(setup, start, load) -> None:
    """A connected client carries on, and SHOW CONFIG has the new setting; a client whose entry is gone is dropped."""
    bouncer = start()
    with bouncer.connect(setup.database) as client:
        bouncer.settings["default_pool_size"] = 7
        bouncer.leash.write("settings.ini", settings_ini(bouncer))
        console(setup, bouncer, load("pgbouncer/console/reload.sql"))
        assert client.execute("select 1").fetchone() == (1,)
    (shown,) = [row for row in bouncer.show("config") if row["key"] == "default_pool_size"]
    assert (shown["value"], shown["changeable"]) == ("7", "yes")
    bouncer.entries["other"] = bouncer.entries["upstream"]
    bouncer.reload()
    with bouncer.connect(setup.database, dbname="other") as client:
        client.execute("select 1")
        del bouncer.entries["other"]
        bouncer.leash.write("databases.ini", "upstream = {upstream}\n".format(**bouncer.entries))
        console(setup, bouncer, load("pgbouncer/console/reload.sql"))
        until("it has left", lambda: not [row for row in bouncer.show("clients") if row["database"] == "other"])
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")


@control(here("bouncer.connect(setup.database).close()  # before", "pass"))
@control(here("line(random)", '""'))
@control(here("bouncer.restart()", "pass"))
def test_1_26_lets_in_whose_line_is_gone_until_it_starts_again_or_has_another_password(setup, start) -> None:
    """This holds for a user that has logged in before; older versions refuse it."""
    bouncer = start()
    userlist = (bouncer.leash.folder / "userlist.txt").read_text()

    def line(secret: str) -> str:
        return f'"upstream" "{secret}"\n'

    def reloaded(instead: str) -> str:
        bouncer.leash.write("userlist.txt", userlist.replace(line(setup.users["upstream"]), instead))
        bouncer.reload()
        return heard(bouncer.connect, setup.database)

    bouncer.connect(setup.database).close()  # before
    random = secrets.token_hex()
    found = [reloaded(lines) for lines in ("", line(random), line(setup.users["upstream"]), "")]
    bouncer.restart()
    found.append(heard(bouncer.connect, setup.database))
    refused = "FATAL:  SASL authentication failed"
    gone = "" if at_least(1, 26) else refused
    assert found == [gone, refused, "", gone, refused]


def answer(client) -> bytes:
    """Wait for the answer to a query that was sent, and return its value."""
    (result,) = iter(client.pgconn.get_result, None)
    return result.get_value(0, 0)


def settings_ini(bouncer) -> str:
    """Return settings.ini as an administrator would have edited it."""
    return "".join(f"{key} = {value}\n" for key, value in {**bouncer.settings, "listen_port": bouncer.port}.items())


@control(edit("pgbouncer/console/reconnect.sql", 'reconnect :"database";', "show version;"))
def test_reconnect_replaces_server_connections_between_transactions(setup, start, load) -> None:
    """A client finishes its transaction on the old connection, and gets a new one for the next."""
    bouncer = start()
    with begin(bouncer, setup.database) as client:
        before = client.execute("select pg_backend_pid()").fetchone()
        console(setup, bouncer, load("pgbouncer/console/reconnect.sql"), database="upstream")
        assert client.execute("select pg_backend_pid()").fetchone() == before
        client.commit()
        assert client.execute("select pg_backend_pid()").fetchone() != before


@control(here('dbname="other"', 'dbname="upstream"'))
@control(here("bouncer.restart()", "bouncer.set(query_wait_timeout=0.1)"))
@control(edit("pgbouncer/console/kill.sql", 'kill :"database";', "show version;"))
def test_kill_drops_clients_and_lets_nobody_in_until_resume(setup, start, load) -> None:
    """An open transaction is lost, and new clients wait until the database is resumed by name or PgBouncer restarts.

    A statement outside a transaction fails as well, although PostgreSQL finishes it. Idle clients are dropped too, and
    no server connection is left. A client of another entry is served, though it leads to the same database.
    """
    bouncer = start(server_login_retry=0)
    bouncer.entries["other"] = bouncer.entries["upstream"]
    bouncer.reload()
    client, idle = begin(bouncer, setup.database), bouncer.connect(setup.database)
    with setup.as_owner.connect() as owner, bouncer.connect(setup.database) as alone:
        owner.execute("create table written (n int)")
        owner.execute("select pg_advisory_lock(5)")
        alone.pgconn.send_query(b"insert into written select 1 from pg_advisory_xact_lock_shared(5)")
        waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        until("its statement runs", lambda: owner.execute(waits).fetchone() == (1,))
        console(setup, bouncer, load("pgbouncer/console/kill.sql"), database="upstream")
        for each in (client, idle):
            with pytest.raises(psycopg.OperationalError):
                each.execute("select 1")
            each.close()
        assert bouncer.show("servers") == []
        heard = {result.status for result in iter(alone.pgconn.get_result, None)}
        assert heard == {psycopg.pq.ExecStatus.FATAL_ERROR}
        owner.execute("select pg_advisory_unlock(5)")
        until("its row is there", lambda: owner.execute("select n from written").fetchone() == (1,))
        owner.execute("drop table written")
    (row,) = [row for row in bouncer.show("databases") if row["name"] == "upstream"]
    assert row["paused"] == 1

    def served(**options: str) -> bool:
        try:
            with bouncer.connect(setup.database, **options) as another:
                return another.execute("select 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    with bouncer.impatient():
        elsewhere = served(dbname="other")
        assert elsewhere
        assert not served()
    console(setup, bouncer, load("pgbouncer/console/resume.sql"), database="upstream")
    until("clients are served", served)
    console(setup, bouncer, load("pgbouncer/console/kill.sql"), database="upstream")
    bouncer.restart()
    assert served()
