"""The clients that hear a text: each has a connection, run() and close(). And packets, for one that uses no driver."""

import asyncio
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
import psycopg
import psycopg2
import psycopg2.pool
from django.db.utils import ConnectionHandler
from psycopg import conninfo

from tests.stack.postgres import bin_dir
from tests.stack.upstream import alone


def startup(version: int = 3 << 16, **parameters: str) -> bytes:
    """Return the startup packet of a client."""
    body = struct.pack("!I", version) + b"".join(f"{n}\0{v}\0".encode() for n, v in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def message(kind: bytes, body: bytes) -> bytes:
    """Return a message of the protocol."""
    return kind + struct.pack("!I", len(body) + 4) + body


class Psycopg:
    """psycopg 3."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)

    def run(self, query: str) -> None:
        """Run a query."""
        self.connection.execute(query.encode())

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Psycopg2:
    """psycopg2."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg2.connect(url)
        self.connection.autocommit = True

    def run(self, query: str) -> None:
        """Run a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(query)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Asyncpg:
    """asyncpg, which speaks the protocol itself."""

    def __init__(self, url: str) -> None:
        parts = conninfo.conninfo_to_dict(url)
        self.loop = asyncio.new_event_loop()
        try:
            self.connection = self.loop.run_until_complete(
                asyncpg.connect(
                    user=parts["user"],
                    password=parts.get("password"),
                    database=parts["dbname"],
                    host=parts["host"],
                    port=parts["port"],
                    ssl=parts["sslmode"],
                    timeout=20,
                    statement_cache_size=0,
                )
            )
        except BaseException:
            self.end(self.loop)
            raise

    def run(self, query: str) -> None:
        """Run a query."""
        self.loop.run_until_complete(self.connection.execute(query))

    def close(self) -> None:
        """Close the connection."""
        self.connection.terminate()
        self.end(self.loop)

    @staticmethod
    def end(loop: asyncio.AbstractEventLoop) -> None:
        """Close a loop once its transports have been closed."""
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()


class Django:
    """Django's own connection, with psycopg 3; it may have options besides the URL's."""

    def __init__(self, url: str, **options: object) -> None:

        alone()
        parts = conninfo.conninfo_to_dict(url)
        names = {"USER": "user", "PASSWORD": "password", "NAME": "dbname", "HOST": "host", "PORT": "port"}
        entry = {name: str(parts.pop(part, "")) for name, part in names.items()}
        full = {"ENGINE": "django.db.backends.postgresql", **entry, "OPTIONS": {**parts, **options}}
        handler = ConnectionHandler({"default": full})
        self.connection = handler["default"]
        self.connection.ensure_connection()

    def run(self, query: str) -> None:
        """Run a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(query)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Psql:
    """psql, whose answers are read as a person would read them."""

    class Error(Exception):
        """What psql wrote to its standard error."""

    def __init__(self, url: str) -> None:
        command = [bin_dir() / "psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", url]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.run("")

    def run(self, query: str) -> None:
        """Run a query."""
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.write((query and f"{query};\n") + "\\echo answered\n")
            self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line == "answered\n":
                return
        raise self.Error(self.process.communicate()[1])

    def close(self) -> None:
        """Close the connection."""
        self.process.kill()
        self.process.communicate()


class PgIsReady(Psql):
    """pg_isready, which asks whether a server accepts connections, and sends no query."""

    def __init__(self, url: str) -> None:
        told = subprocess.run([bin_dir() / "pg_isready", f"--dbname={url}"], capture_output=True, text=True)
        if told.returncode:
            raise self.Error(told.stdout)


CLIENTS: dict[str, Callable[[str], Any]] = {
    "psql": Psql,
    "psycopg 3": Psycopg,
    "psycopg2": Psycopg2,
    "asyncpg": Asyncpg,
    "Django": Django,
    "psycopg 3 over TLS": Psycopg,
    "psycopg2 over TLS": Psycopg2,
}
TLS: dict[str, dict[str, object]] = {name: {"sslmode": "require"} for name in CLIENTS if name.endswith("TLS")}
