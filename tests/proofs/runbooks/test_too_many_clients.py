"""Proves docs/runbooks/too-many-clients.md: the failure, its diagnosis, its remedies."""

import socket
import subprocess
from contextlib import ExitStack, suppress

import psycopg
import psycopg2
import pytest
from psycopg import conninfo

from proven import evidence
from proven.problems import ProblemError
from proven.sources.controls import control, edit, here
from tests.proofs.heard import heard
from tests.proofs.reference.texts.clients import startup
from tests.stack.database import Role, fresh, run_psql
from tests.stack.fixtures import note_postgres
from tests.stack.postgres import Cluster, bin_dir, own_major
from tests.stack.wait import until

TOO_MANY = "provoke/too_many_clients.py"


@pytest.fixture
def full(cluster, sessions):
    """A database on a server of 10 slots whose application holds every slot that it can have."""
    with fresh(cluster(max_connections=10).server) as database:
        for _ in range(7):
            sessions(database)
        yield database


@control(edit("provoke/too_many_clients.py", "while True:", "while False:"))
def test_an_ordinary_role_is_refused_while_slots_are_left(cluster, load, printed, transcript) -> None:
    """The first error an application gets is about reserved slots, in the words of its server's version."""
    snippet = load(TOO_MANY)
    with fresh(cluster(max_connections=10).server) as database:
        output = printed(snippet, DATABASE_URL=database.url)
    words = "non-replication superuser connections" if own_major() < 16 else "roles with the SUPERUSER attribute"
    assert f"FATAL:  remaining connection slots are reserved for {words}" in output
    transcript(snippet, output)


@control(edit("provoke/too_many_clients.py", "while True:", "while False:"))
def test_too_many_clients_means_that_the_reserved_slots_are_gone_too(cluster, load, printed, transcript) -> None:
    """Only when superusers hold the last three slots does the famous text appear."""
    snippet = load(TOO_MANY)
    server = cluster(max_connections=10).server
    with fresh(server) as database:
        output = printed(snippet, DATABASE_URL=conninfo.make_conninfo(server.superuser, dbname=database.name))
    assert "FATAL:  sorry, too many clients already" in output
    transcript(snippet, output, case="as-superuser")


@control(here('count(b"R") == 10', 'count(b"R") == 1'))
def test_who_still_logs_in_takes_the_reserved_slots_too(cluster) -> None:
    """With ten clients that have not sent a password yet, the application and a superuser get "too many clients"."""
    server = cluster(max_connections=10).server
    with fresh(server) as database, ExitStack() as clients:
        heard_of: list[bytes] = []

        def ten_are_asked() -> bool:
            client = clients.enter_context(socket.create_connection((server.host, server.port)))
            client.sendall(startup(user=database.role.name, database=database.name))
            heard_of.append(client.recv(1))
            return heard_of.count(b"R") == 10

        until("each slot has a client that is asked for its password", ten_are_asked)
        for driver in (psycopg, psycopg2):
            assert heard(driver.connect, database.url) == "FATAL:  sorry, too many clients already"
        assert heard(server.connect) == "FATAL:  sorry, too many clients already"


@control(edit("postgres/usage.sql", "- current_setting('superuser", "+ current_setting('superuser"))
@control(here("range(7)", "range(6)", of="tests.proofs.runbooks.test_too_many_clients:full"))
def test_the_application_cannot_look_while_it_is_locked_out(full, load) -> None:
    """The application's role cannot even connect for the diagnosis; a superuser can."""
    snippet = load("postgres/usage.sql")
    with pytest.raises(ProblemError, match="remaining connection slots are reserved"):
        full.psql(snippet, superuser=False)
    percent_used = int(full.psql(snippet).splitlines()[2].rpartition("|")[2])
    assert percent_used >= 100


@control(edit("postgres/clients.sql", "backend_type = 'client backend'", "backend_type <> 'client backend'"))
def test_clients_names_the_application_that_holds_the_slots(full, load) -> None:
    """The application with the most connections comes first."""
    first = full.psql(load("postgres/clients.sql")).splitlines()[2]
    assert [part.strip() for part in first.split("|")] == ["upstream", "idle", "7"]


@control(
    edit("postgres/close_idle.sql", "pg_terminate_backend", "pg_cancel_backend"),
    fails_with="slots are free: not within",
)
def test_closing_idle_connections_lets_the_application_in_again(full, load) -> None:
    """Once its idle sessions have been ended, the application can connect."""
    with pytest.raises(psycopg.OperationalError, match="slots are reserved"):
        full.connect()
    full.psql(load("postgres/close_idle.sql"), application="upstream", idle_for="0")
    until("slots are free", lambda: len(full.backends()) == 0)
    full.connect().close()


@control(here("set role {role};", ""))
@control(here('application=""', 'application="upstream"'), fails_with="its own is closed: not within")
def test_after_set_role_a_superuser_closes_only_that_roles_connections(database, load, sessions) -> None:
    """Of the idle sessions without a name, those of the application's role end; a superuser's and a stranger's stay."""
    role, stranger = database.role.name, Role(database.server)
    login = {"user": stranger.name, "password": stranger.password}
    own = sessions(database, application_name="")
    theirs = sessions(database, application_name="", **login)
    with psycopg.connect(database.superuser, autocommit=True) as superusers:
        superusers.execute("set application_name = ''")
        close = load("postgres/close_idle.sql")
        evidence.ran(close)
        done = run_psql(database.superuser, f"set role {role};" + close.text, application="", idle_for="0")
        assert done.returncode == 0
        until("its own is closed", lambda: own.info.backend_pid not in database.backends())
        assert {theirs.info.backend_pid, superusers.info.backend_pid} <= {*database.backends()}
    theirs.close()
    stranger.drop(database.admin)


@control(here("application_name = 'upstream'", "application_name = 'another'"), fails_with="DID NOT RAISE")
def test_whoever_may_signal_sessions_fails_at_a_superusers_of_that_name(database, second_user, load) -> None:
    """The query of a role with pg_signal_backend and pg_monitor then ends with an error."""
    database.admin.execute(f"grant pg_signal_backend, pg_monitor to {second_user.role.name}")
    denied = "permission denied to terminate process|must be a superuser to terminate superuser process"
    with psycopg.connect(database.superuser, autocommit=True) as superusers:
        superusers.execute("set application_name = 'upstream'")
        close = load("postgres/close_idle.sql")
        with pytest.raises(ProblemError, match=denied):
            second_user.psql(close, superuser=False, application="upstream", idle_for="0")


@control(edit("postgres/raise_max_connections.sql", "alter system set max_connections = :slots;", ""))
def test_raising_max_connections_waits_for_a_restart(cluster, load, transcript) -> None:
    """After ALTER SYSTEM and a reload the old limit holds, marked pending_restart; after a restart the new one."""
    own = cluster(max_connections=10, cluster_name="restarted")
    slots = load("postgres/slots.sql")
    with fresh(own.server) as database:
        database.psql(load("postgres/raise_max_connections.sql"), slots="12")
        transcript(slots, database.psql(slots), case="before-the-restart")
        own.restart()
        database.follow(own.server)
        transcript(slots, database.psql(slots), case="after-the-restart")
        database.admin.execute("alter system reset max_connections")


@control(here('"-c", "max_connections=10"', ""))
@control(edit("postgres/raise_max_connections.sql", "alter system set max_connections = :slots;", ""))
def test_a_limit_on_the_servers_command_line_outweighs_alter_system(cluster, load) -> None:
    """Started as it was, the server would have what ALTER SYSTEM has set; with -c it has the limit that this names."""
    own = cluster(max_connections=10, cluster_name="commanded")
    with fresh(own.server) as database:
        database.psql(load("postgres/raise_max_connections.sql"), slots="12")
    shows = [str(own.bin / "postgres"), "-C", "max_connections", "-D", str(own.data)]

    def starts_with(*options: str) -> str:
        return subprocess.run([*shows, *options], check=True, capture_output=True, text=True).stdout.strip()

    commanded = starts_with("-c", "max_connections=10")
    assert (starts_with(), commanded) == ("12", "10")


@pytest.fixture
def primary():
    """A server of 10 slots of this proof's own, which has a standby."""
    started = Cluster(max_connections=10)
    yield started
    started.stop()


@pytest.fixture
def standby(primary):
    """Its standby, with as many slots."""
    started = Cluster(primary, max_connections=10)
    yield started
    started.stop()


@control(here("raise_it(standby, 14)", "pass"), fails_with="it has gone on: not within")
@control(here("select pg_wal_replay_resume()", "select 1"), fails_with="resuming has shut it down: not within")
def test_a_standby_with_fewer_slots_than_its_primary_stops_replaying(primary, standby, load) -> None:
    """It stops after the primary's restart until raised too; raised first, it goes on; with fewer it cannot restart.

    Where it has stopped, resuming the replay shuts it down.
    """
    note_postgres(primary.server.version())
    script = load("postgres/raise_max_connections.sql")
    evidence.ran(script)

    def raise_it(server: Cluster, slots: int) -> None:
        assert run_psql(server.server.superuser, script.text, slots=str(slots)).returncode == 0
        server.restart()

    def write(table: str) -> None:
        with primary.server.connect() as connection:
            connection.execute(f"create table {table} (n int)".encode())

    def shows(table: str, paused: str = "not paused") -> bool:
        with standby.server.connect() as connection:
            query = "select to_regclass(%s) is not null, pg_get_wal_replay_pause_state()"
            return connection.execute(query, [table]).fetchone() == (paused == "not paused", paused)

    write("before")
    until("the standby follows", lambda: shows("before"))
    raise_it(primary, 12)
    write("after")
    until("the standby has stopped", lambda: shows("after", "paused"))
    raise_it(standby, 14)
    until("it has gone on", lambda: shows("after"))
    raise_it(primary, 14)
    write("last")
    until("the standby follows", lambda: shows("last"))
    raise_it(primary, 16)
    write("later")
    until("the standby has stopped", lambda: shows("later", "paused"))
    # It may end before it answers.
    with suppress(psycopg.OperationalError), standby.server.connect() as connection:
        connection.execute("select pg_wal_replay_resume()")
    until("resuming has shut it down", standby.leash.ended)
    with pytest.raises(RuntimeError, match="recovery aborted because of insufficient parameter settings"):
        standby.restart()


@control(here("superuser=False", "superuser=True"))
def test_the_application_may_not_change_the_limit(database, load) -> None:
    """ALTER SYSTEM requires a superuser, or a role that was granted it for that setting."""
    with pytest.raises(ProblemError, match=r"permission denied to set parameter|must be superuser"):
        database.psql(load("postgres/raise_max_connections.sql"), superuser=False, slots="100")


@control(here('send("; ".join(statements))', "send(*statements)"))
@control(here("send(*statements)", 'send("; ".join(statements))'))
def test_both_statements_in_one_command_fail(cluster) -> None:
    """In one `psql --command` they are one transaction, in which ALTER SYSTEM cannot run; in two they are not."""
    own = cluster(cluster_name="in one command")
    statements = ("alter system set max_connections = 100", "select pg_reload_conf()")

    def send(*commands: str) -> tuple[int, str]:
        options = [f"--command={each}" for each in commands]
        psql = [bin_dir() / "psql", "--no-psqlrc", *options, own.server.superuser]
        done = subprocess.run(psql, capture_output=True, text=True)
        return done.returncode, done.stderr

    refused = "ERROR:  ALTER SYSTEM cannot run inside a transaction block\n"
    together = send("; ".join(statements))
    assert together == (1, refused)
    apart = send(*statements)
    assert apart == (0, "")


@control(here('f"alter role {role} connection limit 1"', 'f"alter role {role} connection limit 10"'))
def test_a_role_has_a_limit_of_its_own(database) -> None:
    """The role is refused although the server has room; pg_roles shows the limit, and -1 means none."""
    role = database.role.name
    database.admin.execute(f"alter role {role} connection limit 1")
    limit = "select rolconnlimit from pg_roles where rolname = %s"
    assert database.admin.execute(limit, [role]).fetchone() == (1,)
    with database.connect():
        for driver in (psycopg, psycopg2):
            with pytest.raises(driver.OperationalError, match=f'FATAL:  too many connections for role "{role}"'):
                driver.connect(database.url)
        database.admin.execute(f"alter role {role} connection limit -1")
        database.connect().close()


@control(
    here(
        'f"alter database {database.name} connection limit 1"', 'f"alter database {database.name} connection limit 10"'
    )
)
@control(here("connection limit -1", "connection limit 1"), fails_with="too many connections")
def test_a_database_has_a_limit_of_its_own(database) -> None:
    """Above the limit a client is refused; pg_database shows the limit, and -1 means none."""
    database.admin.execute(f"alter database {database.name} connection limit 1")
    limit = "select datconnlimit from pg_database where datname = %s"
    assert database.admin.execute(limit, [database.name]).fetchone() == (1,)
    with (
        database.connect(),
        pytest.raises(psycopg.OperationalError, match=f'too many connections for database "{database.name}"'),
    ):
        database.connect()
    database.admin.execute(f"alter database {database.name} connection limit -1")
    with database.connect():
        database.connect().close()


@control(here("work.close()", "pass"), fails_with="PgBouncer counts it no more: not within")
@control(edit("postgres/role_client_check.sql", "'2s'", "'0'"), fails_with="PostgreSQL has noticed: not within")
@pytest.mark.parametrize("limit", ["max_db_connections", "max_user_connections"])
def test_a_query_goes_on_when_its_client_is_gone_and_pgbouncer_opens_another(database, pooler, load, limit) -> None:
    """PostgreSQL has more sessions than PgBouncer may open, unless it checks whether its client is still there."""
    bouncer = pooler(database, pool_mode="transaction", **{limit: 1})

    def leave() -> None:
        work = bouncer.connect(database)
        work.execute("select 1")
        work.pgconn.send_query(b"select pg_sleep(3600)")
        active = "select count(*) from pg_stat_activity where datname = %s and state = 'active'"
        until("it runs", lambda: database.admin.execute(active, [database.name]).fetchone() == (1,))
        work.close()
        until("PgBouncer counts it no more", lambda: not [row for row in bouncer.show("servers") if row["port"]])

    leave()
    (pid,) = database.backends()
    with bouncer.connect(database) as another:
        another.execute("select 1")
        assert len(database.backends()) == 2
        database.terminate(pid)
    database.psql(load("postgres/role_client_check.sql"), role=database.role.name)
    with bouncer.admin() as console:
        console.execute("reconnect")
    until("none is left", lambda: database.backends() == [])
    leave()
    until("PostgreSQL has noticed", lambda: database.backends() == [])
