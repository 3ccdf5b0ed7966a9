"""Proves docs/how-to/encrypt.md: certificates from the reader's script, on both hops where the server has TLS."""

import subprocess
from contextlib import ExitStack, closing
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psycopg
import psycopg2
import pytest
from psycopg.conninfo import make_conninfo

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs import deployed
from tests.proofs.heard import many, piped
from tests.proofs.how_to.test_restart_drill import beside
from tests.proofs.pooled import BURST, CERTIFICATES, Pooled, a_day, certificates, certify, reader, settings_of, starting
from tests.proofs.runbooks.test_pgbouncer_server_login_retry import text
from tests.proofs.watched import needs_monitoring
from tests.stack import monitoring
from tests.stack.database import fresh
from tests.stack.monitoring import Exporter
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.upstream import serving
from tests.stack.wait import until

LISTENS = "--web.listen-address=127.0.0.1:{port}"
SETTINGS, ENVIRONMENT = "pgbouncer/tls.ini", "pgbouncer/tls.env"


@pytest.fixture(scope="module")
def setup(cluster):
    """PostgreSQL with the reader's roles and database, and certificates for this machine's address."""
    with certificates("ours", "others") as made_for, reader(cluster, "how-to-encrypt") as made:
        for path in (CERTIFICATES, SETTINGS, ENVIRONMENT):
            made.load(path)
        made.certificates, made.strangers = made_for
        yield made


@pytest.fixture(autouse=True)
def noted(setup) -> None:
    """Tell the ledger what the proof ran on."""
    setup.note()


def tls(setup, *sides: str) -> dict[str, Any]:
    """Return the settings of tls.ini for these sides, with the paths of the files created here."""
    found = settings_of(setup.ran[SETTINGS].text)
    return {
        name: value.replace("/etc/pgbouncer", str(setup.certificates))
        for name, value in found.items()
        if name.startswith(sides)
    }


@pytest.fixture(scope="module")
def encrypted(setup):
    """PgBouncer that accepts its clients over TLS."""
    bouncer = setup.start(**tls(setup, "client"))
    yield bouncer
    bouncer.stop()


def verified(setup) -> dict[str, str]:
    """Return the options of a client that verifies its server."""
    return {"sslmode": "verify-full", "sslrootcert": str(setup.certificates / "ca.crt")}


# ---- from Django to PgBouncer --------------------------------------------------------------------------------


@control(edit("pgbouncer/tls.env", "PGSSLMODE=verify-full", "PGSSLMODE=require"))
def test_django_talks_tls_to_pgbouncer(setup, encrypted, project) -> None:
    """It needs only the two variables in its environment, and then does not connect to a host of another name."""
    lines = setup.ran[ENVIRONMENT].text.replace("/etc/ssl/upstream", str(setup.certificates)).splitlines()
    variables = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    code = (
        "import django; django.setup(); from django.db import connection; connection.ensure_connection(); "
        "driver = connection.connection; print(getattr(driver, 'pgconn', driver.info).ssl_in_use)"
    )
    variables |= {"DATABASE_DIRECT_URL": setup.database.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    url = encrypted.url(setup.database)
    assert project.run("-c", code, database_url=url, **variables) == (0, "True\n")
    status, said = project.run("-c", code, database_url=url.replace("127.0.0.1", "localhost"), **variables)
    assert status == 1
    assert 'does not match host name "localhost"' in said


@control(edit("pgbouncer/tls.ini", "client_tls_sslmode = require", "client_tls_sslmode = disable"), fails_with="SSL")
def test_the_console_shows_which_clients_use_tls(setup, encrypted) -> None:
    """The column tls of SHOW CLIENTS begins with the version of TLS."""
    with encrypted.connect(setup.database, application_name="careful", **verified(setup)):
        assert tls_of("careful", encrypted).startswith("TLSv1.3")


def tls_of(name: str, bouncer: PgBouncer) -> str:
    """Return what the console shows of a client's TLS, by its application_name."""
    (row,) = [row for row in bouncer.show("clients") if row["application_name"] == name]
    return row["tls"]


@control(edit("pgbouncer/tls.ini", "client_tls_sslmode = require", "client_tls_sslmode = allow"))
def test_a_client_without_tls_is_refused(setup, encrypted) -> None:
    """client_tls_sslmode = require refuses a client that does not encrypt."""
    with pytest.raises(psycopg.OperationalError, match="FATAL:  SSL required"):
        encrypted.connect(setup.database, sslmode="disable")


@control(edit("pgbouncer/tls.ini", "client_tls_sslmode = require", "client_tls_sslmode = allow"))
@control(here('f"{folder}/ca.crt"', 'f"{setup.strangers}/ca.crt"'))
@control(here('f"{folder}/ca.crt"', 'f"{setup.certificates}/ca.crt"'))
def test_an_exporter_is_refused_without_tls_and_verifies_with_it(setup, load) -> None:
    """With verify-full and the CA it sees the console; with another CA it does not, and says that it is unknown."""
    needs_monitoring()
    settings, variables = load("monitoring/exporter.ini"), load("monitoring/pgbouncer_exporter.env")
    role = setup.roles["pgbouncer_stats"]

    def looked(**environment: str) -> tuple[float, str]:
        files = {"pgpass": f"127.0.0.1:{bouncer.port}:pgbouncer:{role.name}:{role.password}\n"}
        own = monitoring.environment(variables, PGPORT=str(bouncer.port), PGPASSFILE="{folder}/pgpass")
        try:
            exporter = Exporter("pgbouncer_exporter", LISTENS, env={**own, **environment}, files=files)
        except RuntimeError as error:  # before 0.12 it exits instead
            return 0, str(error)
        found, said = {name: value for name, _, value in exporter.metrics()}, exporter.leash.said()
        exporter.stop()
        return found["pgbouncer_up"], said

    def verifying(folder: Path) -> dict[str, str]:
        return {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": f"{folder}/ca.crt"}

    # The exporter's driver refuses a secret of fewer iterations than the standard's 4096.
    users = {**setup.users, role.name: role.password}
    bouncer = setup.start(users=users, **tls(setup, "client"), **settings_of(settings.text))
    try:
        up, said = looked()
        assert (up, "SSL required" in said) == (0, True)
        assert looked(**verifying(setup.certificates))[0] == 1
        up, said = looked(**verifying(setup.strangers))
        assert (up, "x509: certificate signed by unknown authority" in said) == (0, True)
    finally:
        bouncer.stop()
    evidence.ran(settings, "started")
    evidence.ran(variables)
    evidence.on(pgbouncer_exporter=monitoring.version("pgbouncer_exporter"))


@control(here('sslmode="require"', 'sslmode="require", sslrootcert=strangers'), fails_with="certificate verify failed")
@control(here('"sslrootcert": strangers', '"application_name": "upstream"'))
@control(here('host="localhost", **verified(setup)', 'host="localhost", sslmode="require"'))
def test_a_client_that_verifies_refuses_a_stranger(setup, encrypted) -> None:
    """It refuses another CA's certificate and another host name; `require` without a CA checks neither."""
    strangers = str(setup.strangers / "ca.crt")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        encrypted.connect(setup.database, **{**verified(setup), "sslrootcert": strangers})
    with pytest.raises(psycopg.OperationalError, match='does not match host name "localhost"'):
        encrypted.connect(setup.database, host="localhost", **verified(setup))
    with encrypted.connect(setup.database, host="localhost", sslmode="require") as client:
        assert client.pgconn.ssl_in_use


@pytest.fixture
def asking(setup):
    """Start a PgBouncer that asks each client for a certificate: asking("verify-ca").

    It does so from a RELOAD on, as whoever waits for its start has none.
    """
    with starting(setup) as start:

        def one(mode: str, users: dict[str, str] | None = None, **more: object) -> PgBouncer:
            settings = {**tls(setup, "client"), "client_tls_ca_file": setup.certificates / "ca.crt"}
            bouncer = start(**settings, users=users or setup.users)
            beside(bouncer)
            bouncer.reload(client_tls_sslmode=mode, **more)
            return bouncer

        yield one


def pair_of(folder, name: str = "pooler.internal") -> dict[str, str]:
    """Return what a client says that shows a certificate."""
    return {"sslcert": f"{folder}/{name}.crt", "sslkey": f"{folder}/{name}.key"}


@control(here("asking(mode)", 'asking("require")'), fails_with="DID NOT RAISE")
@control(here('str(bouncer.settings["unix_socket_dir"])', '"127.0.0.1"'), fails_with="certificate required")
@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_client_tls_that_verifies_demands_a_certificate_of_each_client(setup, asking, mode) -> None:
    """A client without a certificate, or with a stranger's, is refused; any certificate by the CA is accepted.

    A client on the Unix socket needs none.
    """
    bouncer = asking(mode)
    with pytest.raises(psycopg.OperationalError, match="certificate required"):
        bouncer.connect(setup.database, **verified(setup))
    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        bouncer.connect(setup.database, **verified(setup), **pair_of(setup.strangers))
    with bouncer.connect(setup.database, **verified(setup), **pair_of(setup.certificates)) as client:
        assert client.execute("select current_user").fetchone() == ("upstream",)
    place = str(bouncer.settings["unix_socket_dir"])
    with bouncer.connect(setup.database, host=place) as client:
        assert client.execute("select current_user").fetchone() == ("upstream",)


@control(here('auth_type="cert"', 'auth_type="trust"'), fails_with="DID NOT RAISE")
def test_auth_type_cert_lets_in_whose_certificate_has_the_users_name(setup, asking) -> None:
    """No password is needed. A certificate with another name is refused, and the log has the reason.

    PgBouncer logs in to PostgreSQL for such a client only with a password: with a secret, the client gets an error.
    """
    bouncer = asking("verify-full", auth_type="cert")
    script = setup.load(CERTIFICATES).text
    for name in ("pgbouncer_stats", "upstream"):
        command = ["sh", "-c", script, "certificates.sh", name, "127.0.0.1"]
        subprocess.run(command, cwd=setup.certificates, check=True, capture_output=True)
    console = f"host=127.0.0.1 port={bouncer.port} dbname=pgbouncer user=pgbouncer_stats"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(make_conninfo(console, **verified(setup), **pair_of(setup.certificates)))
    assert "TLS certificate name mismatch" in bouncer.leash.said()
    shown = make_conninfo(console, **verified(setup), **pair_of(setup.certificates, "pgbouncer_stats"))
    with closing(psycopg.connect(shown, autocommit=True)) as client:
        assert psycopg.ClientCursor(client).execute("show version").fetchone()
    own = pair_of(setup.certificates, "upstream")
    with pytest.raises(psycopg.OperationalError, match="wrong password type"):
        bouncer.connect(setup.database, **verified(setup), **own)
    known = {**setup.users, "upstream": setup.database.role.password}
    with asking("verify-full", known, auth_type="cert").connect(setup.database, **verified(setup), **own) as client:
        assert client.execute("select current_user").fetchone() == ("upstream",)


@control(here("setup.start()", 'setup.start(**tls(setup, "client"))'))
def test_without_client_tls_a_client_that_prefers_it_goes_on_unencrypted(setup) -> None:
    """PgBouncer's default is no TLS at all: `require` fails, and libpq's default, `prefer`, connects without TLS."""
    bouncer = setup.start()
    try:
        with pytest.raises(psycopg.OperationalError, match="server does not support SSL, but SSL was required"):
            bouncer.connect(setup.database, sslmode="require")
        by_itself = {option.keyword: option.compiled for option in psycopg.pq.Conninfo.get_defaults()}[b"sslmode"]
        assert by_itself == b"prefer"
        with bouncer.connect(setup.database, sslmode="prefer", application_name="careless") as client:
            assert not client.pgconn.ssl_in_use
            assert tls_of("careless", bouncer) == ""
    finally:
        bouncer.stop()


@control(here('"-days 0"', '"-days 9"'))
@control(edit("pgbouncer/certificates.sh", "copy -days 365", "copy -days 3650"))
def test_a_certificate_that_has_ended_lets_nobody_in_until_the_next_and_a_reload(setup) -> None:
    """With verify-full it is refused. The script, run again, creates one in its place, and RELOAD is enough.

    The script's own lasts for a year.
    """
    script = setup.ran[CERTIFICATES].text
    at_once = script.replace("-days 365", "-days 0")
    assert at_once != script
    with certificates("renewed") as (folder,):
        own = {
            name: value.replace(str(setup.certificates), str(folder)) for name, value in tls(setup, "client").items()
        }
        trusting = {"sslmode": "verify-full", "sslrootcert": str(folder / "ca.crt")}
        bouncer = setup.start(**own)
        try:
            bouncer.connect(setup.database, **trusting).close()
            certify(folder, at_once)
            bouncer.reload()
            with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
                bouncer.connect(setup.database, **trusting)
            certify(folder, script)
            bouncer.reload()
            bouncer.connect(setup.database, **trusting).close()
        finally:
            bouncer.stop()
        assert [lasts(folder / "pooler.internal.crt", days) for days in (364, 366)] == [True, False]


def lasts(certificate: Path, days: int) -> bool:
    """Return whether a certificate is valid for that many days from now."""
    command = ["openssl", "x509", "-noout", "-checkend", str(days * 86_400), "-in", certificate]
    return subprocess.run(command, capture_output=True).returncode == 0


@control(edit("pgbouncer/certificates_end.sh", "2592000", "2764800"))
@control(here('made("late", 29)', 'made("late", 99)'))
def test_the_check_fails_where_a_certificate_ends_soon(setup, load, tmp_path) -> None:
    """It prints each one's end. The script's own and one of 31 days pass; one of 29 days or a missing file fails."""
    check = load("pgbouncer/certificates_end.sh")
    evidence.ran(check)

    def made(name: str, days: int):
        make = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name}"
        command = [*make.split(), "-keyout", "key", "-out", f"{name}.crt"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        return tmp_path / f"{name}.crt"

    def run(*files):
        command = ["sh", "-c", check.text, "certificates_end.sh", *files]
        return subprocess.run(command, capture_output=True, text=True)

    ours = setup.certificates / "pooler.internal.crt"
    good = run(ours, made("soon", 31), setup.certificates / "ca.crt")
    assert (good.returncode, good.stdout.count("notAfter=")) == (0, 3)
    late = run(ours, made("late", 29), setup.certificates / "ca.crt")
    assert (late.returncode, late.stdout.count("notAfter=")) == (1, 3)
    assert run(tmp_path / "nowhere").returncode == 1


REASONS = "query_wait_timeout", "terminating connection due to administrator command"
LOST = "SSL connection has been closed unexpectedly"


@control(here('sslmode="require"', 'sslmode="disable"'), fails_with="SSL required")
@control(here('"port=1 "', 'f"port={setup.server.port} "'), fails_with="DID NOT RAISE")
@pytest.mark.parametrize(
    ("driver", "reasons", "killed"),
    [
        (psycopg, REASONS, "consuming input failed: SSL error: unexpected eof while reading"),
        (psycopg2, (LOST, LOST), "SSL SYSCALL error: EOF detected"),
    ],
)
def test_over_tls_a_lost_connection_has_other_texts(setup, driver, reasons, killed) -> None:
    """psycopg 3 passes a reason on, psycopg2 says that the connection is gone, and both differ if PgBouncer is killed.

    So it is where PgBouncer has failed to log in. In executemany() and a pipeline psycopg 3 reports neither a
    query_wait_timeout nor who terminated a backend.
    """
    bouncer = setup.start(**tls(setup, "client"), default_pool_size=1)

    def client():
        """Open a connection, and run a query on it."""
        connection = driver.connect(bouncer.url(setup.database), sslmode="require")
        connection.cursor().execute("select 1")
        connection.rollback()
        return connection

    def hears(connection) -> str:
        with closing(connection), pytest.raises(driver.OperationalError) as error:
            connection.cursor().execute("select 1")
        return str(error.value).strip()

    try:
        waiting, cut = client(), client()
        asks = [(ask, client()) for ask in (many, piped)] if driver is psycopg else []
        with bouncer.connect(setup.database, autocommit=False) as holder:
            holder.execute("select 1")
            with bouncer.impatient():
                assert hears(waiting) == reasons[0]
                for ask, late in asks:
                    with closing(late), pytest.raises(psycopg.Error, match=f"^consuming input failed: {LOST}"):
                        ask(late)
        assert "closing because: query_wait_timeout" in bouncer.leash.said()
        cut.cursor().execute("select 1")
        for pid in setup.database.backends():
            setup.database.terminate(pid)
        assert hears(cut) == reasons[1]
        for ask, _ in asks:
            with closing(client()) as other:
                other.execute("select 1")
                for pid in setup.database.backends():
                    setup.database.terminate(pid)
                said = f"consuming input failed: {LOST}" + r"|server conn crashed\?" * (ask is piped)
                with pytest.raises(psycopg.Error, match=f"^({said})"):
                    ask(other)
        orphan, first, next_one = (client() for _ in range(3))
        for name, entry in bouncer.entries.items():
            bouncer.entries[name] = entry.replace(f"port={setup.server.port} ", "port=1 ")
        bouncer.reload()
        with bouncer.impatient():
            assert hears(first) == reasons[0]
            assert hears(next_one) == (text() if driver is psycopg else LOST)
        assert "server_login_retry" in bouncer.leash.said()
        bouncer.leash.halt(SIGKILL)
        assert hears(orphan) == killed
    finally:
        bouncer.stop()
    evidence.on(**{driver.__name__: driver.__version__.split()[0]})


@control(edit("pgbouncer/pgbouncer.ini", "max_client_conn = 500", "max_client_conn = 10"))
def test_all_files_of_a_host_together_serve_a_day_of_bursts_and_restarts(setup, project, load) -> None:
    """pgbouncer.ini with auth_query.ini, the client side of tls.ini and exporter.ini serves all logins and requests.

    The application's role has its timeouts, and only PgBouncer's own roles are in the userlist.
    """
    with setup.passwords():
        setup.database.psql(setup.load("pgbouncer/auth_query.sql"))
    setup.database.psql(load("postgres/role_timeouts.sql"), role="upstream")
    lookup, exporter = load("pgbouncer/auth_query.ini"), load("monitoring/exporter.ini")
    together = {**tls(setup, "client"), **settings_of(lookup.text), **settings_of(exporter.text)}
    users = {name: setup.users[name] for name in ("pgbouncer_admin", "pgbouncer_stats")}
    bouncer = setup.start(users={**users, "pgbouncer": setup.roles["pgbouncer"].password}, **together)
    for snippet in (lookup, exporter):
        evidence.ran(snippet, "started")
    deployed.migrate(setup, project)
    own = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(setup.certificates / "ca.crt")}
    own |= {"DATABASE_DIRECT_URL": setup.database.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    try:
        with serving(project, Pooled(setup.database, bouncer), GUNICORN_WORKERS="1", **own) as gunicorn:
            gunicorn.note()
            assert a_day(bouncer, setup.database, **verified(setup)) == {"upstream": 4 * BURST}
            assert gunicorn.request("/orders/")[0] == 200
            with setup.console(bouncer, "pgbouncer_stats") as console:
                assert console.execute("show pools").fetchall()
    finally:
        bouncer.stop()


# ---- from PgBouncer to PostgreSQL ----------------------------------------------------------------------------


@control(edit("pgbouncer/tls.ini", "server_tls_sslmode = verify-full", "server_tls_sslmode = prefer"))
@control(here('auth_user="upstream"', "log_stats=0"))
def test_pgbouncer_does_not_fall_back_to_a_server_without_tls(setup) -> None:
    """With verify-full no query reaches a server that does not encrypt. The default, prefer, accepts it.

    After that, a client whom auth_query should look up is told that the login has been failing.
    """
    if setup.database.admin.execute("show ssl").fetchone() != ("off",):
        pytest.skip("needs PostgreSQL without TLS")
    bouncer = setup.start()
    try:
        config = {row["key"]: row for row in bouncer.show("config")}
        assert config["server_tls_sslmode"]["value"] == config["server_tls_sslmode"]["default"] == "prefer"
        bouncer.connect(setup.database).close()
    finally:
        bouncer.stop()
    bouncer = setup.start(**tls(setup, "server"), query_wait_timeout=0.5, auth_user="upstream")
    try:
        with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
            bouncer.connect(setup.database)
        until("it says why", lambda: "server refused SSL" in bouncer.leash.said())
        with pytest.raises(psycopg.OperationalError, match="server login has been failing"):
            bouncer.connect(setup.database, user="somebody")
    finally:
        bouncer.stop()


@pytest.fixture(scope="module")
def with_tls(setup):
    """A PostgreSQL with a certificate of its own from the same authority."""
    query = "select setting from pg_settings where name = 'ssl_library'"
    if setup.database.admin.execute(query).fetchone() == ("",):
        pytest.skip("needs PostgreSQL with TLS")  # the embedded one is built without; PROVEN_PG_BIN names another
    own = setup.certificates / "pooler.internal"
    started = Cluster(ssl="on", ssl_cert_file=f"{own}.crt", ssl_key_file=f"{own}.key")
    yield started
    started.stop()


@control(edit("pgbouncer/tls.ini", "server_tls_sslmode = verify-full", "server_tls_sslmode = disable"))
def test_both_hops_are_encrypted_and_verified(setup, with_tls) -> None:
    """PostgreSQL itself reports its connection as encrypted, and the client's is encrypted too."""
    with fresh(with_tls.server) as database:
        bouncer = PgBouncer(database, **tls(setup, "client", "server"))
        try:
            with bouncer.connect(database, **verified(setup)) as client:
                query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
                assert client.execute(query).fetchone() == (True,)
                assert client.pgconn.ssl_in_use
            (row,) = bouncer.show("servers")
            assert row["tls"].startswith("TLSv1.3")
        finally:
            bouncer.stop()
    evidence.ran(setup.ran[SETTINGS], "started")


@control(edit("pgbouncer/tls.ini", "server_tls_sslmode = verify-full", "server_tls_sslmode = require"))
def test_pgbouncer_refuses_a_server_that_nobody_vouches_for(setup, with_tls) -> None:
    """With another CA's ca.crt it does not log in."""
    strangers = {**tls(setup, "server"), "server_tls_ca_file": setup.strangers / "ca.crt"}
    with fresh(with_tls.server) as database:
        bouncer = PgBouncer(database, query_wait_timeout=0.5, **strangers)
        try:
            with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
                bouncer.connect(database)
            until("it says why", lambda: "certificate verify failed" in bouncer.leash.said())
        finally:
            bouncer.stop()


@control(here('"-days 0"', '"-days 9"'))
@pytest.mark.usefixtures("with_tls")
def test_pgbouncer_refuses_a_server_whose_certificate_has_ended(setup) -> None:
    """With verify-full it does not log in. Once the script has made the next and PostgreSQL has reloaded, it does."""
    script = setup.ran[CERTIFICATES].text
    with certificates("renewed") as (folder,), ExitStack() as ends:
        certify(folder, script.replace("-days 365", "-days 0"))
        own = folder / "pooler.internal"
        started = Cluster(ssl="on", ssl_cert_file=f"{own}.crt", ssl_key_file=f"{own}.key")
        ends.callback(started.stop)
        database = ends.enter_context(fresh(started.server))
        trusting: dict[str, Any] = {**tls(setup, "server"), "server_tls_ca_file": folder / "ca.crt"}
        bouncer = PgBouncer(database, server_login_retry=0, **trusting)
        ends.callback(bouncer.stop)
        with bouncer.impatient(), pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
            bouncer.connect(database)
        until("it says why", lambda: "certificate verify failed" in bouncer.leash.said())
        certify(folder, script)
        database.admin.execute("select pg_reload_conf()")
        with bouncer.connect(database) as client:
            assert client.execute("select 1").fetchone() == (1,)
