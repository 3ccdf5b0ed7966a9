"""Proves docs/runbooks/shared-connection.md: a connection that two processes, or two queries, use at once."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version

import psycopg2
import pytest
from psycopg2.extensions import set_wait_callback
from psycopg2.extras import wait_select

from proven import evidence
from proven.sources.controls import control, here
from tests.proofs.heard import heard
from tests.stack.console import at_least
from tests.stack.leash import Leash, give
from tests.stack.wait import DEADLINE

# Two processes that share a connection query in turn: the parent, then the child three times, then the parent again.
# The third time is on a cursor that was there before the fork.
TURNS = """
import json, os, sys
from importlib import import_module
driver = import_module(sys.argv[1])
connection = driver.connect(sys.argv[2])
connection.autocommit = True
kept = connection.cursor()

def ask(row, cursor=None):
    try:
        cursor = cursor or connection.cursor()
        cursor.execute(f"select '{row}'")
        return cursor.fetchone()[0]
    except driver.Error as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"

ask("before")
told, tell = os.pipe()
go, run = os.pipe()
if os.fork() == 0:
    os.read(go, 1)
    os.write(tell, json.dumps([ask("child"), ask("child"), ask("child", kept)]).encode())
    os._exit(0)
os.close(tell)
heard = {"parent": [ask("parent")]}
os.write(run, b".")
heard["child"] = json.loads(os.read(told, 4096))
heard["parent"] += [ask("parent"), ask("parent"), ask("parent", kept)]
print(json.dumps(heard))
"""


@pytest.fixture(params=["secure"])
def encrypted(database, pooler, request):
    """A PgBouncer in front of the database that accepts clients only over TLS, of these versions."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    files = Leash("certificates")
    try:
        make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 1 -subj /CN=pooler"
        subprocess.run(make.split(), cwd=files.folder, check=True, capture_output=True)
        files.folder.chmod(0o755)
        give(files.folder, *files.folder.iterdir())
        own = {"client_tls_key_file": files.folder / "key", "client_tls_cert_file": files.folder / "certificate"}
        yield pooler(
            database, pool_mode="transaction", client_tls_sslmode="require", client_tls_protocols=request.param, **own
        )
    finally:
        files.stop()


def turns(driver: str, url: str) -> dict[str, list[str]]:
    """Return what the parent and the child get. They run in a new process, as this one may have threads."""
    command = [sys.executable, "-c", TURNS, driver, url]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE).stdout)


MAC = "SSL error: decryption failed or bad record mac"
# Found on a read, or while the next query is sent: that depends on timing.
GONE = "server closed the connection unexpectedly"
DRIVERS = {
    "psycopg": (
        MAC,
        "SSL error: unexpected eof while reading",
        "OperationalError: the connection is closed",
        "OperationalError: the connection is lost",
    ),
    "psycopg2": (
        MAC,
        "SSL SYSCALL error: EOF detected",
        "InterfaceError: connection already closed",
        "InterfaceError: cursor already closed",
    ),
}


@control(
    here(
        'client_tls_sslmode="require"',
        'client_tls_sslmode="disable"',
        of="tests.proofs.runbooks.test_shared_connection:encrypted",
    )
)
@control(
    here('-c", TURNS', "-c\", TURNS.replace(', kept', '')", of="tests.proofs.runbooks.test_shared_connection:turns")
)
@pytest.mark.parametrize("driver", DRIVERS)
def test_over_tls_a_fork_breaks_the_connection_for_both(driver, database, encrypted) -> None:
    """The process that queries second cannot decrypt the answer, PgBouncer disconnects, and the other fails too.

    From then on each is told that the connection is closed; on a cursor that it had before, in other words.
    """
    mac, eof, closed, kept = DRIVERS[driver]
    said = turns(driver, encrypted.url(database))
    first, *then = said["child"]
    assert mac in first
    assert then == [closed, kept]
    answered, second, *then = said["parent"]
    assert answered == "parent"
    assert eof in second or GONE in second
    assert then == [closed, kept]
    evidence.on(psycopg2=version("psycopg2-binary"))


@control(
    here(
        "client_tls_protocols=request.param",
        'client_tls_protocols="secure"',
        of="tests.proofs.runbooks.test_shared_connection:encrypted",
    )
)
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("encrypted", ["tlsv1.2"], indirect=True)
def test_over_tls_1_2_the_second_to_speak_hears_of_its_cipher(driver, encrypted, database) -> None:
    """With the cipher that PgBouncer negotiates by default from 1.24 on, of the versions tested; 1.18 uses another."""
    said = turns(driver, encrypted.url(database))
    with closing(psycopg2.connect(encrypted.url(database))) as client:
        assert ("GCM" in client.info.ssl_attribute("cipher")) == at_least(1, 24)
    heard_of = "SSL error: cipher operation failed" if at_least(1, 24) else MAC
    assert heard_of in said["child"][0]
    assert said["parent"][0] == "parent"


@control(here("range(6)", "range(5)"))
def test_processes_that_share_a_connection_prepare_under_the_same_name(database) -> None:
    """psycopg 3 prepares a query the sixth time it runs; each process counts for itself, and the second fails."""
    code = """if True:
        import os, sys, psycopg
        connection = psycopg.connect(sys.argv[1], autocommit=True)
        def ask():
            for _ in range(6):
                connection.execute("select 1").fetchone()
        if os.fork() == 0:
            ask()
            os._exit(0)
        os.wait()
        ask()
    """
    said = subprocess.run([sys.executable, "-c", code, database.url], capture_output=True, text=True).stderr
    assert said.endswith('DuplicatePreparedStatement: prepared statement "_pg3_0" already exists\n')
    evidence.on(psycopg=version("psycopg"))


@control(here('connection.pgconn.send_query(b"select 1")', "pass"))
@control(here("set_wait_callback(waits)", "waits(client)"))
def test_a_second_query_before_the_first_is_answered_is_refused(database) -> None:
    """libpq does not send it, and the first is still answered; psycopg2, with a wait callback, refuses it itself."""
    with database.connect() as connection:
        connection.pgconn.send_query(b"select 1")
        refused = heard(connection.pgconn.send_query, b"select 2")
        assert refused == "another command is already in progress"
        assert connection.pgconn.get_result().get_value(0, 0) == b"1"
        while connection.pgconn.get_result():
            pass
    client, told = psycopg2.connect(database.url), []

    def waits(connection) -> None:
        """Use the connection meanwhile, as another greenlet does that psycogreen lets run."""
        told.append(heard(connection.cursor().execute, "select 2"))
        told.append(heard(connection.cursor().callproc, "pg_backend_pid"))
        wait_select(connection)

    set_wait_callback(waits)
    try:
        cursor = client.cursor()
        cursor.execute("select 1")
    finally:
        set_wait_callback(None)
    said = {f"{word} cannot be used while an asynchronous query is underway" for word in ("execute", "callproc")}
    assert set(told) == said
    assert cursor.fetchone() == (1,)
    client.close()
