"""Proves docs/runbooks/too-many-open-files.md: a PgBouncer that may open few files."""

import re
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import psycopg
import psycopg2

from proven.sources.controls import control, here
from tests.proofs.heard import heard
from tests.stack.console import at_least
from tests.stack.wait import until

FEW = 20


@control(here("files=FEW", "files=500"), fails_with="it has run out: not within")
def test_past_the_limit_of_open_files_a_client_is_not_answered(database, pooler) -> None:
    """Clients within it are served; past it a client connects but gets no answer, and only the log has the reason."""
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


@control(here("--nofile=200:", "--nofile=21:"), fails_with="connection timeout expired")
def test_a_higher_limit_of_the_process_lets_clients_in_at_once(database, pooler) -> None:
    """No client is disconnected, and one that was past the limit is answered."""
    bouncer = pooler(database, pool_mode="transaction", max_client_conn=500, files=FEW)
    with bouncer.connect(database) as before, ExitStack() as clients:
        for _ in range(FEW):
            clients.enter_context(socket.create_connection(("127.0.0.1", bouncer.port)))
        until("it has run out", lambda: "accept() failed: Too many open files" in bouncer.leash.said())
        process = str(bouncer.leash.pid)
        owner = Path("/proc", process).stat()
        command = ["prlimit", "--pid", process, "--nofile=200:"]
        subprocess.run(command, check=True, user=owner.st_uid, group=owner.st_gid)
        with bouncer.connect(database, connect_timeout=10) as client:
            assert client.execute("select 1").fetchone() == (1,)
        assert before.execute("select 1").fetchone() == (1,)


@control(here("default_pool_size=2", "default_pool_size=1"), fails_with="the log says so: not within")
def test_past_the_limit_of_open_files_no_server_connection_is_opened(database, pooler) -> None:
    """If a client that was there before needs a second one, the log has the address (from 1.19 on) and the reason."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=2, max_client_conn=500, files=FEW)
    with bouncer.connect(database) as first, bouncer.connect(database) as second, ExitStack() as clients:
        first.execute("begin")
        for _ in range(FEW):
            clients.enter_context(socket.create_connection(("127.0.0.1", bouncer.port)))
        until("it has run out", lambda: "accept() failed: Too many open files" in bouncer.leash.said())
        second.pgconn.send_query(b"select 1")
        second.pgconn.flush()
        to = rf" to connect to \S+:{database.server.port}" if at_least(1, 19) else ""
        said = re.compile(rf"sbuf_connect failed{to}: Too many open files")
        until("the log says so", lambda: said.search(bouncer.leash.said()))
        second.pgconn.finish()


@control(here("bouncer.reload(max_client_conn=200)", "bouncer.reload(max_client_conn=200); bouncer.restart()"))
def test_what_pgbouncer_may_need_is_logged_when_it_starts(database, pooler) -> None:
    """A RELOAD with a higher max_client_conn, which then counts, adds no such line; the next start has the new sum."""

    def expected() -> list[int]:
        return [int(uses) for uses in re.findall(r"max expected fd use: (\d+)", bouncer.leash.said())]

    bouncer = pooler(database, pool_mode="transaction", max_client_conn=100)
    (before,) = expected()
    bouncer.reload(max_client_conn=200)
    assert {row["key"]: row["value"] for row in bouncer.show("config")}["max_client_conn"] == "200"
    assert expected() == [before]
    bouncer.restart()
    assert expected()[-1] == before + 100
