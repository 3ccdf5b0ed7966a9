"""Proves docs/how-to/restart-drill.md: a real PostgreSQL restarts behind PgBouncer while clients query."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from signal import SIGINT, SIGTERM

import psycopg
import psycopg2
import pytest

from proven.problems import ProblemError
from proven.sources.controls import control, edit, here, replace
from tests.proofs.heard import heard, many, piped
from tests.stack.console import at_least, console, pool
from tests.stack.database import fresh
from tests.stack.leash import give
from tests.stack.pgbouncer import ADMIN, PgBouncer, scram
from tests.stack.scripts import execute
from tests.stack.wait import DEADLINE, until

LOAD = "drill/load.py"
CLIENTS = 4
LOST = "server closed the connection unexpectedly"
COUNT = (r"\d+ ×", "N ×")
PAUSED = re.compile(r"^paused +\| 1$", re.MULTILINE)
ERRORS = (r"^ *\d+ × (?!answered$).*\n", "")  # which ones clients get, and how often, is a matter of milliseconds


@pytest.fixture
def own(cluster):
    """A database on a server that these proofs may restart."""
    started = cluster(cluster_name="drill")
    with fresh(started.server) as database:
        yield started, database


@contextmanager
def asking(url: str, snippet) -> Iterator[Counter]:
    """Keep clients sending queries for the duration of the block; yield counts of what they get."""
    names = execute(snippet)
    stopped, heard = threading.Event(), Counter()
    threads = names["start"](url, CLIENTS, stopped, heard)
    try:
        until("clients are served", lambda: heard["answered"] > 20)
        yield heard
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def logged_in(bouncer, database) -> list[dict]:
    """Return the server connections that clients can use."""
    servers = [row for row in bouncer.show("servers") if row["database"] == database.name]
    return [row for row in servers if row["state"] in ("active", "idle")]


def errors(heard: Counter) -> int:
    """Return how many queries failed."""
    return heard.total() - heard["answered"]


def report(snippet, heard: Counter) -> str:
    """Return what the script prints at its end."""
    return execute(snippet)["report"](heard)


def more(heard: Counter) -> None:
    """Wait until clients are served again."""
    before = heard["answered"]
    until("clients are served again", lambda: heard["answered"] > before + 20)


@control(
    edit("pgbouncer/console/pause.sql", 'pause :"database";', "show version;"),
    fails_with="no server connection is left: not within",
)
def test_a_restart_between_pause_and_resume_costs_no_error(own, pooler, load, transcript) -> None:
    """Transactions end first, clients wait while PostgreSQL restarts, and each gets its answer afterwards."""
    started, database = own
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=2)
    with asking(bouncer.url(database), load(LOAD)) as heard:
        # A login in progress would be abandoned, and count as a failed one.
        until("both server connections are logged in", lambda: len(logged_in(bouncer, database)) == 2)
        console(bouncer, load("pgbouncer/console/pause.sql"), database=database.name)
        until("no server connection is left", lambda: database.backends() == [])
        until("everybody waits", lambda: pool(bouncer, database)["cl_waiting"] == CLIENTS)
        answered = heard["answered"]
        started.restart()
        database.follow(started.server)
        assert heard["answered"] == answered
        console(bouncer, load("pgbouncer/console/resume.sql"), database=database.name)
        more(heard)
    assert errors(heard) == 0, heard
    transcript(load(LOAD), report(load(LOAD), heard), [COUNT], case="with-PAUSE")


@control(here("started.restart()", "pass"), fails_with="queries fail when it is back: not within")
@control(here("server_login_retry=2", "server_login_retry=0"), fails_with="queries fail when it is back: not within")
def test_a_restart_without_pause_fails_queries(own, pooler, load, transcript) -> None:
    """Running queries are cut off, and clients keep failing after the restart until PgBouncer tries again."""
    started, database = own
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=2, server_login_retry=2)
    with asking(bouncer.url(database), load(LOAD)) as heard:

        def fail_on() -> bool:
            started.restart()
            database.follow(started.server)
            meanwhile = errors(heard)
            more(heard)
            return errors(heard) - meanwhile > CLIENTS

        # PgBouncer may happen to try again as soon as PostgreSQL is back: then restart it once more.
        until("queries fail when it is back", fail_on)
    transcript(load(LOAD), report(load(LOAD), heard), [ERRORS, COUNT], case="without-PAUSE")


@control(here("(3600, 0)", "(3600, 3600)"), fails_with="one of them serves: not within")
def test_resume_before_postgresql_is_back_costs_server_login_retry(own, pooler, load) -> None:
    """PgBouncer tries for a waiting client, then refuses all with PostgreSQL back; with a retry of 0 it serves."""
    started, database = own
    patient, eager = (pooler(database, pool_mode="transaction", server_login_retry=seconds) for seconds in (3600, 0))
    with patient.connect(database) as client, ThreadPoolExecutor(1) as thread:
        for bouncer in (patient, eager):
            assert not refuses(bouncer, database)
            console(bouncer, load("pgbouncer/console/pause.sql"), database=database.name)
        waits = thread.submit(heard, client.execute, "select 1")
        until("the client waits", lambda: pool(patient, database)["cl_waiting"] == 1)
        started.leash.halt()
        assert "connect failed" not in patient.leash.said()
        for bouncer in (patient, eager):
            console(bouncer, load("pgbouncer/console/resume.sql"), database=database.name)
        until("it has tried for the client", lambda: "connect failed" in patient.leash.said())
        with patient.impatient(), eager.impatient():
            assert refuses(patient, database)
            assert refuses(eager, database)
            assert waits.result() == "query_wait_timeout"
    started.start(database.server.port)
    database.follow(started.server)
    until("one of them serves", lambda: refuses(patient, database) and not refuses(eager, database))
    assert refuses(patient, database)


@control(
    edit("pgbouncer/console/reconnect.sql", 'reconnect :"database";', "show version;"),
    fails_with="none of the old ones is left: not within",
)
@control(
    edit("pgbouncer/console/reconnect.sql", "reconnect", "kill"), fails_with="clients are served again: not within"
)
def test_reconnect_under_load_replaces_every_server_connection_and_costs_no_error(database, pooler, load) -> None:
    """Each is closed when its transaction ends, and the next transaction gets a new one."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=2)
    with asking(bouncer.url(database), load(LOAD)) as heard:
        # A login in progress would be abandoned, and count as a failed one.
        until("both server connections are logged in", lambda: len(logged_in(bouncer, database)) == 2)
        old = set(database.backends())
        console(bouncer, load("pgbouncer/console/reconnect.sql"), database=database.name)
        until("none of the old ones is left", lambda: old.isdisjoint(database.backends()))
        more(heard)
    assert old
    assert errors(heard) == 0, heard


@control(here('"lock table gate"', '"lock table gate in share mode"'))
@pytest.mark.parametrize("command", ["pause", "reconnect"])
def test_a_login_under_way_at_a_pause_or_reconnect_counts_as_one_that_failed(database, pooler, load, command) -> None:
    """It is abandoned at once, and when the last open transaction has ended, that client's next query fails.

    PostgreSQL would accept the login by then: what held it up was a lock on a table that connect_query reads.
    """
    with database.connect() as owner:
        owner.execute("create table gate ()")
    retry = {"server_login_retry": 3600, "query_wait_timeout": 20}
    bouncer = pooler(database, options="connect_query='select from gate'", pool_mode="transaction", **retry)
    locked = "select count(*) from pg_stat_activity where datname = %s and wait_event_type = 'Lock'"

    def held() -> bool:
        return database.admin.execute(locked, [database.name]).fetchone() == (1,)

    with (
        ThreadPoolExecutor(2) as threads,
        bouncer.connect(database, autocommit=False) as client,
        database.connect(autocommit=False) as gate,
    ):
        client.execute("select 1")
        gate.execute("lock table gate")
        another = threads.submit(refuses, bouncer, database)
        until("a second server connection logs in, or has", lambda: held() or another.done())
        given = threads.submit(console, bouncer, load(f"pgbouncer/console/{command}.sql"), database=database.name)
        until("the first alone is left", lambda: [row["state"] for row in bouncer.show("servers")] == ["active"])
        client.commit()
        given.result(DEADLINE)
        gate.rollback()
        if command == "pause":
            console(bouncer, load("pgbouncer/console/resume.sql"), database=database.name)
        with pytest.raises(psycopg.OperationalError, match="server login has been failing"):
            client.execute("select 1")
        bouncer.set(query_wait_timeout=0.1)  # ends the wait


@control(edit("drill/load.py", 'heard["answered"] += 1', 'heard["heard"] += 1'))
def test_load_prints_what_clients_heard(database, pooler, load, printed) -> None:
    """Undisturbed, it prints a single line: how many queries were answered."""
    url = pooler(database, pool_mode="transaction").url(database)
    lines = printed(load(LOAD), DATABASE_URL=url, SECONDS="0.1").splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("× answered")


@control(edit("pgbouncer/console/resume.sql", 'resume :"database";', "show version;"))
def test_state_shows_what_is_paused(database, pooler, load) -> None:
    """The column `paused` is 1 after PAUSE and 0 after RESUME."""
    bouncer = pooler(database, pool_mode="transaction")
    seen = []
    for path in ("pgbouncer/console/pause.sql", "pgbouncer/console/resume.sql"):
        console(bouncer, load(path), database=database.name)
        seen.append(paused(console(bouncer, load("pgbouncer_console/state.sql")), database))
    assert seen == [True, False]


def paused(state: str, database) -> bool:
    """Return whether a database is paused, as state.sql shows it."""
    (block,) = [block for block in state.split("-[ RECORD") if database.name in block]
    (value,) = [line.split("|")[1].strip() for line in block.splitlines() if line.startswith("paused")]
    return value == "1"


@control(
    edit("pgbouncer/console/pause.sql", 'pause :"database";', "show version;"),
    fails_with="it is being paused: not within",
)
def test_pause_waits_for_the_transactions_that_are_open(database, pooler, load) -> None:
    """psql returns only when the last of them has ended; until then, its client is served."""
    bouncer = pooler(database, pool_mode="transaction")
    snippet = load("pgbouncer/console/pause.sql")
    with bouncer.connect(database, autocommit=False) as client:
        client.execute("select 1")
        pausing = threading.Thread(target=console, args=(bouncer, snippet), kwargs={"database": database.name})
        pausing.start()
        until("it is being paused", lambda: [r for r in bouncer.show("databases") if r["paused"]])
        client.execute("select 2")
        assert pausing.is_alive()
        client.commit()
        pausing.join(DEADLINE)
    assert not pausing.is_alive()
    until("no server connection is left", lambda: database.backends() == [])


@control(edit("pgbouncer/console/pause.sql", 'pause :"database";', "pause;"), fails_with="query_wait_timeout")
def test_pause_leaves_other_entries_alone(database, pooler, load) -> None:
    """Clients of another entry are served meanwhile, although it points to the same database."""
    bouncer = pooler(named={database.name: database, "other": database}, pool_mode="transaction")
    with bouncer.connect(database, dbname="other") as client:
        client.execute("select 1")
        console(bouncer, load("pgbouncer/console/pause.sql"), database=database.name)
        with bouncer.impatient():
            assert refuses(bouncer, database)
            assert client.execute("select 1").fetchone() == (1,)


@control(edit("pgbouncer/console/pause.sql", "pause", "reconnect"))
def test_whoever_waits_longer_than_query_wait_timeout_fails_in_a_pause_too(database, pooler, load) -> None:
    """The client gets that error during PAUSE."""
    bouncer = pooler(database, pool_mode="transaction")
    with bouncer.connect(database) as client:
        console(bouncer, load("pgbouncer/console/pause.sql"), database=database.name)
        with bouncer.impatient(), pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
            client.execute("select 1")


@control(edit("pgbouncer/console/kill.sql", "kill", "reconnect"))
@control(edit("pgbouncer/console/resume.sql", 'resume :"database";', 'resume :"database";\nresume other;'))
def test_after_kill_each_database_needs_a_resume_of_its_own(database, pooler, load) -> None:
    """KILL also pauses, and RESUME without a name fails with "pooler is not paused": only with the name it works.

    With a name it resumes that one, and leaves the other paused.
    """
    names = (database.name, "other")
    bouncer = pooler(named=dict.fromkeys(names, database), pool_mode="transaction", server_login_retry=0)
    for killed in (names, ("",)) if at_least(1, 26) else (names,):  # older ones require a name
        for name in names:
            bouncer.connect(database, dbname=name).close()
        for name in killed:
            console(bouncer, load("pgbouncer/console/kill.sql"), database=name)
        with pytest.raises(ProblemError, match="pooler is not paused"):
            console(bouncer, load("pgbouncer/console/resume.sql"), database="")
        for done, name in enumerate(names):
            with bouncer.impatient():
                assert all(refuses(bouncer, database, dbname=each) for each in names[done:])
            state = console(bouncer, load("pgbouncer_console/state.sql"))
            assert len(PAUSED.findall(state)) == len(names[done:])
            console(bouncer, load("pgbouncer/console/resume.sql"), database=name)
            until("clients are served", lambda of=name: not refuses(bouncer, database, dbname=of))


@control(here("first = True", "first = False"))
def test_a_users_first_client_in_a_pause_costs_server_login_retry(database, pooler, load, second_user) -> None:
    """PgBouncer begins a login for it, which the pause ends and which counts as failed; another user is served.

    A user for whom PgBouncer has had a server connection is served after RESUME, although a client came in the pause.
    """
    first = True
    other = {"user": second_user.role.name, "password": second_user.role.password}
    retry = {"server_login_retry": 3600, "query_wait_timeout": 20}
    bouncer = pooler(database, pool_mode="transaction", users=scram(database, second_user), **retry)
    assert not refuses(bouncer, database)
    assert first or not refuses(bouncer, database, **other)
    console(bouncer, load("pgbouncer/console/pause.sql"), database=database.name)
    with bouncer.impatient():
        assert refuses(bouncer, database)
        assert refuses(bouncer, database, **other)
    console(bouncer, load("pgbouncer/console/resume.sql"), database=database.name)
    assert not refuses(bouncer, database)
    with bouncer.impatient():
        assert refuses(bouncer, database, **other)
    bouncer.reload(server_login_retry=0)
    until("clients are served", lambda: not refuses(bouncer, database, **other))


@control(here("min_pool_size=1", "min_pool_size=0"))
@control(here('("", database.name)', '("", "")'))
def test_with_a_minimum_a_pause_by_name_costs_server_login_retry(database, pooler, load) -> None:
    """In it PgBouncer logs in to fill its pool, which the pause ends and which counts as failed.

    After a PAUSE of everything, clients are served.
    """
    retry = {"server_login_retry": 3600, "query_wait_timeout": 20}
    bouncer = pooler(database, pool_mode="transaction", min_pool_size=1, **retry)
    heards = []
    with bouncer.connect(database) as client:
        client.execute("select 1")
        for name in ("", database.name):
            console(bouncer, load("pgbouncer/console/pause.sql"), database=name)
            with bouncer.impatient():  # what sends this client away also fills the pool
                assert refuses(bouncer, database)
            console(bouncer, load("pgbouncer/console/resume.sql"), database=name)
            heards.append(heard(client.execute, "select 1").partition(",")[0])
    assert heards == ["", "server login has been failing"]


@control(here("[], [own], [own, other]", "[], [], [own, other]"))
@control(here("[], [own], [own, other]", "[], [own], [own]"))
@control(here('"user": second_user.role.name, "password": second_user.role.password', ""))
def test_whoever_comes_between_kill_and_resume_costs_server_login_retry(database, pooler, load, second_user) -> None:
    """PgBouncer's login for that client is dropped by the pause and counts as failed; without one, clients are served.

    Another user, with a pool of its own, is served at once, unless a client of that user has come in between as well.
    """
    own: dict[str, str] = {}
    other = {"user": second_user.role.name, "password": second_user.role.password}
    users = scram(database, second_user)
    retry = {"server_login_retry": 3600, "query_wait_timeout": 20}
    bouncer = pooler(database, pool_mode="transaction", users=users, **retry)
    served, tried, others = [], [], []
    for come in ([], [own], [own, other]):
        console(bouncer, load("pgbouncer/console/kill.sql"), database=database.name)
        with bouncer.impatient():
            assert all(refuses(bouncer, database, **who) for who in come)
        console(bouncer, load("pgbouncer/console/resume.sql"), database=database.name)
        before = bouncer.leash.said().count("new connection to server")
        with bouncer.impatient() if own in come else nullcontext():
            served.append(not refuses(bouncer, database))
        tried.append(bouncer.leash.said().count("new connection to server") > before)
        with bouncer.impatient() if other in come else nullcontext():
            others.append(not refuses(bouncer, database, **other))
    assert served == [True, False, False]
    assert tried == [True, False, False], "where nobody is served, PgBouncer did not even try"
    assert others == [True, True, False]
    bouncer.reload(server_login_retry=0)
    with bouncer.impatient():
        until("clients are served", lambda: not refuses(bouncer, database))


def beside(bouncer: PgBouncer) -> str:
    """Have PgBouncer listen on a Unix socket as well, as it does by default; return its folder."""
    folder = bouncer.leash.folder / "sockets"
    folder.mkdir()
    give(folder)
    bouncer.settings["unix_socket_dir"] = folder
    bouncer.restart()
    return str(folder)


@control(replace("tests.proofs.how_to.test_restart_drill:SIGTERM", 3), fails_with="OperationalError")
@control(here("with bouncer.admin()", "with other.admin()"), fails_with="the other one has ended: not within")
@control(
    here('bouncer.settings["unix_socket_dir"] = folder', "pass", of="tests.proofs.how_to.test_restart_drill:beside")
)
def test_sigterm_lets_clients_finish_since_1_23(database, pooler) -> None:
    """Connected clients are still served and new ones refused until the last one leaves; 1.18 drops all at once.

    A client of the console counts as one. From 1.25 on, the console accepts new ones on its Unix socket.
    """
    bouncer, other = (pooler(database, pool_mode="transaction") for _ in range(2))
    sockets = beside(bouncer)
    client = bouncer.connect(database)
    if not at_least(1, 23):
        client.execute("begin")  # which a safe shutdown would wait for
        bouncer.leash.signal(SIGTERM)
        until("it has ended", bouncer.leash.ended)
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
        client.close()
        return
    client.execute("select 1")
    with bouncer.admin() as console, other.connect(database) as another:
        for each in (bouncer, other):
            each.leash.signal(SIGTERM)
        until("it takes nobody new", lambda: refuses(bouncer, database))
        names = {"pgbouncer": (ADMIN, bouncer.password), database.name: (database.role.name, database.role.password)}
        refused = [
            heard(psycopg.connect, host=sockets, port=bouncer.port, dbname=name, user=user, password=password)
            for name, (user, password) in names.items()
        ]
        assert [bool(text) for text in refused] == [not at_least(1, 25), True]
        for _ in range(3):
            assert client.execute("select 1").fetchone() == (1,)
        assert not bouncer.leash.ended()
        for each in (client, another):
            each.close()
        until("the other one has ended", other.leash.ended)
        assert not bouncer.leash.ended()
        until("the console alone is left", lambda: len(console.execute("show clients").fetchall()) == 1)
    until("it has ended", bouncer.leash.ended)


@control(
    here("        bouncer.leash.signal(SIGTERM)\n    until", "        pass\n    until"),
    fails_with="it has ended: not within",
)
def test_a_second_sigterm_ends_it_at_once(database, pooler) -> None:
    """Clients that are still connected are cut off. In 1.18, the first SIGTERM does that."""
    bouncer = pooler(database, pool_mode="transaction")
    client = bouncer.connect(database)
    bouncer.leash.signal(SIGTERM)
    if at_least(1, 23):
        until("it takes nobody new", lambda: refuses(bouncer, database))
        bouncer.leash.signal(SIGTERM)
    until("it has ended", bouncer.leash.ended)
    with pytest.raises(psycopg.OperationalError):
        client.execute("select 1")
    client.close()


@control(replace("tests.proofs.how_to.test_restart_drill:SIGINT", 15), fails_with="the idle one has ended: not within")
@control(here("autocommit=False", "autocommit=True"))
@control(here('pool_mode="session"', 'pool_mode="transaction"'))
def test_sigint_ends_it_when_no_client_has_a_server_connection(database, pooler) -> None:
    """Of three, one whose clients are idle ends at once, one has a transaction open, one in session mode a client.

    Until it ends, 1.23 refuses new clients and disconnects clients that send a query; 1.18 lets clients wait. Then it
    cuts off all. psycopg2, and at times psycopg 3 in executemany() or a pipeline, hears only that its connection was
    closed.
    """
    idle, busy = (pooler(database, pool_mode="transaction") for _ in range(2))
    kept = pooler(database, pool_mode="session")
    with ExitStack() as stop:
        threads = stop.enter_context(ThreadPoolExecutor(2))
        does_nothing, asks, stays = (stop.enter_context(each.connect(database)) for each in (idle, busy, kept))
        repeats, pipes = (stop.enter_context(busy.connect(database)) for _ in range(2))
        other = stop.enter_context(closing(psycopg2.connect(busy.url(database))))
        works = stop.enter_context(busy.connect(database, autocommit=False))
        for client in (does_nothing, works, stays):
            client.execute("select 1")
        for bouncer in (kept, busy, idle):
            bouncer.show("pools")  # over a console that stays
            bouncer.leash.signal(SIGINT)
        until("the idle one has ended", idle.leash.ended)
        assert heard(does_nothing.execute, "select 1")
        hears = [threads.submit(heard, run, "select 1") for run in (asks.execute, other.cursor().execute)]
        if at_least(1, 23):
            assert [each.result() for each in hears] == ["server shutting down", LOST]
            for ask, client in ((many, repeats), (piped, pipes)):
                assert heard(ask, client) in ("server shutting down", LOST), "timing decides"
            assert heard(busy.connect, database) == "Connection refused"
        else:
            busy.connect(database).close()
            until("they wait", lambda: pool(busy, database)["cl_waiting"] == 2)
        for client in (works, stays):
            assert heard(client.execute, "select 2") == ""
        assert not busy.leash.ended()
        works.commit()
        until("the busy one has ended", busy.leash.ended)
        assert at_least(1, 23) or [each.result() for each in hears] == [LOST, LOST]
        assert not kept.leash.ended()
        stays.close()
        until("the one in session mode has ended", kept.leash.ended)


def refuses(bouncer, database, **who: str) -> bool:
    """Return whether a new client gets an error instead of an answer."""
    try:
        with bouncer.connect(database, **who) as client:
            client.execute("select 1")
    except psycopg.OperationalError:
        return True
    return False
