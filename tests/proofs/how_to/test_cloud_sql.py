"""Proves docs/how-to/cloud-sql.md: files are compared with what Google describes, and a pooler and a proxy run here.

No Google service is called. With the same settings, Django cannot tell this PgBouncer from a managed one.
"""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from proven import evidence
from proven.sources.controls import control, each, edit, here
from proven.sources.snippets import Snippet
from tests.lint import cloud_sql, gcloud, google
from tests.lint.findings import refuse
from tests.stack import pgbouncer
from tests.stack.console import pool
from tests.stack.database import fresh
from tests.stack.fixtures import note_postgres
from tests.stack.wait import until

FOLDER = "cloud/sql"
GUIDE = "https://cloud.google.com/sql/docs/postgres/configure-mcp, 2026-11-22"
# The options with which Google's text turns it on and off, and sets its flags.
SHOWN = {"--enable-connection-pooling", "--no-enable-connection-pooling", "--connection-pool-flags"}
# A managed pooler's defaults, where vendors name them. It does not track prepared statements.
MANAGED = {"pool_mode": "transaction", "default_pool_size": 50, "max_client_conn": 5000}

# Another client begins a transaction after the first row: it gets the server connection that the loop has just used.
WORK = """
import django; django.setup()
from django.db import connection, transaction
from orders.models import Order
for _ in range(20):
    Order.objects.filter(customer="Ada").count()
with transaction.atomic():
    for number in range(3):
        Order.objects.create(customer="Ada")
other = connection.copy()
other.set_autocommit(False)
rows = 0
for order in Order.objects.filter(customer="Ada").iterator(chunk_size=1):
    rows += 1
    if rows == 1:
        other.cursor().execute("select 1")
print(rows)
with connection.cursor() as cursor:
    cursor.execute("select count(*) from pg_prepared_statements")
    print(cursor.fetchone()[0])
"""
ADDRESSES = """
import json
from django.conf import settings
named = ("HOST", "PORT", "DISABLE_SERVER_SIDE_CURSORS")
print(json.dumps({alias: [entry[name] for name in named] for alias, entry in settings.DATABASES.items()}))
"""


def api() -> str:
    """Return the name of Google's description of the API, with its revision."""
    return google.api(cloud_sql.API).name


def read(snippet: Snippet) -> tuple[str, str]:
    """Return a snippet's place and its text."""
    return snippet.place, snippet.text


# ---- what Google describes -----------------------------------------------------------------------------------


@control(edit("cloud/sql/pooling.json", "connectionPoolingEnabled", "connectionPoolEnabled"))
@control(edit("cloud/sql/pooling.json", '"20"', "20"))
def test_the_request_is_one_that_google_describes(load) -> None:
    """Every field of the body is one of an instance's, with a value of its type, and the URL is the method's own."""
    body, sender = load(f"{FOLDER}/pooling.json"), load(f"{FOLDER}/pooling_api.sh")
    refuse(cloud_sql.body_problems(*read(body)) + cloud_sql.sender_problems(*read(sender)))
    evidence.ran(body, "checked", against=api())
    evidence.ran(sender, "checked", against=api())


@control(edit("cloud/sql/pooling.sh", "--enable-connection-pooling", "--enable-connection-pool"))
def test_gcloud_has_the_flags(load) -> None:
    """gcloud beta 528 and Google's text have them, gcloud alone does not; an instance has the fields queried."""
    script = load(f"{FOLDER}/pooling.sh")
    refuse(cloud_sql.script_problems(*read(script)))
    used = {word.partition("=")[0] for _, words in gcloud.commands(script.text) for word in words if "pool" in word}
    assert used
    assert used <= SHOWN
    assert gcloud.KNOWN["version"].startswith("528.")
    assert used <= {*gcloud.KNOWN["flags"]["beta sql instances patch"]}
    assert not used & {*gcloud.KNOWN["flags"]["sql instances patch"]}
    evidence.ran(script, "checked", against=f"the flags of gcloud beta, {gcloud.KNOWN['version']}")
    evidence.ran(script, "read", against=GUIDE)


@control(edit("cloud/sql/pooling.sh", "--enable-connection-pooling", "--enable-connection-pool"))
def test_gcloud_itself_takes_the_command(load, tmp_path) -> None:
    """gcloud gets as far as asking for an account. A flag that it does not have ends it before, with status 2."""
    if shutil.which("gcloud") is None:
        pytest.skip("needs gcloud")
    script = load(f"{FOLDER}/pooling.sh")
    (words,) = [words[1:] for _, words in gcloud.commands(script.text) if "patch" in words]
    status, said = ask(tmp_path, "beta", *words)
    assert (status, "active account" in said) == (1, True), said
    status, said = ask(tmp_path, "beta", *words, "--enable-pooling")
    assert (status, "active account" in said) == (2, False), said
    assert "unrecognized arguments: --enable-pooling" in said
    evidence.ran(script, "checked", against=f"the flags of gcloud beta, {gcloud.KNOWN['version']}")


def ask(folder: Path, *words: str) -> tuple[int, str]:
    """Run gcloud without a configuration and an account; return its exit status and its stderr."""
    nobody = {"CLOUDSDK_CONFIG": str(folder), "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0"}
    environment = {**os.environ, **nobody, "CLOUDSDK_CORE_PROJECT": "upstream"}
    ended = subprocess.run(["gcloud", *words, "--quiet"], env=environment, capture_output=True, text=True)
    return ended.returncode, ended.stderr


@control(edit("cloud/sql/pooling.tf", "connection_pooling_enabled", "connection_pool_enabled"))
def test_terraforms_names_are_the_apis(load) -> None:
    """With its names in camel case, the resource is an instance as Google describes one."""
    resource = load(f"{FOLDER}/pooling.tf")
    refuse(cloud_sql.terraform_problems(*read(resource)))
    evidence.ran(resource, "checked", against=api())


@control(edit("cloud/sql/pooling.tf", "ENCRYPTED_ONLY", "ALLOW_UNENCRYPTED_AND_ENCRYPTED"))
@control(edit("cloud/sql/pooling.tf", "ipv4_enabled    = false", "ipv4_enabled    = true"))
def test_terraforms_instance_has_a_private_address_and_tls_and_nothing_else(load) -> None:
    """It has no public address, and refuses clients without TLS; the request and the script do not mention either."""
    resource, body, script = (load(f"{FOLDER}/pooling.{kind}") for kind in ("tf", "json", "sh"))
    access = cloud_sql.body_of(resource.text)["settings"]["ipConfiguration"]
    assert (access["ipv4Enabled"], access["sslMode"]) == (False, "ENCRYPTED_ONLY")
    assert access["privateNetwork"]
    assert list(json.loads(body.text)["settings"]) == ["connectionPoolConfig"]
    (patch,) = [words for _, words in gcloud.commands(script.text) if "patch" in words]
    assert {word.partition("=")[0] for word in patch if word.startswith("--")} <= SHOWN
    for file in (resource, body):
        evidence.ran(file, "checked", against=api())
    evidence.ran(script, "read", against=GUIDE)


@control(
    each(
        "cloud/sql/pooling.tf",
        but={
            "it is yours to name": ["*upstream.name", "*.private_network"],
            "it is yours to choose": ["*.region", "*.database_version", "*.tier"],
        },
    )
)
@control(each("cloud/sql/pooling.json"))
@control(edit("cloud/sql/pooling.sh", "max_pool_size=20", "max_pool_size=50"))
@control(edit("cloud/sql/pooling.tf", '"20"', '"50"'))
@control(edit("cloud/sql/pooling.json", '"20"', '"50"'))
@control(edit("cloud/sql/pooling_api.sh", "@pooling.json", "@other.json"))
def test_all_three_ways_turn_the_same_pooling_on(load) -> None:
    """The script, the request and the resource give the pooler the same flags."""
    names = ("pooling.json", "pooling.sh", "pooling_api.sh", "pooling.tf")
    files = [load(f"{FOLDER}/{name}") for name in names]
    refuse(cloud_sql.problems(dict(read(file) for file in files)))
    for file in files:
        evidence.ran(file, "checked", against=api())


@control(edit("cloud/sql/pools.py", "vcpus // 4", "vcpus // 2"))
def test_the_number_of_poolers_multiplies_the_size(run_script) -> None:
    """There is one for every four vCPUs, and at least one, as Google says: 1 to 4 have one, 8 two, 16 four."""
    snippet = evidence.load(f"{FOLDER}/pools.py")
    function = run_script(snippet)["server_connections"]
    assert [function(1, vcpus=vcpus) for vcpus in (1, 2, 4, 8, 16)] == [1, 1, 1, 2, 4]
    assert function(20, vcpus=16, pairs=2) == 2 * function(20, vcpus=16)


# ---- what Django sees ----------------------------------------------------------------------------------------


@control(edit("cloud/sql/pooling.env", ":6432/", ":5432/"))
@control(edit("cloud/sql/pooling.env", ":5432/", ":6432/"))
def test_the_environment_leads_each_alias_to_its_port(load, project) -> None:
    """The pooled alias uses 6432 without server-side cursors, the direct one 5432 with them."""
    snippet = load(f"{FOLDER}/pooling.env")
    variables = dict(line.split("=", 1) for line in snippet.text.splitlines() if "=" in line and line[0] != "#")
    url = variables.pop("DATABASE_URL")
    status, said = project.run(
        "-c", ADDRESSES, database_url=url, DJANGO_SETTINGS_MODULE="settings.pgbouncer", **variables
    )
    assert status == 0, said
    host = "10.20.0.5"
    assert json.loads(said) == {"default": [host, 6432, True], "direct": [host, 5432, False]}
    evidence.ran(snippet, "started")


@control(edit("upstream/settings/pgbouncer.py", 'DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True', ""))
@control(
    edit(
        "upstream/settings/prod.py",
        '"application_name": "upstream"}',
        '"prepare_threshold": 0, "server_side_binding": True}',
    )
)
def test_django_works_behind_a_pooler_that_follows_no_statements(
    server, server_version, migrated, project, pooler
) -> None:
    """Queries, transactions and iterator() work with settings.pgbouncer, and Django prepares no statement."""
    note_postgres(server_version)
    follow_none = {"max_prepared_statements": 0} if release() >= (1, 21) else {}
    with fresh(server, template=migrated) as database:
        bouncer = pooler(database, **MANAGED, **follow_none)
        settings = {"DATABASE_DIRECT_URL": database.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
        status, said = project.run("-c", WORK, database_url=bouncer.url(database), **settings)
    assert (status, said.split()) == (0, ["3", "0"]), said


@control(here("(database, other)", "(database, database)"), fails_with="query_wait_timeout")
@control(here("default_pool_size=1", "default_pool_size=2"))
def test_each_database_has_a_pool_of_its_own(server, database, pooler) -> None:
    """With a pool size of one, the same user has one server connection in each of two databases; the next one waits."""
    login = {"user": database.role.name, "password": database.role.password}
    with fresh(server) as other, ExitStack() as clients:
        bouncer = pooler(database, other, pool_mode="transaction", default_pool_size=1, query_wait_timeout=10)
        both = (database, other)
        for each in both:
            client = clients.enter_context(bouncer.connect(each, autocommit=False, **login))
            assert client.execute("select current_user").fetchone() == (database.role.name,)
        for each in both:
            with bouncer.connect(each, **login) as next_one:
                waits_in_vain(bouncer, next_one)
        assert [len(each.backends()) for each in both] == [1, 1]


@control(here("[start() for _ in range(2)]", "[start()] * 2"), fails_with="query_wait_timeout")
@control(here("default_pool_size=1", "default_pool_size=2"))
def test_each_pooler_has_pools_of_its_own(database, pooler) -> None:
    """Two poolers with a pool size of one hold one connection each for one user in one database; the next one waits."""

    def start():
        return pooler(database, pool_mode="transaction", default_pool_size=1, query_wait_timeout=10)

    with ExitStack() as clients:
        poolers = [start() for _ in range(2)]
        for bouncer in poolers:
            client = clients.enter_context(bouncer.connect(database, autocommit=False))
            client.execute("select 1")
        for bouncer in poolers:
            with bouncer.connect(database) as next_one:
                waits_in_vain(bouncer, next_one)
        assert len(database.backends()) == 2


@control(here("reserve_pool_size=1", "reserve_pool_size=0"), fails_with="one waits behind two: not within")
@control(here("reserve_pool_size=1", "reserve_pool_size=2"), fails_with="one waits behind two: not within")
@control(here("[start() for _ in range(2)]", "[start()] * 2"))
def test_a_reserve_counts_for_each_pgbouncer_too(database, pooler) -> None:
    """Two poolers, each with a pool of one and a reserve of one, open four connections; each has a client that waits.

    It has waited for a second, and so for longer than reserve_pool_timeout.
    """

    def start():
        return pooler(
            database, pool_mode="transaction", default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=0.05
        )

    def waits(bouncer) -> bool:
        now = pool(bouncer, database)
        return now["cl_active"] == 2 and now["maxwait"] > 0

    with ThreadPoolExecutor(6) as threads, ExitStack() as clients:
        poolers = [start() for _ in range(2)]
        for bouncer in poolers:
            for _ in range(3):
                client = clients.enter_context(bouncer.connect(database, autocommit=False))
                threads.submit(client.execute, "select 1")
            clients.callback(bouncer.reload, default_pool_size=6)  # at the end each is served
        for bouncer in poolers:
            until("one waits behind two", lambda bouncer=bouncer: waits(bouncer))
        assert len(database.backends()) == 4


def waits_in_vain(bouncer, client) -> None:
    """Assert that a client gets no server connection."""
    with bouncer.impatient(), pytest.raises(psycopg.Error, match="query_wait_timeout"):
        client.execute("select 1")


@control(here("(database.server.host, database.server.port)", '("127.0.0.1", bouncer.port)'))
@control(here('("127.0.0.1", bouncer.port)', "(database.server.host, database.server.port)"))
def test_a_proxy_that_forwards_connections_pools_nothing(database, pooler) -> None:
    """Eight idle clients of a proxy that only forwards bytes are eight connections to PostgreSQL.

    Where it forwards to a pooler in transaction mode, they are one.
    """
    bouncer = pooler(database, pool_mode="transaction")
    for to, opened in (((database.server.host, database.server.port), 8), (("127.0.0.1", bouncer.port), 1)):
        with forwarding(*to) as port, ExitStack() as clients:
            address = f"host=127.0.0.1 port={port} dbname={database.name} user={database.role.name}"
            for _ in range(8):
                client = psycopg.connect(f"{address} password={database.role.password}", autocommit=True)
                clients.enter_context(client)
                client.execute("select 1")
            assert len(database.backends()) == opened
        if opened == 8:
            until("all have left", lambda: not database.backends())


def release() -> tuple[int, ...]:
    """Return the first two parts of PgBouncer's version."""
    return tuple(int(part) for part in pgbouncer.version().split(".")[:2])


@contextmanager
def forwarding(host: str, port: int) -> Iterator[int]:
    """Forward each connection to an address, over one of its own, and yield the port to connect to.

    It does not speak PostgreSQL's protocol, so it cannot tell where a transaction ends.
    """

    def pump(one: socket.socket, other: socket.socket) -> None:
        while some := _received(one):
            other.sendall(some)
        other.close()

    def accept() -> None:
        while (client := _accepted(listener)) is not None:
            onward = socket.create_connection((host, port))
            for pair in ((client, onward), (onward, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _received(one: socket.socket) -> bytes:
    try:
        return one.recv(65536)
    except OSError:
        return b""


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except OSError:
        return None
