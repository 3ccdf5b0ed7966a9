"""Proves docs/runbooks/pgbouncer-unsupported-startup-parameter.md: a setting that a client sends as it connects."""

import re
import socket
import struct

import psutil
import psycopg
import psycopg2
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from tests.stack.console import at_least, console
from tests.stack.wait import until

OPTIONS = "-c statement_timeout=5000"


def text() -> str:
    """Return the error with which PgBouncer refuses the client."""
    return "unsupported startup parameter" + (" in options: statement_timeout" if at_least(1, 20) else ": options")


def shown(connection: psycopg.Connection) -> str:
    """Return the statement_timeout that is in force."""
    return connection.execute("show statement_timeout").fetchone()[0]


@control(
    edit(
        "provoke/startup_parameter.py",
        'print(str(error).rpartition("failed: ")[2])',
        'print(str(error).rpartition("failed: ")[0])',
    )
)
def test_a_setting_in_options_is_refused(database, pooler, load, printed, transcript) -> None:
    """PgBouncer 1.18 refuses `options` altogether; newer ones name the setting in it."""
    bouncer = pooler(database, pool_mode="transaction")
    snippet = load("provoke/startup_parameter.py")
    output = printed(snippet, DATABASE_URL=bouncer.url(database))
    assert f"FATAL:  {text()}\n" in output
    if at_least(1, 20):
        transcript(snippet, output)
    with pytest.raises(psycopg2.OperationalError, match=f"FATAL:  {text()}"):
        psycopg2.connect(bouncer.url(database), options=OPTIONS)


@control(
    replace("tests.proofs.runbooks.test_pgbouncer_unsupported_startup_parameter:OPTIONS", "-c statement_timeout=6000")
)
def test_the_log_shows_the_value_that_was_sent(database, pooler) -> None:
    """The client's error names the setting; PgBouncer's log also has its value."""
    bouncer = pooler(database, pool_mode="transaction")
    with pytest.raises(psycopg.OperationalError, match=text()):
        bouncer.connect(database, options=OPTIONS)
    assert "statement_timeout=5000" in bouncer.leash.said()


@control(edit("postgres/role_statement_timeout.sql", "alter role :\"role\" set statement_timeout = '5s';", ""))
def test_the_role_can_carry_the_setting(database, pooler, load) -> None:
    """ALTER ROLE … SET applies to each new server connection, with nothing in the connection string."""
    bouncer = pooler(database, pool_mode="transaction")
    with bouncer.connect(database) as client:
        assert shown(client) == "0"
    database.psql(load("postgres/role_statement_timeout.sql"), role=database.role.name)
    with bouncer.connect(database) as client:
        assert shown(client) == "0"  # the server connection is an old one
        with bouncer.admin() as admin:
            admin.execute("reconnect")
        assert shown(client) == "5s"


@control(edit("postgres/role_settings.sql", "order by of_role", "where setdatabase = 0\norder by of_role"))
@control(edit("postgres/role_settings.sql", "order by of_role", "where setrole <> 0\norder by of_role"))
@control(edit("postgres/role_settings.sql", "unnest(setconfig) as setting", "setconfig[1] as setting"))
def test_role_settings_lists_what_roles_carry(database, load) -> None:
    """The query lists each setting with its role, whatever the setting is, and those of one database or every role."""
    role, name = database.role.name, database.name
    database.psql(load("postgres/role_statement_timeout.sql"), role=role)
    database.admin.execute(f"alter role {role} set work_mem = '8MB'")
    database.admin.execute(f"alter role {role} in database {name} set lock_timeout = '1s'")
    database.admin.execute(f"alter role all in database {name} set jit = 'off'")
    output = database.psql(load("postgres/role_settings.sql"))
    lines = [line for line in output.splitlines() if role in line or name in line]
    assert [[part.strip() for part in line.split("|")] for line in lines] == [
        ["every role", f"database {name}", "jit=off"],
        [f"role {role}", f"database {name}", "lock_timeout=1s"],
        [f"role {role}", "every database", "statement_timeout=5s"],
        [f"role {role}", "every database", "work_mem=8MB"],
    ]


def startup(database, **parameters: str) -> bytes:
    """Return the first message of a client that sends these startup parameters, as libpq never does."""
    sent = {"user": database.role.name, "database": database.name, **parameters}
    body = struct.pack("!i", 196608) + b"".join(f"{name}\0{value}\0".encode() for name, value in sent.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def answer(bouncer, database, **parameters: str) -> bytes:
    """Return PgBouncer's first reply to a client that sends these startup parameters."""
    with socket.create_connection(("127.0.0.1", bouncer.port)) as client:
        client.sendall(startup(database, **parameters))
        return client.recv(4096)


@control(edit("monitoring/exporter.ini", "extra_float_digits", "extra_float"))
@control(here("bouncer.reload(**{name: value})", "pass"))
def test_a_parameter_that_the_driver_sends_has_to_be_ignored(database, pooler, load) -> None:
    """extra_float_digits is refused on every version; with the snippet's setting the login goes on.

    So it does, from 1.20 on, if track_extra_parameters lists it.
    """
    bouncer = pooler(database, pool_mode="transaction")
    refused = answer(bouncer, database, extra_float_digits="3")
    assert b"unsupported startup parameter: extra_float_digits" in refused
    snippet = load("monitoring/exporter.ini")
    name, value = re.search(r"^(ignore_startup_parameters) = (.+)$", snippet.text, re.MULTILINE).groups()
    bouncer.reload(**{name: value})
    evidence.ran(snippet, "started")
    assert b"SCRAM-SHA-256" in answer(bouncer, database, extra_float_digits="3")
    if at_least(1, 20):
        tracks = pooler(database, pool_mode="transaction", track_extra_parameters="extra_float_digits")
        assert b"SCRAM-SHA-256" in answer(tracks, database, extra_float_digits="3")


@control(here('search_path="elsewhere"', 'nonsense="elsewhere"'))
def test_search_path_is_taken_from_1_26_on(database, pooler) -> None:
    """It is accepted as a startup parameter; older versions refuse it."""
    said = answer(pooler(database, pool_mode="transaction"), database, search_path="elsewhere")
    if at_least(1, 26):
        assert b"SCRAM-SHA-256" in said
    else:
        assert b"unsupported startup parameter: search_path" in said


@control(here('="options")', '="extra_float_digits")'), fails_with="unsupported startup parameter")
@control(edit("pgbouncer_console/limits.sql", "show config", "show version"), fails_with="not enough values to unpack")
def test_ignoring_options_drops_the_setting_without_a_word(database, pooler, load) -> None:
    """Ignoring `options`, every version lets the client connect without its timeout, and the log does not say so."""
    bouncer = pooler(database, pool_mode="transaction", ignore_startup_parameters="options")
    with database.connect(options=OPTIONS) as direct:
        assert shown(direct) == "5s"
    with bouncer.connect(database, options=OPTIONS) as client:
        assert shown(client) == "0"
    assert "login attempt" in bouncer.leash.said()
    assert "statement_timeout" not in bouncer.leash.said()
    (row,) = [r for r in console(bouncer, load("pgbouncer_console/limits.sql")).splitlines() if "ignore_startup" in r]
    assert row.split("|")[1].strip() == "options"


def spins() -> bool:
    """Return whether this PgBouncer never ends looking in a list of one for a parameter without a name."""
    return at_least(1, 20) and not at_least(1, 26, 1)


@control(here("if spins()", "if True"), fails_with="it is busy with nothing: not within")
@pytest.mark.parametrize("ignored", ["extra_float_digits", "options"])
def test_an_option_without_a_name_makes_an_old_pgbouncer_hang(ignored, database, pooler) -> None:
    """From 1.20 to 1.26.0 it keeps its processor busy before any login; older and newer ones serve the next client."""
    bouncer = pooler(database, ignore_startup_parameters=ignored)
    process = psutil.Process(bouncer.leash.pid)
    with socket.create_connection(("127.0.0.1", bouncer.port)) as client:
        client.sendall(startup(database, options="-c="))
        if spins():
            used = process.cpu_times().user
            until("it is busy with nothing", lambda: process.cpu_times().user > used + 1)
            process.kill()
            return
        assert client.recv(4096)
    with bouncer.connect(database) as other:
        assert other.execute("select 1").fetchone() == (1,)
