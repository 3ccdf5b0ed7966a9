"""Proves docs/how-to/dead-network.md: links that are cut, and a router that forgets connections.

No proof asserts how long anything takes. Of several clients in the same wait, one ends, and others still wait.
"""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from proven import evidence
from proven.sources.controls import control, each, edit, here, replace
from tests.proofs.heard import heard
from tests.proofs.pooled import CERTIFICATES, certificates, settings_of
from tests.stack import haproxy
from tests.stack.console import pool
from tests.stack.database import fresh
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.network import Host, Network
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.upstream import Process, driver, needs_a_pool
from tests.stack.wait import until

# Connects, and then sends its query each time that it gets a signal.
CLIENT = """
import os, signal
from importlib import import_module
driver = import_module(os.environ["DRIVER"])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
try:
    connection = driver.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    print("connected", flush=True)
    while signal.sigwait([signal.SIGUSR1]):
        connection.cursor().execute(os.environ["QUERY"])
        print("answered", flush=True)
except driver.Error as error:
    print(error, flush=True)
"""
# Serves a request of the example project each time that it gets a signal, in one thread, through its wsgi.py.
SERVER = """
import signal
from wsgiref.util import setup_testing_defaults
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
from wsgi import application
print("ready", flush=True)
while signal.sigwait([signal.SIGUSR1]):
    environ = {"PATH_INFO": "/connection/"}
    setup_testing_defaults(environ)
    response = application(environ, lambda status, headers: print(status, flush=True))
    response.close()
"""
# Seconds in place of half a minute: settings of libpq, of PgBouncer, and of PostgreSQL as a client can set them.
KEEPALIVES = "keepalives_idle=2&keepalives_interval=1&keepalives_count=2"
USER_TIMEOUT = "tcp_user_timeout=500"
LATER = "tcp_user_timeout=6000"  # later than keepalives and connect_timeout
CONNECT = "connect_timeout=3"
POOLER_KEEPALIVES = {"tcp_keepidle": 2, "tcp_keepintvl": 1, "tcp_keepcnt": 2}
SERVER_KEEPALIVES = "-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=2"
FIN, SYN, ACK = 0x01, 0x02, 0x10
ESTABLISHED = "01"  # as /proc/net/tcp writes that state
# A proxy that has patience with whoever is idle for so long.
PATIENCE = "4s"
PROXY = """
defaults
    mode tcp
    timeout connect 3s
    timeout client {client}
    timeout server {server}
listen database
    bind {at}:5000
    server db {to}
"""
SOCKET = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
CHECKS = "-c client_connection_check_interval=200"
LINUX = {
    "tcp_syn_retries": 6,
    "tcp_retries2": 15,
    "tcp_keepalive_time": 7200,
    "tcp_keepalive_intvl": 75,
    "tcp_keepalive_probes": 9,
}
GIVEN_UP = {"psycopg2": "Connection timed out", "psycopg": "server closed the connection unexpectedly"}
LOST = "could not receive data from server: Connection timed out"
LOST_OVER_TLS = "SSL SYSCALL error: Connection timed out"
CLOSED = "server closed the connection unexpectedly"
# What clients hear when PgBouncer gives up a server connection, and when it gives up a query.
HEARD = {"psycopg": ("server conn crashed?", "query timeout"), "psycopg2": (CLOSED, CLOSED)}
SLEEP = "select pg_sleep(300)"
# Far more than the buffers between two processes hold, in either direction.
MUCH = "copy (select repeat('x', 1000000) from generate_series(1, 1000)) to stdout"
PIECE, PIECES = b"x\n" * 4096, 4000
PAIR = {"key": "key", "cert": "crt"}
CHECKED = "True"  # whether Django checks a connection before a request


class Client:
    """A process on a host that sends its query when told to."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def ask(self) -> None:
        """Have it send its query, or serve its next request."""
        os.kill(self.process.pid, signal.SIGUSR1)

    def waits(self) -> bool:
        """Return whether it still runs, and so has heard of no error."""
        return not self.process.ended()

    def answered(self, times: int = 1) -> None:
        """Wait until it has received this many answers."""
        until("it is answered", lambda: self.count("answered") == times)

    def count(self, text: str) -> int:
        """Return how often it has printed a text."""
        return self.process.said().count(text)

    def error(self) -> str:
        """Wait until it has heard of an error, and return its first line."""
        until("it hears of an error", self.process.ended)
        return next(line for line in self.process.said().splitlines() if line not in ("connected", "answered"))


class Far:
    """An application, PgBouncer and PostgreSQL, each on a host of its own."""

    def __init__(self, network: Network, cluster: Cluster, database: Any, project: Any) -> None:
        self.network = network
        self.app, self.pooler, self.db = network.hosts
        self.cluster = cluster
        self.database = database
        self.project = project
        self.ends = ExitStack()
        self.last: dict[frozenset, int] = {}  # the payload of each connection's last packet

    def client(self, options: str = "", query: str = "select 1", url: str = "", module: str = "") -> Client:
        """Start a client that connects to PostgreSQL, or to another URL, with these options of libpq, by a driver."""
        target = f"{url or self.database.url}?{options}"
        return self._start(CLIENT, target, DRIVER=module or next(iter(driver())), QUERY=query)

    def connected(self, *arguments: str, **options: str) -> Client:
        """Return a client that has connected."""
        client = self.client(*arguments, **options)
        until("it has connected", lambda: client.count("connected") or not client.waits())
        assert client.waits(), client.error()
        return client

    def running(self, options: str = "", url: str = "") -> Client:
        """Return a client whose query has reached PostgreSQL and is running there."""
        before = self.busy()
        client = self.connected(options, SLEEP, url)
        client.ask()
        until("PostgreSQL works on it", lambda: self.busy() - before)
        self.confirmed()
        return client

    def django(self, options: str = "") -> Client:
        """Return a process of the example project that has served a request."""
        settings = {"DB_CONN_HEALTH_CHECKS": CHECKED, "DB_CONN_MAX_AGE": "none"}
        served = self._start(SERVER, f"{self.database.url}?{options}", **settings)
        until("it has started", lambda: served.count("ready"))
        served.ask()
        until("it has served one", lambda: served.count("200 OK") == 1)
        return served

    def pgbouncer(self, **settings: Any) -> PgBouncer:
        """Start PgBouncer on its host."""
        note_pgbouncer()
        bouncer = PgBouncer(self.database, host=self.pooler, pool_mode="transaction", **settings)
        self.ends.callback(bouncer.stop)
        return bouncer

    def pooled(self, bouncer: PgBouncer, query: str = "select 1") -> Client:
        """Return a client of PgBouncer that has been answered, so that there is an idle server connection."""
        client = self.connected("", query, bouncer.url(self.database))
        client.ask()
        client.answered()
        return client

    def busy(self) -> set[int]:
        """Return the sessions that run the long statement, those of earlier proofs too: theirs end when it does."""
        query = "select pid from pg_stat_activity where state = 'active' and query = %s"
        return {pid for (pid,) in self.database.admin.execute(query, [SLEEP])}

    def confirmed(self) -> None:
        """Wait until all that was sent is acknowledged, which a kernel does a moment after its arrival."""

        def done() -> bool:
            for packet in self.network.packets():
                if packet.flags & SYN or packet.connection in self.last:  # it is not an earlier proof's
                    self.last[packet.connection] = packet.payload
            return not any(self.last.values())

        until("all is confirmed", done)

    def forget(self, host: Host) -> None:
        """Have the router forget every connection between a host and PostgreSQL."""
        self.confirmed()
        self.network.forget(host, self.db)  # those that have been silent so far
        self.network.forget(host, self.db)

    def _start(self, program: str, url: str, **environment: str) -> Client:
        process = self.project.start("-c", program, database_url=url, host=self.app, **environment)
        self.ends.callback(process.stop, signal.SIGKILL)
        return Client(process)


@pytest.fixture(scope="module")
def hosts(network, project) -> Iterator[Far]:
    """The three hosts with what runs on them."""
    made = network(3)
    cluster = Cluster(host=made.hosts[2])
    try:
        with fresh(cluster.server) as database:
            yield Far(made, cluster, database, project)
    finally:
        cluster.stop()


@pytest.fixture
def far(hosts) -> Iterator[Far]:
    """The same, with all links up; whatever a proof starts there ends with it."""
    note_postgres(hosts.cluster.server.version())
    hosts.network.packets()
    hosts.last = {}
    with hosts.ends:
        yield hosts
    hosts.project.note()
    for one, other in ((hosts.app, hosts.db), (hosts.app, hosts.pooler), (hosts.pooler, hosts.db)):
        hosts.network.mend(one, other)


@control(here('"connect_timeout=2"', '"keepalives=1"'), fails_with="it hears of an error: not within")
@control(here("waiting = far.client()", 'waiting = far.client("connect_timeout=2")'))
def test_connect_timeout_ends_a_connect_that_nobody_answers(far) -> None:
    """The connect fails with `timeout expired`; without it one still waits then."""
    far.network.cut(far.app, far.db)
    waiting = far.client()
    limited = far.client("connect_timeout=2")
    assert limited.error().endswith("timeout expired")
    assert waiting.waits()


@control(here("limited = far.connected(LATER)", "limited = far.connected()"), fails_with="of an error: not within")
@control(here("kept = far.connected(KEEPALIVES)", "kept = far.connected(USER_TIMEOUT)"))
@control(here("bare = far.connected(CONNECT)", "bare = far.connected(USER_TIMEOUT)"))
def test_tcp_user_timeout_ends_a_query_that_was_lost_and_keepalives_do_not(far) -> None:
    """A query that is not acknowledged is sent again and again, and meanwhile no keepalive is sent.

    The same keepalives have ended another client's connection by then, whose query had arrived. With connect_timeout
    alone a query waits too. The one that is ended is sent last, with a timeout longer than both of these settings.
    """
    limited = far.connected(LATER)
    arrived = far.running(KEEPALIVES)
    kept = far.connected(KEEPALIVES)
    bare = far.connected(CONNECT)
    far.network.cut(far.app, far.db)
    for client in (kept, bare, limited):
        client.ask()
    assert LOST in limited.error()
    assert LOST in arrived.error()
    assert kept.waits()
    assert bare.waits()


@control(here("arrived = far.running(KEEPALIVES)", "arrived = far.running()"), fails_with="of an error: not within")
@control(here("limited = far.running(USER_TIMEOUT)", "limited = far.running(KEEPALIVES)"))
def test_keepalives_end_a_query_that_is_running_and_tcp_user_timeout_does_not(far) -> None:
    """Nothing of the client's is unacknowledged: only a client that sends keepalives notices that none is answered.

    With connect_timeout alone, which is over by then, a query waits too.
    """
    limited = far.running(USER_TIMEOUT)
    bare = far.running(CONNECT)
    arrived = far.running(KEEPALIVES)
    far.network.cut(far.app, far.db)
    assert LOST in arrived.error()
    assert limited.waits()
    assert bare.waits()


@control(here("sslmode=require", "sslmode=disable"))
def test_over_tls_a_second_line_follows(far, load) -> None:
    """For a lost query both drivers report the same as without TLS, and then `SSL SYSCALL error`."""
    with certificates("ours") as (folder,):
        evidence.ran(load(CERTIFICATES))
        own = {f"client_tls_{kind}_file": f"{folder}/pooler.internal.{end}" for kind, end in PAIR.items()}
        url = far.pgbouncer(client_tls_sslmode="allow", **own).url(far.database)
        drivers = {next(iter(driver())), "psycopg2"}
        limited = [far.connected(f"sslmode=require&{USER_TIMEOUT}", url=url, module=each) for each in drivers]
        far.network.cut(far.app, far.pooler)
        for client in limited:
            client.ask()
        for client in limited:
            assert LOST in client.error()
            assert f"{LOST}\n{LOST_OVER_TLS}\n" in client.process.said()


@control(here("tcp_syn_retries=1", "tcp_syn_retries=6"), fails_with="of an error: not within")
@control(here("tcp_retries2=2", "tcp_retries2=15"), fails_with="of an error: not within")
@control(here("tcp_keepalive_time=1", "tcp_keepalive_time=7200"), fails_with="of an error: not within")
def test_with_nothing_set_linux_decides(far) -> None:
    """Each of its settings, made small, ends one of three waits: a connect, a lost query, a running query.

    By default it sends the first packet again 6 times and any other 15 times, and the first keepalive after 7200
    seconds, 9 of them in steps of 75.
    """
    shown = ["sh", "-c", "cd /proc/sys/net/ipv4; cat " + " ".join(LINUX)]
    values = subprocess.run(far.app.command(shown), capture_output=True, text=True, check=True).stdout
    assert list(map(int, values.split())) == list(LINUX.values())
    far.network.tune(
        far.app, tcp_syn_retries=1, tcp_retries2=2, tcp_keepalive_time=1, tcp_keepalive_intvl=1, tcp_keepalive_probes=1
    )
    try:
        arrived, lost = far.running(), far.connected()
        far.network.cut(far.app, far.db)
        lost.ask()
        connecting = [far.client(), far.client(module="psycopg2")]
        assert LOST in lost.error()
        assert LOST in arrived.error()
        said = [client.error().rpartition("failed: ")[2] for client in connecting]
        assert said == [GIVEN_UP[next(iter(driver()))], GIVEN_UP["psycopg2"]]
    finally:
        far.network.tune(far.app, **LINUX)


@control(here("far.django(USER_TIMEOUT)", "far.django()"), fails_with="it is served: not within")
@control(here("far.django(), ", "far.django(USER_TIMEOUT), "))
@control(replace("tests.proofs.how_to.test_dead_network:CHECKED", "False"), fails_with="it is served: not within")
def test_a_health_check_waits_too_unless_tcp_user_timeout_ends_it(far) -> None:
    """A router has forgotten both connections. Where the check ends, the request is served over a new one."""
    bare, limited = far.django(), far.django(USER_TIMEOUT)
    far.forget(far.app)
    bare.ask()
    limited.ask()
    until("it is served", lambda: limited.count("200 OK") == 2)
    assert bare.count("200 OK") == 1
    assert bare.waits()


POOL = """
from settings.pool import *
DATABASES["default"]["OPTIONS"]["pool"] = {{"min_size": 1, "max_size": 1, "timeout": {timeout}}}
"""


@control(here("timeout=300", "timeout=3"), fails_with="it is served: not within")
@control(here("timeout=3)", "timeout=300)"), fails_with="the other has given up: not within")
def test_djangos_pool_gives_up_if_its_timeout_is_shorter_than_tcp_user_timeout(far, tmp_path) -> None:
    """A router has forgotten both connections, and tcp_user_timeout ends the check of each.

    Then one request is served over a new connection; that of the other pool, whose timeout is over, is not.
    """
    needs_a_pool()

    def pooled(timeout: int) -> Client:
        (tmp_path / f"of_{timeout}.py").write_text(POOL.format(timeout=timeout))
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{SERVER}"
        url = f"{far.database.url}?{LATER}"
        served = far._start(code, url, DJANGO_SETTINGS_MODULE=f"of_{timeout}", DB_CONN_HEALTH_CHECKS="True")
        until("it has started", lambda: served.count("ready"))
        served.ask()
        until("it has served one", lambda: served.count("200 OK") == 1)
        return served

    hasty, patient = pooled(timeout=3), pooled(timeout=300)
    far.forget(far.app)
    hasty.ask()
    patient.ask()
    until("it is served", lambda: patient.count("200 OK") == 2)
    until("the other has given up", lambda: hasty.count("couldn't get a connection after 3.00 sec"))
    assert hasty.count("200 OK") == 1


@control(here('"keepalives_idle=1"', '"keepalives_idle=1000"'), fails_with="a sign of life: not within")
def test_keepalives_keep_a_router_from_forgetting(far) -> None:
    """It forgets a connection that is silent for a while. One with keepalives it remembers, and a query is answered."""
    kept = far.connected("keepalives_idle=1")
    far.confirmed()
    (its,) = far.last
    silent = far.connected()
    far.confirmed()
    far.network.forget(far.app, far.db)
    far.network.packets()
    until("a sign of life", lambda: any(packet.connection == its for packet in far.network.packets()))
    far.network.forget(far.app, far.db)
    silent.ask()
    kept.ask()
    kept.answered()
    assert silent.count("answered") == 0
    assert silent.waits()


def proxied(far: Far, **limits: str) -> str:
    """Start HAProxy on PgBouncer's host, with an hour's patience but for these limits; return its URL."""
    try:
        evidence.on(HAProxy=haproxy.version())
    except RuntimeError as error:
        pytest.skip(str(error))
    patience = {"client": "1h", "server": "1h", **limits}
    text = PROXY.format(at=far.pooler.address, to=f"{far.db.address}:{far.database.server.port}", **patience)
    proxy = haproxy.HAProxy(text, far.pooler)
    far.ends.callback(proxy.stop)
    return re.sub("@.*/", f"@{far.pooler.address}:{proxy.port}/", far.database.url)


@control(replace("tests.proofs.how_to.test_dead_network:PATIENCE", "1h"), fails_with="HAProxy ends it: not within")
@control(here('"keepalives_idle=1"', '"keepalives_idle=1000"'))
@pytest.mark.parametrize("limit", ["client", "server"])
def test_keepalives_do_not_keep_haproxy_from_ending_what_is_idle(far, limit) -> None:
    """It ends TCP on each side: a keepalive comes, and after `timeout client` or `timeout server` the session goes."""
    kept = far.connected("keepalives_idle=1", url=proxied(far, **{limit: PATIENCE}))
    far.confirmed()
    (its,) = (ends for ends in far.last if far.app.number in dict(ends))

    def seen() -> list:
        """Return what either side has sent since this was last asked, but for the other side's answers to questions."""
        packets = [packet for packet in far.network.packets() if packet.connection == its]
        return [packet for packet in packets if packet.source == far.app.number or packet.flags & FIN]

    sent = until("a packet", seen)
    assert (sent[0].source, sent[0].flags, sent[0].payload) == (far.app.number, ACK, 0)  # nothing but a question
    until("HAProxy ends it", lambda: [packet for packet in seen() if packet.source != far.app.number])
    kept.ask()
    assert kept.error().endswith(CLOSED)


@control(here("server=PATIENCE", "client=PATIENCE"), fails_with="it hears of an error: not within")
@control(here("past = far.running()", "past = far.running(url=url)"))
def test_haproxys_timeout_server_ends_a_query_that_takes_longer(far) -> None:
    """Its session is silent meanwhile. It ends while the same query of a client past HAProxy still runs."""
    url = proxied(far, server=PATIENCE)
    past = far.running()
    assert far.running("keepalives_idle=1", url).error().endswith(CLOSED)
    assert past.waits()


@control(here('"keepalives": POOLER_KEEPALIVES', '"keepalives": {}'), fails_with="they have ended: not within")
@control(here('{"tcp_user_timeout": 500}', "{}"), fails_with="they have ended: not within")
@control(here('"nothing": {}', '"nothing": {"tcp_user_timeout": 500}'))
@control(here("query_timeout=1", "query_timeout=0"), fails_with="they have ended: not within")
def test_each_setting_of_pgbouncer_ends_another_wait(far) -> None:
    """tcp_user_timeout ends a lost query, keepalives end a running one, and query_timeout ends both.

    The log says `server conn crashed?` or `query timeout`, as psycopg 3 does; without these settings both queries wait.
    """
    settings = {"nothing": {}, "user timeout": {"tcp_user_timeout": 500}, "keepalives": POOLER_KEEPALIVES, "limit": {}}
    bouncers = {name: far.pgbouncer(**each) for name, each in settings.items()}
    running = {name: far.running(url=each.url(far.database)) for name, each in bouncers.items()}
    lost = {name: far.pooled(each) for name, each in bouncers.items()}
    far.confirmed()
    far.network.cut(far.pooler, far.db)
    for client in lost.values():
        client.ask()
    bouncers["limit"].set(query_timeout=1)
    ended = [lost["user timeout"], running["keepalives"], lost["limit"], running["limit"]]
    until("they have ended", lambda: not any(client.waits() for client in ended))
    crashed, late = HEARD[next(iter(driver()))]
    assert [client.error() for client in ended] == [crashed, crashed, late, late]
    waiting = [running["user timeout"], lost["keepalives"], lost["nothing"], running["nothing"]]
    assert all(client.waits() for client in waiting)
    said = {name: each.leash.said() for name, each in bouncers.items()}
    logged = {name for name, log in said.items() if "closing because: server conn crashed?" in log}
    assert logged == {"user timeout", "keepalives"}
    assert said["limit"].count("pooler error: query timeout") == 2


@control(here("bouncer = far.pgbouncer()", "bouncer = far.pgbouncer(tcp_user_timeout=500, **POOLER_KEEPALIVES)"))
@control(here("far.client(CONNECT", 'far.client("keepalives=1"'), fails_with="of an error: not within")
@control(here("far.running(KEEPALIVES, url=url)", "far.running(url=url)"), fails_with="of an error: not within")
@control(here("near = far.connected(USER_TIMEOUT, ", "near = far.connected("), fails_with="of an error: not within")
def test_a_clients_own_settings_do_not_watch_what_pgbouncer_waits_for(far) -> None:
    """Behind PgBouncer a lost query and a running one wait on, when the same settings have ended those without it.

    A login that waits for PgBouncer's first server connection ends by the client's connect_timeout. Both settings do
    end their query where it is the way to PgBouncer that loses packets.
    """
    bouncer = far.pgbouncer()
    empty = far.pgbouncer()
    url = bouncer.url(far.database)
    direct = [far.connected(USER_TIMEOUT), far.running(KEEPALIVES)]
    behind = [far.connected(USER_TIMEOUT, url=url), far.running(KEEPALIVES, url=url)]
    near = far.connected(USER_TIMEOUT, url=url)
    behind[0].ask()
    behind[0].answered()
    far.confirmed()
    for host in (far.app, far.pooler):
        far.network.cut(host, far.db)
    login = far.client(CONNECT, url=empty.url(far.database))
    for lost in (behind[0], direct[0]):
        lost.ask()
    assert all(LOST in client.error() for client in direct)
    assert login.error().endswith("timeout expired")
    assert all(client.waits() for client in behind)
    far.network.cut(far.app, far.pooler)
    near.ask()
    assert all(LOST in client.error() for client in (near, behind[1]))


@control(here("server_check_delay=0, tcp_user_timeout=500", "server_check_delay=0"), fails_with="answered: not within")
@control(here("server_check_delay=0, tcp_user_timeout", "tcp_user_timeout"), fails_with="answered: not within")
def test_pgbouncers_check_waits_too_unless_tcp_user_timeout_ends_it(far) -> None:
    """A router has forgotten the server connection. Where the check ends, the client is served over a new one.

    Where it does not, the connection keeps its place in the pool, and the client waits.
    """
    bare = far.pgbouncer(server_check_delay=0, default_pool_size=1)
    limited = far.pgbouncer(server_check_delay=0, tcp_user_timeout=500, default_pool_size=1)
    waiting, served = far.pooled(bare), far.pooled(limited)
    far.forget(far.pooler)
    waiting.ask()
    served.ask()
    served.answered(2)
    until("the other is tested", lambda: [row["state"] for row in bare.show("servers")] == ["tested"])
    assert waiting.count("answered") == 1
    assert waiting.waits()


@control(here("tcp_user_timeout=500", "tcp_user_timeout=0"), fails_with="it is answered: not within")
@control(here("query_wait_timeout=1", "query_wait_timeout=120"), fails_with="it hears of an error: not within")
@control(here("far.forget(far.pooler)", "pass"), fails_with="one is tested: not within")
@control(here("range(3)", "range(1)"), fails_with="one is tested: not within")
def test_pgbouncer_checks_one_lost_connection_after_another(far) -> None:
    """Of three that are lost it checks one at a time for a client, which is then served over a new one.

    With tcp_user_timeout, that is; without it PgBouncer stays at the first. If query_wait_timeout is over before a
    check is, the client hears of that.
    """
    bare = far.pgbouncer(server_check_delay=0)
    limited = far.pgbouncer(server_check_delay=0, tcp_user_timeout=500)
    short = far.pgbouncer(server_check_delay=0, tcp_user_timeout=6000)
    waiting, served, late = (far.pooled(each) for each in (bare, limited, short))
    for bouncer in (bare, limited, short):
        with ExitStack() as ends:
            for _ in range(3):  # each in a transaction, which the end of the block commits
                client = psycopg.connect(bouncer.url(far.database), host=bouncer.console)
                ends.enter_context(client).execute("select 1")
        until("none is in use", lambda of=bouncer: set(states(of)) == {"used"})
    short.set(query_wait_timeout=1)  # only now, or PgBouncer's own logins would have to finish as soon
    far.forget(far.pooler)
    for client in (waiting, served, late):
        client.ask()
    until("one is tested", lambda: states(bare) == ["tested", "used", "used"])
    until("it is answered", lambda: served.count("answered") == 2)
    assert limited.leash.said().count("closing because: server conn crashed?") == 3
    assert late.error() == {"psycopg": "query_wait_timeout", "psycopg2": CLOSED}[next(iter(driver()))]
    assert states(bare) == ["tested", "used", "used"]
    assert waiting.waits()


def states(bouncer: PgBouncer) -> list[str]:
    """Return the states of its server connections."""
    return sorted(row["state"] for row in bouncer.show("servers"))


@control(here("server_connect_timeout=1)", "server_connect_timeout=300)"), fails_with="a connect ends: not within")
@control(here("later.ask()", "pass"), fails_with="it hears of an error: not within")
def test_server_connect_timeout_ends_a_connect_of_pgbouncer(far) -> None:
    """The log says `connect failed`, and nothing with a long timeout. Clients are not told, and wait either way.

    So does a client that was connected before, and sends a query while the pool is empty. One that does so
    after the failure is refused at once.
    """
    limited, bare = far.pgbouncer(server_connect_timeout=1), far.pgbouncer(server_connect_timeout=300)
    asking = far.connected(url=limited.url(far.database))
    later = far.connected(url=limited.url(far.database))
    with limited.admin() as console:
        console.execute("reconnect")
    until("its pool is empty", lambda: not limited.show("servers"))
    far.network.cut(far.pooler, far.db)
    asking.ask()
    waiting = [asking, *(far.client(url=each.url(far.database)) for each in (limited, bare))]
    until("it waits", lambda: pool(limited, far.database)["cl_waiting"])
    until("a connect ends", lambda: "closing because: connect failed" in limited.leash.said())
    later.ask()
    refused = {"psycopg": "server login has been failing", "psycopg2": CLOSED}
    assert refused[next(iter(driver()))] in later.error()
    assert "connect failed" not in bare.leash.said()
    assert all(client.waits() for client in waiting)


@control(here("server_connect_timeout=1)", "server_connect_timeout=300)"), fails_with="PgBouncer gives up: not within")
@control(here("{silent.getsockname()[1]}", "1"), fails_with="PgBouncer gives up: not within")
def test_a_server_that_accepts_and_logs_nobody_in_is_a_connect_timeout(database, pooler) -> None:
    """The same setting ends PgBouncer's login, and the log says `connect timeout`, not `connect failed`."""
    bouncer = pooler(database, pool_mode="transaction", server_connect_timeout=1)
    client = bouncer.connect(database)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bouncer.entries[database.name] = f"host=127.0.0.1 port={silent.getsockname()[1]} dbname={database.name}"
        bouncer.reload()
        client.pgconn.send_query(b"select 1")
        until("PgBouncer gives up", lambda: "closing because: connect timeout" in bouncer.leash.said())
        assert "connect failed" not in bouncer.leash.said()
    client.close()


@control(here("**POOLER_KEEPALIVES", ""), fails_with="its place is free: not within")
@control(here("client_idle_timeout=0.1", "client_idle_timeout=0"), fails_with="its place is free: not within")
def test_a_client_of_a_host_that_vanished_keeps_its_place_unless_pgbouncer_has_keepalives(far) -> None:
    """With nothing set PgBouncer goes on counting it as active; client_idle_timeout frees its place as well."""
    bare, kept, limited = far.pgbouncer(), far.pgbouncer(**POOLER_KEEPALIVES), far.pgbouncer()
    for bouncer in (bare, kept, limited):
        far.pooled(bouncer)
    far.confirmed()
    far.network.cut(far.app, far.pooler)
    limited.set(client_idle_timeout=0.1)
    for bouncer in (kept, limited):
        until("its place is free", lambda of=bouncer: pool(of, far.database)["cl_active"] == 0)
    assert pool(bare, far.database)["cl_active"] == 1


@control(here("quote(SERVER_KEEPALIVES)", "quote(CHECKS)"), fails_with="sessions end: not within")
@control(here('SERVER_KEEPALIVES} {CHECKS}"', 'SERVER_KEEPALIVES}"'), fails_with="sessions end: not within")
def test_postgresql_ends_the_session_of_a_client_that_is_gone(far) -> None:
    """Keepalives end an idle session, and a session that runs a statement only with client_connection_check_interval.

    With nothing set both stay.
    """
    both = quote(f"{SERVER_KEEPALIVES} {CHECKS}")
    far.connected("application_name=idle")
    far.connected(f"application_name=idle-kept&options={quote(SERVER_KEEPALIVES)}")
    far.running("application_name=running")
    far.running(f"application_name=running-kept&options={quote(SERVER_KEEPALIVES)}")
    far.running(f"application_name=running-checked&options={both}")
    far.network.cut(far.app, far.db)
    query = "select application_name from pg_stat_activity where datname = %s"

    def left() -> set[str]:
        return {name for (name,) in far.database.admin.execute(query, [far.database.name])}

    until("sessions end", lambda: not left() & {"idle-kept", "running-checked"})
    assert {"idle", "running", "running-kept"} <= left()


@control(here("for limit in (0, 500)", "for limit in (0, 0)"), fails_with="is ended: not within")
@control(here("for limit in (0, 500)", "for limit in (200, 500)"))
@control(
    replace("tests.proofs.how_to.test_dead_network:MUCH", "copy (select 1) to stdout"),
    fails_with="waits for its client: not within",
)
def test_tcp_user_timeout_ends_a_copy_that_the_client_does_not_read(database, sessions) -> None:
    """PostgreSQL's ends the session: its client's kernel acknowledges but has no room. Without it the session waits.

    That of the client, which does not send, ends nothing.
    """
    own = {"tcp_user_timeout": 500}
    kept, limited = (sessions(database, options=f"-c tcp_user_timeout={limit}", **own) for limit in (0, 500))
    query = "select wait_event from pg_stat_activity where pid = %s"

    def sends(client: psycopg.Connection) -> bool:
        return database.admin.execute(query, [client.info.backend_pid]).fetchone() == ("ClientWrite",)

    asked(kept, MUCH)
    until("the session waits for its client", lambda: sends(kept))
    asked(limited, MUCH)
    until("the other is ended", lambda: limited.info.backend_pid not in database.backends())
    assert sends(kept)


@control(here("for limit in (0, 500)", "for limit in (0, 0)"), fails_with="is ended: not within")
@control(here("for limit in (0, 500)", "for limit in (200, 500)"))
@control(here(" where pg_sleep(300) is null", ""), fails_with="is ended: not within")
def test_tcp_user_timeout_ends_a_copy_that_postgresql_does_not_read(database, sessions) -> None:
    """libpq's ends the connection while PostgreSQL is busy with the first row. Without it the client waits on.

    That of PostgreSQL, which does not send, ends nothing.
    """
    with database.connect() as owner:
        owner.execute("create table lines (line text)")
    other = {"options": "-c tcp_user_timeout=500"}
    kept, limited = (sessions(database, tcp_user_timeout=limit, **other) for limit in (0, 500))
    for client in (kept, limited):
        asked(client, "copy lines from stdin where pg_sleep(300) is null")
        client.pgconn.get_result()
        for _ in range(PIECES):
            client.pgconn.put_copy_data(PIECE)
    until("the other is ended", lambda: heard(limited.pgconn.consume_input))
    assert not heard(kept.pgconn.consume_input)
    assert kept.pgconn.flush() == 1, "it has more to send"


def asked(client: psycopg.Connection, query: str) -> None:
    """Send a query, and read none of its result."""
    client.pgconn.send_query(query.encode())
    until("it is sent", lambda: client.pgconn.flush() == 0)


@control(edit("upstream/settings/far.py", '"connect_timeout": 5', '"connect_timeout": 6'))
@control(edit("upstream/settings/far.py", '"tcp_user_timeout": 45_000', '"tcp_user_timeout": 0'))
@control(edit("upstream/settings/far.py", '"keepalives_count": 3', '"keepalives_count": 9'))
def test_djangos_options_reach_the_socket(database, project) -> None:
    """It has 5 seconds to connect and 45 for an acknowledgement; after 30 of silence come three probes, 5 apart."""
    code = (
        "import django; django.setup(); from django.db import connection; connection.ensure_connection(); "
        "import os, socket; end = socket.socket(fileno=os.dup(connection.connection.fileno())); "
        "info = connection.connection.info; "
        "taken = info.get_parameters() if hasattr(info, 'get_parameters') else info.dsn_parameters; "
        "print(taken['connect_timeout'], "
        f"*(end.getsockopt(6, getattr(socket, name)) for name in {SOCKET}))"
    )
    said = project.run("-c", code, database_url=database.url, DJANGO_SETTINGS_MODULE="settings.far")
    assert said == (0, "5 45000 30 5 3\n")


@control(
    each(
        "network/pg_service.conf",
        but={"it is yours": ["upstream.host", "upstream.dbname", "upstream.user"]},
    )
)
def test_a_service_of_libpq_reaches_the_socket(database, load, tmp_path, monkeypatch) -> None:
    """The service gives libpq the same numbers; parameters that are given besides take precedence over it."""
    service = load("network/pg_service.conf")
    file = tmp_path / "pg_service.conf"
    file.write_text(service.text)
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    with psycopg.connect(database.url, service="upstream") as client:
        taken = client.info.get_parameters()
        with socket.socket(fileno=os.dup(client.fileno())) as end:
            found = [end.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in SOCKET]
    evidence.ran(service)
    assert taken["connect_timeout"] == "5"
    assert found == [45_000, 30, 5, 3]


@control(each("network/pgbouncer.ini"))
def test_pgbouncer_takes_its_settings(database, load, pooler) -> None:
    """SHOW CONFIG has the same numbers for PgBouncer."""
    snippet = load("network/pgbouncer.ini")
    settings = settings_of(snippet.text)
    bouncer = pooler(database, **settings)
    evidence.ran(snippet, "started")
    shown = {row["key"]: row["value"] for row in bouncer.show("config") if row["key"] in settings}
    assert shown == {
        "tcp_user_timeout": "45000",
        "tcp_keepidle": "30",
        "tcp_keepintvl": "5",
        "tcp_keepcnt": "3",
        "server_connect_timeout": "5",
    }


@control(edit("network/postgresql.sql", "tcp_user_timeout = '45s'", "tcp_user_timeout = 0"))
@control(edit("network/postgresql.sql", "tcp_keepalives_count = 3", "tcp_keepalives_count = 9"))
@control(edit("network/postgresql.sql", "check_interval = '10s'", "check_interval = 0"))
def test_postgresql_takes_its_settings_without_a_restart(cluster, load) -> None:
    """A session over TCP that starts after that has the same numbers, on PostgreSQL's side."""
    with fresh(cluster(cluster_name="how-to-dead-network").server) as database:
        database.psql(load("network/postgresql.sql"))
        with database.connect() as client:
            query = "select name, setting from pg_settings where name ~ '^tcp_|^client_connection_check_interval'"
            assert dict(client.execute(query).fetchall()) == {
                "client_connection_check_interval": "10000",
                "tcp_keepalives_count": "3",
                "tcp_keepalives_idle": "30",
                "tcp_keepalives_interval": "5",
                "tcp_user_timeout": "45000",
            }


@control(here("far.django(KEEPALIVES)", "far.django()"), fails_with="keepalives have ended one: not within")
@control(replace("tests.proofs.how_to.test_dead_network:CHECKED", "False"), fails_with="it is served: not within")
def test_a_health_check_waits_for_nothing_that_keepalives_have_ended(far) -> None:
    """While both are idle, no packet arrives; keepalives end one connection, and its next request is served."""
    bare, kept = far.django(), far.django(KEEPALIVES)
    far.confirmed()

    def kernels() -> int:
        """Return how many connections to PostgreSQL are established for the kernel of the application's host.

        What earlier proofs left there is closing, or waits for late packets.
        """
        lines = Path(f"/proc/{kept.process.pid}/net/tcp").read_text().splitlines()
        open_to = (f":{far.database.server.port:04X}", ESTABLISHED)
        return sum((peer[-5:], state) == open_to for _, _, peer, state, *_ in map(str.split, lines))

    assert kernels() == 2
    far.network.cut(far.app, far.db)
    until("keepalives have ended one", lambda: kernels() == 1)
    far.network.mend(far.app, far.db)
    far.forget(far.app)
    bare.ask()
    kept.ask()
    until("it is served", lambda: kept.count("200 OK") == 2)
    assert bare.count("200 OK") == 1
    assert bare.waits()
