"""Proves docs/runbooks/shared-connection.md: a connection that two processes, or two queries, use at once."""

import shutil
import subprocess
from importlib.metadata import version

import pytest

from proven import evidence
from tests.proofs.heard import apart, heard
from tests.stack.leash import Leash, give

# Each of two processes that share a connection asks in its turn: the parent, the child twice, the parent twice.
TURNS = """
import json, os, sys
from importlib import import_module
driver = import_module(sys.argv[1])
connection = driver.connect(sys.argv[2])
connection.autocommit = True

def ask(row):
    try:
        cursor = connection.cursor()
        cursor.execute(f"select '{row}'")
        return cursor.fetchone()[0]
    except driver.Error as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"

ask("before")
told, tell = os.pipe()
go, run = os.pipe()
if os.fork() == 0:
    os.read(go, 1)
    os.write(tell, json.dumps([ask("child"), ask("child")]).encode())
    os._exit(0)
os.close(tell)
heard = {"parent": [ask("parent")]}
os.write(run, b".")
heard["child"] = json.loads(os.read(told, 4096))
heard["parent"] += [ask("parent"), ask("parent")]
print(json.dumps(heard))
"""
# The parent, or the child, closes; then each asks PostgreSQL for the process that serves it.
CLOSES = """
import json, os, sys, psycopg
url, who = sys.argv[1:]
connection = psycopg.connect(url, autocommit=True)

def backend():
    try:
        if connection.closed:
            return psycopg.connect(url).execute("select pg_backend_pid()").fetchone()[0]
        return connection.execute("select pg_backend_pid()").fetchone()[0]
    except psycopg.Error as error:
        return str(error).splitlines()[0]

if who == "parent":
    connection.close()
told, tell = os.pipe()
if os.fork() == 0:
    if who == "child":
        connection.close()
    os.write(tell, json.dumps(backend()).encode())
    os._exit(0)
os.close(tell)
print(json.dumps({"child": json.loads(os.read(told, 4096)), "parent": backend()}))
"""


@pytest.fixture
def encrypted(database, pooler):
    """A PgBouncer in front of the database that takes its clients over TLS alone."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    files = Leash("certificates")
    try:
        make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out certificate -days 1 -subj /CN=pooler"
        subprocess.run(make.split(), cwd=files.folder, check=True, capture_output=True)
        files.folder.chmod(0o755)
        give(files.folder, *files.folder.iterdir())
        own = {"client_tls_key_file": files.folder / "key", "client_tls_cert_file": files.folder / "certificate"}
        yield pooler(database, pool_mode="transaction", client_tls_sslmode="require", **own)
    finally:
        files.stop()


def test_over_tls_a_fork_breaks_the_connection_for_both(database, encrypted) -> None:
    """Whoever speaks second cannot decrypt what it reads, PgBouncer hangs up, and the other one hears of that."""
    mac = "SSL error: decryption failed or bad record mac"
    heard = apart(TURNS, "psycopg", encrypted.url(database))
    closed = "OperationalError: the connection is closed"
    eof = "SSL error: unexpected eof while reading"
    assert heard["child"] == [f"OperationalError: consuming input failed: {mac}", closed]
    assert heard["parent"] == ["parent", f"OperationalError: consuming input failed: {eof}", closed]
    heard = apart(TURNS, "psycopg2", encrypted.url(database))
    closed = "InterfaceError: connection already closed"
    assert heard["child"] == [f"OperationalError: {mac}", closed]
    assert heard["parent"] == ["parent", "OperationalError: SSL SYSCALL error: EOF detected", closed]
    evidence.on(psycopg2=version("psycopg2-binary"))


def test_without_tls_a_child_reads_its_parents_answer(database, load, printed, transcript) -> None:
    """It asked for another row, and nothing fails."""
    snippet = load("provoke/fork.py")
    output = printed(snippet, DATABASE_URL=database.url)
    assert "the child got the row for the parent" in output
    transcript(snippet, output)


def test_a_second_query_before_the_first_is_answered_is_refused(database) -> None:
    """libpq does not send it, and the first one is answered."""
    with database.connect() as connection:
        connection.pgconn.send_query(b"select 1")
        refused = heard(connection.pgconn.send_query, b"select 2")
        assert refused == "another command is already in progress"
        assert connection.pgconn.get_result().get_value(0, 0) == b"1"
        while connection.pgconn.get_result():
            pass


def test_closed_before_the_fork_each_process_has_its_own(database) -> None:
    """Each connects by itself, and has a backend of its own."""
    backends = apart(CLOSES, database.url, "parent")
    assert isinstance(backends["child"], int)
    assert isinstance(backends["parent"], int)
    assert backends["child"] != backends["parent"]


def test_closed_in_the_child_it_is_gone_for_the_parent(database) -> None:
    """PostgreSQL hears goodbye on the connection that both have."""
    assert "server closed the connection unexpectedly" in apart(CLOSES, database.url, "child")["parent"]
