"""Proves docs/runbooks/too-many-open-files.md: a PgBouncer that may open few files."""

import socket
from contextlib import ExitStack

import psycopg
import psycopg2

from proven.sources.controls import control, here
from tests.proofs.heard import heard
from tests.stack.wait import until

FEW = 20


@control(here("files=FEW", "files=500"), fails_with="it has run out: not within")
def test_past_the_limit_of_open_files_a_client_is_not_answered(database, pooler) -> None:
    """Those that fit are served; then a connection is taken, nothing comes back, and only the log has the reason."""
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=500, files=FEW)
    with bouncer.connect(database) as fits:
        assert fits.execute("select 1").fetchone() == (1,)
    with ExitStack() as clients:
        for _ in range(FEW):
            clients.enter_context(socket.create_connection(("127.0.0.1", bouncer.port)))
        until("it has run out", lambda: "accept() failed: Too many open files" in bouncer.leash.said())
        assert heard(psycopg.connect, bouncer.url(database), connect_timeout=2) == "connection timeout expired"
        assert heard(psycopg2.connect, bouncer.url(database), connect_timeout=2) == "timeout expired"
        assert "no more connections allowed" not in bouncer.leash.said()
