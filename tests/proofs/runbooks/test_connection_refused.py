"""Proves docs/runbooks/connection-refused.md: an address where nothing listens, and a name without an address."""

import socket
import subprocess
import sys
from dataclasses import replace as replaced
from importlib.metadata import version
from typing import Any

import psycopg
import psycopg2
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from tests.proofs.heard import heard
from tests.proofs.pooled import Existing
from tests.stack.console import at_least
from tests.stack.database import fresh
from tests.stack.fixtures import note_postgres
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster, bin_dir
from tests.stack.upstream import needs_a_pool
from tests.stack.wait import until

NOWHERE = "nowhere.invalid"
# An auth_query that knows everybody, with a password as it is.
LOOKUP = "select $1::text, 'open'::text"
WHO = {"dbname": "upstream", "user": "upstream", "password": "none"}


@pytest.fixture(autouse=True)
def drivers() -> None:
    """Record both: most proofs here run them without a server."""
    evidence.on(psycopg=version("psycopg"), psycopg2=version("psycopg2-binary"))


@pytest.fixture
def nothing():
    """A port on which nothing listens, reserved so that no other process takes it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@control(
    here("yield kept", "kept.listen(); yield kept", of="tests.proofs.runbooks.test_connection_refused:nothing"),
    here("port=nothing, **WHO", "port=nothing, connect_timeout=2, **WHO"),
)
def test_where_nothing_listens_the_connection_is_refused(nothing) -> None:
    """Both drivers name the host and the port before "Connection refused"."""
    for driver in (psycopg, psycopg2):
        with pytest.raises(driver.OperationalError, match=f'"127.0.0.1", port {nothing} failed: Connection refused'):
            driver.connect(host="127.0.0.1", port=nothing, **WHO)


@control(replace("tests.proofs.runbooks.test_connection_refused:NOWHERE", "localhost"))
def test_a_name_without_an_address_has_a_text_for_each_driver() -> None:
    """Both drivers put the system's own reason at the end."""
    with pytest.raises(psycopg.OperationalError, match=rf"failed to resolve host '{NOWHERE}': \[Errno -[23]\] "):
        psycopg.connect(host=NOWHERE, **WHO)
    with pytest.raises(psycopg2.OperationalError, match=f'could not translate host name "{NOWHERE}" to address: '):
        psycopg2.connect(host=NOWHERE, **WHO)


@control(here('{"port": 1}', '{"port": 1, "host": "127.0.0.1"}'))
def test_without_a_host_the_driver_looks_for_a_socket(tmp_path, monkeypatch) -> None:
    """It looks in libpq's default directory, or in the directory that is given as the host."""
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    given: dict[str, Any]
    for given in ({"port": 1}, {"host": str(tmp_path)}):
        for driver in (psycopg, psycopg2):
            text = r"connection to server on socket .* failed: No such file or directory"
            with pytest.raises(driver.OperationalError, match=text):
                driver.connect(**given, **WHO)


@control(here("silent.getsockname()[1]", "1"))
def test_a_server_that_never_answers_times_out() -> None:
    """The server accepts the connection and never replies; connect_timeout ends the wait."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        address = {"host": "127.0.0.1", "port": port, "connect_timeout": 2, **WHO}
        assert heard(psycopg.connect, **address) == "connection timeout expired"
        assert heard(psycopg2.connect, **address) == "timeout expired"


@pytest.fixture
def own():
    """A server of this proof's own, which listens on 127.0.0.1."""
    started = Cluster()
    note_postgres(started.server.version())
    yield started
    started.stop()


@control(here('"127.0.0.2"', '"127.0.0.1"'))
@control(here("own.restart()", "pass"), fails_with="'Connection refused' == ''")
@control(
    here('until("the change waits"', 'own.restart(); database.follow(own.server); until("the change waits"'),
    here("fetchone() == (True,)", "fetchone() == (False,)"),
)
def test_a_server_listens_on_the_addresses_that_it_is_told(own) -> None:
    """It answers on 127.0.0.1; on another address of the same machine the connection is refused.

    A change of listen_addresses waits through a reload, and takes effect at a restart.
    """
    another = "127.0.0.2"
    with fresh(own.server) as database:
        assert heard(psycopg.connect, database.url) == ""
        assert heard(psycopg.connect, database.url, hostaddr=another) == "Connection refused"
        database.admin.execute(f"alter system set listen_addresses = '127.0.0.1, {another}'")
        database.admin.execute("select pg_reload_conf()")
        waits = "select pending_restart from pg_settings where name = 'listen_addresses'"
        until("the change waits", lambda: database.admin.execute(waits).fetchone() == (True,))
        assert heard(psycopg.connect, database.url, hostaddr=another) == "Connection refused"
        own.restart()
        database.follow(own.server)
        assert heard(psycopg.connect, database.url, hostaddr=another) == ""


@control(here('listen_addr=""', 'listen_addr="127.0.0.1"'))
@control(here("bouncer.restart()", "pass"), fails_with="'Connection refused' == ''")
@control(here('bouncer.reload(listen_addr="127.0.0.1, 127.0.0.2")', "bouncer.reload()"))
def test_pgbouncer_listens_nowhere_unless_it_is_told(database, pooler) -> None:
    """By default listen_addr is empty: there is no port to connect to, and without a Unix socket it does not start.

    After a RELOAD it still listens where it did, and after a restart where the file says.
    """
    bouncer = pooler(database)
    defaults = {row["key"]: row["default"] for row in bouncer.show("config")}
    assert defaults["listen_addr"] == ""
    assert heard(bouncer.connect, database, hostaddr="127.0.0.2") == "Connection refused"
    bouncer.reload(listen_addr="127.0.0.1, 127.0.0.2")
    assert heard(bouncer.connect, database, hostaddr="127.0.0.2") == "Connection refused"
    assert heard(bouncer.connect, database) == ""
    bouncer.restart()
    assert heard(bouncer.connect, database, hostaddr="127.0.0.2") == ""
    with pytest.raises(RuntimeError, match="nowhere to listen on"):
        PgBouncer(database, listen_addr="")


@control(here("auth_dbname=lookup", "pool_size=1"))
@control(here("auth_user=database.role.name", "log_stats=0"))
@control(here('"nowhere..invalid"', '"127.0.0.1"'))
def test_with_auth_query_a_host_that_cannot_be_resolved_is_told_to_those_that_come_next(database, pooler) -> None:
    """The client that PgBouncer looks up gets query_wait_timeout, even if client_login_timeout is shorter.

    A client that could be looked up, here from 1.19 on by a connection elsewhere, gets the shorter one.
    """
    elsewhere = Existing(replaced(database.server, host="nowhere..invalid"), database.name, database.role)
    limits = {"query_wait_timeout": 2, "client_login_timeout": 1}
    users = {database.role.name: database.role.password}
    bouncer = pooler(elsewhere, **limits, users=users, auth_user=database.role.name)
    assert heard(bouncer.connect, elsewhere, user="somebody") == "FATAL:  query_wait_timeout"
    for _ in range(2):
        assert "server login has been failing" in heard(bouncer.connect, elsewhere, user="somebody")
    if at_least(1, 19):
        found = {"named": {"lookup": database}, "options": "auth_dbname=lookup", "auth_query": LOOKUP}
        bouncer = pooler(elsewhere, **limits, **found, users=users, auth_user=database.role.name)
        said = heard(bouncer.connect, elsewhere, user="somebody", password="open")
        assert said.startswith("FATAL:  client_login_timeout")


@control(edit("leak/reach.py", "address in found:", "address in found[:1]:"), fails_with="not enough values to unpack")
@control(edit("leak/reach.py", "host, port = url.hostname,", 'host, port = url.hostname and "localhost",'))
@control(edit("leak/reach.py", "host, port = url.hostname,", 'host, port = url.hostname or "localhost",'))
def test_reach_tells_a_name_a_refusal_and_an_answer_apart(database, nothing, load, printed, monkeypatch) -> None:
    """It reports a name without an address, and addresses that refuse or answer; it tries every address of a name.

    It does so even if this machine does not support the address family of one.
    """
    snippet = load("leak/reach.py")

    def reach(url: str) -> str:
        monkeypatch.setattr(sys, "argv", ["reach.py", url])
        return printed(snippet)

    assert "  127.0.0.1: answers" in reach(database.url)
    assert "  127.0.0.1: Connection refused" in reach(f"postgresql://127.0.0.1:{nothing}/upstream")
    with pytest.raises(SystemExit, match="  no address: "):
        reach(f"postgresql://{NOWHERE}/upstream")
    for nowhere in ("", "10.2.0.9:5432", "postgresql:///upstream"):
        with pytest.raises(SystemExit, match="this URL has no host"):
            reach(nowhere)
    asked = socket.getaddrinfo
    two = ("127.0.0.1", "127.0.0.2")
    unknown = (9999, socket.SOCK_STREAM, 0, "", ("::1", 0))  # as the kernel treats IPv6 where it is disabled
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *rest, **more: [unknown, *(r for a in two for r in asked(a, *rest, **more))]
    )
    with socket.create_server((two[0], 0)) as server:
        none, first, last = reach(f"postgresql://several:{server.getsockname()[1]}/upstream").splitlines()[1:]
    assert none.startswith("  ::1: Address family not supported")
    assert first == "  127.0.0.1: answers"
    assert last.startswith("  127.0.0.2: ")
    assert "answers" not in last


# The same command where a model has changed.
CHANGED = """
import django; django.setup()
from django.core.management import call_command
from orders.models import Order
Order._meta.get_field("customer").max_length = 7
call_command("makemigrations", "--check")
"""


@control(here('"-c", CHANGED', '"-c", CHANGED.replace("max_length = 7", "help_text")'))
@control(here('"makemigrations", "--check"', '"migrate", "--check"'))
@control(here('"migrate", "--check"', '"check"'))
def test_without_a_server_makemigrations_warns_and_goes_on(project, nothing) -> None:
    """It exits with 0, as `check` does, and with 1 if a model has changed; `migrate` ends with the refusal."""
    needs_nothing = [("check",), ("makemigrations", "--check")]
    needs_a_server = ("migrate", "--check")
    url = f"postgresql://upstream:none@127.0.0.1:{nothing}/upstream"
    said = [project.run("manage.py", *command, database_url=url) for command in needs_nothing]
    assert [status for status, _ in said] == [0, 0]
    status, text = project.run("-c", CHANGED, database_url=url, DJANGO_SETTINGS_MODULE="settings.prod")
    assert (status, "Traceback" in text) == (1, False), text
    warned = "RuntimeWarning: Got an error checking a consistent migration history performed for database connection"
    assert [warned in text and "Connection refused" in text for _, text in said] == [False, True]
    status, text = project.run("manage.py", *needs_a_server, database_url=url)
    assert (status, "OperationalError" in text, "Connection refused" in text) == (1, True, True)


# Before it: a timeout of Django's pool.
POOLED = """
from django.conf import settings
settings.DATABASES["default"]["OPTIONS"]["pool"]["timeout"] = 0.5
"""


@control(here("POOLED + CHANGED", 'POOLED.replace("0.5", "0.6") + CHANGED'))
def test_without_a_server_makemigrations_waits_for_djangos_pool(project, nothing) -> None:
    """The warning has the pool's timeout; the exit status is that of a model that has changed."""
    needs_a_pool()
    url = f"postgresql://upstream:none@127.0.0.1:{nothing}/upstream"
    status, text = project.run("-c", POOLED + CHANGED, database_url=url, DJANGO_SETTINGS_MODULE="settings.pool")
    assert (status, "couldn't get a connection after 0.50 sec" in text) == (1, True), text
    project.note()


@control(here('listen_addresses=""', 'listen_addresses="127.0.0.1"'))
def test_a_server_without_an_address_is_ready_on_its_socket_alone(cluster) -> None:
    """pg_isready finds it ready over the Unix socket, and gets no response over TCP."""
    own = cluster(cluster_name="socket", listen_addresses="")
    told = []
    for host in (own.data, "127.0.0.1"):
        ready = [bin_dir() / "pg_isready", f"--host={host}", f"--port={own.server.port}"]
        told.append(subprocess.run(ready, capture_output=True, text=True).stdout.strip().partition(" - ")[2])
    assert told == ["accepting connections", "no response"]
