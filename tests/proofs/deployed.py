"""What a platform does to a container, done to real processes: start, probe, send requests, terminate."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from signal import SIGTERM
from typing import Any

import psutil
import pytest

from proven import evidence
from proven.sources.snippets import Snippet
from tests.lint.manifests import Document
from tests.proofs.pooled import Existing, Setup, settings_of
from tests.stack.database import Database
from tests.stack.pgbouncer import PgBouncer
from tests.stack.upstream import Gunicorn, Project
from tests.stack.wait import DEADLINE, until

CLIENTS = 8
# The settings that tie an ini to its platform, as they are here: most test servers have no TLS.
HERE: dict[str, Any] = {"server_tls_sslmode": "prefer", "server_tls_ca_file": ""}
TAKEN_OVER = ("auth_file", "listen_addr", "listen_port", "unix_socket_dir", *HERE)


ENCRYPTED = """
import sys, django; django.setup()
from django.db import connections
with connections[sys.argv[1]].cursor() as cursor:
    cursor.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    print("encrypted" if cursor.fetchone() == (True,) else "in the clear")
"""
LOGINS = """
import django; django.setup()
from django.conf import settings
from django.db import OperationalError, connections
print(settings.SECRET_KEY)
for alias in connections:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("select current_user")
            print(alias, *cursor.fetchone())
    except OperationalError:
        print(alias, "refused")
"""


class Reached(Existing):
    """A database at the address that a manifest names."""

    def __init__(self, database: Database, url: str) -> None:
        super().__init__(database.server, database.name, database.role)
        self.named = url

    @property
    def url(self) -> str:
        """The URL that the application uses."""
        return self.named


def within(snippet: Snippet, document: Document, *keys: str) -> Snippet:
    """Return the pgbouncer.ini embedded in a manifest, with each line's number in that file."""
    ini = str(document.get(*keys))
    first = document.line(keys)
    lines = tuple(snippet.source_line(first + number) for number in range(1, ini.count("\n") + 2))
    return Snippet(snippet.path, ini, {}, lines)


def start(setup: Setup, whole: Snippet, ini: Snippet, port: int | None = None, **settings: Any) -> PgBouncer:
    """Start PgBouncer with the ini of a manifest, except for the settings that tie it to its platform.

    `port` is where it looks for PostgreSQL, if not on the real server's port.
    """
    at = setup.database
    if port:
        at = Existing(replace(setup.server, port=port), "upstream", setup.roles["upstream"])
    bouncer = PgBouncer(named={"upstream": at}, ini=ini, users=setup.users, **{**HERE, **settings})
    evidence.ran(whole, "started")  # it is the manifest that has a digest
    return bouncer


def in_effect(bouncer: PgBouncer, ini: str, database: Database) -> None:
    """Assert that SHOW CONFIG has each setting as written, except those in TAKEN_OVER, and that a client is served."""
    config = {row["key"]: row["value"] for row in bouncer.show("config")}
    written = settings_of(ini.partition("[pgbouncer]")[2])
    assert len(written) > 8
    for key, value in written.items():
        assert key in config
        assert key in TAKEN_OVER or config[key] == value, key
    with bouncer.connect(database) as client:
        assert client.execute("select 1").fetchone() == (1,)


def environment(variables: list[dict[str, str]], setup: Setup, port: int) -> tuple[Reached, dict[str, str]]:
    """Return the application's environment in a manifest, as (the database at DATABASE_URL, all other variables).

    Addresses are replaced with those on this machine; `port` is PgBouncer's.
    """
    found = {each["name"]: each["value"] for each in variables if "value" in each}
    pooled = Reached(setup.database, _moved(found.pop("DATABASE_URL"), "127.0.0.1", port))
    found["DATABASE_DIRECT_URL"] = _moved(found["DATABASE_DIRECT_URL"], setup.server.host, setup.server.port)
    found["PGSSLMODE"] = "prefer"
    found["PGPASSWORD"] = setup.roles["upstream"].password
    del found["GUNICORN_BIND"]
    found.pop("GUNICORN_CMD_ARGS", None)
    found["DJANGO_ALLOWED_HOSTS"] += ",127.0.0.1"
    return pooled, found


def logins(
    setup: Setup, project: Project, bouncer: PgBouncer, variables: list[dict[str, str]], secrets: dict[str, str]
) -> list[str]:
    """Return SECRET_KEY, then each alias with its user or `refused`, in a manifest's environment with these secrets."""
    pooled, found = environment(variables, setup, bouncer.port)
    return project.run("-c", LOGINS, database_url=pooled.url, **{**found, "PGPASSWORD": "", **secrets})[1].splitlines()


def gets_in(
    setup: Setup, project: Project, bouncer: PgBouncer, variables: list[dict[str, str]], secrets: dict[str, str]
) -> None:
    """Assert that both connections log in with these secrets, and neither does with a wrong password."""
    said = logins(setup, project, bouncer, variables, secrets)
    assert said == ["the key", "default upstream", "direct upstream"]
    said = logins(setup, project, bouncer, variables, {**secrets, "PGPASSWORD": "wrong"})
    assert said == ["the key", "default refused", "direct refused"]


def ways(setup: Setup, project: Project, bouncer: PgBouncer, variables: list[dict[str, str]], ca: Path) -> list[str]:
    """Return for the pooled and the direct connection "encrypted", "in the clear", or the error that it fails with.

    The application has a manifest's environment, with its TLS settings unchanged and `ca` as its ca.crt.
    """
    written = {each["name"]: each.get("value", "") for each in variables}
    pooled, found = environment(variables, setup, bouncer.port)
    assert written["PGSSLROOTCERT"].endswith("/ca.crt")
    found |= {"PGSSLMODE": written["PGSSLMODE"], "PGSSLROOTCERT": str(ca)}
    said = [project.run("-c", ENCRYPTED, alias, database_url=pooled.url, **found)[1] for alias in ("default", "direct")]
    return [lines.strip().rpartition("\n")[2] for lines in said]


def verified(
    setup: Setup,
    project: Project,
    whole: Snippet,
    ini: Snippet,
    variables: list[dict[str, str]],
    authorities: dict[str, Path],
    whose: str,
) -> None:
    """Assert that both connections are encrypted with our CA's ca.crt, and that both fail with another CA's."""
    setup.note()
    written = settings_of(ini.text)
    assert written["server_tls_ca_file"].endswith("/ca.crt")
    tls: dict[str, Any] = {"server_tls_sslmode": written["server_tls_sslmode"]}
    tls["server_tls_ca_file"] = authorities[whose]
    if whose == "others":
        tls["query_wait_timeout"] = 0.5
    bouncer = start(setup, whole, ini, **tls)
    try:
        pooled, direct = ways(setup, project, bouncer, variables, authorities[whose])
        if whose == "ours":
            assert (pooled, direct) == ("encrypted", "encrypted")
        else:
            assert "query_wait_timeout" in pooled
            assert "certificate verify failed" in direct
            assert "certificate verify failed" in bouncer.leash.said()
    finally:
        bouncer.stop()
    project.note()


def _moved(url: str, host: str, port: int) -> str:
    """Return a URL with its address replaced: that one is the reader's."""
    user = url.partition("@")[0]
    return f"{user}@{host}:{port}/{url.rpartition('/')[2]}"


def connects(port: int) -> bool:
    """Return whether a tcpSocket probe succeeds."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE).close()
    except OSError:
        return False
    return True


def status(port: int, path: str, host: str, method: str = "GET") -> int:
    """Return the status that an httpGet probe, or one with another method, gets."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, path, headers={"Host": host})
        return connection.getresponse().status
    finally:
        connection.close()


def migrate(setup: Setup, project: Project) -> None:
    """Create the tables, bypassing any pooler."""
    urls = {"DATABASE_DIRECT_URL": setup.as_owner.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
    command = ("manage.py", "migrate", "--database=direct", "--verbosity=0")
    ended, said = project.run(*command, database_url=setup.database.url, **urls)
    assert ended == 0, said


@contextmanager
def asking(gunicorn: Gunicorn, path: str = "/connection/") -> Iterator[Counter[int]]:
    """Keep clients sending requests for as long as the block lasts; yield a count of each status."""
    stopped, heard = threading.Event(), Counter[int]()

    def client() -> None:
        while not stopped.wait(0.02):
            heard[gunicorn.request(path)[0]] += 1

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        more(heard)
        yield heard
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def more(heard: Counter[int]) -> None:
    """Wait until more requests have been answered."""
    before = heard.total()
    until("requests are answered", lambda: heard.total() > before + 5 * CLIENTS)


@contextmanager
def under_way(gunicorn: Gunicorn, setup: Setup) -> "Iterator[Future[tuple[int, dict[str, Any]]]]":
    """Keep one request in its query for as long as the block lasts, by locking the table that it counts."""
    with setup.server.connect(setup.database.name) as lock, ThreadPoolExecutor(1) as client:
        lock.execute("begin; lock table orders_order")
        try:
            request = client.submit(gunicorn.request, "/orders/")
            until("it is in its query", lambda: request.done() or waits_for(setup, lock.info.backend_pid))
            yield request
        finally:
            lock.execute("rollback")


def waits_for(setup: Setup, holder: int) -> bool:
    """Return whether a session waits for a lock that a backend holds."""
    query = "select exists (select from pg_locks where not granted and %s = any(pg_blocking_pids(pid)))"
    return setup.database.admin.execute(query, [holder]).fetchone() == (True,)


def queued(gunicorn: Gunicorn, path: str = "/connection/") -> "Future[tuple[int, dict[str, Any]]]":
    """Send a request while Gunicorn's only thread is busy, and return once Gunicorn has accepted it."""
    worker = psutil.Process(gunicorn.process.pid).children()[0]

    def taken() -> int:
        return len([each for each in worker.net_connections("tcp") if each.raddr and each.laddr.port == gunicorn.port])

    before = taken()
    answer = sent(gunicorn, path)
    until("Gunicorn has taken the request", lambda: taken() > before)
    return answer


def sent(gunicorn: Gunicorn, path: str) -> "Future[tuple[int, dict[str, Any]]]":
    """Send a request without waiting for the answer."""
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(gunicorn.request, path)
    pool.shutdown(wait=False)
    return answer


def tell_to_stop(gunicorn: Gunicorn) -> None:
    """Send Gunicorn SIGTERM and do not wait."""
    os.kill(gunicorn.process.pid, SIGTERM)


def kubectl(*arguments: str, **options: Any) -> str:
    """Run a kubectl command that needs no cluster, and return its output."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    return subprocess.run(["kubectl", *arguments], check=True, capture_output=True, text=True, **options).stdout


def against_kubectl() -> str:
    """Return kubectl's name and version."""
    known = json.loads(kubectl("version", "--client", "--output=json"))["clientVersion"]["gitVersion"]
    return f"kubectl without a cluster, {known}"
