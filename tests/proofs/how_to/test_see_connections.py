"""Proves docs/how-to/see-connections.md. Every query runs against real sessions in the states that it talks about."""

import re

import psycopg
import pytest
from psycopg import conninfo

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.how_to.test_idle_in_transaction import seconds
from tests.stack.database import Database, Role, fresh, run_psql
from tests.stack.upstream import serving
from tests.stack.wait import until

PIDS = (r"\b\d{2,}\b", "PID")
AGES = (r"\d+:\d{2}:\d{2}", "AGE")


@pytest.fixture
def busy(database, sessions):
    """A database with sessions in every state: idle, active, idle in transaction, and one that waits for another."""
    owner = sessions(database, application_name="upstream")
    owner.execute("create table account (id int primary key, balance int)")
    owner.execute("insert into account values (1, 100)")
    sessions(database, application_name="upstream")
    holder = sessions(database, application_name="worker", autocommit=False)
    holder.execute("update account set balance = 90 where id = 1")
    start(sessions(database, application_name="report"), "select pg_sleep(60)")
    start(sessions(database, application_name="upstream"), "update account set balance = 80 where id = 1")
    until("one session waits for another", lambda: states(database).count("active") == 2 and waiting(database))
    return database


def start(connection: psycopg.Connection, statement: str) -> None:
    """Send a statement and do not wait for its result."""
    connection.pgconn.send_query(statement.encode())


def states(database: Database) -> list[str]:
    """Return the state of each session of a database."""
    query = "select state from pg_stat_activity where datname = %s and backend_type = 'client backend'"
    return [state for (state,) in database.admin.execute(query, [database.name])]


def waiting(database: Database) -> int:
    """Return how many sessions of a database wait for a lock."""
    query = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"
    return database.admin.execute(query, [database.name]).fetchone()[0]


@control(edit("postgres/clients.sql", "and datname = current_database()", ""))
def test_clients_groups_sessions_by_application_and_state(busy, load, transcript) -> None:
    """Each application's sessions are counted by state, and nothing else is: no worker, no background process."""
    snippet = load("postgres/clients.sql")
    transcript(snippet, busy.psql(snippet))


@control(edit("postgres/clients.sql", "backend_type = 'client backend'", "true"))
def test_a_parallel_query_is_one_connection(database, load, sessions) -> None:
    """clients.sql counts a parallel query once; without its filter on backend_type, each worker would count, too."""
    connection = sessions(database, application_name="report")
    # Have workers used for a query too cheap for them; the rows fill several pages, so that each worker gets some.
    for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
        connection.execute(f"set {setting}")
    connection.execute("create table many as select generate_series(1, 3000) as n")
    connection.execute("alter table many set (parallel_workers = 2)")
    connection.execute(
        "create function slow(int) returns int language sql parallel safe as 'select $1 from pg_sleep(0.5)'"
    )
    start(connection, "select max(slow(n)) from many")
    everything = "select count(*) from pg_stat_activity where %s in (pid, leader_pid)"

    def with_workers() -> bool:
        return database.admin.execute(everything, [connection.info.backend_pid]).fetchone()[0] > 1

    until("the parallel workers run", with_workers)
    output = database.psql(load("postgres/clients.sql"))
    assert [line.split("|")[2].strip() for line in output.splitlines() if "report" in line] == ["1"]


@control(edit("postgres/ages.sql", "backend_start) as", "state_change) as"))
@control(edit("postgres/ages.sql", "state_change) as", "backend_start) as"))
@control(edit("postgres/ages.sql", "order by backend_start", "order by backend_start desc"))
def test_ages_shows_how_long_each_session_is_in_its_state(busy, load, sessions, transcript) -> None:
    """One row per session, the oldest first, with two ages: since it connected, and in its current state."""
    snippet = load("postgres/ages.sql")
    transcript(snippet, busy.psql(snippet), volatile=[AGES, PIDS])
    late = sessions(busy, application_name="late")
    there = "select clock_timestamp() - backend_start > '1 s' from pg_stat_activity where pid = %s"
    until("it is there for a second", lambda: busy.admin.execute(there, [late.info.backend_pid]).fetchone()[0])
    late.execute("select 1")
    (row,) = [line.split("|") for line in busy.psql(snippet).splitlines() if "late" in line]
    connected_for, in_state_for = map(seconds, row[3:])
    assert connected_for >= in_state_for + 1


@control(
    edit("postgres/idle_in_transaction.sql", "backend_type = 'client backend'", "backend_type <> 'client backend'")
)
def test_idle_in_transaction_names_who_holds_locks_and_is_silent(busy, load, transcript) -> None:
    """Only the session that went idle in its transaction is listed, with its last statement."""
    snippet = load("postgres/idle_in_transaction.sql")
    transcript(snippet, busy.psql(snippet), volatile=[AGES, PIDS])


@control(edit("postgres/idle_in_transaction.sql", "like 'idle in transaction%'", "= 'idle in transaction'"))
@control(here("; release savepoint before", ""))
@control(here("select 1 / 0", "select 1"))
def test_an_aborted_transaction_is_listed_and_holds_no_lock(database, load, sessions) -> None:
    """After an error it holds no locks; within a savepoint, it keeps those taken before it. It is listed either way."""
    snippet = load("postgres/idle_in_transaction.sql")
    failed = sessions(database, application_name="failed", autocommit=False)
    failed.execute("create table account (id int)")

    def locks_after_an_error() -> int:
        with pytest.raises(psycopg.errors.DivisionByZero):
            failed.execute("select 1 / 0")
        assert "failed" in database.psql(snippet)
        query = "select count(*) from pg_locks where pid = %s"
        return database.admin.execute(query, [failed.info.backend_pid]).fetchone()[0]

    failed.execute("savepoint before")
    assert locks_after_an_error() > 0
    failed.execute("rollback to savepoint before; release savepoint before")
    assert locks_after_an_error() == 0


# A nested atomic() has ended, and the outer one goes on.
NESTED = """
import django, time; django.setup()
from django.db import transaction
from orders.models import Order

with transaction.atomic():
    with transaction.atomic():
        Order.objects.create(customer="Ada")
    print("done", flush=True)
    time.sleep(600)
"""


@control(here('"-c", NESTED', '"-c", NESTED.replace("    with transaction.atomic():", "    if True:")'))
def test_after_a_nested_atomic_the_last_statement_is_about_its_savepoint(project, server, migrated, load) -> None:
    """It is RELEASE SAVEPOINT, whatever the block has executed."""
    with fresh(server, template=migrated) as database:
        process = project.start("-c", NESTED, database_url=database.url, DJANGO_SETTINGS_MODULE="settings.prod")
        try:
            until("the inner block has ended", lambda: "done" in process.said())
            listed = database.psql(load("postgres/idle_in_transaction.sql"))
        finally:
            process.stop()
    project.note()
    assert listed.splitlines()[2].split("|")[4].startswith(" RELEASE SAVEPOINT ")


@control(here('("1", 200)', '("600", 200)'))
@control(here('("600", 500)', '("1", 500)'))
def test_a_connection_past_its_age_is_not_missed_when_it_was_ended(project, server, migrated) -> None:
    """Without health checks a request fails over a session that idle_session_timeout ended, unless it was too old.

    Django closes a connection that is past its CONN_MAX_AGE when the next request begins, and asks over another one.
    """
    for age, status in (("1", 200), ("600", 500)):
        one = {"GUNICORN_WORKERS": "1", "GUNICORN_THREADS": "1", "DB_CONN_HEALTH_CHECKS": "False"}
        with fresh(server, template=migrated) as database:
            database.admin.execute(f"alter role {database.role.name} set idle_session_timeout = '2s'")
            with serving(project, database, **one, DB_CONN_MAX_AGE=age) as gunicorn:
                gunicorn.backend()
                until("it is ended", lambda: database.backends() == [])
                assert gunicorn.request("/connection/")[0] == status
                assert gunicorn.request("/connection/")[0] == 200
                gunicorn.note()


@control(
    edit(
        "postgres/waiting.sql",
        "inner join pg_stat_activity as holding on blocker.pid = holding.pid",
        "inner join pg_stat_activity as holding on blocker.pid <> holding.pid",
    )
)
def test_waiting_names_both_sides(busy, load, transcript) -> None:
    """The waiting session is shown beside the one that it waits for."""
    snippet = load("postgres/waiting.sql")
    transcript(snippet, busy.psql(snippet), volatile=[PIDS])


@control(here('silent.execute("select 1")', "pass"))
@control(here('start(works, "select pg_sleep(60)")', "pass"), fails_with="the other works: not within")
@control(here('start(queues, "table item")', "pass"), fails_with="it waits: not within")
@pytest.mark.usefixtures("item")
def test_a_silent_session_waits_for_its_client(database, sessions) -> None:
    """Idle, in a transaction or not, its wait event is ClientRead; one that waits for a lock has another event."""
    idle, works, queues = (sessions(database) for _ in range(3))
    silent, holder = (sessions(database, autocommit=False) for _ in range(2))
    silent.execute("select 1")
    holder.execute("lock table item")
    start(works, "select pg_sleep(60)")
    start(queues, "table item")
    query = "select state, wait_event_type, wait_event from pg_stat_activity where pid = %s"

    def event(session: psycopg.Connection) -> tuple | None:
        return database.admin.execute(query, [session.info.backend_pid]).fetchone()

    until("it waits", lambda: event(queues) == ("active", "Lock", "relation"))
    until("both are silent", lambda: {event(idle)[1:], event(silent)[1:]} == {("Client", "ClientRead")})
    assert event(idle)[0] == "idle"
    assert event(silent)[0] == "idle in transaction"
    until("the other works", lambda: event(works)[0] == "active")
    assert event(works)[1] != "Client"


@control(edit("postgres/slots.sql", "name,", ""))
def test_slots_shows_the_three_settings(cluster, load, transcript) -> None:
    """It shows the three settings that divide the slots, and whether a change is pending a restart."""
    snippet = load("postgres/slots.sql")
    with fresh(cluster(max_connections=10).server) as database:
        transcript(snippet, database.psql(snippet))


@control(edit("postgres/usage.sql", "- current_setting('superuser", "+ current_setting('superuser"))
def test_usage_divides_by_usable_slots(cluster, load, sessions, transcript) -> None:
    """With 3 of 10 slots reserved, six sessions and an administrator's make 100 %: no other ordinary role gets in."""
    snippet = load("postgres/usage.sql")
    with fresh(cluster(max_connections=10).server) as database:
        for _ in range(6):
            sessions(database)
        # The administrator's psql counts as well: it is one more client.
        transcript(snippet, database.psql(snippet))
        until("psql's session has ended", lambda: len(database.backends()) == 6)
        with (
            psycopg.connect(database.superuser),
            pytest.raises(psycopg.OperationalError, match="slots are reserved"),
        ):
            database.connect()


@control(here("backend_type <> 'client backend'", "backend_type = 'client backend'"))
def test_counting_everything_looks_full_before_anyone_connects(cluster) -> None:
    """count(*) over pg_stat_activity also counts the server's own processes: half of 10 slots before any client."""
    with cluster(max_connections=10).server.connect() as connection:
        query = "select count(*) filter (where backend_type <> 'client backend'), count(*) from pg_stat_activity"
        background, everything = connection.execute(query).fetchone()
    assert background >= 5
    assert everything > background


@control(edit("postgres/monitoring_role.sql", 'grant pg_monitor to :"role";', ""))
def test_without_pg_monitor_other_roles_are_hidden(database, load, sessions) -> None:
    """An ordinary role sees that other roles are connected, but not their state; with pg_monitor it sees that, too."""
    sessions(database, application_name="upstream")
    watcher = Role(database.server)
    query = "select count(*), count(state) from pg_stat_activity where application_name = 'upstream' and datname = %s"
    with database.connect(application_name="watcher", user=watcher.name, password=watcher.password) as connection:
        assert connection.execute(query, [database.name]).fetchone() == (1, 0)
        database.psql(load("postgres/monitoring_role.sql"), role=watcher.name)
        assert connection.execute(query, [database.name]).fetchone() == (1, 1)
    watcher.drop(database.admin)


@control(edit("postgres/monitoring_role.sql", 'grant pg_monitor to :"role";', ""))
@pytest.mark.parametrize("query", ["clients", "ages", "idle_in_transaction", "waiting"])
def test_without_pg_monitor_the_queries_show_nothing_of_others(busy, load, query) -> None:
    """Only waiting.sql names other roles' applications, without a statement; with pg_monitor, every query does."""
    snippet, watcher = load(f"postgres/{query}.sql"), Role(busy.server)
    address = conninfo.make_conninfo(busy.url, user=watcher.name, password=watcher.password)
    others, waiting = {"upstream", "worker", "report"}, {"upstream", "worker"}

    def shown() -> set[str]:
        evidence.ran(snippet)
        result = run_psql(address, snippet.text)
        assert result.returncode == 0, result.stderr
        return {"update", *others} & {*result.stdout.replace("|", " ").split()}

    assert shown() == (waiting if query == "waiting" else set())
    busy.psql(load("postgres/monitoring_role.sql"), role=watcher.name)
    assert shown() == {"idle_in_transaction": {"update", "worker"}, "waiting": {"update", *waiting}}.get(query, others)
    watcher.drop(busy.admin)


@control(edit("postgres/monitoring_role.sql", 'grant pg_monitor to :"role";', ""))
def test_without_pg_monitor_a_full_server_looks_empty(busy, load) -> None:
    """An ordinary role counts only its own session; with pg_monitor, another role's five are counted too."""
    snippet, watcher = load("postgres/usage.sql"), Role(busy.server)
    address = conninfo.make_conninfo(busy.url, user=watcher.name, password=watcher.password)

    def clients() -> int:
        evidence.ran(snippet)
        result = run_psql(address, snippet.text)
        assert result.returncode == 0, result.stderr
        return int(result.stdout.splitlines()[2].split("|")[0])

    assert clients() == 1
    busy.psql(load("postgres/monitoring_role.sql"), role=watcher.name)
    assert clients() > 5
    watcher.drop(busy.admin)


@control(edit("postgres/close_idle.sql", "and state = 'idle'", ""))
@control(edit("postgres/close_idle.sql", "state = 'idle'", "state like 'idle%'"))
@control(edit("postgres/close_idle.sql", "and application_name = :'application'", ""))
@control(
    edit("postgres/close_idle.sql", "\n    and datname = current_database()", ""), fails_with="terminating connection"
)
def test_close_idle_ends_only_what_has_been_idle_long_enough(database, load, sessions) -> None:
    """Idle sessions of the named application end; active, in-transaction, recent and other applications' ones stay.

    So do those in another database. The application's own role may run it.
    """
    sessions(database, application_name="upstream")
    other = sessions(database, application_name="other")
    running = sessions(database, application_name="upstream")
    silent = sessions(database, application_name="upstream", autocommit=False)
    silent.execute("select 1")
    start(running, "select pg_sleep(60)")
    until("a session is active", lambda: "active" in states(database))
    snippet = load("postgres/close_idle.sql")
    database.psql(snippet, application="upstream", idle_for="1 hour")
    until("psql's own session ends", lambda: len(database.backends()) == 4)
    with fresh(database.server) as another, another.connect(application_name="upstream") as elsewhere:
        database.psql(snippet, application="upstream", idle_for="0")
        until("the idle session ends", lambda: len(database.backends()) <= 3)
        assert elsewhere.execute("select 1").fetchone() == (1,)
    stay = {running.info.backend_pid, silent.info.backend_pid}
    assert {*database.backends()} == {other.info.backend_pid, *stay}
    database.psql(snippet, superuser=False, application="other", idle_for="0")
    until("the other one ends as well", lambda: {*database.backends()} == stay)


@control(here("silent.execute(statement)", "pass"))
@control(here('"declare orders cursor for', '"declare orders cursor for select 1; close orders;'))
def test_a_transaction_that_has_written_keeps_vacuum_from_what_died_since(database) -> None:
    """One that has only read does not at READ COMMITTED, unless a cursor is open, but does at REPEATABLE READ."""

    def kept(statement: str, level: str = "read committed") -> int:
        """Return how many of ten dead rows vacuum leaves, while a session is idle after this statement."""
        with database.connect() as other, database.connect(autocommit=False) as silent:
            other.execute("drop table if exists died; create table died (n int)")
            silent.execute(f"set transaction isolation level {level}")
            silent.execute(statement)
            other.execute("insert into died select generate_series(1, 10)")
            other.execute("delete from died")
            said: list[str] = []
            other.add_notice_handler(lambda notice: said.append(f"{notice.message_primary} {notice.message_detail}"))
            other.execute("vacuum (verbose) died")
            (left,) = re.findall(r"(\d+) (?:are dead but not yet|dead row versions cannot be) remov", "\n".join(said))
            return int(left)

    with database.connect() as connection:
        connection.execute("create table account (id int)")
    assert kept("select * from account") == 0
    assert kept("insert into account values (1)") == 10
    assert kept("select * from account", "repeatable read") == 10
    cursor = "declare orders cursor for select * from account"
    assert kept(cursor) == 10
