"""Proves docs/how-to/pool-doctor.md: the query and the command, as a role that may look and no more."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proven import evidence
from proven.sources.controls import control, edit
from tests.proofs.pooled import Existing
from tests.stack.database import Database, Role, fresh
from tests.stack.postgres import bin_dir, own_major
from tests.stack.wait import DEADLINE, until

QUERY = "upstream/orders/management/commands/pool_doctor.sql"
PIDS = (r"\bpid \d+", "pid PID")
AGES = (r"\d+\.\d(?= \| s )", "AGE")
LINES = (r"\b\d+\.?\d*(?= s  )", "AGE")
ITEMS = ("transaction", "silence", "wait", "sessions")
SLOTS = {"max_connections": 23}  # 20 for all: 80 % are 16 and 95 % are 19


@pytest.fixture
def database(cluster) -> Iterator[Database]:
    """A database on a server whose sessions are all this proof's."""
    with fresh(cluster(**SLOTS).server) as made:
        yield made


@pytest.fixture
def watcher(database, load) -> Iterator[Existing]:
    """The same database as a monitoring role reaches it, which may not even write."""
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
    """Have another limit for as long as the block lasts, where a setting of the role's is."""
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
    """Return how many sessions the server has, the one that asks among them."""
    with database.server.connect() as connection:
        query = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        return connection.execute(query).fetchone()[0]


def told(who: Database, load) -> list[list[str]]:
    """Return what the query tells a role in psql, line by line: level, item, value, unit and finding."""
    rows = [[cell.strip() for cell in line.split("|")] for line in who.psql(load(QUERY), superuser=False).splitlines()]
    return [row for row in rows if len(row) == 5]


def seen_by(who: Database, load) -> dict[str, tuple[str, str]]:
    """Return of each item the first level and finding."""
    return {item: (level, finding) for level, item, _, _, finding in reversed(told(who, load))}


# ---- what it sees ----------------------------------------------------------------------------------------------


@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "amount >= alarms_at", "amount >= 1000000 * alarms_at")
)
def test_one_screen_shows_all_that_holds_and_waits(busy, watcher, load, transcript) -> None:
    """A role with pg_monitor, in transactions that only read, sees each part, on every PostgreSQL since 14."""
    until("all has lasted for a second", lambda: lasted(busy) > 1)
    with patience(watcher.role, busy, "50 ms"):
        snippet = load(QUERY)
        transcript(snippet, watcher.psql(snippet, superuser=False), [PIDS, AGES], case="in-psql")


def lasted(database: Database) -> float:
    """Return for how many seconds one waits for another, whose transaction and silence have lasted longer."""
    query = "select extract(epoch from clock_timestamp() - min(waitstart))::float from pg_locks where not granted"
    with database.server.connect() as connection:
        return connection.execute(query).fetchone()[0] or 0  # it is null at first


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "10 * ", "10000000 * "))
def test_what_lasts_longer_than_patience_is_a_warning_and_later_critical(busy, watcher, load) -> None:
    """A transaction, a silence and a wait: fine at first, a warning after the limit, critical after ten times that."""

    def levels(part: float) -> set[str]:
        """Return what all are called where the limit is this part of what they have lasted."""
        with patience(watcher.role, busy, f"{part * lasted(busy)} s"):
            seen = seen_by(watcher, load)
        return {seen[item][0] for item in ("transaction", "silence", "wait")}

    until("one has waited", lambda: lasted(busy) > 0)
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
    """The session that waits, and the one that is idle in a transaction and holds what it waits for."""
    finding = seen_by(watcher, load)["wait"][1]
    (waits, holder) = (int(part.split(",")[0]) for part in finding.split("pid ")[1:])
    with busy.server.connect() as connection:
        assert connection.execute("select pg_blocking_pids(%s)", [waits]).fetchone() == ([holder],)


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "order by open_for desc", "order by open_for"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "limit 3", "limit 4"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "waits.seconds desc", "waits.seconds"))
@control(edit("upstream/orders/management/commands/pool_doctor.sql", "sum(many) desc, application", "application"))
def test_it_tells_of_the_longest_and_the_largest(database, watcher, sessions, load) -> None:
    """Of four transactions one, of their silences three, of seven waits five, and of twelve applications ten."""
    silent = [sessions(database, application_name=f"silent {number}", autocommit=False) for number in range(4)]
    for each in silent:
        each.execute("select 1")
    silent[0].execute("select pg_advisory_xact_lock(1), pg_advisory_xact_lock_shared(2)")
    silent[1].execute("select pg_advisory_xact_lock_shared(2)")
    for each in silent[1:]:
        each.execute("select pg_sleep(0.1)")  # since then it is silent, for less long than the one before
    waits = [sessions(database, application_name=f"waits {number}") for number in reversed(range(6))]
    for number, each in enumerate(waits, start=1):
        # The first waits for two others, and each of the rest for one.
        each.pgconn.send_query(b"select pg_advisory_lock_shared(1)" if number > 1 else b"select pg_advisory_lock(2)")
        until("it waits", lambda number=number: waiting(database) == number)
    for _ in range(2):
        sessions(database, application_name="with two")
    found = {item: [row[4] for row in told(watcher, load) if row[1] == item] for item in ITEMS}
    assert found["sessions"][0] == "with two: 2 idle"
    assert len(found.pop("sessions")) == 10
    pids = {item: [int(finding.split()[1].rstrip(",")) for finding in findings] for item, findings in found.items()}
    longest = {"transaction": silent[:1], "silence": silent[:3], "wait": [waits[0], *waits[:4]]}
    assert pids == {item: [each.info.backend_pid for each in those] for item, those in longest.items()}


def waiting(database: Database) -> int:
    """Return how many sessions have begun to wait for a lock."""
    with database.server.connect() as connection:
        return connection.execute("select count(waitstart) from pg_locks where not granted").fetchone()[0]


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "what is no client''s session", "nobody"))
def test_a_transaction_that_no_session_holds_is_named_as_such(cluster, sessions, load) -> None:
    """A prepared transaction keeps its locks when its session has left."""
    with fresh(cluster(**SLOTS, max_prepared_transactions=1).server) as database:
        with database.connect() as connection:
            connection.execute("create table account (id int)")
            connection.execute("begin; lock account; prepare transaction 'forgotten'")
        sessions(database).pgconn.send_query(b"select * from account")
        seen = until("one waits", lambda: seen_by(database, load).get("wait"))
        with database.connect() as connection:
            connection.execute("rollback prepared 'forgotten'")
    assert "for what is no client's session" in seen[1]


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "when item = 'hidden' then 'unknown'", ""))
def test_an_ordinary_role_is_told_what_it_cannot_see(busy, load) -> None:
    """Every session counts, but those of others are hidden, and the doctor says whom to grant what."""
    stranger = Role(busy.server)
    try:
        seen = seen_by(Existing(busy.server, busy.name, stranger), load)
    finally:
        with busy.server.connect() as connection:
            stranger.drop(connection)
    assert seen["hidden"] == ("unknown", f"are other roles': grant pg_monitor to {stranger.name}")
    assert seen["slots"][1] == "6 of 20 taken"
    assert "transaction" not in seen


@control(
    edit(
        "upstream/orders/management/commands/pool_doctor.sql",
        "- coalesce(current_setting('reserved_connections', true), '0')::int",
        "",
    )
)
def test_slots_for_roles_of_your_choice_are_not_for_all(cluster, load) -> None:
    """Since PostgreSQL 16 reserved_connections are taken off as well; before, there is no such setting."""
    reserved = {"reserved_connections": 5} if own_major() >= 16 else {}
    with fresh(cluster(**SLOTS, **reserved).server) as database:
        assert seen_by(database, load)["slots"][1] == f"1 of {15 if reserved else 20} taken"
        named = "select current_setting('reserved_connections', true)"
        assert database.admin.execute(named).fetchone() == ("5" if reserved else None,)


# ---- churn -----------------------------------------------------------------------------------------------------


@control(
    edit("upstream/orders/management/commands/pool_doctor.sql", "done < 5 * begun", "done < 0 * begun"),
    fails_with="1 transactions a session are seen: not within",
)
@pytest.mark.parametrize(("each", "level"), [(1, "warning"), (20, "ok")])
def test_watched_it_tells_of_churn_since_the_look_before(database, watcher, load, tmp_path, each, level) -> None:
    """In one session each look is compared with the one before: many sessions that do little are a warning."""
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
        assert churn(output.read_text())[0] == ["ok", "", "is known from the second look on"]

        def warned() -> bool:
            # What a session did is counted when it ends, or after a second.
            with database.connect() as connection:
                for _ in range(each):
                    connection.execute("select 1")
            return (level, True) in [(found, begun > 0) for found, _, begun, _ in counted(output.read_text())[1:]]

        until(f"{each} transactions a session are seen", warned)
    finally:
        os.killpg(watching.pid, signal.SIGTERM)
        watching.wait(DEADLINE)
    # Of a session that still goes on a look may have seen no more than its beginning.
    for found, rate, begun, done in counted(output.read_text()):
        few = done < 5 * begun
        assert (few and rate >= 1) if found == "warning" else (not few or rate <= 1)  # it is rounded
    evidence.ran(script)
    evidence.ran(load(QUERY))


def churn(text: str) -> list[list[str]]:
    """Return the level, the sessions in a second and the finding of each look at the churn."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if "| churn" in line]
    return [[level, rate, finding] for level, _, rate, _, finding in rows]


def counted(text: str) -> list[tuple[str, float, int, int]]:
    """Return the level of each look but the first, sessions in a second, sessions, and transactions."""
    numbers = re.compile(r"(\d+) sessions and (\d+) transactions")
    looks = [(level, float(rate), numbers.match(finding)) for level, rate, finding in churn(text)[1:]]
    return [(level, rate, int(said[1]), int(said[2])) for level, rate, said in looks if said]


def connection_of(who: Existing) -> dict[str, str]:
    """Return what psql takes from its environment."""
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


@control(edit("upstream/orders/management/commands/pool_doctor.py", "{level:8}  {item:11}", "{item:11}  {level:8}"))
@pytest.mark.usefixtures("busy")
def test_the_command_prints_one_screen(watcher, project, load, transcript) -> None:
    """The same findings, a line each."""
    _, output = doctor(project, watcher)
    transcript(load("upstream/orders/management/commands/pool_doctor.py"), output, [PIDS, LINES], case="from-Django")


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "80 as warns_at", "90 as warns_at"))
@control(edit("upstream/orders/management/commands/pool_doctor.py", '"connection slots are reserved", ', ""))
@pytest.mark.parametrize(
    ("others", "status", "item"),
    [(14, 0, "slots"), (15, 1, "slots"), (18, 2, "slots"), (20, 2, "connect")],
    ids=["75 %", "80 %", "95 %", "locked out"],
)
def test_the_exit_status_tells_how_full_the_server_is(
    database, watcher, project, sessions, others, status, item
) -> None:
    """Of 20 slots, itself included: 0 at 75 %, 1 at 80 %, 2 at 95 %, and 2 when it is not let in any more."""
    for _ in range(others):
        sessions(database)
    until("all are there", lambda: connected(database) == others + 1)
    ended, output = doctor(project, watcher, "--json")
    assert ended == status, output
    first = json.loads(output)["findings"][0]
    assert first["item"] == item
    assert f"{others + 1} of 20 taken" == first["finding"] or "slots are reserved" in first["finding"]


@control(edit("upstream/orders/management/commands/pool_doctor.sql", "10 * ", "10000000 * "))
def test_the_exit_status_tells_of_an_old_transaction(busy, watcher, project) -> None:
    """A transaction that is older than --patience is 1, and one that is ten times as old 2."""

    def ended(part: float) -> int:
        """Return the exit status where the limit is this part of what all has lasted."""
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
def test_since_a_run_before_it_tells_what_is_new(database, watcher, project, tmp_path) -> None:
    """With a file to remember by, each run knows how many sessions have begun since the last one."""
    memory = str(tmp_path / "doctor.last")

    def churn_of(*options: str) -> dict:
        status, output = doctor(project, watcher, "--json", *options)
        assert status in (0, 1), output
        return next(f for f in json.loads(output)["findings"] if f["item"] == "churn")

    assert churn_of("--since", memory)["value"] is None
    for _ in range(20):
        database.connect().close()

    def counted() -> bool:
        finding = churn_of("--since", memory)
        return int(finding["finding"].split()[0]) >= 20

    until("20 new sessions are counted", counted)


@control(edit("upstream/orders/management/commands/pool_doctor.py", '{"level": worst, ', '{"level": "unknown", '))
@pytest.mark.usefixtures("busy")
def test_json_has_the_worst_level_and_every_finding(watcher, project) -> None:
    """One line of JSON: the level that makes the exit status, and the findings, each with the same five names."""
    status, output = doctor(project, watcher, "--json", "--patience", "1 hour")
    found = json.loads(output)
    assert output.count("\n") == 1
    assert (status, found["level"]) == (0, "ok")
    assert {tuple(finding) for finding in found["findings"]} == {("level", "item", "value", "unit", "finding")}
    items = [finding["item"] for finding in found["findings"]]
    assert items == ["slots", "transaction", "silence", "wait", "churn", *["sessions"] * 2]


@control(edit("upstream/orders/management/commands/pool_doctor.py", '"unknown": 3', '"unknown": 2'))
@control(
    edit("upstream/orders/management/commands/pool_doctor.py", '"connect_timeout", 5', '"connect_timeout", 500'),
    fails_with=" ends: not within",
)
def test_what_it_cannot_tell_is_three(busy, project) -> None:
    """No server, one that never answers, a wrong password, no such alias, a role that sees too little: all are 3."""
    silent = socket.create_server(("127.0.0.1", 0))
    closed = socket.create_server(("127.0.0.1", 0))
    ports = [server.getsockname()[1] for server in (closed, silent)]
    closed.close()
    with silent:
        nobody, nothing = (f"postgresql://a:b@127.0.0.1:{port}/c" for port in ports)
        wrong = busy.url.replace(busy.role.password, "wrong")
        said = {
            "refused": doctor(project, busy, url=nobody),
            "timeout": doctor(project, busy, url=nothing),
            "password": doctor(project, busy, url=wrong),
            "doesn't exist": doctor(project, busy, "--database", "elsewhere"),
            "hidden": doctor(project, stranger := Existing(busy.server, busy.name, Role(busy.server))),
        }
    with busy.server.connect() as connection:
        stranger.role.drop(connection)
    for text, (status, output) in said.items():
        assert (status, text in output) == (3, True), output
        assert "Traceback" not in output


@control(
    edit(
        "upstream/settings/environment.py",
        'raise ImproperlyConfigured(f"{name}: give {wanted}")',
        "raise SystemExit(4)",
    )
)
def test_a_mistake_before_it_begins_is_django_s_own_exit_status(project, database) -> None:
    """Settings that cannot be read end with 1, and an option that does not exist with 2, as any command does."""
    assert project.run("manage.py", "pool_doctor", database_url="nonsense")[0] == 1
    assert doctor(project, database, "--nonsense")[0] == 2
