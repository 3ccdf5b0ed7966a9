"""The table of provocations: each text with what makes its program say it."""

import os
import secrets
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from atlas.listed import says
from tests.proofs.reference.bench import OTHER, Bench, Case, message, startup
from tests.stack.pgbouncer import secret
from tests.stack.wait import until

PLAIN = ("psql", "psycopg 3", "psycopg2", "asyncpg", "Django")
ON_LIBPQ = ("psql", "psycopg 3", "psycopg2", "Django")
WITH_TLS = ("psycopg 3", "psycopg2", "Django")
DIRECT: dict[str, Any] = {"to": "direct", "clients": PLAIN}
LIBPQ: dict[str, Any] = {"to": "direct", "clients": ON_LIBPQ}
ONE: dict[str, Any] = {"clients": ("psycopg 3",)}
LOG: dict[str, Any] = {"said_by": "pooler", **ONE}
SERVER: dict[str, Any] = {"said_by": "server", "to": "direct", **ONE}
CONSOLE: dict[str, Any] = {"to": "console", "clients": ("psql", "psycopg2", "asyncpg")}
REFUSALS = 20  # in a row: a session that has just ended has its slot for a moment longer
SOON = 0.1
VIEWS = ("pools", "stats", "version", "lists", "databases", "clients", "servers", "config")  # of PgBouncer's console
SHORT: dict[str, object] = {"client_login_timeout": 0.3, "query_wait_timeout": 0.3}  # nobody is to be served
MD5 = "md5" + "0" * 32
NO_LINGER = struct.pack("ii", 1, 0)
NOWHERE = "host=127.0.0.1 port=1 dbname=x"
# A server lets a client in, is ready, and says something that nobody understands.
OUT_OF_STEP = message(b"R", struct.pack("!I", 0)) + message(b"Z", b"I") + b"?" + struct.pack("!I", 1_000_000)
# It lets a client in, is ready, and tells nothing of itself.
SILENT = message(b"R", struct.pack("!I", 0)) + message(b"Z", b"I")


def hba(text: str) -> dict[str, object]:
    """Return settings with which PgBouncer asks an HBA file."""
    return {"auth_type": "hba", "auth_hba_file": lambda bench: bench.write("hba.conf", text + "\n")}


def asks(query: str, options: str = "") -> dict[str, Any]:
    """Have PgBouncer ask PostgreSQL for the secret of who is not in its userlist, and let such a one come.

    Who asks stands in the entry: what auth_user was once set to stays with each database, also after a RELOAD. Who
    comes has a name of his own, because PgBouncer asks for nobody whom an earlier userlist had.
    """
    entry = lambda bench: f"auth_user={user(bench)} {options}"  # noqa: E731
    unheard = lambda bench: f"unheard_{secrets.token_hex(4)}"  # noqa: ARG005, E731
    return {"entry": entry, "settings": {"auth_query": query}, "options": {"user": unheard}}


def userlist(bench: Bench, secrets: dict[str, str]) -> str:
    """Return the path of a userlist that has others beside the application's own role."""
    known = (bench.bouncer.leash.folder / "userlist.txt").read_text()
    return bench.write("users.txt", known + "".join(f'"{name}" "{secret}"\n' for name, secret in secrets.items()))


def users(**secrets: str) -> dict[str, object]:
    """Return settings with a userlist that has others."""
    return {"auth_file": lambda bench: userlist(bench, secrets)}


def with_stranger() -> dict[str, object]:
    """Return settings with a userlist that has the other role as well."""
    return {"auth_file": lambda bench: userlist(bench, {bench.stranger.name: bench.stranger.password})}


def user(bench: Bench) -> str:
    """Return the application's role."""
    return bench.database.role.name


def stranger(bench: Bench) -> str:
    """Return the name of a role that PgBouncer's userlist does not have."""
    return bench.stranger.name


def password(bench: Bench) -> str:
    """Return the password of the application's role."""
    return bench.database.role.password


def key(name: str, part: str) -> Callable[[Bench], object]:
    """Return the option that has the path of a key or of a certificate."""
    return lambda bench: bench.keys[name][part]


def altered(change: str, back: str, outside: bool = True) -> dict[str, Any]:
    """Have the superuser change something before the case, and take it back after it."""

    def run(statement: str) -> Callable[[Bench], object]:
        return lambda bench: (bench.outside if outside else bench.sql)(statement)

    return {"before": run(change), "after": run(back)}


def let_in(line: str, alone: bool = False) -> dict[str, Any]:
    """Have a line before those of pg_hba.conf, or alone."""
    return {"before": lambda bench: bench.hba(line, alone), "after": lambda bench: bench.hba()}


def listening(answer: bytes = b"", reset: bool = False) -> int:
    """Return a port that accepts one connection after another, gives one answer, and is silent or resets it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        kept = []
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                kept.append(client)
                client.recv(4096)
                client.sendall(answer)
                if reset:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                    client.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def answers(answer: bytes = b"", reset: bool = False) -> Callable[[Bench], str]:
    """Return an entry that leads to such a port."""
    return lambda _: f"host=127.0.0.1 port={listening(answer, reset)} dbname=x"


def cut(connection: psycopg.Connection) -> None:
    """End the socket without a word."""
    with socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def hear_first(connection: psycopg.Connection) -> None:
    """Ask when the session has said something: one that is at work when its server is gone may end without a word."""
    until("it says something", lambda: select.select([connection], [], [], 0)[0])
    connection.execute("select 1")


def copies(connection: psycopg.Connection) -> None:
    """Copy a row out of the server."""
    with connection.cursor() as cursor, cursor.copy("copy (select 1) to stdout") as rows:
        list(rows)


def reset(connection: psycopg.Connection) -> None:
    """Drop the connection as a network does: RST, and no goodbye."""
    with socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), connection.fileno())


def unread(connection: psycopg.Connection) -> None:
    """Ask for more than fits on the way, read nothing of it, and drop the connection."""
    connection.pgconn.send_query(b"select repeat('x', 10_000_000)")
    reset(connection)


def within(connection: psycopg.Connection) -> None:
    """End the client within a transaction."""
    connection.execute("begin")
    connection.close()


def taken(bench: Bench) -> None:
    """Have somebody else in a transaction, on the server connection that was given back last."""
    bench.alone()
    bench.others.append(psycopg.connect(bench.url(bench.case)))
    bench.others[0].execute("select 1")


def sleeps(connection: psycopg.Connection) -> None:
    """Send a query that takes long, and end the client while it runs."""
    with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as other:
        connection.pgconn.send_query(b"/* sleeps */ select pg_sleep(30)")
        found = "select from pg_stat_activity where query like '/* sleeps */%'"
        until("it runs", lambda: other.execute(found).rowcount)
        connection.close()


def idle(bench: Bench) -> None:
    """Wait until PgBouncer has an idle server connection."""
    until("a server is idle", lambda: [1 for row in bench.bouncer.show("servers") if row["state"] == "idle"])


def left(bench: Bench) -> None:
    """Wait until no client is connected any more through the entry."""
    until("the client is gone", lambda: OTHER not in [row["database"] for row in bench.bouncer.show("clients")])


def over(bench: Bench) -> None:
    """Wait until PostgreSQL has ended the session; those that PgBouncer keeps from a case before are others."""
    kept = {row["remote_pid"] for row in bench.bouncer.show("servers")}
    until("the session is over", lambda: kept.issuperset(bench.sessions()))


def kill(bench: Bench) -> None:
    """End the entry's connections, and let it go on."""
    bench.command(f"kill {OTHER}")
    bench.command(f"resume {OTHER}")


def kill_client(bench: Bench) -> None:
    """End one client by its address."""
    (client,) = [row["id"] for row in bench.bouncer.show("clients") if row["database"] == bench.case.at]
    bench.command(f"kill_client {client}")


def one_fails(bench: Bench) -> None:
    """Use the pool, let nobody log in to the server any more, and let one client find out."""
    for change in ("alter role {role} login", "alter role {role} nologin"):
        bench.outside(change)
        for pid in bench.sessions():
            bench.outside(f"select pg_terminate_backend({pid}, 5000)")
        with suppress(psycopg.Error), psycopg.connect(bench.url(bench.case)) as connection:
            connection.execute("select 1")


def let_log_in(bench: Bench) -> None:
    """Let the role log in again."""
    bench.outside("alter role {role} login")


def another(bench: Bench) -> None:
    """Let the other role ask for something."""
    url = bench.url(bench.case, user=bench.stranger.name, password=bench.stranger.password)
    with psycopg.connect(url) as connection:
        connection.execute("select 1")


def filled(bench: Bench, how: str = "") -> None:
    """Take each slot that the application may have; also those that are reserved for others, or all."""
    who = [bench.url(bench.case)]
    if how == "reserved":
        bench.outside("grant pg_use_reserved_connections to {role}")
    if how == "all":
        who.append(psycopg.conninfo.make_conninfo(bench.server.superuser, dbname="postgres"))
    for url in who:
        refused = 0
        while refused < REFUSALS:
            try:
                bench.others.append(psycopg.connect(url))
                refused = 0
            except psycopg.Error:
                refused += 1
    until("nobody who was refused has a slot any more", lambda: not logging_in(bench))


def logging_in(bench: Bench) -> list[str]:
    """Return what the processes of PostgreSQL are called that let somebody in, or have refused and not yet ended."""
    called = []
    for process in psutil.Process(bench.cluster.leash.pid).children():
        with suppress(psutil.NoSuchProcess):
            called += process.cmdline()
    return [name for name in called if name.endswith(("startup", "authentication"))]


def impatient(bench: Bench, setting: str) -> None:
    """Change a setting of the server, and have it read."""
    bench.outside(f"alter system {setting}")
    bench.reload()


def changed(bench: Bench) -> None:
    """Change the entry, and let another client come."""
    bench.change("connect_query='select 2'")
    psycopg.connect(bench.url(bench.case)).close()


def unasked(does: Callable[[Bench], object]) -> Callable[[Bench], None]:
    """Have PostgreSQL say something while nobody holds the server connection."""

    def do(bench: Bench) -> None:
        idle(bench)
        does(bench)
        with suppress(TimeoutError):
            until("it has come", lambda: "when not linked" in bench.logged("pooler"), 5)

    return do


def crossing(bench: Bench) -> None:
    """Have somebody hold lock 2, and wait for lock 1."""
    other = bench.server.connect(bench.database.name)
    bench.others.append(other)
    other.execute("select pg_advisory_lock(2)")
    other.pgconn.send_query(b"select pg_advisory_lock(1)")
    waiting = "select from pg_locks where locktype = 'advisory' and not granted"
    until("it waits", lambda: bench.inside.execute(waiting).rowcount)


def replaying(bench: Bench) -> None:
    """Have the standby replay, for a while, what no query there can bear."""
    bench.alone()
    other = bench.server.connect(bench.database.name)
    bench.others.append(other)
    other.pgconn.send_query(
        b"do $$ begin for i in 1..20 loop truncate replayed; commit; perform pg_sleep(0.05); end loop; end $$"
    )


def replayed(bench: Bench) -> None:
    """Have the standby replay it once, and wait until the session there is over."""
    bench.sql("truncate replayed")
    with bench.standby.server.connect() as session:
        found = f"select from pg_stat_activity where usename = '{user(bench)}'"
        until("the session is over", lambda: not session.execute(found.encode()).rowcount)


def killed(bench: Bench) -> None:
    """Kill a backend, as the kernel does where memory runs out, and wait until all others have said why they end.

    Once they wait for their clients: who is still sending an answer ends without a reason.
    """
    busy = "select from pg_stat_activity where usename = %s and wait_event is distinct from 'ClientRead'"
    until("all answers are sent", lambda: not bench.database.admin.execute(busy, [bench.database.role.name]).rowcount)
    os.kill(bench.rival.info.backend_pid, signal.SIGKILL)
    until("the others have ended", lambda: "all server processes terminated" in bench.logged("server"))


def left_early(bench: Bench) -> None:
    """Connect, and leave in the middle of the first packet."""
    with socket.create_connection(("127.0.0.1", bench.server.port)) as client:
        client.sendall(b"\0\0")


def recovering(bench: Bench) -> None:
    """Kill a backend, and hold another one still: until it ends, the server cannot put itself in order."""
    os.kill(bench.rival.info.backend_pid, signal.SIGSTOP)
    os.kill(bench.inside.info.backend_pid, signal.SIGKILL)
    until("it refuses", lambda: "recovery mode" in refusal(bench))


def recovered(bench: Bench) -> None:
    """Let it go on."""
    with suppress(ProcessLookupError):
        os.kill(bench.rival.info.backend_pid, signal.SIGCONT)
    bench.recover()


def unusable(connection: Any) -> None:
    """Let nothing be read from the socket any more, as where somebody closed it by its number, and query."""
    path = os.open(os.devnull, os.O_PATH)
    os.dup2(path, connection.fileno())
    os.close(path)
    connection.cursor().execute("select 1")


def another_file(connection: Any) -> None:
    """Have a file where the socket was, as where somebody closed it by its number and opened another."""
    with Path(__file__).open() as file:
        os.dup2(file.fileno(), connection.fileno())
    connection.cursor().execute("select 1")


def standing(refuses: bool = True, **settings: object) -> dict[str, Any]:
    """Have the standby started with other settings, in which it lets nobody in, or everybody, and put back."""

    def begin(bench: Bench) -> None:
        standby = bench.standby
        standby.leash.halt(signal.SIGQUIT)
        bench.kept, standby.settings = standby.settings, {**standby.settings, **settings}
        if refuses:
            standby._run(standby.server.port)
            # In these words: while it begins it has others.
            until("it refuses", lambda: says(bench.case.text, refusal(bench)))
        else:
            standby.start(standby.server.port)

    def end(bench: Bench) -> None:
        bench.standby.settings = bench.kept
        bench.standby.leash.halt(signal.SIGQUIT)
        bench.standby.start(bench.standby.server.port)

    return {"to": "standby", "clients": PLAIN, "before": begin, "after": end}


def refusal(bench: Bench) -> str:
    """Return why a server lets nobody in; "" where it does."""
    try:
        psycopg.connect(bench.url(bench.case)).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def twice(connection: psycopg.Connection) -> object:
    """Prepare two statements under one name."""
    connection.pgconn.prepare(b"a", b"select 1")
    return connection.pgconn.prepare(b"a", b"select 2")


POOLER = (
    Case(
        "invalid server parameter",
        settings={"default_pool_size": 3},
        first="select pg_catalog.set_config('search_path', '', false)",
        meanwhile=taken,
        clients=PLAIN,
    ),
    Case("no such database: …", options={"dbname": "nowhere"}),
    Case("SASL authentication failed", options={"password": "wrong"}),
    Case("no such user", **asks("select $1::text, null where false")),
    Case('"trust" authentication failed', settings={"auth_type": "trust"}, options={"user": stranger}),
    Case("FATAL: login rejected", settings=hba("host all all 127.0.0.1/32 reject")),
    Case("no authentication method is found", settings=hba("local all all peer")),
    Case(
        "certificate authentication failed",
        settings={"client_tls_sslmode": "verify-full", "auth_type": "cert"},
        options={"sslmode": "require", "sslkey": key("own", "sslkey"), "sslcert": key("own", "sslcert")},
        clients=WITH_TLS,
    ),
    Case(
        "TLS certificate name mismatch",
        settings={"client_tls_sslmode": "verify-full", "auth_type": "cert"},
        options={"sslmode": "require", "sslkey": key("own", "sslkey"), "sslcert": key("own", "sslcert")},
        **LOG,
    ),
    Case(
        "unix socket login rejected",
        settings=hba("local all all peer"),
        options={"host": lambda b: b.sockets},
        clients=PLAIN,
    ),
    # PgBouncer keeps what the client has sent as its secret, for every way to log in.
    Case("PAM authentication failed", settings={"auth_type": "pam"}, after=lambda b: b.anew(), **ONE),
    Case(
        "LDAP authentication failed",
        settings=hba(
            'host all all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=1 ldapprefix="cn=" ldapsuffix=",dc=x"'
        ),
        **ONE,
    ),
    Case(
        "FATAL: password authentication failed",
        settings={"auth_type": "plain", **users(someone="right")},
        options={"user": "someone", "password": "wrong"},
    ),
    Case(
        "empty password returned by client",
        settings={"auth_type": "plain"},
        packets=lambda b: [startup(user=user(b), database=OTHER), message(b"p", b"\0")],
    ),
    Case("no username supplied", packets=lambda _: [startup(database=OTHER)]),
    Case("username too long", packets=lambda _: [startup(user="u" * 200, database=OTHER)]),
    Case(
        "client selected an invalid SASL authentication mechanism",
        packets=lambda b: [startup(user=user(b), database=OTHER), message(b"p", b"SCRAM-MD5\0" + b"\0\0\0\0")],
    ),
    Case("old V2 protocol not supported", packets=lambda _: [startup(2 << 16, user="x")]),
    Case(
        "invalid startup packet layout: expected terminator as last byte",
        packets=lambda _: [startup(user="x")[:-1] + b"x"],
    ),
    Case("bad packet header: '…'", packets=lambda _: [b"\0\0\0\x01" + b"\xff" * 8], said_by="pooler"),
    Case(
        "received unencrypted data after SSL request",
        packets=lambda _: [b"\0\0\0\x08\x04\xd2\x16\x2f" + b"more"],
        said_by="pooler",
    ),
    Case("FATAL: client_login_timeout", settings={"client_login_timeout": SOON}, packets=lambda _: [b"\0"]),
    Case("PQexec disallowed", before=lambda b: b.anew(disable_pqexec=1), after=lambda b: b.anew()),
    Case("FATAL: SSL required", settings={"client_tls_sslmode": "require"}, clients=PLAIN),
    Case(
        "FATAL: unsupported startup parameter in options: …",
        options={"options": "-c search_path=x -c foo.bar=1"},
        clients=ON_LIBPQ,
    ),
    Case(
        "unsupported options startup parameter: …",
        options={"options": "-B 64"},
        clients=ON_LIBPQ,
    ),
    Case(
        "FATAL: unsupported startup parameter: …",
        packets=lambda b: [startup(user=user(b), database=OTHER, extra_float_digits="2")],
    ),
    Case("FATAL: no more connections allowed (max_client_conn)", settings={"max_client_conn": 2}, held=True),
    Case(
        "client connections exceeded (max_db_client_connections)",
        entry="max_db_client_connections=1",
        held=True,
    ),
    Case(
        "client connections exceeded (max_user_client_connections)",
        settings={"max_user_client_connections": 1},
        held=True,
    ),
    Case(
        'FATAL: database "…" is disabled',
        before=lambda b: b.command(f"disable {OTHER}"),
        after=lambda b: b.command(f"enable {OTHER}"),
    ),
    Case("query_wait_timeout", settings={"query_wait_timeout": SOON}, entry="pool_size=1", held=True, together=True),
    Case(
        "FATAL: query_timeout",
        settings={"query_timeout": SOON, "query_wait_timeout": 9},
        entry="pool_size=1",
        held=True,
        together=True,
    ),
    Case("FATAL: query timeout", settings={"query_timeout": SOON}, then="select pg_sleep(9)", together=True),
    Case("FATAL: idle transaction timeout", settings={"idle_transaction_timeout": SOON}, first="begin", meanwhile=left),
    Case(
        "FATAL: transaction timeout",
        settings={"transaction_timeout": SOON},
        then="begin; select pg_sleep(9)",  # at once: who sends to a connection that is closed may hear no reason
        together=True,
    ),
    Case("FATAL: client_idle_timeout", settings={"client_idle_timeout": SOON}, meanwhile=left),
    Case("transaction blocks not allowed in statement pooling mode", entry="pool_mode=statement", then="begin"),
    Case("FATAL: database removed", meanwhile=kill),
    Case("FATAL: admin forced disconnect", meanwhile=kill_client),
    Case("server closed the connection unexpectedly", meanwhile=kill, clients=("psycopg2",)),
    Case(
        "consuming input failed: server closed the connection unexpectedly",
        meanwhile=lambda b: b.bouncer.restart(),
        **ONE,
    ),
    Case(
        "SSL error: unexpected eof while reading",
        meanwhile=lambda b: b.bouncer.restart(),
        clients=("psycopg 3 over TLS",),
    ),
    Case("SSL SYSCALL error: EOF detected", meanwhile=lambda b: b.bouncer.restart(), clients=("psycopg2 over TLS",)),
    Case("SSL connection has been closed unexpectedly", meanwhile=kill, clients=("psycopg2 over TLS",)),
    Case(
        "FATAL: client_login_timeout (server down)",
        settings={"client_login_timeout": 0.3},
        entry=NOWHERE,
        together=True,
    ),
    Case(
        "server login has been failing, cached error: … (server_login_retry)",
        entry=" ",
        before=one_fails,
        after=let_log_in,
        settings={"server_login_retry": 60, "query_wait_timeout": 0.3},
    ),
    Case(
        "prepared statement did not exist",
        settings={"auth_type": "trust"},
        packets=lambda b: [startup(user=user(b), database=OTHER), message(b"B", b"\0nope\0" + b"\0" * 6)],
    ),
    Case(
        "prepared statement name is already in use",
        settings={"auth_type": "trust"},
        packets=lambda b: [
            startup(user=user(b), database=OTHER),
            message(b"P", b"a\0select 1\0\0\0") + message(b"P", b"a\0select 2\0\0\0"),
        ],
    ),
    Case("prepared statement '…' was already prepared", then=twice, **LOG),
    Case("prepared statement '…' not found", then=lambda c: c.pgconn.exec_prepared(b"nope", []), **LOG),
    Case(
        "permission denied for view pg_shadow",
        **asks("select usename, passwd from pg_shadow where usename = $1"),
        **LOG,
    ),
    Case("error response from auth_query", **asks("select 1/0 from pg_class where relname <> $1"), **LOG),
    Case("error in auth_query: …", **asks("select * from nowhere($1)"), **LOG),
    Case("expected 2 columns from auth_query, not …", **asks("select $1::text"), **LOG),
    Case("bouncer config error", **asks("select $1::text")),
    Case(
        'authentication database "…" is not configured.', **asks("select $1::text, null", "auth_dbname=nowhere"), **LOG
    ),
    Case(
        'authentication database "…" is disabled',
        **asks("select $1::text, null", "auth_dbname=postgres_of_auth"),
        before=lambda b: b.command("disable postgres_of_auth"),
        after=lambda b: b.command("enable postgres_of_auth"),
    ),
    Case("closing because: connect failed", entry=NOWHERE, settings=SHORT, **LOG),
    Case("closing because: connect timeout", entry=answers(), settings={**SHORT, "server_connect_timeout": 1}, **LOG),
    Case(
        "server login failed: none of the server's SASL authentication mechanisms are supported",
        entry=answers(message(b"R", struct.pack("!I", 10) + b"SCRAM-MD5\0\0")),
        settings={"server_tls_sslmode": "disable", **SHORT},
        **LOG,
    ),
    Case("unknown parameter: …", to="console", first="show pools", then="set nowhere = '1'", **LOG),
    Case("server DNS lookup failed", entry="host=no.such.host.invalid", settings=SHORT, **LOG),
    Case("server refused SSL", entry="min_pool_size=0", settings={"server_tls_sslmode": "require", **SHORT}, **LOG),
    Case("closing because: login failed", entry="user=nobody password=x", settings=SHORT, **LOG),
    Case("failed to answer authreq", entry="user=nobody", settings={**SHORT, **users(nobody=MD5)}, **LOG),
    Case("server login failed: wrong password type", entry="user=nobody", settings=users(nobody=MD5), **ONE),
    Case("error while executing exec_on_query …", entry="connect_query='select 1/0'", **LOG),
    Case(
        'cannot use the reserved "…" database as an auth_dbname',
        **asks("select $1::text, null", "auth_dbname=pgbouncer"),
        **LOG,
    ),
    Case(
        "cannot do SCRAM authentication: password is SCRAM secret but client authentication did not provide SCRAM keys",
        entry="user=keyed",
        settings={**SHORT, **users(keyed=secret("x"))},
        **LOG,
    ),
    Case(
        "cannot do MD5 authentication: wrong password type",
        entry="user=hashed",
        settings={**SHORT, **users(hashed=secret("x"))},
        before=lambda b: (
            b.outside("create role hashed login password 'md5" + "0" * 32 + "'"),
            b.hba("host all hashed 127.0.0.1/32 md5"),
        ),
        after=lambda b: (b.hba(), b.outside("drop role hashed")),
        **LOG,
    ),
    Case("closing because: server idle timeout", settings={"server_idle_timeout": SOON}, **LOG),
    Case("closing because: server lifetime over", settings={"server_lifetime": SOON}, **LOG),
    Case("closing because: client close request", **LOG),
    Case("closing because: client unexpected eof", then=cut, **LOG),
    Case("client disconnect while server was not ready", then=within, **LOG),
    Case("close_needed", first="begin", meanwhile=lambda b: b.command("reconnect"), then="commit", **LOG),
    Case(
        "closing because: evicted for …",
        entry="max_db_connections=1",
        settings=with_stranger(),
        meanwhile=another,
        **LOG,
    ),
    Case(
        "taking connection from reserve_pool",
        entry="pool_size=1",
        settings={"reserve_pool_size": 1, "reserve_pool_timeout": SOON},
        held=True,
        **LOG,
    ),
    Case(
        "too many servers in the pool",
        entry="pool_size=2",
        held=True,
        meanwhile=lambda b: b.change("pool_size=1", b.case.at),
        **LOG,
    ),
    Case(
        "FATAL: server shutting down",
        meanwhile=lambda b: b.command("shutdown wait_for_servers"),
        after=lambda b: b.bouncer.restart(),
        **ONE,
    ),
    Case("closing because: obsolete connection", meanwhile=lambda b: b.command("reconnect"), **LOG),
    Case("database configuration changed", meanwhile=changed, **LOG),
    Case(
        "server conn crashed?",
        first="begin",
        meanwhile=lambda b: b.each("pg_terminate_backend"),
        **LOG,
    ),
    Case(
        "got packet 'A' from server when not linked",
        entry=" ",
        first="listen x",
        meanwhile=unasked(lambda b: b.sql("notify x")),
        **LOG,
    ),
    Case(
        "got packet 'E' from server when not linked",
        entry=" ",
        meanwhile=unasked(lambda b: b.each("pg_terminate_backend")),
        **LOG,
    ),
    Case("server login failed: …", entry="user=nobody password=x", settings=SHORT, **LOG),
    Case("sbuf_connect failed …", entry="host=/nowhere port=1 dbname=x", settings=SHORT, **LOG),
    Case(
        "pause mode",
        meanwhile=lambda b: b.command(f"pause {OTHER}"),
        then=lambda _: None,
        after=lambda b: b.command(f"resume {OTHER}"),
        **LOG,
    ),
    Case(
        "cannot do SCRAM authentication: wrong password type",
        entry="user=nobody",
        settings={**SHORT, **users(nobody="md5" + "0" * 32)},
        **LOG,
    ),
    Case(
        "SCRAM authentication failed: user has MD5 secret",
        settings=users(hashed="md5" + "0" * 32),
        options={"user": "hashed"},
        **LOG,
    ),
    Case("TLS handshake error: …", options={"sslmode": "verify-ca", "sslrootcert": key("another", "sslcert")}, **LOG),
    Case("TLS connection required", settings=hba("host all all 127.0.0.1/32 cert"), **LOG),
    Case(
        "TLS client certificate required",
        settings=hba("hostssl all all 127.0.0.1/32 cert"),
        options={"sslmode": "require"},
        **LOG,
    ),
    Case("FATAL: not allowed", to="console", options={"user": user, "password": password}),
    Case(
        "FATAL: admin access needed",
        settings={"stats_users": user},
        options={"user": user, "password": password},
        first="show pools",
        then="reload",
        **CONSOLE,
    ),
    Case("invalid command '…', use SHOW HELP;", first="show pools", then="select 1", **CONSOLE),
    Case(
        "extended query protocol not supported by admin console",
        to="console",
        first="show pools",
        then=lambda c: c.execute("show pools", [], binary=True),
        **ONE,
    ),
    Case(
        "server does not support SSL, but SSL was required",
        settings={"client_tls_sslmode": "disable"},
        options={"sslmode": "require"},
        clients=WITH_TLS,
    ),
    Case(
        "certificate verify failed",
        options={"sslmode": "verify-ca", "sslrootcert": key("another", "sslcert")},
        clients=WITH_TLS,
    ),
    Case(
        'server certificate for "…" … does not match host name "…"',
        options={"sslmode": "verify-full", "sslrootcert": key("own", "sslcert")},
        clients=WITH_TLS,
    ),
    Case(
        "root certificate file … does not exist",
        options={"sslmode": "verify-full", "sslrootcert": "/nowhere"},
        clients=WITH_TLS,
    ),
    Case(
        'could not read root certificate file "…": …',
        options={"sslmode": "verify-full", "sslrootcert": key("own", "sslkey")},
        clients=WITH_TLS,
    ),
    Case(
        "private key file … has group or world access",
        before=lambda b: b.keys["own"]["sslkey"].chmod(0o644),
        options={"sslmode": "require", "sslkey": key("own", "sslkey"), "sslcert": key("own", "sslcert")},
        after=lambda b: b.keys["own"]["sslkey"].chmod(0o600),
        clients=WITH_TLS,
    ),
)
SERVERS = (
    Case('FATAL: database "…" does not exist', options={"dbname": "nowhere"}, **DIRECT),
    Case('password authentication failed for user "…"', options={"password": "wrong"}, **DIRECT),
    Case(
        'FATAL: role "…" is not permitted to log in',
        **altered("alter role {role} nologin", "alter role {role} login"),
        **DIRECT,
    ),
    Case(
        'too many connections for role "…"',
        **altered("alter role {role} connection limit 0", "alter role {role} connection limit -1"),
        **DIRECT,
    ),
    Case(
        'too many connections for database "…"',
        **altered("alter database {database} connection limit 0", "alter database {database} connection limit -1"),
        **DIRECT,
    ),
    Case(
        'FATAL: database "…" is not currently accepting connections',
        **altered(
            "alter database {database} allow_connections false", "alter database {database} allow_connections true"
        ),
        **DIRECT,
    ),
    Case(
        'FATAL: permission denied for database "…"',
        **altered(
            "revoke connect on database {database} from public, {role}",
            "grant connect on database {database} to public, {role}",
        ),
        **DIRECT,
    ),
    Case(
        'FATAL: role "…" does not exist',
        options={"user": "nobody"},
        **let_in("host all nobody 127.0.0.1/32 trust"),
        **DIRECT,
    ),
    Case("FATAL: pg_hba.conf rejects connection for host …", **let_in("host all all 127.0.0.1/32 reject"), **DIRECT),
    Case("no pg_hba.conf entry for host …, user …, database …, no encryption", **let_in("", alone=True), **DIRECT),
    Case("no pg_hba.conf entry for host …", **let_in("", alone=True), to="direct", **ONE),
    Case('FATAL: Ident authentication failed for user "…"', **let_in("host all all 127.0.0.1/32 ident"), **DIRECT),
    Case(
        'FATAL: Peer authentication failed for user "…"',
        options={"host": lambda b: b.cluster.data},
        **let_in("local all all peer"),
        **DIRECT,
    ),
    Case(
        "FATAL: no PostgreSQL user name specified in startup packet",
        to="direct",
        packets=lambda _: [startup(database="x")],
    ),
    Case(
        "terminating connection due to administrator command",
        meanwhile=lambda b: b.each("pg_terminate_backend"),
        **DIRECT,
    ),
    Case(
        "canceling statement due to user request",
        then="do $$ begin perform pg_cancel_backend(pg_backend_pid()); perform pg_sleep(9); end $$",
        **DIRECT,
    ),
    Case(
        "canceling statement due to statement timeout",
        first="set statement_timeout = 20",
        then="select pg_sleep(9)",
        **DIRECT,
    ),
    Case(
        "canceling statement due to lock timeout", first="set lock_timeout = 20", then="select * from locked", **DIRECT
    ),
    Case('could not obtain lock on row in relation "…"', then="select * from taken for update nowait", **DIRECT),
    # Long enough for a client to read its answer: with it, it would take the error for a notice.
    Case(
        "terminating connection due to idle-session timeout",
        first="set idle_session_timeout = 500",
        meanwhile=over,
        **DIRECT,
    ),
    Case(
        "terminating connection due to idle-in-transaction timeout",
        first="set idle_in_transaction_session_timeout = 500; begin",
        meanwhile=over,
        **DIRECT,
    ),
    Case(
        "terminating connection due to transaction timeout",
        first="set transaction_timeout = 20",
        then="select pg_sleep(9)",
        **DIRECT,
    ),
    Case(
        "cannot execute … in a read-only transaction",
        first="set default_transaction_read_only = on",
        then="create table t (id int)",
        **DIRECT,
    ),
    Case("cannot execute … during recovery", to="standby", then="listen somebody", clients=PLAIN),
    Case(
        "cannot set transaction read-write mode during recovery",
        to="standby",
        then="begin read write",
        clients=PLAIN,
    ),
    Case(
        "current transaction is aborted, commands ignored until end of transaction block",
        to="direct",
        first="begin",
        fails="select 1/0",
        clients=("psycopg 3", "psycopg2", "asyncpg", "Django"),
    ),
    Case(
        "deadlock detected",
        first="select pg_advisory_lock(1)",
        meanwhile=crossing,
        then="select pg_advisory_lock(2)",
        **altered("alter role {role} set deadlock_timeout = 20", "alter role {role} reset deadlock_timeout"),
        to="direct",
        **ONE,
    ),
    Case(
        "canceling statement due to conflict with recovery",
        meanwhile=replaying,
        then="select pg_sleep(9), count(*) from replayed",
        **standing(refuses=False, max_standby_streaming_delay=0),
    ),
    Case(
        "terminating connection due to conflict with recovery",
        first="begin; select * from replayed",
        meanwhile=replayed,
        **standing(refuses=False, max_standby_streaming_delay=0),
    ),
    Case("FATAL: the database system is not accepting connections", **standing(hot_standby="off")),
    Case("FATAL: the database system is starting up", **standing(restore_command="sleep 30; false")),
    Case(
        "terminating connection because of crash of another server process",
        to="direct",
        meanwhile=killed,
        after=lambda b: b.recover(),
        clients=("psql",),
    ),
    Case(
        "received … results from command '…'",
        first="begin",
        meanwhile=lambda b: b.each("pg_terminate_backend"),
        then=lambda c: c.commit(),
        **ONE,
    ),
    Case(
        "COPY cannot be mixed with other operations",
        first="begin",
        meanwhile=lambda b: b.each("pg_terminate_backend"),
        then=copies,
        **ONE,
    ),
    Case("(PID …) was terminated by signal …", meanwhile=killed, after=lambda b: b.recover(), **SERVER),
    Case(
        "terminating connection because of unexpected SIGQUIT signal",
        meanwhile=lambda b: os.kill(b.sessions()[0], signal.SIGQUIT),
        after=lambda b: b.recover(),
        **SERVER,
    ),
    Case(
        "FATAL: the database system is in recovery mode",
        to="direct",
        before=recovering,
        after=recovered,
        **ONE,
    ),
    Case(
        "terminating connection due to unexpected postmaster exit",
        to="direct",
        meanwhile=lambda b: (os.kill(b.cluster.leash.pid, signal.SIGKILL), until("it ends", b.cluster.leash.ended)),
        then=hear_first,
        after=lambda b: b.restart(),
        **ONE,
    ),
    Case('relation "…" does not exist', then="select * from nowhere", **DIRECT),
    Case(
        'prepared statement "…" already exists', first="prepare a as select 1", then="prepare a as select 1", **DIRECT
    ),
    Case('prepared statement "…" does not exist', then="execute nope", **DIRECT),
    Case("unnamed prepared statement does not exist", then=lambda c: c.pgconn.exec_prepared(b"", []), **SERVER),
    Case(
        'bind message supplies … parameters, but prepared statement "…" requires …',
        then=lambda c: (c.pgconn.prepare(b"", b"select 1"), c.pgconn.exec_prepared(b"", [b"1"])),
        **SERVER,
    ),
    Case("SET LOCAL can only be used in transaction blocks", then="set local search_path = ''", **SERVER),
    Case("you don't own a lock of type …", then="select pg_advisory_unlock(1)", **SERVER),
    Case('cursor "…" does not exist', first="begin", then="fetch nope", **DIRECT),
    Case('portal "…" does not exist', then=lambda c: c.pgconn.describe_portal(b"nope"), to="direct", **ONE),
    Case(
        'portal "_django_curs_…" does not exist',
        then=lambda c: c.pgconn.describe_portal(b"_django_curs_1"),
        to="direct",
        **ONE,
    ),
    Case("DISCARD ALL cannot run inside a transaction block", then="rollback; discard all", **DIRECT),
    Case('cursor "_django_curs_…" does not exist', first="begin", then="fetch _django_curs_1", **DIRECT),
    Case(
        "cached plan must not change result type",
        first="create temp table planned (id int); "
        "prepare a as select * from planned; execute a; alter table planned add column more int",
        then="execute a",
        **DIRECT,
    ),
    Case("unrecognized configuration parameter", then="set nowhere = 1", **DIRECT),
    *(Case(f'unrecognized configuration parameter "{view}"', then=f"show {view}", **DIRECT) for view in VIEWS),
    Case(
        "permission denied for schema public",
        **altered(
            "revoke create on schema public from public", "grant create on schema public to public", outside=False
        ),
        options={"user": stranger, "password": lambda b: b.stranger.password},
        then="create table public.nothing ()",
        **DIRECT,
    ),
    Case('database "test_…" does not exist', options={"dbname": "test_shop_gw0"}, **DIRECT),
    Case("SAVEPOINT can only be used in transaction blocks", then="savepoint first", **DIRECT),
    Case(
        "no schema has been selected to create in",
        first="set search_path = nowhere",
        then="create table nothing ()",
        **DIRECT,
    ),
    Case(
        "permission denied to terminate process",
        then="select pg_terminate_backend(pid) from pg_stat_activity where usesysid = 10",
        **DIRECT,
    ),
    Case(
        "permission denied to cancel query",
        then="select pg_cancel_backend(pid) from pg_stat_activity where usesysid = 10",
        **DIRECT,
    ),
    Case(
        "could not serialize access due to concurrent update",
        first="begin isolation level repeatable read; select * from counted",
        meanwhile=lambda b: b.sql("update counted set id = id + 1"),
        then="update counted set id = 0",
        **DIRECT,
    ),
    Case(
        'FATAL: remaining connection slots are reserved for roles with privileges of the "pg_use_reserved_connections" '
        "role",
        before=filled,
        **DIRECT,
    ),
    Case(
        "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
        before=lambda b: filled(b, "reserved"),
        after=lambda b: b.outside("revoke pg_use_reserved_connections from {role}"),
        **DIRECT,
    ),
    Case("FATAL: sorry, too many clients already", before=lambda b: filled(b, "all"), **DIRECT),
    Case(
        "FATAL: canceling authentication due to timeout",
        to="direct",
        said_by="server",
        before=lambda b: impatient(b, "set authentication_timeout = '1s'"),
        packets=lambda b: [startup(user=user(b), database=b.database.name)],
        after=lambda b: impatient(b, "reset authentication_timeout"),
    ),
    Case("unexpected EOF on client connection with an open transaction", first="begin", then=cut, **SERVER),
    Case(
        "FATAL: the database system is shutting down",
        before=lambda b: os.kill(b.cluster.leash.pid, signal.SIGTERM),
        after=lambda b: b.restart(),
        **DIRECT,
    ),
    Case(
        "unexpected EOF on client connection",
        **altered("alter role {role} set log_min_messages = debug1", "alter role {role} reset log_min_messages"),
        then=cut,
        **SERVER,
    ),
    Case("server is in hot standby mode", to="standby", options={"target_session_attrs": "primary"}, clients=ON_LIBPQ),
    Case("could not receive data from client: Connection reset by peer", then=reset, **SERVER),
    Case("could not send data to client", then=unread, **SERVER),
    Case(
        "invalid length of startup packet",
        to="direct",
        said_by="server",
        packets=lambda _: [b"GET / HTTP/1.1\r\n\r\n"],
    ),
    Case("incomplete startup packet", meanwhile=left_early, **SERVER),
    Case(
        "unsupported frontend protocol …: server supports …",
        to="direct",
        said_by="server",
        packets=lambda _: [startup(9 << 16, user="x")],
    ),
    Case("connection to client lost", first="set client_connection_check_interval = 20", then=sleeps, **SERVER),
)
LIBRARY = (
    Case("fe_sendauth: no password supplied", options={"password": None}, **LIBPQ),
    Case("invalid sslmode value", options={"sslmode": "nope"}, **LIBPQ),
    Case(
        "channel binding is required, but server did not offer an authentication method that supports channel binding",
        options={"sslmode": "require", "channel_binding": "require"},
        clients=WITH_TLS,
    ),
    Case("channel binding required, but SSL not in use", options={"channel_binding": "require"}, **LIBPQ),
    Case("invalid command-line argument for server process: …", options={"options": "statement_timeout=30s"}, **LIBPQ),
    Case("permission denied to create database", then="create database nothing", **DIRECT),
    Case("invalid port number", options={"port": 99999}, **LIBPQ),
    Case("session is not read-only", options={"target_session_attrs": "read-only"}, **LIBPQ),
    Case(
        "session is read-only",
        options={"options": "-c default_transaction_read_only=on", "target_session_attrs": "read-write"},
        **LIBPQ,
    ),
    Case("server is not in hot standby mode", options={"target_session_attrs": "standby"}, **LIBPQ),
    Case("Connection refused", options={"port": 1}, **DIRECT),
    Case("[Errno 111] Connect call failed", options={"port": 1}, to="direct", clients=("asyncpg",)),
    Case(
        "Is the server running on that host and accepting TCP/IP connections?",
        options={"port": 1},
        to="direct",
        clients=("psql", "psycopg2"),
    ),
    Case(
        "Is the server running locally and accepting connections on that socket?",
        options={"host": "/nowhere"},
        to="direct",
        clients=("psql", "psycopg2"),
    ),
    Case("- no response", options={"port": 1}, to="direct", clients=("pg_isready",)),
    Case("- no attempt", options={"sslmode": "nope"}, to="direct", clients=("pg_isready",)),
    Case("connection is bad: …", options={"host": "/nowhere"}, to="direct", **ONE),
    Case(
        "server didn't return client encoding",
        options={"port": lambda _: listening(SILENT)},
        to="direct",
        clients=("psycopg2",),
    ),
    Case("Network is unreachable", options={"host": "255.255.255.255"}, **DIRECT),
    Case(
        "received invalid response to SSL negotiation: …",
        options={"port": lambda _: listening(b"HTTP/1.1 400 Bad Request"), "sslmode": "require"},
        to="direct",
        clients=WITH_TLS,
    ),
    Case(
        "server sent an error response during SSL exchange",
        options={"port": lambda _: listening(b"E"), "sslmode": "require"},
        to="direct",
        clients=WITH_TLS,
    ),
    Case(
        "expected authentication request from server, but received …",
        options={"port": lambda _: listening(b"HTTP/1.1 400 Bad Request")},
        **LIBPQ,
    ),
    Case(
        "authentication method … not supported",
        options={"port": lambda _: listening(message(b"R", struct.pack("!I", 99)))},
        **LIBPQ,
    ),
    Case(
        "none of the server's SASL authentication mechanisms are supported",
        options={"port": lambda _: listening(message(b"R", struct.pack("!I", 10) + b"SCRAM-MD5\0\0"))},
        **LIBPQ,
    ),
    Case("lost synchronization with server", options={"port": lambda _: listening(OUT_OF_STEP)}, **LIBPQ),
    Case(
        "alert unknown ca",
        settings={"client_tls_sslmode": "verify-full"},
        options={"sslmode": "require", "sslkey": key("another", "sslkey"), "sslcert": key("another", "sslcert")},
        clients=WITH_TLS,
    ),
    Case(
        "TLS handshake error: … alert unknown ca",
        options={"sslmode": "verify-ca", "sslrootcert": key("another", "sslcert")},
        said_by="pooler",
        clients=WITH_TLS,
    ),
    Case(
        "alert unsupported certificate",
        settings={"client_tls_sslmode": "verify-full", "client_tls_ca_file": key("server's", "sslcert")},
        options={"sslmode": "require", "sslkey": key("server's", "sslkey"), "sslcert": key("server's", "sslcert")},
        clients=WITH_TLS,
    ),
    *(
        Case(
            f"alert {reason}",
            settings={"client_tls_sslmode": "verify-full"},
            options={"sslmode": "require", "ssl_max_protocol_version": newest},
            clients=WITH_TLS,
        )
        for reason, newest in (("certificate required", "TLSv1.3"), ("handshake failure", "TLSv1.2"))
    ),
    Case("SSL error: …", settings={"client_tls_sslmode": "verify-full"}, options={"sslmode": "require"}, **ONE),
    Case(
        "alert protocol version",
        settings={"client_tls_protocols": "tlsv1.3"},
        options={"sslmode": "require", "ssl_max_protocol_version": "TLSv1.2"},
        clients=WITH_TLS,
    ),
    Case(
        'PostgreSQL server at "…" rejected SSL upgrade',
        options={"sslmode": "require"},
        to="direct",
        clients=("asyncpg",),
    ),
    *(
        Case(f"{begins}{reason}", then=unusable, clients=(client,))
        for begins, client in (
            ("could not receive data from server:", "psycopg2"),
            ("SSL SYSCALL error:", "psycopg2 over TLS"),
        )
        for reason in ("", " Bad file descriptor")
    ),
    *(
        Case(f"{begins}: Socket operation on non-socket", then=another_file, clients=(client,))
        for begins, client in (
            ("could not receive data from server", "psycopg2"),
            ("SSL SYSCALL error", "psycopg2 over TLS"),
        )
    ),
    Case("connection to server on socket … failed: No such file or directory", options={"host": "/nowhere"}, **LIBPQ),
    Case(
        "could not translate host name … to address",
        options={"host": "no.such.host.invalid"},
        to="direct",
        clients=("psql", "psycopg2"),
    ),
    Case(
        "failed to resolve host …",
        options={"host": "no.such.host.invalid"},
        to="direct",
        clients=("psycopg 3", "Django"),
    ),
    Case(
        "timeout expired",
        options={"port": lambda _: listening(), "connect_timeout": 2},
        to="direct",
        clients=("psycopg2",),
    ),
    Case(
        "connection timeout expired",
        options={"port": lambda _: listening(), "connect_timeout": 2},
        to="direct",
        clients=("psycopg 3",),
    ),
    Case(
        "no connection to the server",
        then=lambda _: psycopg.pq.PGconn.connect(b"host=127.0.0.1 port=1").send_query(b"select 1"),
        **ONE,
    ),
    Case(
        "another command is already in progress",
        then=lambda c: (c.pgconn.send_query(b"select 1"), c.pgconn.send_query(b"select 1")),
        to="direct",
        **ONE,
    ),
)
CASES = (*POOLER, *SERVERS, *LIBRARY)
