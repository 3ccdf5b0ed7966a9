"""Proves docs/how-to/passwords-that-expire.md: a password changes, and who can connect after that."""

import os
import subprocess
from collections.abc import Callable

import pytest
from psycopg import sql

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.stack.upstream import needs_a_pool
from tests.stack.wait import until

# A process that connects once, waits while the password is changed, and connects again.
ASKS = """
import logging, sys
sys.path.insert(0, {folder!r})
import django; django.setup()
from django.db import OperationalError, connection
logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(name)s: %(message)s"))

def asks():
    try:
        connection.ensure_connection()
        connection.close()
        print("served", flush=True)
    except OperationalError as error:
        print(error, flush=True)

asks()
if connection.settings_dict["OPTIONS"].get("pool"):
    connection.pool.wait()  # until it is full: what is opened meanwhile meets either password
print("ready", flush=True)
if {timeout}:
    connection.pool.timeout = {timeout}  # from now on: on a busy machine who gets one waits for it as well
open({fifo!r}).read()
if {told}:
    connection.settings_dict["PASSWORD"] = {new!r}
asks()
"""
NEW = r"new:\word"  # has characters that are special in a passfile
# The snippet that each settings module is or imports.
MODULES = {
    "passfile": "passfile.py",
    "passfile_and_pool": "passfile.py",
    "tokens": "tokens.py",
    "backend": "with_token/base.py",
}
WITH_A_BACKEND = 'from settings.prod import *\nDATABASES["default"]["ENGINE"] = "with_token"'
WITH_A_POOL = "import settings.pool\nfrom passfile import *\n"


@pytest.fixture
def rotated(project, database, load, tmp_path) -> Callable[..., str]:
    """Connect, change the password, connect again; return what that printed: rotated("settings.pool", ends=True)."""
    script = load("passwords/passfile.sh")
    (tmp_path / "passfile.sh").write_text(script.text)
    (tmp_path / "passfile_and_pool.py").write_text(WITH_A_POOL)
    (tmp_path / "backend.py").write_text(WITH_A_BACKEND)
    (tmp_path / "with_token").mkdir()
    files = {"DATABASE_PASSFILE": str(tmp_path / "passfile"), "DATABASE_TOKEN_FILE": str(tmp_path / "token")}
    fifo = tmp_path / "go"
    os.mkfifo(fifo)

    def written(password: str) -> None:
        (tmp_path / "token").write_text(password)
        command = ("sh", tmp_path / "passfile.sh")
        subprocess.run(command, input=f"{password}\n", text=True, check=True, env={**os.environ, **files})

    def run(settings: str, *, ends: bool, timeout: float = 0, told: bool = False) -> str:
        snippets = [script]
        if name := MODULES.get(settings):
            snippets.append(load(f"passwords/{name}"))
            (tmp_path / name).write_text(snippets[-1].text)
        written(database.role.password)
        code = ASKS.format(folder=str(tmp_path), fifo=str(fifo), timeout=timeout, told=told, new=NEW)
        process = project.start("-c", code, database_url=database.url, DJANGO_SETTINGS_MODULE=settings, **files)
        until("it has asked", lambda: "served\nready\n" in process.said())
        change = sql.SQL("alter role {} password {}").format(sql.Identifier(database.role.name), sql.Literal(NEW))
        database.admin.execute(change)
        written(NEW)
        for pid in database.backends() if ends else ():
            database.terminate(pid)
        fifo.write_text("")
        until("it has asked again", process.ended)
        process.stop()
        project.note()
        for snippet in snippets:
            evidence.ran(snippet)
        return process.said().partition("ready\n")[2]

    return run


@control(here('"settings.pool"', '"passfile_and_pool"'))
@control(here('"settings.pool", ends=True, timeout=1', '"settings.prod", ends=True'))
def test_the_pool_goes_on_with_the_old_password(rotated) -> None:
    """Django has the new password and the pool's sessions are gone: clients time out, and only the log says why."""
    needs_a_pool()
    said = rotated("settings.pool", ends=True, timeout=1, told=True)
    assert "password authentication failed" in said
    # The pool keeps trying, and keeps logging it.
    assert "couldn't get a connection after 1.00 sec" in said.splitlines()


@control(here('"settings.prod"', '"passfile"'))
def test_a_password_of_the_settings_is_the_one_that_they_had(rotated) -> None:
    """Without a pool, too, the next new connection uses it and is refused."""
    said = rotated("settings.prod", ends=True)
    assert "password authentication failed" in said


@control(here("ends=False", "ends=True, timeout=1"))
def test_an_open_session_outlives_its_password(rotated) -> None:
    """PostgreSQL checks it only at login: a pool with an open connection keeps working after the change."""
    needs_a_pool()
    said = rotated("settings.pool", ends=False)
    assert said == "served\n"


@control(edit("passwords/passfile.py", 'options["passfile"]', 'options["passphrase"]'), fails_with="it has asked")
@control(edit("passwords/passfile.sh", r"s/[\\:]/\\&/g; ", ""))
@pytest.mark.parametrize("settings", ["passfile", "passfile_and_pool"])
def test_a_passfile_is_read_at_each_connect(rotated, settings) -> None:
    """With and without a pool, reconnecting uses the new password, even with a colon and a backslash in it."""
    if settings == "passfile_and_pool":
        needs_a_pool()
    assert rotated(settings, ends=True).endswith("served\n")


@control(
    edit("passwords/tokens.py", "        parameters[", "        parameters.copy()["),
    fails_with="it has asked again: not within",
)
def test_a_connection_class_asks_for_a_token_each_time(rotated) -> None:
    """Django passes the class to the pool, whose new connections use the new password."""
    needs_a_pool()
    assert rotated("tokens", ends=True).endswith("served\n")


@control(
    edit("passwords/with_token/base.py", '"password": token()', '"passphrase": token()'), fails_with="it has asked"
)
@control(here('"backend"', '"settings.prod"'))
def test_a_backend_asks_for_a_token_at_each_connect(rotated) -> None:
    """Without a pool the next connection has the new password."""
    said = rotated("backend", ends=True)
    assert said.endswith("served\n")


LOOSE = """
import logging, sys
sys.path.insert(0, {folder!r})
import django; django.setup()
from django.db import OperationalError, connection
logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(name)s: %(message)s"))
try:
    connection.ensure_connection()
    print("served")
except OperationalError as error:
    print(error)
"""


WRONG = {"PGPASSWORD": "wrong"}


@control(here("({}, WRONG)", "({}, {})"))
@control(here("0o644", "0o600"))
def test_a_passfile_that_others_may_read_is_ignored(project, database, load, tmp_path) -> None:
    """libpq then connects without a password. With mode 0600 the passfile works, unless PGPASSWORD is set."""
    snippet = load("passwords/passfile.py")
    (tmp_path / "passfile.py").write_text(snippet.text)
    passfile = tmp_path / "passfile"
    passfile.write_text(f"*:*:*:*:{database.role.password}\n")
    passfile.chmod(0o644)
    settings = {"DJANGO_SETTINGS_MODULE": "passfile", "DATABASE_PASSFILE": str(passfile)}
    code = LOOSE.format(folder=str(tmp_path))
    status, said = project.run("-c", code, database_url=database.url, **settings)
    assert status == 0, said
    assert "no password supplied" in said
    passfile.chmod(0o600)
    said = [project.run("-c", code, database_url=database.url, **settings, **more)[1] for more in ({}, WRONG)]
    assert said[0] == "served\n"
    assert "password authentication failed" in said[1]
    evidence.ran(snippet)
