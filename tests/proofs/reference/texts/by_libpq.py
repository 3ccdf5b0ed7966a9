"""What libpq and the drivers say before a server does, or in its place, and how they are made to."""

import struct
from pathlib import Path

import psycopg

from tests.proofs.reference.texts.bench import Case
from tests.proofs.reference.texts.clients import message
from tests.proofs.reference.texts.doing import another_file, kill, unusable
from tests.proofs.reference.texts.having import DIRECT, LIBPQ, ONE, WITH_TLS, key, listening

# A server lets a client in, is ready, and sends a message that no client understands.
OUT_OF_STEP = message(b"R", struct.pack("!I", 0)) + message(b"Z", b"I") + b"?" + struct.pack("!I", 1_000_000)
# It lets a client in, is ready, and reports no parameter.
SILENT = message(b"R", struct.pack("!I", 0)) + message(b"Z", b"I")
CASES = (
    Case("fe_sendauth: no password supplied", options={"password": None}, **LIBPQ),
    Case("invalid sslmode value", options={"sslmode": "nope"}, **LIBPQ),
    Case(
        "channel binding is required, but server did not offer an authentication method that supports channel binding",
        options={"sslmode": "require", "channel_binding": "require"},
        clients=WITH_TLS,
    ),
    Case("channel binding required, but SSL not in use", options={"channel_binding": "require"}, **LIBPQ),
    Case("invalid command-line argument for server process: …", options={"options": "statement_timeout=30s"}, **LIBPQ),
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
        'password file "…" has group or world access',
        before=lambda b: Path(b.write("passwords", "")).chmod(0o644),
        options={"password": None, "passfile": lambda b: b.bouncer.leash.folder / "passwords"},
        to="direct",
        clients=("psql",),
    ),
    Case(
        "private key file … has group or world access",
        before=lambda b: b.keys["own"]["sslkey"].chmod(0o644),
        options={"sslmode": "require", "sslkey": key("own", "sslkey"), "sslcert": key("own", "sslcert")},
        after=lambda b: b.keys["own"]["sslkey"].chmod(0o600),
        clients=WITH_TLS,
    ),
)
