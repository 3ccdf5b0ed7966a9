"""Proves docs/explanation/from-one-server-to-thousands.md: two PgBouncers on one port, with peers and without."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from signal import Signals

import psycopg
import pytest
from psycopg.rows import dict_row

from proven import evidence
from proven.sources import snippets
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.pooled import INI, section, settings_of
from tests.stack import pgbouncer
from tests.stack.console import at_least, port_of
from tests.stack.database import Database
from tests.stack.handover import Handover
from tests.stack.leash import Leash, give
from tests.stack.pgbouncer import PgBouncer
from tests.stack.poolers import Odyssey
from tests.stack.scripts import execute
from tests.stack.wait import free_port, until

PEERS, FLEET, UNIT = "pgbouncer/peers.ini", "sizing/fleet.py", "pgbouncer/instance.service"
TRIES = 40  # the kernel gives a client to either of them: the chance that all go to one is 1 in 2 to the 39th
SLEEP = "select pg_sleep(60)"
# It waits for a lock before its first row.
SHORT_ROWS = """
    with lock as materialized (select pg_advisory_lock_shared(1))
    select nextval('sent'), 'short' from lock, generate_series(1, 100)
"""
LOST, PASSED_ON = "closing because: failed cancel request", ": peer-"


@pytest.fixture
def pair(database, pooler, load):
    """Start two PgBouncers on one port: pair(peered=True). They have the snippet's settings, and end with the proof."""
    if tuple(map(int, pgbouncer.version().split("."))) < pgbouncer.OLDEST:
        pytest.skip("needs PgBouncer 1.21")
    snippet = load(PEERS)
    home = Leash("peers")

    def start(peered: bool, **settings: object) -> list[PgBouncer]:
        port = free_port()
        peers = {
            number: f"{entry.replace('/run/pgbouncer', str(home.folder))} port={port}"
            for number, entry in section(snippet, "peers").items()
        }
        own = {**section(snippet, "pgbouncer"), "pool_mode": "transaction", **settings}
        del own["peer_id"]
        both = []
        for number in peers:
            sockets = home.folder / number
            sockets.mkdir()
            give(sockets)
            known = {"peers": peers, "peer_id": number} if peered else {}
            both.append(pooler(database, port=port, **{**own, "unix_socket_dir": sockets, **known}))
        evidence.ran(snippet, "started")
        return both

    yield start
    home.stop()


def wait_for_clients(one: PgBouncer) -> None:
    """Tell it to take no new clients, and to end when those that it has have left."""
    one.leash.signal(Signals.SIGTERM)
    until("it stops", lambda: "shutting down" in one.leash.said())


@pytest.fixture
def odyssey(database) -> Iterator[tuple[str, int]]:
    """Odyssey with a pool of 1, and otherwise the reader's configuration: its URL and its process ID."""
    try:
        Odyssey.version()
    except RuntimeError:
        pytest.skip("needs Odyssey")
    started = Odyssey(database, pool=1)
    yield started.url(database), started.leash.pid
    started.stop()


def show(one: PgBouncer, what: str) -> list[dict]:
    """Return what one of them shows. The port leads to either, each socket to its own process."""
    address = {"host": str(one.settings["unix_socket_dir"]), "port": one.port, "dbname": "pgbouncer"}
    login = {"user": pgbouncer.ADMIN, "password": one.password}
    with closing(psycopg.connect(**address, **login, autocommit=True, row_factory=dict_row)) as console:
        return psycopg.ClientCursor(console).execute(f"show {what}").fetchall()


@contextmanager
def asleep(url: str, database: Database, ends: bool = True, query: str = SLEEP) -> Iterator[psycopg.Connection]:
    """Have a client's statement run on the server, through whichever process the kernel gives it to.

    It `ends` with the block, or goes on.
    """
    client = psycopg.connect(url, autocommit=True)
    try:
        client.pgconn.send_query(query.encode())
        client.pgconn.flush()
        until("the statement runs", lambda: active(database) == 1)
        yield client
    finally:
        client.close()
        for pid in database.backends() if ends else ():
            database.terminate(pid)


def active(database: Database) -> int:
    """Return how many statements run in a database."""
    query = "select count(*) from pg_stat_activity where datname = %s and usename = %s and state = 'active'"
    return database.admin.execute(query, [database.name, database.role.name]).fetchone()[0]


def workers(pid: int) -> int:
    """Return how many threads of a process work for clients, by their names."""
    names = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/comm")]
    return sum(name.startswith("worker") for name in names)


def said(both: list[PgBouncer], words: str) -> bool:
    """Return whether one of them has logged these words."""
    return any(words in one.leash.said() for one in both)


@control(here("poolers=2", "poolers=20"))
@control(edit("pgbouncer/peers.ini", "default_pool_size = 10", "default_pool_size = 20"))
@control(edit("pgbouncer/peers.ini", "max_db_connections = 15", "max_db_connections = 30"))
def test_the_kernel_gives_clients_to_both_and_each_has_a_pool_of_its_own(pair, database, load) -> None:
    """Clients of one port reach both; with a pool of one each, two transactions run at a time, as calculated.

    The reader's two may together open as many as the single one of pgbouncer.ini.
    """
    one, each = settings_of(snippets.read(INI).text), section(load(PEERS), "pgbouncer")
    for name in ("default_pool_size", "max_db_connections"):
        assert 2 * int(each[name]) == int(one[name])
    counted = execute(load(FLEET))["server_connections"](poolers=2, pool_size=1)
    both = pair(peered=True, default_pool_size=1)
    clients = []
    for _ in range(TRIES):
        clients.append(both[0].connect(database))
        counts = [sum(row["database"] == database.name for row in show(one, "clients")) for one in both]
        if all(counts):
            break
    assert all(counts), counts
    assert sum(counts) == len(clients)
    for client in (clients[0], clients[-1]):  # the last is the first that reached the other
        client.execute("begin")
    assert len(database.backends()) == counted
    for client in clients:
        client.close()


@control(edit("pgbouncer/instance.service", "KillSignal=SIGTERM", "KillSignal=SIGINT"))
@control(here("for client in kept:", "for client in kept[1:]:"), fails_with="it has ended: not within")
def test_one_of_two_is_restarted_while_the_other_takes_new_clients(pair, database, load) -> None:
    """After the unit's signal it serves the clients that it has until they leave. Restarted, it gets new ones too."""
    if not at_least(1, 23):
        pytest.skip("needs PgBouncer 1.23")
    unit = load(UNIT)
    both = pair(peered=True)
    with ExitStack() as stop:
        clients = [stop.enter_context(both[0].connect(database)) for _ in range(TRIES)]
        one = both[0]
        ports = {row["port"] for row in show(one, "clients")}
        kept = [client for client in clients if port_of(client) in ports]
        assert 0 < len(kept) < TRIES
        one.leash.signal(Signals[settings_of(unit.text)["KillSignal"]])
        until("it stops", lambda: "shutting down" in one.leash.said())
        new = [stop.enter_context(both[0].connect(database)) for _ in range(TRIES)]
        for client in (*new, *clients):
            assert heard(client.execute, "select 1") == ""
        assert not one.leash.ended()
        for client in kept:
            client.close()
        until("it has ended", one.leash.ended)
        one.restart()
        again = {port_of(stop.enter_context(both[0].connect(database))) for _ in range(TRIES)}
        assert again & {row["port"] for row in show(one, "clients")}
    evidence.ran(unit, "checked", against=f"PgBouncer, {pgbouncer.version()}")


@control(edit("pgbouncer/instance.service", "RuntimeDirectory", "RuntimeFolder"))
def test_systemd_knows_the_unit_of_each(load, tmp_path) -> None:
    """It reads the template as one of the two, without starting it."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    unit = load(UNIT)
    (tmp_path / "pgbouncer@.service").write_text(unit.text.replace("/usr/sbin/pgbouncer", "/bin/true"))
    one = tmp_path / "pgbouncer@1.service"
    checked = subprocess.run(["systemd-analyze", "verify", one], capture_output=True, text=True)
    assert "pgbouncer@" not in checked.stderr
    known = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True).stdout.split()[1]
    evidence.ran(unit, "checked", against=f"systemd-analyze, {known}")


@control(here("both[0].url(database)", "both[0].url(database) + f\"?host={both[0].settings['unix_socket_dir']}\""))
def test_the_console_over_the_port_is_that_of_either(pair, database) -> None:
    """When several connections to the port ask for peer_id, sometimes one process answers and sometimes the other."""
    both = pair(peered=True, stats_users=database.role.name)
    address = both[0].url(database)
    answered = set()
    for _ in range(TRIES):
        with closing(psycopg.connect(address, dbname="pgbouncer", autocommit=True)) as console:
            settings = psycopg.ClientCursor(console).execute("show config").fetchall()
            answered |= {value for key, value, *_ in settings if key == "peer_id"}
        if len(answered) > 1:
            break
    assert answered == {"1", "2"}


@control(here("peered=False", "peered=True"))
def test_without_peers_a_request_to_cancel_gets_lost(pair, database) -> None:
    """It arrives on a connection of its own, at the process that does not know its key, and the statement goes on."""
    both = pair(peered=False)
    for _ in range(TRIES):
        with asleep(both[0].url(database), database) as client:
            client.cancel()
            until("the request has arrived", lambda: said(both, LOST) or not active(database))
            if said(both, LOST):
                assert active(database) == 1
                return
    pytest.fail(f"{TRIES} requests arrived at the right process")


@control(here("peered=True", "peered=False"), fails_with="the statement is cancelled: not within")
@control(
    here(" port={port}", "", of="tests.proofs.explanation.test_from_one_server_to_thousands:pair"),
    fails_with="the statement is cancelled: not within",
)
def test_with_peers_each_request_to_cancel_arrives(pair, database) -> None:
    """Whichever process it reaches, the statement is cancelled; at least one request was passed on."""
    both = pair(peered=True)
    for _ in range(TRIES):
        with asleep(both[0].url(database), database) as client:
            client.cancel()
            until("the statement is cancelled", lambda: not active(database))
            assert b"canceling statement due to user request" in client.pgconn.get_result().error_message
        if said(both, PASSED_ON):
            return
    pytest.fail(f"none of {TRIES} requests came to the process that had to pass it on")


@control(here("peered=True", "peered=False"), fails_with="the statement is cancelled: not within")
def test_a_peer_that_waits_for_its_clients_gets_requests_to_cancel_with_1_26(pair, database) -> None:
    """Stopped by SIGTERM, it still takes them on its Unix socket; 1.24 has closed that, and the request is dropped."""
    if not at_least(1, 23):
        pytest.skip("needs PgBouncer 1.23")
    both = pair(peered=True, cancel_wait_timeout=1)
    with asleep(both[0].url(database), database) as client:
        ours = port_of(client)
        (one,) = [each for each in both if ours in {row["port"] for row in show(each, "clients")}]
        wait_for_clients(one)
        client.cancel()
        if at_least(1, 26):
            until("the statement is cancelled", lambda: not active(database))
            assert b"canceling statement due to user request" in client.pgconn.get_result().error_message
        else:
            until("the request is dropped", lambda: said(both, "closing because: cancel_wait_timeout"))
            assert active(database) == 1
    assert said(both, PASSED_ON)


@pytest.fixture
def behind_a_service(database, pooler) -> Iterator[Callable[..., tuple[str, list[PgBouncer]]]]:
    """Start two PgBouncers, each with a port of its own, behind an address that leads to them in turn."""
    with ExitStack() as ends:

        def start(peered: bool, **settings: object) -> tuple[str, list[PgBouncer]]:
            ports = {"1": free_port(), "2": free_port()}
            peers = {number: f"host=127.0.0.1 port={port}" for number, port in ports.items()}
            both = []
            for number, port in ports.items():
                known = {"peers": peers, "peer_id": number} if peered else {}
                both.append(pooler(database, port=port, pool_mode="transaction", **known, **settings))
            service = Handover(*(one.port for one in both))
            ends.callback(service.stop)
            return both[0].url(database).replace(f":{both[0].port}/", f":{service.port}/"), both

        yield start


@control(here("peered=False", "peered=True"), fails_with="the request has arrived: not within")
def test_behind_a_service_a_request_to_cancel_reaches_the_other_pgbouncer(behind_a_service, database) -> None:
    """Without peers the other logs `failed cancel request`, and the statement goes on; the next request cancels it."""
    url, (_, other) = behind_a_service(peered=False)
    with asleep(url, database) as client:
        client.cancel_safe()  # a thread here passes it on, and cancel() lets none run
        until("the request has arrived", lambda: LOST in other.leash.said())
        assert active(database) == 1
        client.cancel_safe()
        until("the statement is cancelled", lambda: not active(database))


@control(here("peered=True", "peered=False"), fails_with="the statement is cancelled: not within")
def test_behind_a_service_peers_pass_a_request_to_cancel_on(behind_a_service, database) -> None:
    """Each peer's entry has host and port of one; the first request comes to the other, and arrives all the same."""
    if not at_least(1, 19):
        pytest.skip("needs PgBouncer 1.19")
    url, (_, other) = behind_a_service(peered=True)
    with asleep(url, database) as client:
        client.cancel_safe()  # a thread here passes it on, and cancel() lets none run
        until("the statement is cancelled", lambda: not active(database))
        # Nor does get_result(): that thread has to pass the answer on first.
        until("its answer has come", lambda: client.pgconn.consume_input() or not client.pgconn.is_busy())
        assert b"canceling statement due to user request" in client.pgconn.get_result().error_message
        assert PASSED_ON in other.leash.said()


@control(here("wait_for_clients(one)", "pass"), fails_with="the request is dropped: not within")
def test_behind_a_service_a_peer_that_waits_for_its_clients_misses_a_request_to_cancel(
    behind_a_service, database
) -> None:
    """Stopped by SIGTERM, it serves its client, but listens no longer: the other drops the request."""
    if not at_least(1, 23):
        pytest.skip("needs PgBouncer 1.23")
    url, (one, other) = behind_a_service(peered=True, cancel_wait_timeout=1)
    with asleep(url, database) as client:
        wait_for_clients(one)
        client.cancel_safe()  # a thread here passes it on, and cancel() lets none run
        until("the request is dropped", lambda: "closing because: cancel_wait_timeout" in other.leash.said())
        assert ": peer-1@127.0.0.1:" in other.leash.said()
        assert "closing because: connect failed" in other.leash.said()
        assert active(database) == 1


@control(here("interval = '50ms'", "interval = '0'"), fails_with="PostgreSQL has noticed: not within")
@control(here("statement_timeout = '2s'", "statement_timeout = '0'"), fails_with="it has ended it: not within")
@control(here("SHORT_ROWS", 'SHORT_ROWS.replace("short", "long" * 5000)'))
def test_postgresql_ends_what_a_client_of_pgbouncer_leaves_only_where_it_looks(database, pooler) -> None:
    """The client goes amid its statement, and PgBouncer's server connection with it; the statement goes on.

    One with a hundred short rows runs to its end, and sends them to nobody.
    """
    bouncer = pooler(database, pool_mode="transaction")

    def leave(query: str = SLEEP) -> None:
        with asleep(bouncer.url(database), database, ends=False, query=query) as client:
            client.close()
        until(
            "PgBouncer has none", lambda: not any(row["database"] == database.name for row in bouncer.show("servers"))
        )

    leave()
    assert active(database) == 1
    (pid,) = database.backends()
    database.terminate(pid)
    until("it is gone", lambda: not database.backends())
    with database.connect() as holder:
        holder.execute("create sequence sent; select pg_advisory_lock(1)")
        leave(SHORT_ROWS)
        holder.execute("select pg_advisory_unlock(1)")
        until("it has ended", lambda: not active(database))
        assert holder.execute("select last_value from sent").fetchone() == (100,)
    database.admin.execute(f"alter role {database.role.name} set statement_timeout = '2s'")
    leave()
    until("it has ended it", lambda: not active(database))
    database.admin.execute(f"alter role {database.role.name} reset statement_timeout")
    database.admin.execute(f"alter role {database.role.name} set client_connection_check_interval = '50ms'")
    leave()
    until("PostgreSQL has noticed", lambda: not active(database))


@control(
    here(
        "pool=1",
        "pool=10",
        of="tests.proofs.explanation.test_from_one_server_to_thousands:odyssey",
    )
)
@control(edit("odyssey/odyssey.conf", "workers 2", "workers 1"))
def test_odysseys_threads_share_one_pool_and_find_what_to_cancel(odyssey, database) -> None:
    """Two threads of one process: ten clients at a time share a pool of 1, and each request to cancel arrives."""
    url, pid = odyssey
    assert workers(pid) == 2
    with ExitStack() as opened:
        clients = [opened.enter_context(psycopg.connect(url, autocommit=True)) for _ in range(10)]
        threads = opened.enter_context(ThreadPoolExecutor(len(clients)))
        query = "select pg_backend_pid() from pg_sleep(0.02)"
        found = list(threads.map(lambda client: client.execute(query).fetchone(), clients))  # all at the same time
        assert len({*found}) == 1
        assert database.backends() == [*found[0]]
    for _ in range(4):
        with asleep(url, database) as client:
            client.cancel()
            until("the statement is cancelled", lambda: not active(database))
            assert b"canceling statement due to user request" in client.pgconn.get_result().error_message


@control(edit("sizing/fleet.py", '"A sidecar in each of 20 pods": (20, 5)', '"A sidecar in each of 20 pods": (20, 10)'))
def test_the_worked_fleets_add_up(run_script, load) -> None:
    """Each row is its poolers times its pool, and a sidecar in each of many instances needs by far the most."""
    names = run_script(load(FLEET))
    rows = names["worked_fleets"]()
    for row in rows:
        assert row["Server connections"] == row["Poolers"] * row["Pool of each"]
    sidecars = [row for row in rows if "sidecar" in row["Fleet"]]
    others = [row for row in rows if row not in sidecars]
    assert min(each["Server connections"] for each in sidecars) > 3 * max(each["Server connections"] for each in others)
    assert max(each["Pool of each"] for each in sidecars) < min(each["Pool of each"] for each in others)
