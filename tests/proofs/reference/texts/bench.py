"""One PostgreSQL and one PgBouncer in which texts are provoked, and the clients that get them.

A provocation is a Case: what is set, what is done, and the text that a program then says. Between two of them
PgBouncer's settings are restored by RELOAD.
"""

import functools
import socket
import subprocess
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import conninfo

from atlas.listed import says
from tests.proofs.reference.texts.clients import CLIENTS, TLS, PgIsReady
from tests.stack.database import Database, Role
from tests.stack.leash import give
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster
from tests.stack.wait import DEADLINE, until

TABLES = """
create table if not exists locked ();
create table if not exists taken as select 1 as id;
create table if not exists counted as select 1 as id;
create table if not exists replayed as select 1 as id;
grant all on all tables in schema public to public; grant create on schema public to public;
"""
HBA = "local all,replication postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
OTHER = "other"  # the entry of [databases] that a case may change
# So that no client waits for what will not come; a case that is about waiting sets its own.
PATIENCE = {
    "query_wait_timeout": 20,
    "client_login_timeout": 20,
    "server_login_retry": 0.3,
    "server_connect_timeout": 2,
}


@dataclass(frozen=True)
class Case:
    """How one text is provoked. With nothing but its text, a client connects and its queries are answered."""

    text: str  # as the atlas has it
    settings: dict[str, object] = field(default_factory=dict)  # PgBouncer's, by RELOAD
    entry: str | Callable[["Bench"], str] = ""  # what its line in [databases] ends with, or all of it: host=…
    to: str = "pooled"  # "direct": to PostgreSQL, "standby": to another one, "console": to PgBouncer's console
    options: dict[str, object] = field(default_factory=dict)  # of the connection
    held: bool = False  # another client is in a transaction on the pool
    first: str = "select 1"
    meanwhile: Callable[["Bench"], object] | None = None  # what happens between the two queries
    fails: str = ""  # a query whose error is not the text
    then: str | Callable[[Any], object] = "select 1"  # a query, or what is done with psycopg 3's connection
    packets: Callable[["Bench"], list[bytes]] | None = None  # what a client sends that no driver would
    said_by: str = "client"  # or "pooler", "server": whose log has it
    before: Callable[["Bench"], object] | None = None
    after: Callable[["Bench"], object] | None = None
    clients: tuple[str, ...] = ()
    together: bool = False  # they wait at the same time, as each would wait as long

    def __str__(self) -> str:
        return self.text

    @property
    def at(self) -> str:
        """The name of its line in [databases]: its own if it has an entry, as PgBouncer remembers what failed there."""
        return f"own_{zlib.crc32(self.text.encode())}" if self.entry else OTHER


HERE = Case("", to="direct")  # to PostgreSQL itself, and nothing else


@dataclass(frozen=True)
class Heard:
    """What one client heard: the name of the exception, its whole text, and its SQLSTATE if it has one."""

    raised: str
    text: str
    sqlstate: str = ""


class Bench:
    """The servers, what a case does to them, and what was logged since it began."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.server = cluster.server
        self.database = Database(self.server)
        self.stranger = Role(self.server)  # which is not in PgBouncer's userlist
        self.folder = cluster.leash.folder
        role = self.database.role
        self.bouncer = PgBouncer(
            self.database, users={role.name: role.password}, pool_mode="transaction", max_client_conn=100, **PATIENCE
        )
        self.sockets = self.bouncer.leash.folder / "sockets"
        self.sockets.mkdir()
        give(self.sockets)
        self.bouncer.settings |= {"unix_socket_dir": self.sockets, "auth_type": "scram-sha-256"}
        self.certify()
        self.bouncer.restart()
        place = f"host={self.server.host} port={self.server.port}"
        self.bouncer.entries["postgres_of_auth"] = f"{place} dbname={self.database.name}"
        self.settings, self.entries = dict(self.bouncer.settings), dict(self.bouncer.entries)
        self.console = self.bouncer.admin()
        self.change()
        self.others: list[psycopg.Connection[tuple]] = []  # which a case has connected besides its client
        self.connect()
        self.marks = (0, 0)
        self.kept: dict[str, object] = {}  # the standby's own settings, while it has others

    def certify(self) -> None:
        """Let PgBouncer offer TLS to clients that ask for it, with a self-signed certificate."""
        self.keys = {}
        for name, use in (("own", "clientAuth,serverAuth"), ("another", "clientAuth"), ("server's", "serverAuth")):
            key, crt = (self.bouncer.leash.folder / f"{name}.{end}" for end in ("key", "crt"))
            new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=pooler.internal"]
            new += ["-addext", f"extendedKeyUsage={use}"]
            command = ["openssl", "req", "-x509", "-days", "2", *new, "-keyout", str(key), "-out", str(crt)]
            subprocess.run(command, check=True, capture_output=True)
            give(key, crt)
            self.keys[name] = {"sslkey": key, "sslcert": crt}
        key, crt = self.keys["own"].values()
        tls = {"client_tls_sslmode": "allow", "client_tls_key_file": key, "client_tls_cert_file": crt}
        self.bouncer.settings |= {**tls, "client_tls_ca_file": crt}

    def connect(self) -> None:
        """Open the superuser's sessions."""
        self.inside = self.server.connect(self.database.name)
        self.inside.execute(TABLES)
        self.rival = self.server.connect(self.database.name)  # holds what others want
        self.rival.execute("begin; lock table locked; select * from taken for update")

    @functools.cached_property
    def standby(self) -> Cluster:
        """A standby, on which no query gives way to replay. The primary is stopped while it is made."""
        self.leave()
        made = Cluster(self.cluster, max_connections=40, max_standby_streaming_delay=-1)
        self.database.follow(self.cluster.server)
        self.connect()
        return made

    def leave(self) -> None:
        """Close the superuser's sessions."""
        for session in (self.inside, self.rival):
            session.close()
        self.database.leave()

    def restart(self) -> None:
        """Start PostgreSQL again."""
        self.leave()
        self.cluster.restart()
        self.database.follow(self.cluster.server)
        self.connect()

    def recover(self) -> None:
        """Go on after a crash, once PostgreSQL has recovered."""
        until("the server has recovered", lambda: self.cluster._answers(self.server.port))
        self.leave()
        self.database.follow(self.cluster.server)
        self.connect()

    def stop(self) -> None:
        """Stop all of it except the cluster, which others use."""
        if standby := self.__dict__.get("standby"):
            standby.stop()
        self.inside.close()
        self.rival.close()
        self.console.close()
        self.bouncer.stop()
        self.database.drop()

    def command(self, text: str) -> None:
        """Send a command to PgBouncer's console."""
        try:
            self.console.execute(text.encode())
        except psycopg.OperationalError:  # PgBouncer was restarted
            self.console = self.bouncer.admin()
            self.console.execute(text.encode())

    def sql(self, text: str) -> None:
        """Run a query as the superuser, within the database."""
        self.inside.execute(text.format(role=self.database.role.name, database=self.database.name).encode())

    def outside(self, text: str) -> None:
        """Run a query as the superuser, outside of the database."""
        self.database.admin.execute(text.format(role=self.database.role.name, database=self.database.name).encode())

    def sessions(self) -> list[int]:
        """Return the application's sessions."""
        found = "select pid from pg_stat_activity where usename = %s and backend_type = 'client backend'"
        return [pid for (pid,) in self.database.admin.execute(found, [self.database.role.name])]

    def each(self, function: str) -> None:
        """Call a function of PostgreSQL on each of the application's sessions: each("pg_terminate_backend")."""
        for pid in until("a session is there", self.sessions):
            self.outside(f"select {function}({pid})")

    def hba(self, text: str = "", alone: bool = False) -> None:
        """Put lines before those of PostgreSQL's pg_hba.conf, or in place of them, and wait until they are in force."""
        (self.cluster.data / "pg_hba.conf").write_text(f"local all postgres trust\n{text}\n" + ("" if alone else HBA))
        self.reload()

    def reload(self) -> None:
        """Have PostgreSQL reload its files, and wait until new sessions are subject to them."""

        def since() -> object:
            with self.server.connect() as session:
                return session.execute("select pg_conf_load_time()").fetchone()

        before = since()
        self.outside("select pg_reload_conf()")
        until("its files are read", lambda: since() != before)

    def change(self, entry: str = "", at: str = OTHER, **settings: object) -> None:
        """Give PgBouncer settings, and an entry's options, and RELOAD."""
        place = f"host={self.server.host} port={self.server.port} dbname={self.database.name}"
        self.bouncer.settings = {**self.settings, **settings}
        self.bouncer.entries = {**self.entries, at: entry if entry.startswith("host=") else f"{place} {entry}"}
        self.bouncer._configure(self.bouncer.port)
        self.command("reload")

    def anew(self, **settings: object) -> None:
        """Restart PgBouncer, with settings that it reads only then."""
        self.console.close()
        self.bouncer.settings = {**self.settings, **settings}
        self.bouncer.restart()
        self.console = self.bouncer.admin()

    def write(self, name: str, text: str) -> str:
        """Write a file that PgBouncer reads, and return its path."""
        return str(self.bouncer.leash.write(name, text))

    def logged(self, by: str) -> str:
        """Return what one of the two has logged since the case began."""
        leash, mark = (self.bouncer.leash, self.marks[0]) if by == "pooler" else (self.cluster.leash, self.marks[1])
        return leash.said()[mark:]

    def url(self, case: Case, **options: object) -> str:
        """Return how a client connects in a case."""
        role = self.database.role
        parts: dict[str, object] = {
            "user": role.name,
            "password": role.password,
            "dbname": case.at,
            "sslmode": "disable",
            "connect_timeout": 20,
        }
        parts |= {"host": "127.0.0.1", "port": self.bouncer.port}
        if case.to == "standby":
            parts |= {"port": self.standby.server.port, "dbname": self.database.name}
        elif case.to == "direct":
            parts |= {"port": self.server.port, "dbname": self.database.name}
        elif case.to == "console":
            parts |= {"user": "proven_admin", "password": self.bouncer.password, "dbname": "pgbouncer"}
        given = {name: value(self) if callable(value) else value for name, value in case.options.items()}
        return conninfo.make_conninfo(**{**parts, **options, **given})  # type: ignore[arg-type]

    @contextmanager
    def set(self, case: Case) -> Iterator[None]:
        """Put what a case sets into force, and undo it, even if the case fails: the next one begins afresh."""
        settings = {name: value(self) if callable(value) else value for name, value in case.settings.items()}
        entry = case.entry(self) if callable(case.entry) else case.entry
        # The client that holds the pool has to be served first: limits begin then.
        self.change(entry, case.at, **({} if case.held else settings))
        self.case = case
        with ExitStack() as ends:
            ends.callback(self.change)
            if case.after:
                ends.callback(case.after, self)
            ends.callback(self.alone)
            if case.before:
                case.before(self)
            self.marks = (len(self.bouncer.leash.said()), len(self.cluster.leash.said()))
            if case.held:
                holder = ends.enter_context(psycopg.connect(self.url(Case(case.text, entry=case.entry))))
                holder.execute("select 1")
                ends.callback(holder.close)
                self.change(entry, case.at, **settings)
            yield

    def alone(self) -> None:
        """Close what a case has connected besides its client."""
        while self.others:
            self.others.pop().close()

    def hear(self, case: Case) -> dict[str, Heard]:
        """Provoke a text, and return what each client has heard, and what the logs have."""
        heard = {}
        with self.set(case):
            if case.packets:
                heard["a client of its own"] = Heard("", self.sent(case))
            else:
                names = case.clients or tuple(CLIENTS)
                with ThreadPoolExecutor(len(names)) as threads:
                    each = (threads.map if case.together else map)(lambda name: self.one(name, case), names)
                    heard |= {name: found for name, found in zip(names, each, strict=True) if found}
            if case.said_by != "client":
                until(f"the log has {case.text}", lambda: says(case.text, self.logged(case.said_by)))
                heard[case.said_by] = Heard("", self.logged(case.said_by))
        return heard

    def leave_alone(self, case: Case) -> dict[str, Heard]:
        """Return what is heard if nothing provokes the text: nothing of it, whichever text it is."""
        return self.hear(Case(case.text))

    def one(self, name: str, case: Case) -> Heard | None:
        """Let one client connect, query, wait for what happens meanwhile, and query again."""
        client = None
        try:
            client = {**CLIENTS, "pg_isready": PgIsReady}[name](self.url(case, **TLS.get(name, {})))
            client.run(case.first)
            if case.meanwhile:
                case.meanwhile(self)
            if case.fails:
                with suppress(Exception):
                    client.run(case.fails)
            if callable(case.then):
                failed = getattr(
                    case.then(client.connection), "error_message", b""
                )  # from a result, which raises nothing
                return Heard("", failed.decode()) if failed else None
            client.run(case.then)
        except Exception as error:
            state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
            return Heard(type(error).__name__, str(error), state or "")
        finally:
            if client:
                with suppress(Exception):
                    client.close()
        return None

    def sent(self, case: Case) -> str:
        """Send packets as they are, wait for the end of the connection, and return what was received."""
        assert case.packets
        port = self.server.port if case.to == "direct" else self.bouncer.port
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
            answers = []
            for packet in case.packets(self):
                client.sendall(packet)
                answers.append(client.recv(8192))
            with suppress(OSError):
                while more := client.recv(8192):
                    answers.append(more)
        return b" ".join(answers).replace(b"\0", b" ").decode(errors="replace")
