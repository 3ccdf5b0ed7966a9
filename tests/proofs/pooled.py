"""The folder snippets/pgbouncer/ used as the pages describe: roles and database, userlist, PgBouncer in front.

It needs a PostgreSQL server of its own, because the names of a reader's roles and database are fixed.
"""

import re
import secrets
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from proven import evidence
from proven.sources.snippets import Snippet
from tests.stack import pgbouncer
from tests.stack.database import Database, Role
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.leash import Leash, give
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster, Server
from tests.stack.upstream import Gunicorn
from tests.stack.wait import until

INI = "pgbouncer/pgbouncer.ini"
CERTIFICATES = "pgbouncer/certificates.sh"
USER = re.compile(r'^"(.+)" "(.+)"$', re.MULTILINE)
# The variables in which psql finds the passwords, and the role that has each.
PASSWORDS = {
    "UPSTREAM_OWNER_PASSWORD": "upstream_owner",
    "UPSTREAM_PASSWORD": "upstream",
    "UPSTREAM_MONITOR_PASSWORD": "upstream_monitor",
    "CONSOLE_ADMIN_PASSWORD": "pgbouncer_admin",
    "CONSOLE_STATS_PASSWORD": "pgbouncer_stats",
    "POOLER_PASSWORD": "pgbouncer",
}
BURST = 32  # clients that log in at once
TAKEN_OVER = ("listen_addr", "listen_port", "auth_file", "admin_users")


class Named(Role):
    """A role that a script created, under the name that it has there."""

    def __init__(self, name: str, password: str) -> None:
        self.name = name
        self.password = password


class Existing(Database):
    """A database that a script created."""

    def __init__(self, server: Server, name: str, role: Role) -> None:
        self.server = server
        self.name = name
        self.role = role


class Pooled(Existing):
    """A database as the application reaches it: through PgBouncer."""

    def __init__(self, database: Database, bouncer: PgBouncer) -> None:
        super().__init__(database.server, database.name, database.role)
        self.through = bouncer.url(database)

    @property
    def url(self) -> str:
        """The URL that the application uses."""
        return self.through


class Setup:
    """A reader's PostgreSQL, and what a reader starts in front of it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.server = cluster.server
        self.roles = {name: Named(name, secrets.token_hex(16)) for name in PASSWORDS.values()}
        self.everything = Existing(self.server, "postgres", self.roles["upstream"])
        self.database = Existing(self.server, "upstream", self.roles["upstream"])
        self.as_owner = Existing(self.server, "upstream", self.roles["upstream_owner"])
        self.ran: dict[str, Snippet] = {}
        with self.passwords():
            self.everything.psql(self.load("pgbouncer/roles.sql"))
        self.users = dict(USER.findall(self.everything.psql(self.load("pgbouncer/userlist.sql"))))

    @contextmanager
    def passwords(self) -> Iterator[None]:
        """Put the passwords into the environment, where the scripts look for them."""
        with pytest.MonkeyPatch.context() as environment:
            for variable, name in PASSWORDS.items():
                environment.setenv(variable, self.roles[name].password)
            yield

    def load(self, path: str) -> Snippet:
        """Load a snippet, to be noted as run by each proof on this setup."""
        self.ran[path] = evidence.load(path)
        return self.ran[path]

    def start(self, **settings: object) -> PgBouncer:
        """Start PgBouncer with the reader's pgbouncer.ini and userlist.txt."""
        users = settings.pop("users", self.users)
        named = {"upstream": self.database}
        return PgBouncer(named=named, ini=self.load(INI), users=users, **settings)  # type: ignore[arg-type]

    def note(self) -> None:
        """Tell the running proof what its setup ran, and on which versions."""
        for path, snippet in self.ran.items():
            evidence.ran(snippet, "ran" if path.endswith((".sql", ".sh")) else "started")
        note_postgres(self.server.version())
        evidence.on(PgBouncer=pgbouncer.version())

    def console(self, bouncer: PgBouncer, name: str = "pgbouncer_admin") -> psycopg.Connection[tuple]:
        """Connect to the console over TCP with one of the roles' passwords."""
        role = self.roles[name]
        address = f"host=127.0.0.1 port={bouncer.port} dbname=pgbouncer user={role.name} password={role.password}"
        return psycopg.connect(address, autocommit=True, cursor_factory=psycopg.ClientCursor)


@contextmanager
def reader(cluster: Callable[..., Cluster], name: str, **settings: object) -> Iterator[Setup]:
    """Set up a reader's server, called `name`, for as long as the block lasts; `settings` are PostgreSQL's."""
    known = note_pgbouncer()
    if tuple(map(int, known.split("."))) < pgbouncer.OLDEST:
        pytest.skip("needs PgBouncer 1.21")
    started = cluster(cluster_name=name, **settings)
    made = Setup(started)
    try:
        yield made
    finally:
        made.database.leave()
        made.everything.leave()
        started.stop()


@contextmanager
def certificates(*names: str) -> Iterator[list[Path]]:
    """Create for each name a CA and a certificate with the reader's script; yield the folders that hold them.

    Each certificate is for pooler.internal and for 127.0.0.1.
    """
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    script = evidence.load(CERTIFICATES)
    files = Leash("certificates")
    folders = [files.folder / name for name in names]
    try:
        for folder in folders:
            folder.mkdir()
            certify(folder, script.text)
        yield folders
    finally:
        files.stop()


def certify(folder: Path, script: str) -> None:
    """Run the reader's script in a folder, and let servers read what it created."""
    command = ["sh", "-c", script, "certificates.sh", "pooler.internal", "127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    folder.chmod(0o755)
    give(folder, *folder.iterdir())


@contextmanager
def reader_with_tls(
    cluster: Callable[..., Cluster], name: str, plain: Setup
) -> Iterator[tuple[Setup, dict[str, Path]]]:
    """Set up a server with TLS, if `plain` is built with TLS; yield it with the ca.crt of `ours` and of `others`."""
    query = "select setting from pg_settings where name = 'ssl_library'"
    if plain.database.admin.execute(query).fetchone() == ("",):
        pytest.skip("needs PostgreSQL with TLS")  # the embedded one is built without; PROVEN_PG_BIN names another
    with certificates("ours", "others") as (ours, others):
        own = ours / "pooler.internal"
        with reader(cluster, name, ssl="on", ssl_cert_file=f"{own}.crt", ssl_key_file=f"{own}.key") as made:
            made.load(CERTIFICATES)
            yield made, {"ours": ours / "ca.crt", "others": others / "ca.crt"}


@contextmanager
def starting(setup: Setup) -> Iterator[Callable[..., PgBouncer]]:
    """Yield a function that starts PgBouncer, one(auth_type="md5"); whatever it started stops with the block."""
    started: list[PgBouncer] = []

    def one(**settings: object) -> PgBouncer:
        started.append(setup.start(**settings))
        return started[-1]

    yield one
    for bouncer in started:
        bouncer.stop()


def burst(bouncer: PgBouncer, database: Database, **options: str) -> Counter[str]:
    """Have a burst of clients log in at once, each for one query, and return how often each answer or error came."""

    def client(_number: int) -> str:
        try:
            with bouncer.connect(database, **options) as connection:
                return str(connection.execute("select current_user").fetchone()[0])  # type: ignore[index]
        except psycopg.Error as error:
            return str(error)

    with ThreadPoolExecutor(BURST) as threads:
        return Counter(threads.map(client, range(BURST)))


def a_day(bouncer: PgBouncer, database: Database, **options: str) -> Counter[str]:
    """Go through a day's events in a moment, and return what clients heard.

    Bursts of logins; RECONNECT, as after a failover; sessions that PostgreSQL terminates; a restart of PgBouncer.
    """
    heard = burst(bouncer, database, **options)
    # A server login in progress at that moment would count as failed, as the page on restarts says.
    until("nobody logs in to the server", lambda: not any(row["sv_login"] for row in bouncer.show("pools")))
    with bouncer.admin() as console:
        console.execute("reconnect")
    heard += burst(bouncer, database, **options)
    idle = {row["remote_pid"] for row in bouncer.show("servers")} & {*database.backends()}
    assert idle
    for pid in idle:
        database.terminate(pid)
    until("PgBouncer knows", lambda: not idle & {row["remote_pid"] for row in bouncer.show("servers")})
    heard += burst(bouncer, database, **options)
    bouncer.restart()
    return heard + burst(bouncer, database, **options)


def a_day_of(gunicorn: Gunicorn, bouncer: PgBouncer, database: Database) -> tuple[int, Counter[str], int]:
    """Put an application through such a day; return a request's status before it, what clients heard, and one after."""
    gunicorn.note()
    before = gunicorn.request("/orders/")[0]
    return before, a_day(bouncer, database), gunicorn.request("/orders/")[0]


def settings_of(text: str) -> dict[str, str]:
    """Return the settings in lines of an ini, as PgBouncer parses them: name = value."""
    return dict(re.findall(r"^(\w+)[^\S\n]*=[^\S\n]*(.*?)[^\S\n]*$", text, re.MULTILINE))


def section(snippet: Snippet, name: str) -> dict[str, str]:
    """Return the settings in one section of an ini."""
    found = re.search(rf"^\[{name}\]\n((?:(?!\[).*\n)*)", snippet.text, re.MULTILINE)
    assert found, f"{snippet.place} has no section [{name}]"
    return settings_of(found[1])


def pool(bouncer: PgBouncer, user: str = "upstream", database: str = "upstream") -> dict:
    """Return the row of SHOW POOLS for one pool."""
    (row,) = [row for row in bouncer.show("pools") if (row["user"], row["database"]) == (user, database)]
    return row


def settled(bouncer: PgBouncer, **wanted: int) -> dict:
    """Wait until the application's pool shows these numbers, and return its row."""

    def there() -> dict | None:
        row = pool(bouncer)
        return row if all(row[name] == value for name, value in wanted.items()) else None

    return until(f"the pool shows {wanted}", there)
