"""What happens behind a pooler, as a word or a number for each trial: to what a client leaves, and to what it asks.

With two server connections and three clients, one of the other two gets the one that the first has just used.
"""

import os
import re
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

from tests.stack.database import Database, Role
from tests.stack.poolers import Bouncer, Odyssey, Pgagroal, Pgpool, Pooler, refuses
from tests.stack.wait import DEADLINE, until

POOL = 2
CLIENTS = 3  # at work while a pooler is replaced
STAYS = 10.0  # seconds after which a client that was not dropped is taken to stay
IDLE = 10  # clients
Client = psycopg.Connection[tuple]
YOURS, THEIRS, LOST, BOTH = "stays yours", "**another client has it**", "lost", "**both have it**"
WORKS, NONE = "works", "no"
Kind = type[Bouncer] | type[Pooler]
TIDY = (
    *("rollback", "reset all", "reset role", "select pg_advisory_unlock_all()"),
    *("unlisten *", "close all", "deallocate all", "discard temp"),
)
SETTING = "select current_setting('{}', true) = '{}'"
# What a client leaves on its connection for later, and how to see whether it is there.
STATE = {
    "cursor": (
        "a cursor `WITH HOLD`, as `.iterator()` declares it in autocommit",
        "declare left_open cursor with hold for select 1",
        "select count(*) > 0 from pg_cursors where name = 'left_open'",
    ),
    "timeout": ("`SET statement_timeout`", "set statement_timeout = '77s'", SETTING.format("statement_timeout", "77s")),
    "path": ("`SET search_path`", "set search_path = tenant_a", SETTING.format("search_path", "tenant_a")),
    "readonly": (
        "`SET default_transaction_read_only`",
        "set default_transaction_read_only = on",
        SETTING.format("default_transaction_read_only", "on"),
    ),
    "role": ("`SET ROLE`, `assume_role` in Django", "set role {role}", "select current_user = '{role}'"),
    "tenant": (
        "`set_config('app.tenant', …, false)`",
        "select set_config('app.tenant', 'ada', false)",
        SETTING.format("app.tenant", "ada"),
    ),
    "zone": ("`SET timezone`, as Django does", "set timezone = 'Asia/Tokyo'", SETTING.format("timezone", "Asia/Tokyo")),
    "lock": (
        "`pg_advisory_lock`",
        "select pg_advisory_lock(42)",
        "select count(*) > 0 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
    ),
    "listen": ("`LISTEN`", "listen orders", "select count(*) > 0 from pg_listening_channels()"),
    "temporary": (
        "a temporary table",
        "create temporary table chosen (id int)",
        "select to_regclass('pg_temp.chosen') is not null",
    ),
    "prepare": (
        "`PREPARE` in SQL",
        "prepare total as select 1",
        "select count(*) > 0 from pg_prepared_statements where name = 'total'",
    ),
}


def value(client: Client, query: str) -> Any:
    """Return the one value that a query returns."""
    return client.execute(query).fetchone()[0]  # type: ignore[index]


def taker(one: Client, others: list[Client]) -> Client | None:
    """Let other clients begin transactions until one of them has the server connection that the first has just used.

    Return that client; None if none of them gets it, as it is still the first client's.
    """
    used = value(one, "select pg_backend_pid()")
    for number, other in enumerate(others):
        other.execute("begin")
        if value(other, "select pg_backend_pid()") == used:
            for before in others[:number]:
                before.execute("rollback")  # the first client finds a server connection
            return other
    return None


def leave(clients: list[Client], name: str, role: str) -> str:
    """Let one client leave some state, and return which client has it afterwards."""
    one, *others = clients
    _, says, looks = STATE[name]
    says, looks = says.format(role=role), looks.format(role=role)
    one.execute(says)
    other = taker(one, others)
    theirs = other is not None and bool(value(other, looks))
    mine = bool(value(one, looks))
    for client in [*others, one]:
        for statement in TIDY:
            client.execute(statement)
    return {(True, False): YOURS, (False, True): THEIRS, (False, False): LOST, (True, True): BOTH}[mine, theirs]


def come_and_go(client: Client) -> None:
    """Use, within a transaction, what ends with it: a savepoint, a temporary table, COPY and a cursor."""
    with client.transaction():
        client.execute("create temporary table lines (n int) on commit drop")
        with client.cursor().copy("copy lines from stdin") as copy:
            copy.write_row([1])
    with client.cursor("every") as cursor:
        assert cursor.execute("select n from lines").fetchall() == [(1,)]


def transaction(pooler: Bouncer | Pooler, database: Database) -> str:
    """Run a transaction with a savepoint, COPY, a temporary table, a cursor and SET LOCAL, which leaves nothing."""
    with pooler.connect(database, prepare_threshold=None) as one:
        with one.transaction():
            used = value(one, "select pg_backend_pid()")
            one.execute("set local statement_timeout = '66s'")
            come_and_go(one)
            assert value(one, "select pg_backend_pid()") == used
        assert value(one, "show statement_timeout") == "0"
    return WORKS


def outside(pooler: Bouncer | Pooler, database: Database) -> str:
    """Run statements that cannot run within a transaction."""
    with pooler.connect(database, prepare_threshold=None) as one:
        one.execute("create table rows as select generate_series(1, 100) as n")
        one.execute("create index concurrently rows_n on rows (n)")
        one.execute("vacuum rows")
        one.execute("drop table rows")
    return WORKS


def prepared(pooler: Bouncer | Pooler, database: Database) -> str:
    """Let psycopg clients prepare a statement under the same name, and one run it on whichever connection it gets."""
    clients = [pooler.connect(database, prepare_threshold=0) for _ in range(3)]
    one, *others = clients
    try:
        for number, client in enumerate(clients):
            assert client.execute("select 1 + %s", [number]).fetchone() == (1 + number,)
        taker(one, others)
        assert one.execute("select 1 + %s", [3]).fetchone() == (4,)
    except psycopg.Error as error:
        return said(error)
    finally:
        for client in clients:
            client.close()
    return WORKS


def options(pooler: Bouncer | Pooler, database: Database) -> str:
    """Let a client ask for a timeout as it connects."""
    try:
        with pooler.connect(database, options="-c statement_timeout=55s", prepare_threshold=None) as one:
            found = value(one, "show statement_timeout")
            with pooler.connect(database, prepare_threshold=None) as other:
                assert value(other, "show statement_timeout") == "0"
    except psycopg.OperationalError as error:
        return said(error)
    return WORKS if found == "55s" else "connects, and **has no timeout**"


def cancel(pooler: Bouncer | Pooler, database: Database) -> str:
    """Let a client cancel its statement."""
    statement = "select pg_sleep(600)"
    # Only its own: what a pooler runs after a client has left is active as well.
    running = "select count(*) from pg_stat_activity where datname = %s and state = 'active' and query = %s"

    def at_work() -> bool:
        return database.admin.execute(running, [database.name, statement]).fetchone() == (1,)

    with pooler.connect(database, prepare_threshold=None) as one:
        one.pgconn.send_query(statement.encode())
        one.pgconn.flush()
        until("it runs", at_work)
        try:
            one.cancel()
        except psycopg.Error as error:
            return said(error)
        until("it has ended", lambda: not at_work())
        result = one.pgconn.get_result()
        assert result
        assert b"due to user request" in result.error_message
        assert one.pgconn.get_result() is None
    return WORKS


def killed(pooler: Bouncer | Pooler, database: Database) -> str:
    """End a client while rows are on their way to it, and let the next ones ask for something else."""
    one = pooler.connect(database, prepare_threshold=None)
    one.pgconn.send_query(b"select repeat('theirs', 100), generate_series(1, 40000)")
    one.pgconn.flush()
    with socket.socket(fileno=os.dup(one.fileno())) as end:
        select.select([end], [], [], DEADLINE)
        end.shutdown(socket.SHUT_RDWR)
    one.close()
    others = [pooler.connect(database, prepare_threshold=None) for _ in range(POOL)]
    try:
        found = [value(other, "select 'mine'") for other in others]
    except psycopg.DatabaseError as error:
        if "lost synchronization with server" not in str(error):  # psycopg has read something that is not its answer
            raise
        return "**the next client gets what is left of them**"
    finally:
        for other in others:
            other.close()
    assert found == ["mine"] * POOL
    return WORKS


def scram(kind: Kind, database: Database, _folder: Path) -> str:
    """Log in with SCRAM on both sides, and with a wrong password. PostgreSQL accepts nothing else here."""
    with running(kind, database) as pooler:
        with pooler.connect(database, require_auth="scram-sha-256") as one:
            assert one.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(database, password="another")
    return WORKS


def tls(kind: Kind, database: Database, folder: Path) -> str:
    """Let a client verify the pooler, and another try without TLS."""
    with running(kind, database, certificates=folder) as pooler:
        with pooler.connect(database, sslmode="verify-full", sslrootcert=folder / "ca.crt") as one:
            assert one.execute("select 1").fetchone() == (1,)
            assert one.pgconn.ssl_in_use
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(database, sslmode="disable")
    return WORKS


def lookup(kind: Kind, database: Database, _folder: Path) -> str:
    """Let in a client whose secret the pooler has to look up."""
    if not issubclass(kind, Bouncer | Odyssey):
        return NONE
    asks = Role(database.server, "superuser")
    with database.server.connect() as superuser:
        if superuser.info.server_version >= 160000:
            superuser.execute("set scram_iterations = 4096")  # Odyssey sends no message for a secret of one iteration
        superuser.execute(f"alter role {database.role.name} password '{database.role.password}'")
    try:
        with running(kind, database, lookup=asks) as pooler, pooler.connect(database) as one:
            assert one.execute("select 1").fetchone() == (1,)
            with pytest.raises(psycopg.OperationalError):
                pooler.connect(database, password="another")
    finally:
        asks.drop(database.admin)
    return WORKS


def idle(kind: Kind, database: Database, _folder: Path) -> str:
    """Let ten clients run a query each, and stay: do they need a server connection each?"""
    with running(kind, database, IDLE) as pooler:
        clients = [pooler.connect(database, prepare_threshold=None) for _ in range(IDLE)]
        used = {value(client, "select pg_backend_pid()") for client in clients}
        for client in clients:
            client.close()
    return "one each" if len(used) == IDLE else "they share"


def resize(kind: Kind, database: Database, _folder: Path) -> str:
    """Add a server connection while clients are in transactions, none of which is cut off."""
    with running(kind, database, POOL) as pooler:
        clients = [pooler.connect(database, prepare_threshold=None) for _ in range(1 if pooler.keeps else POOL)]
        for client in clients:
            client.execute("begin")
            client.execute("select 1")
        pooler.resize(POOL + 1)
        if isinstance(pooler, Pgagroal):
            until("it says so", lambda: "Restart required for max_connections" in pooler.leash.said())
        elif isinstance(pooler, Pgpool):
            until("it has read its files", lambda: "reload config files" in pooler.leash.said())
            assert value(clients[0], "pgpool show num_init_children") == str(POOL)
        else:
            clients.append(pooler.connect(database, prepare_threshold=None))
            assert value(clients[-1], "select 1") == 1
        for client in clients:
            assert value(client, "select 1") == 1
            client.close()
        return "wants a restart" if pooler.keeps else WORKS


def pause(kind: Kind, database: Database, _folder: Path) -> str:
    """Pause everything between transactions, and resume."""
    if not issubclass(kind, Bouncer | Odyssey):
        return NONE
    with running(kind, database) as pooler:
        one = pooler.connect(database, prepare_threshold=None)
        one.execute("select 1")
        console = pooler.admin() if isinstance(pooler, Bouncer) else pooler.console()
        console.execute("pause")
        one.pgconn.send_query(b"select 7")
        one.pgconn.flush()

        def waits() -> bool:
            return isinstance(pooler, Bouncer) and any(row["cl_waiting"] for row in pooler.show("pools"))

        def answered() -> bool:
            return bool(select.select([one.fileno()], [], [], 0)[0])

        until("it waits or is answered", lambda: waits() or answered())
        through = answered()
        console.execute("resume")
        result = one.pgconn.get_result()
        assert result
        assert result.get_value(0, 0) == b"7"
        one.close()
        console.close()
    return "an idle client's first statement may still go through" if through else WORKS


def dropped(client: Client) -> bool:
    """Return whether an idle client is dropped within STAYS."""
    try:
        until("it is dropped", lambda: select.select([client.fileno()], [], [], 0)[0], STAYS)
    except TimeoutError:
        return False
    return True


def drain(kind: Kind, database: Database, _folder: Path) -> str:
    """Tell it to stop while one client is in a transaction and another is idle; it exits when both have gone."""
    with running(kind, database) as pooler:
        one, other = (pooler.connect(database, prepare_threshold=None) for _ in range(2))
        other.execute("select 1")
        one.execute("begin")
        one.execute("select 1")
        pooler.drain()
        until("nobody is let in", lambda: refuses(pooler, database))
        try:
            one.execute("select 1")
            one.execute("commit")
            goes = "the transaction ends well"
        except psycopg.OperationalError:
            goes = "**the transaction is cut off**"
        idle = "is dropped" if dropped(other) else "stays until it leaves"
        goes += f", the idle client {idle}"
        for client in (one, other):
            client.close()
        until("it has ended", pooler.leash.ended)
    return goes


class Asking:
    """A client that runs one transaction after another, reconnects when told to, and counts what it hears."""

    def __init__(self, pooler: Bouncer | Pooler, database: Database) -> None:
        """Begin."""
        self.heard = Counter[str]()
        self.renew, self.stopped = Event(), Event()
        self.thread = Thread(target=self._ask, args=(pooler, database))
        self.thread.start()

    def _ask(self, pooler: Bouncer | Pooler, database: Database) -> None:
        connection: Client | None = None
        while not self.stopped.is_set():
            began = False
            if self.renew.is_set() and connection:
                connection.close()
                connection = None
                self.renew.clear()
            try:
                connection = connection or pooler.connect(database, prepare_threshold=None)
                with connection.transaction():
                    began = True
                    connection.execute("select pg_sleep(0.01)")
                self.heard["answered"] += 1
            except psycopg.Error:  # InternalError too, if it gets another client's answer
                self.heard["cut off" if began else "dropped" if connection else "refused"] += 1
                connection = None
                self.stopped.wait(0.05)
        if connection:
            connection.close()


def restart(kind: Kind, database: Database, _folder: Path) -> str:
    """Replace it while clients are at work. They reconnect when the next one should be ready."""
    clients: list[Asking] = []
    alone = issubclass(kind, Pgagroal)  # it lets one of several wait forever, and sometimes the next one's first

    def answered(times: int) -> bool:
        return all(client.heard["answered"] >= times for client in clients)

    def leave() -> None:
        for client in clients:
            client.renew.set()

    try:
        with running(kind, database, CLIENTS + kind.keeps, replaceable=True) as pooler:
            clients += [Asking(pooler, database) for _ in range(1 if alone else CLIENTS)]
            until("each client is at work", lambda: answered(3))
            pooler.replace(leave)
            before = max(client.heard["answered"] for client in clients)
            if not alone:
                until("each client is at work again", lambda: answered(before + 3))
            heard = sum((client.heard for client in clients), Counter[str]())
    finally:
        for client in clients:
            client.stopped.set()
        for client in clients:
            client.thread.join()
    if heard["cut off"]:
        return "**ends transactions**"
    if heard["dropped"]:
        return "drops each client once"
    return "refuses new clients until it is back" if heard["refused"] else "loses nothing"


@contextmanager
def running(kind: Kind, database: Database, pool: int | None = None, **settings: Any) -> Iterator[Bouncer | Pooler]:
    """Run a pooler for as long as the block lasts, with an additional server connection if clients keep theirs."""
    pooler = kind(database, pool or POOL + kind.keeps, **settings)
    try:
        yield pooler
    finally:
        pooler.stop()


def said(error: Exception) -> str:
    """Return what an error says, as a cell has it, without what differs from run to run."""
    text = str(error).strip().splitlines()[0]
    text = re.sub(r"^connection failed: .*? failed: |^FATAL: +|^ERROR: +", "", text)
    return "`" + re.sub(r"^FATAL: +|^ERROR: +", "", text) + "`"


ASKS: dict[str, tuple[str, Callable[[Bouncer | Pooler, Database], str]]] = {
    "transaction": ("a transaction: savepoint, `COPY`, cursor, `SET LOCAL`", transaction),
    "outside": ("`CREATE INDEX CONCURRENTLY`, `VACUUM`", outside),
    "prepared": ("psycopg 3 with `prepare_threshold`", prepared),
    "options": ("`options=-c statement_timeout=…` when you connect", options),
    "cancel": ("a request to cancel", cancel),
    "killed": ("a client is killed while rows are on their way", killed),
}
# What the pooler itself does: it is started afresh for each.
RUNS: dict[str, tuple[str, Callable[[Kind, Database, Path], str]]] = {
    "scram": ("SCRAM on both sides", scram),
    "lookup": ("`auth_query`", lookup),
    "tls": ("TLS to clients, required", tls),
    "idle": ("server connections of ten idle clients", idle),
    "pause": ("`PAUSE` and `RESUME`", pause),
    "resize": ("a larger pool by a reload", resize),
    "drain": ("a gentle stop, with one client in a transaction and one idle", drain),
    "restart": ("is replaced while clients are at work", restart),
}
