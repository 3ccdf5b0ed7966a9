"""What a case of the table has: its clients, settings, users, lines of pg_hba.conf, servers that answer oddly."""

import secrets
import signal
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from atlas.listed import says
from tests.proofs.reference.texts.bench import Bench
from tests.stack.wait import until

PLAIN = ("psql", "psycopg 3", "psycopg2", "asyncpg", "Django")
ON_LIBPQ = ("psql", "psycopg 3", "psycopg2", "Django")
WITH_TLS = ("psycopg 3", "psycopg2", "Django")
DIRECT: dict[str, Any] = {"to": "direct", "clients": PLAIN}
LIBPQ: dict[str, Any] = {"to": "direct", "clients": ON_LIBPQ}
ONE: dict[str, Any] = {"clients": ("psycopg 3",)}
LOG: dict[str, Any] = {"said_by": "pooler", **ONE}
SERVER: dict[str, Any] = {"said_by": "server", "to": "direct", **ONE}
SOON = 0.1
NO_LINGER = struct.pack("ii", 1, 0)


def hba(text: str) -> dict[str, object]:
    """Return settings with which PgBouncer uses an HBA file."""
    return {"auth_type": "hba", "auth_hba_file": lambda bench: bench.write("hba.conf", text + "\n")}


def asks(query: str, options: str = "") -> dict[str, Any]:
    """Have PgBouncer ask PostgreSQL for the secret of a user who is not in its userlist, and let one connect.

    auth_user is in the entry: once set, it stays with each database, even after a RELOAD. The user has a new name,
    because PgBouncer does not ask for one whom an earlier userlist had.
    """
    entry = lambda bench: f"auth_user={user(bench)} {options}"  # noqa: E731
    unheard = lambda bench: f"unheard_{secrets.token_hex(4)}"  # noqa: ARG005, E731
    return {"entry": entry, "settings": {"auth_query": query}, "options": {"user": unheard}}


def userlist(bench: Bench, secrets: dict[str, str]) -> str:
    """Return the path of a userlist that has others besides the application's own role."""
    known = (bench.bouncer.leash.folder / "userlist.txt").read_text()
    return bench.write("users.txt", known + "".join(f'"{name}" "{secret}"\n' for name, secret in secrets.items()))


def users(**secrets: str) -> dict[str, object]:
    """Return settings with a userlist that has others too."""
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
    """Return an option whose value is the path of a key or certificate."""
    return lambda bench: bench.keys[name][part]


def altered(change: str, back: str, outside: bool = True) -> dict[str, Any]:
    """Have the superuser change something before the case, and undo it afterwards."""

    def run(statement: str) -> Callable[[Bench], object]:
        return lambda bench: (bench.outside if outside else bench.sql)(statement)

    return {"before": run(change), "after": run(back)}


def let_in(line: str, alone: bool = False) -> dict[str, Any]:
    """Put a line before those of pg_hba.conf, or in place of them."""
    return {"before": lambda bench: bench.hba(line, alone), "after": lambda bench: bench.hba()}


def listening(answer: bytes = b"", reset: bool = False) -> int:
    """Return a port that accepts one connection after another, sends one answer, and then is silent or resets it."""
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


def standing(refuses: bool = True, **settings: object) -> dict[str, Any]:
    """Start the standby with other settings, with which it refuses all clients or serves them, and restore it."""

    def begin(bench: Bench) -> None:
        standby = bench.standby
        standby.leash.halt(signal.SIGQUIT)
        bench.kept, standby.settings = standby.settings, {**standby.settings, **settings}
        if refuses:
            standby._run(standby.server.port)
            # In these words: while it starts, it uses others.
            until("it refuses", lambda: says(bench.case.text, refusal(bench)))
        else:
            standby.start(standby.server.port)

    def end(bench: Bench) -> None:
        bench.standby.settings = bench.kept
        bench.standby.leash.halt(signal.SIGQUIT)
        bench.standby.start(bench.standby.server.port)

    return {"to": "standby", "clients": PLAIN, "before": begin, "after": end}


def refusal(bench: Bench) -> str:
    """Return why a server refuses a client; "" if it does not."""
    try:
        psycopg.connect(bench.url(bench.case)).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""
