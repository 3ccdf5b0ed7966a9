"""Proves docs/how-to/failover.md, on three hosts with Patroni and the application on a fourth.

What a failover costs is measured: `python -m measure.failover`. Here is what each setting does.
"""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from proven import evidence
from proven.sources.controls import control, each, edit, here
from proven.sources.snippets import Snippet
from tests.proofs.heard import heard
from tests.proofs.pooled import settings_of
from tests.stack import haproxy, patroni
from tests.stack.database import Database, fresh
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.haproxy import HAProxy
from tests.stack.patroni import LONG, Patroni
from tests.stack.pgbouncer import ADMIN, PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.scripts import execute
from tests.stack.upstream import Process, needs_psycopg_3, serving
from tests.stack.wait import DEADLINE, until

# Keeps a Django connection, and writes each time that it gets a signal. It prints the server's address, or the error.
WRITER = """
import os, signal
import django; django.setup()
from django.db import DatabaseError, close_old_connections, connection
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
connection.settings_dict["CONN_MAX_AGE"] = None
while True:
    try:
        close_old_connections()
        with connection.cursor() as cursor:
            cursor.execute("create temporary table written (id int)")
            cursor.execute("drop table written")
            cursor.execute("select host(inet_server_addr())")
            print("at", *cursor.fetchone(), flush=True)
    except DatabaseError as error:
        print(str(error).splitlines()[0], flush=True)
    signal.sigwait([signal.SIGUSR1])
"""
# Has clients write through the pooler until it gets a signal, and prints what they heard.
LOAD = """
import os, signal, sys, threading
from collections import Counter
names = {"__name__": "load"}
exec(open(sys.argv[1]).read(), names)
names["QUERY"] = "insert into heard select now() from pg_sleep(0.02)"
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
stopped, heard = threading.Event(), Counter()
threads = names["start"](os.environ["DATABASE_URL"], 4, stopped, heard)
print("asking", flush=True)
signal.sigwait([signal.SIGUSR1])
stopped.set()
for thread in threads:
    thread.join()
print(names["report"](heard), flush=True)
"""
OPTIONS = """
import json, django; django.setup()
from django.db import connection
connection.ensure_connection()
print(json.dumps({name: str(value) for name, value in connection.get_connection_params().items()}))
"""
# Sends a keepalive each second, and gives up after one on what is not acknowledged.
IMPATIENT = "?keepalives_idle=1&keepalives_interval=1&keepalives_count=1&tcp_user_timeout=1000"
PLAIN = 5001  # the port of an HAProxy that shuts no sessions
SHUT = "    default-server on-marked-down shutdown-sessions\n"
# The parameters of a connection with settings/failover.py.
GIVEN = {
    "target_session_attrs": "read-write",
    "connect_timeout": "3",
    "tcp_user_timeout": "9000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
}


class Failing:
    """The cluster, and the application's host."""

    def __init__(self, cluster: Patroni, database: Database, project: Any) -> None:
        self.cluster, self.database, self.project = cluster, database, project
        self.app = cluster.network.hosts[0]
        self.ends = ExitStack()

    def url(self, place: str, query: str = "") -> str:
        """Return the application's URL for the database at a place."""
        role = self.database.role
        return f"postgresql://{role.name}:{role.password}@{place}/{self.database.name}{query}"

    def writer(self, url: str, settings: str = "settings.prod") -> "Writer":
        """Start a Django process on the application's host, and wait until it has written."""
        process = self.project.start(
            "-c", WRITER, database_url=url, host=self.app, DJANGO_SETTINGS_MODULE=settings, DB_CONN_HEALTH_CHECKS="True"
        )
        self.ends.callback(process.stop, signal.SIGKILL)
        writer = Writer(process)
        assert writer.heard(1).startswith("at "), process.said()
        return writer

    def writing(self, url: str, load: Snippet, folder: Path) -> Process:
        """Have clients write rows from the application's host, and wait until they are served."""
        with psycopg.connect(self.cluster.primary.superuser, dbname=self.database.name) as owner:
            owner.execute("create table heard (at timestamptz)")
            owner.execute("grant all on heard to public")
        evidence.ran(load)
        file = folder / "load.py"
        file.write_text(load.text)
        process = self.project.start("-c", LOAD, str(file), database_url=url, host=self.app)
        self.ends.callback(process.stop, signal.SIGKILL)
        until("clients are served", lambda: self.rows() > 20)
        return process

    def rows(self) -> int:
        """Return how many of their rows the primary has."""
        with psycopg.connect(self.cluster.primary.superuser, dbname=self.database.name) as connection:
            return connection.execute("select count(*) from heard").fetchone()[0]

    def haproxy(self, text: str, port: int = HAProxy.port) -> str:
        """Start HAProxy on the application's host, on this port, and return its address."""
        started = HAProxy(text, self.app, port)
        self.ends.callback(started.stop)
        started.wait()
        evidence.on(HAProxy=haproxy.version())
        return f"{HAProxy.address}:{port}"

    def hosts(self) -> str:
        """Return the address that lists all hosts, that of the primary first."""
        first = self.cluster.primary.host
        names = [first.address, *(host.address for host in self.cluster.hosts if host != first)]
        return f"{','.join(names)}:{patroni.POSTGRESQL}"


class Writer:
    """A process that writes when it is told to."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def ask(self) -> None:
        """Have it write."""
        os.kill(self.process.pid, signal.SIGUSR1)

    def lines(self) -> list[str]:
        """Return what it has heard so far."""
        return self.process.said().splitlines()

    def heard(self, number: int) -> str:
        """Wait until it has printed this many lines, and return the last."""
        until("it has heard", lambda: len(self.lines()) >= number or self.process.ended(), LONG)
        return self.lines()[-1]


@pytest.fixture(scope="module")
def started(network, project) -> Iterator[Failing]:
    """The cluster, in which proofs have the primary change."""
    made = network(4)
    try:
        patroni.check()
        haproxy.version()
    except RuntimeError as error:
        pytest.skip(str(error))
    seed = Cluster(max_connections=50)
    with ExitStack() as ends:
        ends.callback(seed.stop)
        database = Database(seed.server)
        database.leave()
        cluster = Patroni(made, seed, *made.hosts[1:], timing=patroni.SOONEST)
        ends.callback(cluster.stop)
        yield Failing(cluster, database, project)


@pytest.fixture
def failing(started) -> Iterator[Failing]:
    """The same, intact. What a proof starts there ends with it."""
    until("the cluster is whole", started.cluster.whole, LONG)
    database = started.database
    with psycopg.connect(started.cluster.primary.superuser) as connection:
        note_postgres(connection.execute("show server_version").fetchone()[0].split()[0])
    evidence.on(**patroni.versions())
    with started.ends:
        yield started
    for machine in started.cluster.machines:
        machine.thaw()
        started.cluster.mend(machine)
    started.project.note()
    database.leave()


@control(edit("upstream/settings/failover.py", '"read-write"', '"any"'))
@control(here("bare = failing.writer(url)", 'bare = failing.writer(url + "?target_session_attrs=read-write")'))
@control(edit("failover/switchover.sh", "switchover --force", "list"))
def test_after_a_switchover_django_writes_if_it_asks_for_the_server_that_does(failing, load) -> None:
    """With a list of hosts and nothing else it takes the first that accepts it, which is read-only by then."""
    cluster, url = failing.cluster, failing.url(failing.hosts())
    asks = failing.writer(url, "settings.failover")
    bare = failing.writer(url)
    before = cluster.primary
    switch(failing, load("failover/switchover.sh"))
    until("the cluster is whole", cluster.whole, LONG)
    after = cluster.primary
    asks.ask()
    bare.ask()
    assert asks.heard(2) == f"at {after.host.address}"
    assert bare.heard(2) == "cannot execute CREATE TABLE in a read-only transaction"
    assert before != after


@control(edit("failover/paused.sh", "--command pause", "--command 'show version'"))
@control(edit("failover/paused.sh", "echo y >&3", "echo n >&3"))
def test_a_switchover_while_pgbouncer_pauses_loses_no_request_and_no_row(failing, load, tmp_path) -> None:
    """Clients wait meanwhile, none gets an error, and each row that was acknowledged is on the new primary."""
    needs_psycopg_3()  # as load.py does
    cluster, database = failing.cluster, failing.database
    proxy = load("failover/haproxy.cfg")
    evidence.ran(proxy, "started")
    place = failing.haproxy(proxy.text)
    before = cluster.primary
    note_pgbouncer()
    database.server = cluster.server(HAProxy.address, HAProxy.port)
    bouncer = PgBouncer(database, host=failing.app, pool_mode="transaction", default_pool_size=2)
    failing.ends.callback(bouncer.stop)
    writing = failing.writing(bouncer.url(database), load("drill/load.py"), tmp_path)
    wants = {
        "CONSOLE": f"host={bouncer.console} port={bouncer.port} dbname=pgbouncer user={ADMIN}",
        "PGPASSWORD": bouncer.password,
        "PROXY": failing.url(place),
    }
    until("Patroni has seen a standby", lambda: "streaming" in cluster.ctl(failing.app, "list"))
    switch(failing, load("failover/paused.sh"), **wants)
    served = failing.rows()
    until("clients go on", lambda: failing.rows() > served + 20)
    os.kill(writing.pid, signal.SIGUSR1)
    until("they have stopped", writing.ended)
    heard = re.findall(r"^ *(\d+) × (.+)$", writing.said(), re.MULTILINE)
    assert [text for _, text in heard] == ["answered"]
    assert failing.rows() == int(heard[0][0])
    assert cluster.primary != before


@control(edit("failover/paused.sh", "--command pause &", "--command pause"), fails_with="it ends: not within")
@control(edit("failover/paused.sh", 'kill "$pausing"', "true"), fails_with="it ends: not within")
@control(edit("failover/paused.sh", 'ask "$CONSOLE" resume', "true"))
@control(edit("failover/paused.sh", "trap 'exit 1' HUP INT TERM", ""), fails_with="it ends: not within")
@control(edit("failover/paused.sh", 'ask "$PROXY" select >/dev/null', ""))
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_switchover_that_is_broken_off_while_the_pause_waits_moves_nothing(failing, load, tmp_path, by) -> None:
    """A transaction is open meanwhile. Clients go on, on the same primary, and no psql of the script keeps waiting.

    With a wrong PROXY nothing is paused.
    """
    cluster, database, script = failing.cluster, failing.database, load("failover/paused.sh")
    evidence.ran(script)
    before = cluster.primary
    note_pgbouncer()
    database.server = cluster.server(before.host.address, patroni.POSTGRESQL)
    bouncer = PgBouncer(database, host=failing.app, pool_mode="transaction", query_wait_timeout=2)
    address = conninfo.make_conninfo(database.url, host=bouncer.console, port=bouncer.port)
    number = tmp_path / "number"
    wants = {
        "CONSOLE": f"host={bouncer.console} port={bouncer.port} dbname=pgbouncer user={ADMIN}",
        "PGPASSWORD": bouncer.password,
        "PROXY": database.url,
    }
    with ThreadPoolExecutor(1) as thread, interruptible():
        try:
            with psycopg.connect(address) as holder, psycopg.connect(address) as other:
                holder.execute("select 1")
                done = thread.submit(cluster.script, failing.app, f"echo $$ >{number}\n{script.text}", **wants)
                until("the pause waits", lambda: "PAUSE command issued" in bouncer.leash.said())
                os.kill(int(number.read_text()), by)
                until("it ends", done.done)  # which waits for whatever the script has started
                assert heard(other.execute, "select 1") == ""
            assert (done.result().returncode, cluster.primary) == (1, before)
            pauses = bouncer.leash.said().count("PAUSE command issued")
            wrong = cluster.script(failing.app, script.text, **{**wants, "PROXY": "host=127.0.0.1 port=1"})
            assert (wrong.returncode, cluster.primary) == (2, before)
            assert bouncer.leash.said().count("PAUSE command issued") == pauses
        finally:
            bouncer.stop()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let what is started meanwhile be interrupted: what a shell runs in the background ignores SIGINT for good."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def switch(failing: Failing, script: Snippet, **wants: str) -> None:
    """Run a script on the application's host."""
    evidence.ran(script)
    done = failing.cluster.script(failing.app, script.text, **wants)
    assert done.returncode == 0, done.stderr


@control(
    edit("failover/haproxy.cfg", "on-marked-down shutdown-sessions", "inter 1s"), fails_with="it has heard: not within"
)
@control(here('SHUT, "")', "SHUT, SHUT)"))
@control(here("frozen.freeze()", "failing.cluster.cut(frozen)"))
def test_only_haproxy_ends_the_wait_for_a_frozen_primary(failing, load) -> None:
    """Its kernel acknowledges data and keepalives, so tcp_user_timeout and keepalives end nothing.

    HAProxy gets no answer from Patroni, and closes the sessions there, with on-marked-down shutdown-sessions.
    Then Django writes to the next primary, while other clients still wait.
    """
    file = load("failover/haproxy.cfg")
    shut = failing.writer(failing.url(failing.haproxy(file.text)))
    plain = failing.writer(failing.url(failing.haproxy(file.text.replace(SHUT, ""), PLAIN)))
    evidence.ran(file, "started")
    direct = failing.writer(failing.url(failing.hosts(), IMPATIENT))
    frozen = failing.cluster.primary
    frozen.freeze()
    for writer in (shut, plain, direct):
        writer.ask()
    shut.heard(2)
    others = [machine for machine in failing.cluster.machines if machine != frozen]
    until("another one writes", lambda: any(machine.writes() for machine in others), LONG)

    def served() -> bool:
        shut.ask()
        return shut.lines()[-1].startswith("at ") and shut.lines()[-1] != f"at {frozen.host.address}"

    until("it writes there", served, LONG)
    assert len(plain.lines()) == 1
    assert len(direct.lines()) == 1


@control(edit("upstream/settings/failover.py", '"connect_timeout": 3', '"connect_timeout": 9'))
@control(edit("upstream/settings/failover.py", "9_000", "0"))
@control(edit("upstream/settings/failover.py", '"keepalives_idle": 5', '"keepalives_idle": 60'))
@control(edit("upstream/settings/failover.py", '"keepalives_interval": 2', '"keepalives_interval": 60'))
@control(edit("upstream/settings/failover.py", '"keepalives_count": 2', '"keepalives_count": 9'))
def test_django_asks_for_the_server_that_writes_and_gives_up_in_seconds(database, project) -> None:
    """It allows three seconds to connect, and nine for a packet or a keepalive to be acknowledged."""
    settings = {"database_url": database.url, "DJANGO_SETTINGS_MODULE": "settings.failover"}
    status, said = project.run("-c", OPTIONS, **settings)
    assert status == 0, said
    taken = json.loads(said)
    assert {name: taken[name] for name in GIVEN} == GIVEN


@control(each("failover/pgbouncer.ini"))
def test_pgbouncer_takes_them(database, load, pooler) -> None:
    """It has the values of the file; the default of both is 15 seconds."""
    usual = shown(pooler(database))
    snippet = load("failover/pgbouncer.ini")
    bouncer = pooler(database, **settings_of(snippet.text))
    evidence.ran(snippet, "started")
    assert usual == {"server_connect_timeout": "15", "server_login_retry": "15"}
    assert shown(bouncer) == {"server_connect_timeout": "3", "server_login_retry": "1"}


def shown(bouncer: PgBouncer) -> dict[str, str]:
    """Return the two settings as PgBouncer's console shows them."""
    names = ("server_connect_timeout", "server_login_retry")
    return {row["key"]: row["value"] for row in bouncer.show("config") if row["key"] in names}


@control(edit("failover/drill.py", "if status < 400", "if status"))
@control(edit("failover/drill.py", "except TimeoutError", "except InterruptedError"))
@control(edit("failover/drill.py", '"POST" if BODY else "GET"', '"GET"'))
@control(edit("failover/drill.py", 'url._replace(scheme="", netloc="", fragment="").geturl()', "url.path"))
@control(edit("failover/drill.py", "max((b - a, a)", "min((b - a, a)"))
@control(edit("failover/drill.py", "        thread.start()", "        thread.start() or thread.join()"))
def test_the_drill_counts_what_fails(server, migrated, project, load, monkeypatch) -> None:
    """It tells error statuses, requests without an answer and refused connections apart, and finds the longest gap.

    A request that waits for its answer does not delay the next one. What follows a "?" in the URL is sent too.
    """
    monkeypatch.setenv("BODY", "customer=drill")
    monkeypatch.setenv("PATIENCE", str(DEADLINE))
    drill = execute(load("failover/drill.py"))
    with fresh(server, template=migrated) as database, serving(project, database, GUNICORN_WORKERS="1") as gunicorn:
        address, asked = f"http://127.0.0.1:{gunicorn.port}/orders/", []

        def heard() -> Counter[str]:
            asked[:] = drill["drill"](address, 20, 0.3)
            return Counter(each.outcome for each in asked)

        assert heard() == {"answered": 6}
        count = "select count(*) from orders_order where customer = 'drill'"
        with database.connect() as owner:
            assert owner.execute(count).fetchone() == (6,)
        with monkeypatch.context() as read:
            read.setitem(drill, "BODY", "")
            assert drill["ask"](f"{address}report/?seconds=often").outcome == "400"
        with database.connect(autocommit=False) as owner:
            owner.execute("lock table orders_order in access exclusive mode")
            monkeypatch.setitem(drill, "PATIENCE", 0.7)  # while no answer can come
            assert heard() == {"no answer within 0.7 s": 6}
            assert any(later.began < former.ended for former, later in pairwise(asked))
            monkeypatch.setitem(drill, "PATIENCE", DEADLINE)
        with psycopg.connect(database.superuser) as owner:
            owner.execute("alter table orders_order rename to hidden")
        assert heard() == {"500": 6}
        gunicorn.note()
    assert heard() == {"ConnectionRefusedError": 6}
    seen = [drill["Heard"](at, at + 0.5, "answered" if at in (1, 2, 8, 9) else "500") for at in range(1, 10)]
    assert drill["gap"](seen) == (6.0, 2.5)
    assert drill["report"](seen).splitlines()[:2] == ["     5 × 500", "     4 × answered"]
    assert "no request was answered for 6.0 s, from " in drill["report"](seen)
