"""Proves docs/how-to/pool-doctor.md: the query and the command, run as a role that may only read."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.pooled import Existing
from tests.proofs.watched import needs_monitoring
from tests.stack import monitoring
from tests.stack.console import at_least
from tests.stack.database import Database, Role, fresh, run_psql
from tests.stack.fixtures import note_pgbouncer, note_postgres
from tests.stack.leash import Leash, give
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster, bin_dir, own_major
from tests.stack.upstream import needs_a_pool
from tests.stack.wait import DEADLINE, until

QUERY = "upstream/orders/management/commands/pool_doctor.sql"
PIDS = (r"\bpid \d+", "pid PID")
AGES = (r"\d+\.\d(?= \| s )", "AGE")
LINES = (r"\b\d+\.?\d*(?= s  )", "AGE")
RUNNER = (r"(?<=held by )\S+(?= on this machine)", "RUNNER")
ITEMS = ("transaction", "silence", "wait", "sessions")
NAMES = ("level", "item", "value", "unit", "finding", "page")
# The current age of the oldest transaction, the longest idle time in one, and the longest lock wait.
LONGEST = """
select
    extract(epoch from clock_timestamp() - min(xact_start)),
    extract(epoch from clock_timestamp() - min(state_change) filter (where state = 'idle in transaction')),
    (select extract(epoch from clock_timestamp() - min(waitstart)) from pg_locks where not granted)
from pg_stat_activity
where datname = %s and pid <> pg_backend_pid()
"""
SLOTS = {"max_connections": 23}  # 20 for ordinary roles: 80 % is 16 and 95 % is 19


@pytest.fixture
def database(cluster) -> Iterator[Database]:
    """A database on a server that has only this proof's sessions."""
    with fresh(cluster(**SLOTS).server) as made:
        yield made


@pytest.fixture
def watcher(database, load) -> Iterator[Existing]:
    """The same database, for a monitoring role whose transactions are read-only."""
    role = Role(database.server)
    database.psql(load("postgres/monitoring_role.sql"), role=role.name)
    with database.server.connect() as connection:
        connection.execute(f'alter role "{role.name}" set default_transaction_read_only = on')
    seen = Existing(database.server, database.name, role)
    yield seen
    with database.server.connect() as connection:
        role.drop(connection)


@contextmanager
def patience(role: Role, database: Database, limit: str) -> Iterator[None]:
    """Set another limit on the role for the duration of the block."""
    with database.server.connect() as connection:
        connection.execute(f"alter role \"{role.name}\" set pool_doctor.patience = '{limit}'")
    yield
    with database.server.connect() as connection:
        connection.execute(f'alter role "{role.name}" reset pool_doctor.patience')


@pytest.fixture
def busy(database, sessions) -> Database:
    """A database with sessions in every state, and one that waits for another."""
    worker = sessions(database, application_name="worker", autocommit=False)
    worker.execute("create table account (id int primary key, balance int)")
    worker.execute("insert into account values (1, 100)")
    worker.commit()
    worker.execute("update account set balance = 90 where id = 1")
    for _ in range(3):
        sessions(database)
    waits = sessions(database)
    waits.pgconn.send_query(b"update account set balance = 80 where id = 1")
    with database.server.connect() as connection:
        locks = "select count(*) from pg_locks where not granted"
        until("one waits for another", lambda: connection.execute(locks).fetchone() == (1,))
    until("nobody else is connected", lambda: connected(database) == 5 + 1)
    return database


def connected(database: Database) -> int:
    """Return how many client sessions the server has, including the one that asks."""
    with database.server.connect() as connection:
        query = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        return connection.execute(query).fetchone()[0]


def told(who: Database, load) -> list[list[str]]:
    """Return the rows that the query gives a role in psql: level, item, value, unit, finding, page."""
    rows = [[cell.strip() for cell in line.split("|")] for line in who.psql(load(QUERY), superuser=False).splitlines()]
    return [row for row in rows if len(row) == 6]


def age_of(item: str, who: Database, load) -> float:
    """Return the first age reported for an item, in seconds to one decimal."""
    return next(float(value) for _, each, value, *_ in told(who, load) if each == item)


def seen_by(who: Database, load) -> dict[str, tuple[str, str]]:
    """Return the first level and finding of each item."""
    return {item: (level, finding) for level, item, _, _, finding, _ in reversed(told(who, load))}


# ---- what it sees ----------------------------------------------------------------------------------------------


@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "amount >= alarms_at", "amount >= 1000000 * alarms_at")
)
@control(edit("postgres/monitoring_role.sql", "pg_monitor", "pg_signal_backend"))
def test_one_screen_shows_all_that_holds_and_waits(busy, watcher, load, transcript) -> None:
    """A role with pg_monitor sees each part in read-only transactions, on every PostgreSQL from 14 on.

    It sees the values in statements, but cannot read the tables.
    """
    until("all has lasted for a second", lambda: lasted(busy) > 1)
    with patience(watcher.role, busy, "50 ms"):
        snippet = load(QUERY)
        seen = watcher.psql(snippet, superuser=False)
        transcript(snippet, seen, [PIDS, AGES], case="in-psql")
    assert "set balance = 90 where id = 1" in seen
    with watcher.connect() as looking, pytest.raises(psycopg.errors.InsufficientPrivilege):
        looking.execute("table account")


def lasted(database: Database) -> float:
    """Return how many seconds the wait has lasted; the transaction and its silence have lasted longer."""
    query = "select extract(epoch from clock_timestamp() - min(waitstart))::float from pg_locks where not granted"
    with database.server.connect() as connection:
        return connection.execute(query).fetchone()[0] or 0  # it is null at first


def later(who: Database, load, seconds: int, *items: str) -> set[str]:
    """Return the levels of these items this many seconds later, with the default limit."""
    query = load(QUERY).text.replace("clock_timestamp()", f"(clock_timestamp() + interval '{seconds} s')")
    rows = [[cell.strip() for cell in line.split("|")] for line in run_psql(who.url, query).stdout.splitlines()]
    return {row[0] for row in rows if len(row) == 6 and row[1] in items}


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "10 * ", "10000000 * "))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "10 * ", "8 * "))
def test_what_lasts_longer_than_patience_is_a_warning_and_later_critical(busy, watcher, load) -> None:
    """A transaction, a silence and a wait are ok at first, a warning at the limit, and critical at ten times that."""

    def levels(part: float) -> set[str]:
        """Return all levels with a limit that is this fraction of the time waited."""
        with patience(watcher.role, busy, f"{part * lasted(busy)} s"):
            seen = seen_by(watcher, load)
        return {seen[item][0] for item in ("transaction", "silence", "wait")}

    until("one has waited", lambda: lasted(busy) > 0)
    lasting = ("transaction", "silence", "wait")
    found = [later(watcher, load, seconds, *lasting) for seconds in (30, 60, 500, 600)]
    assert found == [{"ok"}, {"warning"}, {"warning"}, {"critical"}]
    until("all are fine", lambda: levels(1000) == {"ok"})
    until("all are warnings", lambda: levels(0.9) == {"warning"})
    assert levels(0.01) == {"critical"}


@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "holding.pid, holding.application",
        "waiting.pid, holding.application",
    )
)
def test_who_waits_is_told_with_whom_it_waits_for(busy, watcher, load) -> None:
    """The finding names the waiting session and the idle one that holds its lock, as pg_blocking_pids does."""
    finding = seen_by(watcher, load)["wait"][1]
    (waits, holder) = (int(part.split(",")[0]) for part in finding.split("pid ")[1:])
    with busy.server.connect() as connection:
        assert connection.execute("select pg_blocking_pids(%s)", [waits]).fetchone() == ([holder],)


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "order by open_for desc", "order by open_for"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "limit 3", "limit 4"))
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql", "like 'idle in transaction%'", "= 'idle in transaction'"
    )
)
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "where silent\n        order by in_state_for",
        "where silent\n        order by open_for",
    )
)
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "waits.seconds desc", "waits.seconds"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "sum(many) desc, application", "application"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "open_for as amount", "1000 * open_for as amount"))
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "'silence' as item,\n            in_state_for",
        "'silence' as item,\n            open_for",
    ),
    fails_with="could not convert string to float",
)
@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "() - min(waitstart))", "() - min(waitstart)) * 9")
)
def test_it_tells_of_the_longest_and_the_largest(database, watcher, sessions, load) -> None:
    """It reports one of four transactions, three of their silences, five of seven waits, ten of twelve applications."""
    silent = [sessions(database, application_name=f"silent {number}", autocommit=False) for number in range(4)]
    for each in silent:
        each.execute("select 1")
    silent[0].execute("select pg_advisory_xact_lock(1), pg_advisory_xact_lock_shared(2)")
    silent[1].execute("select pg_advisory_xact_lock_shared(2)")
    for each in silent[1:]:
        # Idle since then: for less time than the one before, and than its transaction has been open.
        each.execute("select pg_sleep(0.3)")
        if each is silent[2]:  # its transaction has failed, and is still open
            assert "division by zero" in heard(each.execute, "select 1 / 0")
    silent[0].execute("select 1")  # the oldest transaction has been idle for the shortest time
    waits = [sessions(database, application_name=f"waits {number}") for number in reversed(range(6))]
    for number, each in enumerate(waits, start=1):
        # The first waits for two others, and each of the rest for one.
        each.pgconn.send_query(b"select pg_advisory_lock_shared(1)" if number > 1 else b"select pg_advisory_lock(2)")
        until("it waits", lambda number=number: waiting(database) == number)
    for _ in range(2):
        sessions(database, application_name="with two")
    least = longest(database)
    rows = told(watcher, load)
    most = longest(database)
    found = {item: [row[4] for row in rows if row[1] == item] for item in ITEMS}
    assert found["sessions"][0] == "with two: 2 idle"
    assert len(found.pop("sessions")) == 10
    pids = {item: [int(finding.split()[1].rstrip(",")) for finding in findings] for item, findings in found.items()}
    ages = {item: float(value) for _, item, value, *_ in reversed(rows) if item in least}
    assert all(least[item] - 0.1 <= ages[item] <= most[item] + 0.1 for item in least)  # rounded to tenths
    those = {"transaction": silent[:1], "silence": silent[1:], "wait": [waits[0], *waits[:4]]}
    assert pids == {item: [each.info.backend_pid for each in held] for item, held in those.items()}


@control(here('"select 1 / 0"', '"select 1"'))
def test_a_transaction_that_has_failed_is_only_silent(database, sessions, load) -> None:
    """Until it is rolled back its session is idle in it, while PostgreSQL does not say any more when it began."""
    heard(sessions(database, autocommit=False).execute, "select 1 / 0")
    assert {"silence", "transaction"} & seen_by(database, load).keys() == {"silence"}


def longest(database: Database) -> dict[str, float]:
    """Return the greatest current age of each item, in seconds."""
    with database.server.connect() as connection:
        found = connection.execute(LONGEST, [database.name]).fetchone() or ()
    return dict(zip(("transaction", "silence", "wait"), map(float, found), strict=True))


def waiting(database: Database) -> int:
    """Return how many sessions have begun to wait for a lock."""
    with database.server.connect() as connection:
        return connection.execute("select count(waitstart) from pg_locks where not granted").fetchone()[0]


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "that is not a client session", "nobody"))
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "from pg_prepared_xacts",
        "from pg_prepared_xacts where false",
    ),
    fails_with="prepared",
)
@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "() - prepared)", "() - prepared) * 1000"),
    fails_with="its age is told: not within",
)
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "prepared) as amount,\n            's' as unit,\n            seconds as",
        "prepared) as amount,\n            's' as unit,\n            2 * seconds as",
    )
)
def test_a_transaction_that_no_session_holds_is_named_as_such(cluster, sessions, load) -> None:
    """A prepared transaction keeps its locks after its session has gone; it is reported by name until it is ended.

    Its age is reported: a warning after a minute, critical after ten, or at the role's own patience.
    """
    with fresh(cluster(**SLOTS, max_prepared_transactions=1).server) as database:
        with database.connect() as connection:
            connection.execute("create table account (id int)")
            began = monotonic()
            connection.execute("begin; lock account; prepare transaction 'forgotten'")
        sessions(database).pgconn.send_query(b"select * from account")
        until("one waits", lambda: seen_by(database, load).get("wait"))
        default = [later(database, load, seconds, "prepared") for seconds in (30, 60, 500, 600)]
        with patience(database.role, database, "1 ms"):
            seen = seen_by(database, load)
        try:
            until("its age is told", lambda: 0.3 <= age_of("prepared", database, load) <= monotonic() - began + 0.1)
        finally:  # the database, too, cannot be dropped before this
            with database.connect() as connection:
                connection.execute("rollback prepared 'forgotten'")
        after = seen_by(database, load)
    assert default == [{"ok"}, {"warning"}, {"warning"}, {"critical"}]
    assert "waits for something that is not a client session" in seen["wait"][1]
    assert seen["prepared"] == (
        "critical",
        f"prepared transaction 'forgotten', owner {database.role.name}, database {database.name}",
    )
    assert "prepared" not in after


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "state = 'idle' and", "state like 'idle%' and"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "(declare|fetch)", "(declare|close)"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "(declare|fetch)", "(declare|fetch|select 1)"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "(/\\*.*?\\*/\\s*)?", ""))
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "'cursor' as item,\n            in_state_for",
        "'cursor' as item,\n            1000 * in_state_for",
    ),
    fails_with="its age is told: not within",
)
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "'cursor' as item,\n            in_state_for as amount,\n            's' as unit,\n            seconds as",
        "'cursor' as item,\n            in_state_for as amount,\n            's' as unit,\n            2 * seconds as",
    )
)
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "state_change) as in_state_for",
        "query_start) as in_state_for",
    ),
    fails_with="its age is told: not within",
)
def test_a_cursor_that_was_left_open_is_found_until_its_session_goes_on(database, sessions, load) -> None:
    """Its session is idle outside a transaction, and last sent a DECLARE or FETCH, even after a view's name.

    One that is idle in a transaction is not found. After another statement it is no longer found, although it is still
    open. It is a warning after a minute, or at the role's own patience, and never critical.
    """
    named, plain = sessions(database), sessions(database)
    began = monotonic()
    named.execute("/* order-list */ declare one cursor with hold for select pg_sleep(1)")  # it is not idle for this
    sessions(database, autocommit=False).execute("declare three cursor for select 1")
    with plain.cursor("two", withhold=True) as rows:
        rows.execute("select generate_series(1, 9)")
        rows.fetchmany(2)
        default = [later(database, load, seconds, "cursor") for seconds in (30, 60, 6000)]
        with patience(database.role, database, "1 ms"):
            found = [row for row in told(database, load) if row[1] == "cursor"]
            until("its age is told", lambda: 0.3 <= age_of("cursor", database, load) <= monotonic() - began - 0.9)
            for each in (named, plain):
                each.execute("select 1")
            assert "cursor" not in seen_by(database, load)
        left = "select name from pg_cursors where is_holdable"
        assert [each.execute(left).fetchall() for each in (named, plain)] == [[("one",)], [("two",)]]
    assert default == [{"ok"}, {"warning"}, {"warning"}]
    assert {(row[0], int(row[4].split()[1].rstrip(","))) for row in found} == {
        ("warning", each.info.backend_pid) for each in (named, plain)
    }


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "when item = 'hidden' then 'unknown'", ""))
def test_an_ordinary_role_is_told_what_it_cannot_see(busy, load) -> None:
    """All sessions are counted but other roles' are hidden, and the doctor says what to grant to whom."""
    stranger = Role(busy.server)
    try:
        seen = seen_by(who := Existing(busy.server, busy.name, stranger), load)
        hidden = [value for _, item, value, *_ in told(who, load) if item == "hidden"]
    finally:
        with busy.server.connect() as connection:
            stranger.drop(connection)
    said = f"are hidden, they are of other roles: grant pg_monitor to {stranger.name}"
    assert seen["hidden"] == ("unknown", said)
    assert hidden == ["5"], "all but its own"
    assert seen["slots"][1] == "6 of 20 slots are taken"
    assert "transaction" not in seen


@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "- coalesce(current_setting('reserved_connections', true), '0')::int",
        "",
    )
)
def test_slots_for_roles_of_your_choice_are_not_for_all(cluster, load) -> None:
    """From PostgreSQL 16 on, reserved_connections are subtracted too; before that, the setting does not exist."""
    reserved = {"reserved_connections": 5} if own_major() >= 16 else {}
    with fresh(cluster(**SLOTS, **reserved).server) as database:
        assert seen_by(database, load)["slots"][1] == f"1 of {15 if reserved else 20} slots are taken"
        named = "select current_setting('reserved_connections', true)"
        assert database.admin.execute(named).fetchone() == ("5" if reserved else None,)


# ---- replicas --------------------------------------------------------------------------------------------------


@pytest.fixture
def primary() -> Iterator[Cluster]:
    """A server that has a standby."""
    started = Cluster()
    yield started
    started.stop()


@pytest.fixture
def standby(primary) -> Iterator[Cluster]:
    """Its standby, where replay waits for no query."""
    started = Cluster(primary, cluster_name="reader", max_standby_streaming_delay=0)
    yield started
    started.stop()


def clock(connection: psycopg.Connection[tuple]) -> float:
    """Return the server's time, in seconds."""
    return float(connection.execute("select extract(epoch from clock_timestamp())").fetchone()[0])


def asked(connection: psycopg.Connection[tuple], load, limit: str = "1 h") -> dict[str, tuple]:
    """Return the first level and finding of each item."""
    connection.execute(f"set pool_doctor.patience = '{limit}'".encode())
    rows = connection.execute(load(QUERY).text).fetchall()  # in one statement: the same session looks again
    evidence.ran(load(QUERY))
    return {item: (level, finding) for level, item, _, _, finding, _ in reversed(rows)}


@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "where replay_lsn is not null", "where false"),
    fails_with="replica",
)
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "else coalesce(", "else nullif("))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "pg_is_wal_replay_paused()\n", "false\n"))
@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "- last[4]", "- conflicts + 0 * last[4]"),
    fails_with="is counted: not within",
)
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "- last[4]", "- coalesce(last[4], 0)"))
def test_both_sides_tell_of_a_replica_that_is_behind(primary, standby, load) -> None:
    """It is ok while it follows; a pause, a lag, a lost primary and queries cancelled by replay are reported."""
    note_postgres(primary.server.version())
    reading = standby.server.connect()  # replay ends it
    with closing(reading), primary.server.connect() as writer, standby.server.connect() as reader:
        began = clock(writer)
        writer.execute("create table item as select generate_series(1, 100) as id")
        until("it follows", lambda: asked(reader, load)["standby"] == ("ok", "follows its primary"))
        assert asked(reader, load)["conflicts"][0] == "ok"
        until("it streams", lambda: asked(writer, load)["replica"][1] == "reader, streaming")
        assert {"standby", "conflicts"} & asked(writer, load).keys() == set()

        # It says so from its first contact on, perhaps before it has the table.
        there = "select to_regclass('item') is not null"
        until("the table is there", lambda: reading.execute(there).fetchone() == (True,))
        reading.execute("begin isolation level repeatable read; select from item")
        reader.execute("select pg_wal_replay_pause()")
        writer.execute("delete from item")
        writer.execute("vacuum item")
        until("it has paused", lambda: asked(reader, load)["standby"][1] == "replay is paused")
        paused = clock(reader)
        assert [asked(reader, load, limit)["standby"][0] for limit in ("1 h", "1 us")] == ["warning", "critical"]
        until(
            "it is behind", lambda: writer.execute("checkpoint") and asked(writer, load, "1 ms")["replica"][0] != "ok"
        )
        before = clock(reader)
        (age,) = [float(row[2]) for row in reader.execute(load(QUERY).text).fetchall() if row[1] == "standby"]
        # What it replayed last was committed between these two; the age is rounded to tenths.
        assert before - paused - 0.1 <= age <= clock(reader) - began + 0.1

        # From another database: what is then replayed may cancel any query in this one, even this very call.
        with standby.server.connect("template1") as elsewhere:
            elsewhere.execute("select pg_wal_replay_resume()")
            written = writer.execute("select pg_current_wal_lsn()").fetchone()
            replayed = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            until("all is replayed", lambda: elsewhere.execute(replayed, written).fetchone() == (True,))
        gave_way = ("warning", "were canceled by replay conflicts since the last look")
        until("a conflict is counted", lambda: asked(reader, load)["conflicts"] == gave_way)
        with standby.server.connect() as new:
            assert asked(new, load)["conflicts"] == ("ok", "not known until the next look")
        assert "conflict with recovery" in heard(reading.execute, "select 1")
        until("it has caught up", lambda: asked(reader, load)["standby"] == ("ok", "follows its primary"))
        primary.leash.halt(signal.SIGINT)
        left = ("warning", "receives no WAL from a primary")
        until("it is alone", lambda: asked(reader, load)["standby"] == left)
    standby.restart()
    with standby.server.connect() as reader:
        assert asked(reader, load)["standby"] == left


# ---- churn -----------------------------------------------------------------------------------------------------


@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "done < 5 * begun", "done < 0 * begun"),
    fails_with="1 transactions a session are seen: not within",
)
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "concat_ws(' ', begun, done, at, conflicts)",
        "coalesce(current_setting('pool_doctor.last', true), concat_ws(' ', begun, done, at, conflicts))",
    ),
    fails_with="a look with nothing new: not within",
)
@pytest.mark.parametrize(("each", "level"), [(1, "warning"), (20, "ok")])
def test_watched_it_tells_of_churn_since_the_look_before(database, watcher, load, tmp_path, each, level) -> None:
    """In one session each look is compared with the previous one: many sessions that do little are a warning."""
    script = load("postgres/watch_doctor.sh")
    (tmp_path / "pool_doctor.sql").write_text(load(QUERY).text)
    output = tmp_path / "output"
    environment = {"PATH": f"{bin_dir()}{os.pathsep}{os.environ['PATH']}", **connection_of(watcher)}
    with output.open("w") as file:
        watching = subprocess.Popen(
            ["sh", "-c", script.text, "watch", "0.2"],
            cwd=tmp_path,
            env=environment,
            stdout=file,
            start_new_session=True,
        )
    try:
        until("it has looked twice", lambda: churn(output.read_text())[1:])
        assert churn(output.read_text())[0] == ["ok", "", "not known until the next look"]

        def warned() -> bool:
            # What a session did is counted when it ends, or after a second.
            with database.connect() as connection:
                for _ in range(each):
                    connection.execute("select 1")
            return (level, True) in [(found, begun > 0) for found, _, begun, _ in counted(output.read_text())[1:]]

        until(f"{each} transactions a session are seen", warned)
        until("a look with nothing new", lambda: counted(output.read_text())[-1][2] == 0)
    finally:
        os.killpg(watching.pid, signal.SIGTERM)
        watching.wait(DEADLINE)
    # Of a session that is still running, a look may have counted only the start.
    for found, rate, begun, done in counted(output.read_text()):
        few = done < 5 * begun
        assert (few and rate >= 1) if found == "warning" else (not few or rate <= 1)  # it is rounded
    evidence.ran(script)
    evidence.ran(load(QUERY))


def churn(text: str) -> list[list[str]]:
    """Return the level, the sessions per second and the finding of each look at the churn."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if "| churn" in line]
    return [[level, rate, finding] for level, _, rate, _, finding, _ in rows]


def counted(text: str) -> list[tuple[str, float, int, int]]:
    """Return the level, sessions per second, sessions and transactions of each look but the first."""
    numbers = re.compile(r"(\d+) new sessions and (\d+) transactions")
    looks = [(level, float(rate), numbers.match(finding)) for level, rate, finding in churn(text)[1:]]
    return [(level, rate, int(said[1]), int(said[2])) for level, rate, said in looks if said]


def connection_of(who: Existing) -> dict[str, str]:
    """Return psql's environment variables for this connection."""
    role, server = who.role, who.server
    return {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGDATABASE": who.name,
        "PGUSER": role.name,
        "PGPASSWORD": role.password,
    }


# ---- the command -----------------------------------------------------------------------------------------------


def doctor(project, who: Database, *options: str, url: str | None = None) -> tuple[int, str]:
    """Run the command as a role, and return its exit status and what it printed."""
    return project.run("manage.py", "pool_doctor", *options, database_url=url or who.url)


@control(
    edit("upstream/orders/management/commands/_pool_doctor_findings.py", "{level:8}  {item:11}", "{item:11}  {level:8}")
)
@pytest.mark.usefixtures("busy")
def test_the_command_prints_one_screen(watcher, project, load, transcript) -> None:
    """The same findings, one per line."""
    _, output = doctor(project, watcher)
    transcript(
        load("upstream/orders/management/commands/pool_doctor.py"), output, [PIDS, LINES, RUNNER], case="from-Django"
    )


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "80 as warns_at", "90 as warns_at"))
@control(edit("upstream/orders/management/commands/_pool_doctor_findings.py", '"connection slots are reserved", ', ""))
@pytest.mark.parametrize(
    ("others", "status", "item"),
    [(14, 0, "slots"), (15, 1, "slots"), (18, 2, "slots"), (20, 2, "connect")],
    ids=["75 %", "80 %", "95 %", "locked out"],
)
def test_the_exit_status_tells_how_full_the_server_is(
    database, watcher, project, sessions, others, status, item
) -> None:
    """Of 20 slots, its own included: 0 at 75 %, 1 at 80 %, 2 at 95 %, and 2 when it can no longer connect."""
    for _ in range(others):
        sessions(database)
    until("all are there", lambda: connected(database) == others + 1)
    ended, output = doctor(project, watcher, "--json")
    assert ended == status, output
    first = json.loads(output)["findings"][0]
    assert first["item"] == item
    assert f"{others + 1} of 20 slots are taken" == first["finding"] or "slots are reserved" in first["finding"]


@control(edit("upstream/orders/management/commands/_pool_doctor_findings.py", '"too many", ', ""))
def test_the_exit_status_tells_of_a_server_without_any_slot(database, watcher, project, sessions) -> None:
    """With superusers in the reserved slots too, it reports that there are too many clients, and exits with 2."""
    for _ in range(20):
        sessions(database)
    with ExitStack() as ends:

        def all_of_them() -> None:
            while True:
                ends.enter_context(closing(database.server.connect()))

        with pytest.raises(psycopg.OperationalError, match="too many clients already"):
            all_of_them()
        ended, output = doctor(project, watcher, "--json")
    assert ended == 2, output
    assert "too many clients already" in json.loads(output)["findings"][0]["finding"]


@control(here("connection limit 0", "connection limit 9"))
def test_a_connection_limit_ends_it_like_a_full_server(database, watcher, project) -> None:
    """Where its role or its database has reached one, it is refused, and exits with 2."""
    for what, name in (("role", watcher.role.name), ("database", database.name)):
        with database.server.connect() as superuser:
            superuser.execute(f'alter {what} "{name}" connection limit 0'.encode())
            ended, output = doctor(project, watcher)
            superuser.execute(f'alter {what} "{name}" connection limit -1'.encode())
        assert (ended, f'too many connections for {what} "{name}"' in output) == (2, True), output


# The command with settings of the proof's own, whose pool gives up early.
WITH_A_POOL = """
from settings.pool import *
DATABASES["default"]["OPTIONS"]["pool"]["timeout"] = 1
"""
RUNS = """
import sys
sys.path.insert(0, {folder!r})
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "pool_doctor"])
"""


@control(here("write_text(WITH_A_POOL)", 'write_text("from settings.prod import *")'))
def test_with_djangos_pool_a_full_server_is_what_it_cannot_tell(database, project, sessions, tmp_path) -> None:
    """On a server without a free slot it exits with 3, when the pool's timeout is over; without a pool with 2."""
    needs_a_pool()
    for _ in range(20):
        sessions(database)
    (tmp_path / "with_a_pool.py").write_text(WITH_A_POOL)
    command = ("-c", RUNS.format(folder=str(tmp_path)))
    status, output = project.run(*command, database_url=database.url, DJANGO_SETTINGS_MODULE="with_a_pool")
    assert (status, "couldn't get a connection after 1.00 sec" in output) == (3, True), output
    assert doctor(project, database)[0] == 2


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "10 * ", "10000000 * "))
def test_the_exit_status_tells_of_an_old_transaction(busy, watcher, project) -> None:
    """Older than --patience exits with 1, ten times as old with 2; --patience overrides the role's setting."""

    def ended(part: float) -> int:
        """Return the exit status with a limit that is this fraction of the time waited."""
        return doctor(project, watcher, "--patience", f"{part * lasted(busy):.3f} s")[0]

    assert doctor(project, watcher)[0] == 0
    until("all has lasted for a second", lambda: lasted(busy) > 1)
    until("it is a warning", lambda: ended(0.9) == 1)
    assert ended(0.01) == 2
    with patience(watcher.role, busy, "1 ms"):
        assert doctor(project, watcher)[0] == 2
        assert doctor(project, watcher, "--patience", "1 hour")[0] == 0


@control(
    edit("upstream/orders/management/commands/pool_doctor.py", "since.write_text(counted)", "since.touch()"),
    fails_with="invalid literal for int()",
)
@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.py",
        "since.write_text(counted)",
        "last or since.write_text(counted)",
    ),
    fails_with="those are no news any more",
)
def test_since_a_run_before_it_tells_what_is_new(database, watcher, project, tmp_path) -> None:
    """With --since and a file, each run reports how many sessions have started since the previous run."""
    memory = str(tmp_path / "doctor.last")

    def churn_of(*options: str) -> dict:
        status, output = doctor(project, watcher, "--json", *options)
        assert status in (0, 1), output
        return next(f for f in json.loads(output)["findings"] if f["item"] == "churn")

    assert churn_of("--since", memory)["value"] is None
    for _ in range(20):
        database.connect().close()

    def new() -> int:
        return int(churn_of("--since", memory)["finding"].split()[0])

    until("20 new sessions are counted", lambda: new() >= 20)
    assert new() < 20, "those are no news any more"


@control(
    edit(
        "upstream/orders/management/commands/_pool_doctor_findings.py",
        '{"level": worst(findings).level, ',
        '{"level": "unknown", ',
    )
)
@pytest.mark.usefixtures("busy")
def test_json_has_the_worst_level_and_every_finding(watcher, project) -> None:
    """It prints one line of JSON: the level behind the exit status, and the findings, each with the same six keys."""
    status, output = doctor(project, watcher, "--json", "--patience", "1 hour")
    found = json.loads(output)
    assert output.count("\n") == 1
    assert (status, found["level"]) == (0, "ok")
    assert {tuple(finding) for finding in found["findings"]} == {NAMES}
    items = [finding["item"] for finding in found["findings"]]
    assert items == ["slots", "transaction", "silence", "wait", "churn", *["sessions"] * 2, "process"]
    status, output = doctor(project, watcher, "--json", "--patience", "1 us")
    assert (status, json.loads(output)["level"]) == (2, "critical")


@control(edit("upstream/orders/management/commands/_pool_doctor_findings.py", '"unknown": 3', '"unknown": 2'))
@control(
    edit("upstream/orders/management/commands/pool_doctor.py", '"connect_timeout", 5', '"connect_timeout", 500'),
    fails_with=" ends: not within",
)
def test_what_it_cannot_tell_is_three(busy, project) -> None:
    """It exits with 3 for no server, one that never answers, a wrong password, or a bad alias or console.

    It also exits with 3 for a role that sees too little; anything critical makes it 2.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody, nothing = (f"postgresql://a:b@127.0.0.1:{port}/c" for port in (1, silent.getsockname()[1]))
        wrong = busy.url.replace(busy.role.password, "wrong")
        patient = ("--patience", "1 hour")  # or what all of these take may be a warning
        said = {
            "refused": doctor(project, busy, url=nobody),
            "timeout": doctor(project, busy, url=nothing),
            "password": doctor(project, busy, url=wrong),
            "doesn't exist": doctor(project, busy, *patient, "--database", "elsewhere"),
            "address as postgresql://": doctor(project, busy, *patient, "--console", "nowhere"),
            "Connection refused": doctor(project, busy, *patient, "--console", nobody),
            "hidden": doctor(project, stranger := Existing(busy.server, busy.name, Role(busy.server)), *patient),
        }
    with busy.server.connect() as connection:
        stranger.role.drop(connection)
    for text, (status, output) in said.items():
        assert (status, text in output) == (3, True), output
        assert "Traceback" not in output
    status, output = doctor(project, busy, "--console", "nowhere", "--patience", "1 ms")
    assert (status, "unknown " in output) == (2, True), "something else is critical"

    def warned() -> bool:
        """Return whether it ends with 1, as what has lasted for longer than this is a warning."""
        limit = f"{0.9 * lasted(busy):.3f} s"
        return doctor(project, busy, "--console", "nowhere", "--patience", limit)[0] == 1

    until("all has lasted for a second", lambda: lasted(busy) > 1)
    until("a warning counts for more", warned)


@control(
    edit(
        "upstream/settings/environment.py",
        'raise ImproperlyConfigured(f"{name} must look like {wanted}")',
        "raise SystemExit(4)",
    )
)
def test_a_mistake_before_it_begins_is_django_s_own_exit_status(project, database) -> None:
    """Settings that cannot be read exit with 1, and an unknown option with 2, as with any command."""
    assert project.run("manage.py", "pool_doctor", database_url="nonsense")[0] == 1
    assert doctor(project, database, "--nonsense")[0] == 2


# ---- PgBouncer's console, and processes ------------------------------------------------------------------------

# The doctor in a process that stays: each line that it reads has the options for one run of the command.
STAYS = """
import io, json, sys, django
django.setup()
from django.core.management import call_command
for line in open(sys.argv[1]):
    said = io.StringIO()
    try:
        call_command("pool_doctor", *json.loads(line), stdout=said)
    except SystemExit as ended:
        print(json.dumps([ended.code, said.getvalue()]), flush=True)
"""


class Stays:
    """A database behind PgBouncer, whose console its role may read, and a doctor that runs again on request."""

    def __init__(self, project, database: Database, bouncer: PgBouncer, folder: Path) -> None:
        self.project, self.database, self.bouncer = project, database, bouncer
        self.console = bouncer.url(database).rpartition("/")[0] + "/pgbouncer"
        os.mkfifo(folder / "told")
        self.told = os.open(folder / "told", os.O_RDWR)
        settings = {"database_url": database.url, "DJANGO_SETTINGS_MODULE": "settings.prod"}
        self.process = project.start("-c", STAYS, str(folder / "told"), **settings)
        self.looks = 0

    def look(self, *options: str, console: str | None = None) -> tuple[int, str]:
        """Run the command; return its exit status and what it printed."""
        told = json.dumps([*options, "--console", console or self.console])
        os.write(self.told, f"{told}\n".encode())
        self.looks += 1
        until("it has looked", lambda: self.process.said().count("\n") >= self.looks)
        self.project.note()
        assert "Traceback" not in self.process.said(), self.process.said()
        status, said = json.loads(self.process.said().splitlines()[self.looks - 1])
        return status, said

    def findings(self, *items: str) -> list[dict[str, Any]]:
        """Return the findings for these items."""
        found = json.loads(self.look("--json")[1])["findings"]
        return [finding for finding in found if finding["item"] in items]

    def queue(self) -> tuple[str, str, str | None]:
        """Return the level of the application's queue, its finding, and the page's path in the guide."""
        (found,) = [each for each in self.findings("queue") if f" in {self.database.name}: " in each["finding"]]
        return (
            found["level"],
            found["finding"].partition(": ")[2],
            found["page"] and found["page"].partition("example/")[2],
        )

    def waited(self) -> float:
        """Return how many seconds the longest-waiting client has waited."""
        return max(row["maxwait"] + row["maxwait_us"] / 1e6 for row in self.bouncer.show("pools"))


@pytest.fixture(scope="module")
def kept(server, project, tmp_path_factory) -> Iterator[Stays]:
    """One that all proofs here share: PgBouncer with a pool of one."""
    note_pgbouncer()
    with fresh(server) as database:
        may = {"stats_users": database.role.name, "stats_period": 3}
        bouncer = PgBouncer(database, pool_mode="transaction", default_pool_size=1, query_wait_timeout=3600, **may)
        bouncer.connect(database).close()  # until it has logged in once, no client can log in while it is paused
        made = Stays(project, database, bouncer, tmp_path_factory.mktemp("doctor"))
        yield made
        made.process.stop()
        os.close(made.told)
        bouncer.stop()


@pytest.fixture
def stays(kept, server_version) -> Stays:
    """The same, recorded as what this proof ran on."""
    note_postgres(server_version)
    note_pgbouncer()
    return kept


@contextmanager
def waits(stays: Stays) -> Iterator[None]:
    """Have a client wait for a server connection for a second, and then for the duration of the block."""
    with stays.bouncer.connect(stays.database) as client:
        client.pgconn.send_query(b"select 1")
        until("it has waited for a second", lambda: stays.waited() > 1)
        yield
        until("it is served", lambda: not stays.waited())
        while client.pgconn.get_result():
            pass


@control(edit("upstream/orders/management/commands/_pool_doctor_console.py", "limit / 2", "limit * 2"))
@control(
    edit("upstream/orders/management/commands/_pool_doctor_console.py", "warns = seconds >= WAIT", "warns = False")
)
@control(
    edit("upstream/orders/management/commands/_pool_doctor_console.py", "warns=waited(pool) >= WAIT", "warns=False")
)
def test_who_waits_behind_pgbouncer_is_told_with_the_reason(stays) -> None:
    """A one-second wait is a warning, half of query_wait_timeout critical; then the average warns until it is 0."""
    page = "runbooks/pgbouncer-query-wait-timeout/"
    with stays.bouncer.connect(stays.database, autocommit=False) as holder:
        holder.execute("select 1")
        assert stays.queue() == ("ok", "0 clients wait, 1 of 1 server connections are active", None)
        with waits(stays):
            assert stays.queue() == ("warning", "1 client waits, 1 of 1 server connections are active", page)
            until("it has waited for longer", lambda: stays.waited() > 4)
            stays.bouncer.set(query_wait_timeout=7)
            assert stays.queue() == ("critical", "1 client waits, 1 of 1 server connections are active", page)
            stays.bouncer.set(query_wait_timeout=3600)
            holder.commit()

    def average() -> float:
        return max(float(row["avg_wait_time"]) for row in stays.bouncer.show("stats"))

    # Of the client that was served; before 1.23 it is divided by the seconds of the period.
    least = 4_000_000 if at_least(1, 23) else 1_000_000
    before = until("the wait is in the average", lambda: (now := average()) >= least and now)
    (row,) = [row for row in stays.findings("waits") if stays.database.name in row["finding"]]
    assert (row["level"], row["unit"], (row["page"] or "").partition("example/")[2]) == ("warning", "s", page)
    # Before 1.23 it falls from moment to moment.
    assert round(average() / 1e6, 3) <= row["value"] <= round(before / 1e6, 3)
    until("it is so no more", lambda: not average())
    assert {row["level"] for row in stays.findings("waits", "queue")} == {"ok"}


@control(edit("upstream/orders/management/commands/_pool_doctor_console.py", "if stopped(row)", "if False"))
@control(edit("upstream/orders/management/commands/_pool_doctor_console.py", 'value(views, "state", "paused")', '"no"'))
@pytest.mark.parametrize("of", ["one database", "everything"])
def test_what_is_paused_is_told_as_such(stays, of) -> None:
    """A paused database, PAUSE of everything and DISABLE are reported, with clients that wait; not after RESUME."""
    if of == "everything" and not at_least(1, 19):
        pytest.skip("needs PgBouncer 1.19, which tells of a pause of everything")
    name = "" if of == "everything" else stays.database.name
    with stays.bouncer.admin() as console:
        console.execute(f"pause {name}".encode())
        with waits(stays):
            queue = stays.queue()
            found = [(row["level"], row["finding"]) for row in stays.findings("paused")]
            console.execute(f"resume {name}".encode())
    assert found == [("warning", f"{name or 'everything'} is paused or disabled")]
    said = "1 client waits, the database is paused or disabled"
    assert queue == ("warning", said, "runbooks/pgbouncer-paused-or-down/")
    assert stays.findings("paused") == []
    with stays.bouncer.admin() as console:
        console.execute(f"disable {stays.database.name}".encode())
        (disabled,) = stays.findings("paused")
        console.execute(f"enable {stays.database.name}".encode())
    assert disabled["finding"] == f"{stays.database.name} is paused or disabled"


@control(edit("upstream/orders/management/commands/_pool_doctor_console.py", "and not connected", "and connected"))
def test_a_pool_without_a_server_connection_leads_to_the_log(stays) -> None:
    """If the server never answers, a waiting client is a warning that points to PgBouncer's log."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stays.bouncer.entries["silent"] = f"host=127.0.0.1 port={silent.getsockname()[1]}"
        stays.bouncer.reload()
        address = stays.bouncer.url(stays.database).rpartition("/")[0] + "/silent"
        client = psycopg.pq.PGconn.connect_start(address.encode())
        until(
            "it waits", lambda: client.connect_poll() and sum(row["cl_waiting"] for row in stays.bouncer.show("pools"))
        )
        found = next(row for row in stays.findings("queue") if " in silent: " in row["finding"])
        client.finish()
        del stays.bouncer.entries["silent"]
        stays.bouncer.reload()
    assert (found["level"], found["page"]) == ("warning", "https://guide.example/runbooks/pgbouncer-login-failed/")
    assert found["finding"].endswith("1 client waits, no server connection is open: see PgBouncer's log")


@control(here("max_db_connections=1", "max_db_connections=2"))
def test_who_waits_because_another_user_has_all_is_sent_to_the_log_in_vain(stays, pooler) -> None:
    """With max_db_connections, the finding names PgBouncer's log, which is silent; SHOW DATABASES has the numbers."""
    database, other = stays.database, Role(stays.database.server)
    query = "select rolname, rolpassword from pg_authid where rolname in (%s, %s)"
    users = dict(database.admin.execute(query, [database.role.name, other.name]).fetchall())
    may = {"stats_users": database.role.name, "users": users}
    bouncer = pooler(database, pool_mode="transaction", max_db_connections=1, query_wait_timeout=60, **may)
    console = bouncer.url(database).rpartition("/")[0] + "/pgbouncer"

    def waiting() -> list[str]:
        return [row["user"] for row in bouncer.show("pools") if row["cl_waiting"]]

    try:
        with bouncer.connect(database, autocommit=False) as holder, ThreadPoolExecutor(1) as thread:
            holder.execute("select 1")
            (entry,) = [row for row in bouncer.show("databases") if row["name"] == database.name]
            assert entry["current_connections"] == entry["max_connections"] == 1
            own = {"user": other.name, "password": other.password}
            waits = thread.submit(heard, psycopg.connect, bouncer.url(database), **own)
            until("the other user waits", lambda: waiting() == [other.name])
            findings = json.loads(stays.look("--json", console=console)[1])["findings"]
            log = bouncer.leash.said()
            holder.commit()
            assert waits.result() == ""
    finally:
        bouncer.stop()
        other.drop(database.admin)
    (found,) = [row["finding"] for row in findings if row["finding"].startswith(f"{other.name} in ")]
    assert found.endswith("1 client waits, no server connection is open: see PgBouncer's log")
    assert not re.search(r"max_db_connections|limit reached|full", log)


@control(
    edit("upstream/orders/management/commands/_pool_doctor_console.py", ' if pool["database"] in databases', ""),
    fails_with="Traceback",
)
def test_a_pool_that_nobody_uses_any_more_is_passed_over(stays) -> None:
    """The database that "*" created is gone from SHOW DATABASES by then, while SHOW POOLS still has its pool.

    Entries are in SHOW DATABASES even without a client; "*" is not.
    """

    def names(view: str, column: str) -> set[str]:
        return {row[column] for row in stays.bouncer.show(view)}

    server = stays.database.server
    for entry in ("*", "unused"):
        stays.bouncer.entries[entry] = f"host={server.host} port={server.port} dbname={stays.database.name}"
    stays.bouncer.reload()
    known = {stays.database.name, "unused", "pgbouncer"}
    assert names("databases", "name") == known
    with psycopg.connect(stays.bouncer.url(stays.database).rpartition("/")[0] + "/other"):
        assert names("databases", "name") == known | {"other"}
    with stays.bouncer.admin() as console:
        console.execute("reconnect other")
    until("it is gone", lambda: names("databases", "name") == known)
    assert "other" in names("pools", "database")
    said = [row["finding"] for row in stays.findings("queue")]
    assert [f" in {stays.database.name}: " in each for each in said] == [True]
    for entry in ("*", "unused"):
        del stays.bouncer.entries[entry]
    stays.bouncer.reload()


@control(edit("upstream/orders/management/commands/_pool_doctor_console.py", "share >= 80", "share >= 81"))
@control(edit("upstream/orders/management/commands/_pool_doctor_console.py", "share >= 95", "share >= 90"))
def test_places_for_clients_are_counted_against_their_limit(stays) -> None:
    """The doctor's own place counts: 80 % is a warning, 95 % critical. The console accepts it above the limit."""
    with ExitStack() as clients:
        for _ in range(18):
            clients.enter_context(stays.bouncer.connect(stays.database))
        taken = len(stays.bouncer.show("clients")) + 1

        def level(most: int) -> str:
            stays.bouncer.set(max_client_conn=most)
            (found,) = stays.findings("clients")
            return found["level"]

        assert taken == 20
        levels = {26: "ok", 25: "warning", 22: "warning", 21: "critical", 1: "critical"}
        told = {most: level(most) for most in levels}
        stays.bouncer.set(max_client_conn=100)
        assert told == levels


@control(
    edit(
        "upstream/orders/management/commands/_pool_doctor_console.py",
        "raise ValueError(WANTED)",
        "raise ValueError(address)",
    )
)
@control(
    edit(
        "upstream/orders/management/commands/_pool_doctor_console.py",
        '"@" not in url.path + url.query + url.fragment',
        "True",
    )
)
@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://stats:hun/ter2@127.0.0.1:6432/pgbouncer",
        "postgresql://stats:p@hun/ter2@127.0.0.1:6432/pgbouncer",
        "postgresql://stats:p@hun?ter2@127.0.0.1:6432/pgbouncer",
        "postgresql://stats:p@hun#ter2@127.0.0.1:6432/pgbouncer",
        "postgresql//stats:hunter2@127.0.0.1:6432/pgbouncer",
        "postgresql://stats:hunter2@127.0.0.1:port/pgbouncer",
        "host=127.0.0.1 port=6432 user=stats password=hunter2",
    ],
)
def test_an_address_with_a_mistake_is_one_line_without_its_password(stays, wrong) -> None:
    """It shows the expected form of an address; the findings on PostgreSQL are printed before it as usual.

    Below each finding that is not ok is its page's URL.
    """
    with stays.database.connect(autocommit=False) as silent:
        silent.execute("select 1")
        status, said = stays.look("--patience", "1 us", console=wrong)
    lines = said.splitlines()
    found = {line.split()[1]: below for line, below in pairwise(lines) if not line.startswith(("ok ", " "))}
    assert {"transaction", "silence", "console"} <= found.keys()
    assert all(below.startswith(f"{'':10}https://guide.example/") for below in found.values())
    (line,) = [line for line in said.splitlines() if "console" in line and not line.startswith(" ")]
    assert line.endswith("write the console's address as postgresql://user@host:6432/pgbouncer")
    assert line.startswith("unknown ")
    assert f"{line}\n{'':10}https://guide.example/runbooks/pgbouncer-paused-or-down/" in said
    assert status != 0
    assert "slots" in said
    assert "hun" not in said


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder in which PgBouncer may have its socket."""
    home = Leash("sockets")
    (home.folder / "1").mkdir()
    give(home.folder / "1")
    yield home.folder / "1"
    home.stop()


@control(here("?host={sockets}", ""))
@control(here("{host}:", "*:"))
def test_it_asks_the_pgbouncer_whose_socket_it_is_given(database, pooler, project, sockets, tmp_path) -> None:
    """With host= after the address's question mark, it reaches the console through that folder's socket.

    A password file then has the password for that folder, and not for localhost.
    """
    role = database.role
    bouncer = pooler(database, stats_users=role.name, unix_socket_dir=sockets)
    console = f"postgresql://{role.name}:{role.password}@localhost:{bouncer.port}/pgbouncer?host={sockets}"
    _, output = doctor(project, database, "--console", console)
    assert "client connections (max_client_conn)" in output
    assert f"pgbouncer/{role.name}@unix(" in bouncer.leash.said()
    file = tmp_path / "pgpass"
    console = f"postgresql://{role.name}@localhost:{bouncer.port}/pgbouncer?host={sockets}&passfile={file}"
    for host, told in (("localhost", "no password supplied"), (sockets, "client connections (max_client_conn)")):
        file.write_text(f"{host}:{bouncer.port}:pgbouncer:{role.name}:{role.password}\n")
        file.chmod(0o600)
        assert told in doctor(project, database, "--console", console)[1]
    project.note()


@control(edit("upstream/orders/management/commands/_pool_doctor_processes.py", "len(pids) > 1", "len(pids) > 2"))
@control(edit("upstream/orders/management/commands/_pool_doctor_processes.py", "len(pids),", "1,"))
@control(
    edit(
        "upstream/orders/management/commands/_pool_doctor_processes.py",
        'Path(words.pop(0).split(" ")[0].strip("[:")).name',
        "line",
    )
)
@control(edit("upstream/orders/management/commands/_pool_doctor_processes.py", "[BEIOP", "[cBEIOP"))
@control(edit("upstream/orders/management/commands/_pool_doctor_processes.py", 'm?")', 'm?(c.*)?")'))
@control(edit("upstream/orders/management/commands/_pool_doctor_processes.py", "(?=.)", ""))
def test_a_session_that_two_processes_have_is_critical(stays, sessions, tmp_path) -> None:
    """For PostgreSQL or PgBouncer, the finding counts two processes and says what they run, without arguments."""
    (tmp_path / "manage.py").write_text("import sys\nsys.stdin.read()\n")
    direct = sessions(stays.database)
    with stays.bouncer.connect(stays.database) as pooled:
        own = (f"session {direct.info.backend_pid}:", f"a PgBouncer connection to {stays.database.name}:")

        def shared() -> list[dict[str, Any]]:
            return [f for f in stays.findings("forked") if any(name in f["finding"] for name in own)]

        files = (direct.fileno(), pooled.fileno())
        shell = ("-I", tmp_path / "manage.py", "shell", "postgresql://a:hunter2@b/c")
        code = ("-Iuc", "import sys; sys.stdin.read(); 'hunter2'")
        joined, read = ("-Iucimport sys; sys.stdin.read()", "hunter2"), ("-", "hunter2")
        python = Path(sys.executable).name
        for runs, what in {shell: "manage.py shell", code: python, joined: python, read: python}.items():
            child = subprocess.Popen([sys.executable, *runs], pass_fds=files, stdin=subprocess.PIPE)
            try:
                status, said = stays.look()
                found = shared()
            finally:
                child.communicate()
            assert status == 2
            assert "hunter2" not in said
            assert re.search(f"process +2 +connections held by {what} on this machine", said)
            assert len(found) == 2
            for finding in found:
                assert (finding["level"], finding["value"]) == ("critical", 2)
                assert f"pid {os.getpid()} (" in finding["finding"]
                assert f"pid {child.pid} ({what})" in finding["finding"]
            assert shared() == []


# ---- for programs ----------------------------------------------------------------------------------------------


@control(edit("upstream/orders/management/commands/_pool_doctor_findings.py", "_value gauge", "_value gauges"))
@control(edit("upstream/orders/management/commands/_pool_doctor_findings.py", 'GUIDE + f.page if f.page else ""', '""'))
@control(edit("upstream/orders/management/commands/_pool_doctor_findings.py", "{LEVELS[f.level]}", "0"))
@control(edit("upstream/orders/management/commands/_pool_doctor_findings.py", "worst(those) for", "those[-1] for"))
def test_prometheus_gets_the_worst_of_each_item(stays, sessions) -> None:
    """promtool accepts the output without a warning: each item's level, its value, and the page that explains it."""
    needs_monitoring()
    for _ in range(5):
        sessions(stays.database, application_name="with five")
    stays.bouncer.set(max_client_conn=1)
    status, text, levels = until("two looks find the same items", lambda: alike(stays))
    stays.bouncer.set(max_client_conn=100)
    command = [*monitoring.find("promtool"), "check", "metrics"]
    checked = subprocess.run(command, input=text, capture_output=True, text=True, env=monitoring.THRIFTY)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert status == 2, text
    assert levels["clients"] == (2, "https://guide.example/runbooks/pgbouncer-max-client-conn/")
    assert levels["queue"] == (0, "")
    assert 'pool_doctor_value{item="clients",unit="%"} ' in text
    values = {labels["item"]: value for name, labels, value in monitoring.samples(text) if name.endswith("_value")}
    assert values["sessions"] >= 5


def alike(stays: Stays) -> tuple[int, str, dict[str, tuple[float, str]]] | None:
    """Look twice; return what Prometheus gets, also by item, if the other look finds the same items.

    Something that waits only for a moment may be found by just one of them.
    """
    told = {finding["item"] for finding in json.loads(stays.look("--json")[1])["findings"]}
    status, text = stays.look("--prometheus")
    samples = [each for each in monitoring.samples(text) if each[0].endswith("_level")]
    levels = {labels["item"]: (value, labels["page"]) for _, labels, value in samples}
    return (status, text, levels) if levels.keys() == told else None
