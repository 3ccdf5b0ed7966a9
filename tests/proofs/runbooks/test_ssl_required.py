"""Proves docs/runbooks/ssl-required.md: one side requires TLS, and the other has none."""

import psycopg
import psycopg2
import pytest

from proven import evidence
from proven.sources.controls import control, here
from tests.proofs.heard import heard
from tests.proofs.pooled import CERTIFICATES, certificates
from tests.stack import monitoring
from tests.stack.database import fresh
from tests.stack.pgbouncer import PgBouncer
from tests.stack.wait import until

KEY_AND_CERTIFICATE = [("key", "key"), ("cert", "crt")]


@control(here('insists = "require"', 'insists = "prefer"'))
def test_a_driver_that_insists_is_told_that_there_is_no_tls(database, pooler) -> None:
    """By PgBouncer without a certificate, on its console too, with both drivers; sslmode=prefer connects without.

    The same holds for the stricter modes, and for PostgreSQL without TLS.
    """
    url = pooler(database, pool_mode="transaction").url(database)
    insists = "require"
    refused = "server does not support SSL, but SSL was required"
    with database.connect() as client:
        direct = [] if client.pgconn.ssl_in_use else [database.url]
    for driver in (psycopg, psycopg2):
        assert heard(driver.connect, url, dbname="pgbouncer", sslmode=insists) == refused
        for each in (url, *direct):
            for sslmode in (insists, "verify-ca", "verify-full"):
                assert heard(driver.connect, each, sslmode=sslmode) == refused
            assert heard(driver.connect, each, sslmode="prefer") == ""


@control(here("sslmode=require", "sslmode=disable"))
def test_an_exporter_in_go_has_a_text_of_its_own(database, pooler) -> None:
    """With sslmode=require and PgBouncer without TLS, pgbouncer_exporter says that SSL is not enabled."""
    address = f"postgres://127.0.0.1:{pooler(database).port}/pgbouncer?sslmode=require"
    options = (f"--pgBouncer.connectionString={address}", "--web.listen-address=127.0.0.1:{port}")
    evidence.on(pgbouncer_exporter=monitoring.version("pgbouncer_exporter"))
    try:
        exporter = monitoring.Exporter("pgbouncer_exporter", *options)
        said = exporter.leash.said()
        exporter.stop()
    except RuntimeError as error:  # before 0.12 it exits instead
        said = str(error)
    assert "pq: SSL is not enabled on the server" in said


@control(here('"FATAL", "alert"', '"FATAL", "SSL"'))
@control(here('"FATAL", "alert"', '"alert"'))
@control(here('"FATAL", "alert"', '"FATAL"'))
def test_the_text_tells_which_side_insists(database, pooler, load) -> None:
    """What PgBouncer refuses has FATAL or alert in its text; what either driver itself refuses has neither."""
    with certificates("ours", "others") as (ours, others):
        evidence.ran(load(CERTIFICATES))
        files = {f"client_tls_{kind}_file": ours / f"pooler.internal.{end}" for kind, end in KEY_AND_CERTIFICATE}
        plain = pooler(database, pool_mode="transaction")
        bouncer = pooler(database, pool_mode="transaction", client_tls_ca_file=ours / "ca.crt", **files)
        bouncer.reload(client_tls_sslmode="verify-full")
        strangers = {f"ssl{kind}": f"{others}/pooler.internal.{end}" for kind, end in KEY_AND_CERTIFICATE}

        def texts(driver, *tries: dict[str, str], by: PgBouncer = bouncer) -> list[bool]:
            said = [heard(driver.connect, by.url(database), **options) for options in tries]
            assert all(said)
            return [any(word in text for word in ("FATAL", "alert")) for text in said]

        verifies = {"sslmode": "verify-full"}
        for driver in (psycopg, psycopg2):
            refused = ({"sslmode": "disable"}, {"sslmode": "require"}, {"sslmode": "require", **strangers})
            assert texts(driver, *refused) == [True, True, True]
            refuses = ({"sslrootcert": f"{others}/ca.crt"}, {"sslrootcert": f"{ours}/ca.crt", "host": "localhost"})
            assert texts(driver, *(verifies | options for options in refuses)) == [False, False]
            assert texts(driver, {"sslmode": "require"}, by=plain) == [False]


@control(here("host {database.name} all", "host all all"), fails_with="it is refused: not within")
def test_without_a_line_in_pg_hba_the_text_speaks_of_encryption_too(cluster) -> None:
    """It says "no encryption", though that would not help: no line matches this database, with TLS or without."""
    own = cluster(cluster_name="no line")
    with fresh(own.server) as database, fresh(own.server) as other:
        name, rules = other.name, (own.data / "pg_hba.conf").read_text().splitlines()[0]
        (own.data / "pg_hba.conf").write_text(f"{rules}\nhost {database.name} all 127.0.0.1/32 scram-sha-256\n")
        database.admin.execute("select pg_reload_conf()")
        who = f'user "{other.role.name}", database "{name}"'
        text = f'FATAL:  no pg_hba.conf entry for host "127.0.0.1", {who}, no encryption'
        for driver in (psycopg, psycopg2):
            until("it is refused", lambda d=driver: heard(d.connect, other.url) == text)
        assert heard(psycopg.connect, database.url) == ""


@control(here("client_tls_sslmode=mode", 'client_tls_sslmode="require"'))
@control(here("client_tls_sslmode=mode", 'client_tls_sslmode="allow"'))
@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca", "verify-full"])
def test_which_modes_of_client_tls_take_plain_clients(mode, database, pooler, load) -> None:
    """`allow` and `prefer` do, and take TLS as well; the others refuse such a client with "SSL required"."""
    with certificates("ours") as (folder,):
        evidence.ran(load(CERTIFICATES))
        files = {f"client_tls_{kind}_file": folder / f"pooler.internal.{end}" for kind, end in KEY_AND_CERTIFICATE}
        bouncer = pooler(database, pool_mode="transaction", client_tls_ca_file=folder / "ca.crt", **files)
        bouncer.reload(client_tls_sslmode=mode)
        for driver in (psycopg, psycopg2):
            said = heard(driver.connect, bouncer.url(database), sslmode="disable")
            assert said == ("" if mode in ("allow", "prefer") else "FATAL:  SSL required")
        shown = {f"ssl{kind}": f"{folder}/pooler.internal.{end}" for kind, end in KEY_AND_CERTIFICATE}
        with bouncer.connect(database, sslmode="require", **shown) as client:
            assert client.pgconn.ssl_in_use


@control(here('server_tls_sslmode="require"', 'server_tls_sslmode="disable"'))
def test_pgbouncer_that_insists_gives_the_reason_in_its_log_alone(database, pooler) -> None:
    """If PostgreSQL has no TLS, PgBouncer gets no server connection, and clients are told that the server is down."""
    with database.connect() as client:
        if client.pgconn.ssl_in_use:
            pytest.skip("needs PostgreSQL without TLS")
    bouncer = pooler(database, pool_mode="transaction", server_tls_sslmode="require", client_login_timeout=1)
    assert heard(bouncer.connect, database) == "FATAL:  client_login_timeout (server down)"
    until("its log says so", lambda: "closing because: server refused SSL" in bouncer.leash.said())
    with bouncer.admin() as console:
        assert heard(console.execute, "show version") == ""
