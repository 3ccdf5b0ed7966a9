"""Proves docs/runbooks/ssl-required.md: one side wants TLS, and the other has none."""

import psycopg
import psycopg2
import pytest

from proven.sources.controls import control, here
from tests.proofs.heard import heard


@control(here('insists = "require"', 'insists = "prefer"'))
def test_a_driver_that_insists_is_told_that_there_is_no_tls(database, pooler) -> None:
    """By PgBouncer without a certificate, in both drivers; sslmode=prefer goes on without."""
    url = pooler(database, pool_mode="transaction").url(database)
    insists = "require"
    for driver in (psycopg, psycopg2):
        assert heard(driver.connect, url, sslmode=insists) == "server does not support SSL, but SSL was required"
        assert heard(driver.connect, url, sslmode="prefer") == ""


@control(here('server_tls_sslmode="require"', 'server_tls_sslmode="disable"'))
def test_pgbouncer_that_insists_gives_the_reason_in_its_log_alone(database, pooler) -> None:
    """PostgreSQL has no TLS: PgBouncer never gets a server connection, and its clients hear that the server is down."""
    with database.connect() as client:
        if client.pgconn.ssl_in_use:
            pytest.skip("needs a PostgreSQL without TLS")
    bouncer = pooler(database, pool_mode="transaction", server_tls_sslmode="require", client_login_timeout=1)
    assert heard(bouncer.connect, database) == "FATAL:  client_login_timeout (server down)"
    assert "closing because: server refused SSL" in bouncer.leash.said()
