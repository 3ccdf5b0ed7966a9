"""Proves docs/how-to/switchover.md: a standby takes the primary's place while clients write."""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from tests.proofs.heard import heard
from tests.proofs.replicated import Pair, replicated
from tests.stack.fixtures import note_postgres
from tests.stack.pgbouncer import ADMIN, PgBouncer
from tests.stack.postgres import bin_dir
from tests.stack.scripts import execute
from tests.stack.wait import DEADLINE, until

CLIENTS = 4
# An application that bypasses PgBouncer, knows both hosts, and is not restarted.
APPLICATION = """
import time, django; django.setup()
from django.db import Error, close_old_connections, connection
while True:
    close_old_connections()
    try:
        with connection.cursor() as cursor:
            cursor.execute("insert into visited values (default) returning host(inet_server_addr())")
            print(*cursor.fetchone(), flush=True)
    except Error:
        print("an error", flush=True)
    time.sleep(0.05)
"""
BOTH = "127.0.0.2,127.0.0.1"  # the standby first
WISH = "?target_session_attrs=read-write"


def begin(
    pair: Pair, bouncer: PgBouncer, load, stop: str, ini: str = "databases.ini", without: str = "", first: str = ""
) -> subprocess.Popen[str]:
    """Start the script, in a process group of its own; programs in the folder `first` come before others."""
    snippet = load("drill/switchover.sh")
    evidence.ran(snippet)
    environment = {
        "PATH": os.pathsep.join(filter(None, [first, str(bin_dir()), os.environ["PATH"]])),
        "CONSOLE": f"host=127.0.0.1 port={bouncer.port} dbname=pgbouncer user={ADMIN}",
        "PGPASSWORD": bouncer.password,
        "STANDBY": pair.standby.server.superuser,
        "STOP": stop,
        "DATABASE": pair.database.name,
        "INI": str(bouncer.leash.folder / ini),
        "OLD": pair.primary.address,
        "NEW": pair.standby.address,
    }
    environment |= {without: ""} if without else {}
    command = ["sh", "-c", snippet.text, "switchover.sh"]
    pipe = subprocess.PIPE
    # nohup ignores SIGHUP, and a background job SIGINT; a shell cannot trap a signal that was ignored when it started.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ended(script: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait until it has ended; return its exit status and its stderr."""
    _, said = script.communicate(timeout=DEADLINE)
    return script.returncode, said


def switch(pair: Pair, bouncer: PgBouncer, load) -> tuple[int, str]:
    """Run the script, which tells the primary to stop and does not wait for its end."""
    return ended(begin(pair, bouncer, load, f"kill -INT {pair.primary.leash.pid}"))


SLEEP = "select pg_sleep(300)"
RUNNING = "select count(*) from pg_stat_activity where state = 'active' and query = %s"


@contextmanager
def writing(bouncer: PgBouncer, pair: Pair, load) -> Iterator[Counter]:
    """Have clients write for the duration of the block; yield counts of what they get."""
    names = execute(load("drill/load.py"))
    names["QUERY"] = "insert into heard select now() from pg_sleep(0.02)"
    stopped, counted = threading.Event(), Counter()
    threads = names["start"](bouncer.url(pair.database), CLIENTS, stopped, counted)
    try:
        yield counted
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def streaming(pair: Pair, wanted: bool) -> None:
    """Start or stop streaming on the standby."""
    change = "reset primary_conninfo" if wanted else "set primary_conninfo = ''"
    pair.copy.admin.execute(f"alter system {change}")
    pair.copy.admin.execute("select pg_reload_conf()")
    found = "select count(*) = %s from pg_stat_wal_receiver where status = 'streaming'"
    until("it does so", lambda: pair.copy.admin.execute(found, [int(wanted)]).fetchone() == (True,))


@control(edit("drill/switchover.sh", '--command "pause \\"$DATABASE\\""', "--command 'show version'"))
@control(edit("drill/switchover.sh", "sed -i", ": sed"), fails_with="clients go on: not within")
@control(
    edit("drill/switchover.sh", 'reload "resume', '"show version" "resume'), fails_with="clients go on: not within"
)
@control(edit("drill/switchover.sh", "exit 1", "exit 0"))
@control(replace("tests.proofs.how_to.test_switchover:WISH", ""))
@control(here("create unlogged table", "create table"))
def test_a_switchover_loses_no_request_and_no_row(pooler, load, project) -> None:
    """Clients wait while the standby is promoted, none gets an error, and every acknowledged row is there.

    If the standby is not streaming, the script says so and does nothing. An application that bypasses PgBouncer and
    names both hosts with target_session_attrs=read-write writes to the old primary, and then to the new one.
    """
    with replicated() as pair:
        note_postgres(pair.primary.server.version())
        with pair.database.connect() as owner:
            owner.execute("create table heard (at timestamptz default now())")
            owner.execute("create table visited (at timestamptz default now())")
            owner.execute("create unlogged table forgotten as select 1")
        pair.catch_up()
        bouncer = pooler(pair.database, pool_mode="transaction", default_pool_size=2, query_wait_timeout=60)
        # Another entry that leads to the same server, which the script does not pause.
        bouncer.entries["passed_over"] = bouncer.entries[pair.database.name]
        bouncer.reload()
        url = pair.database.url.replace(pair.database.server.host, BOTH) + WISH
        application = project.start("-c", APPLICATION, database_url=url, DJANGO_SETTINGS_MODULE="settings.prod")
        until("it writes too", application.said)
        with writing(bouncer, pair, load) as counted:
            until("clients are served", lambda: counted["answered"] > 20)
            streaming(pair, False)
            refused = "switchover: 127.0.0.2 does not stream from 127.0.0.1. Nothing was changed.\n"
            assert switch(pair, bouncer, load) == (1, refused)
            assert "PAUSE '" not in bouncer.leash.said()
            streaming(pair, True)
            with ThreadPoolExecutor(1) as threads, bouncer.connect(pair.database, dbname="passed_over") as client:
                told = threads.submit(heard, client.execute, SLEEP)
                until("its query runs", lambda: pair.database.admin.execute(RUNNING, [SLEEP]).fetchone() == (1,))
                switched = switch(pair, bouncer, load)
                assert told.result() == "terminating connection due to administrator command"
            before = counted["answered"]
            until("clients go on", lambda: len(counted) > 1 or counted["answered"] > before + 20)
        assert set(counted) == {"answered"}, counted
        assert switched == (0, "")
        assert "PAUSE '" in bouncer.leash.said()
        until("it writes to the new one", lambda: application.said().endswith("127.0.0.2\n"))
        application.stop()
        assert application.said().startswith("127.0.0.1\n")
        with pair.copy.connect() as owner:
            assert owner.execute("select count(*) from heard").fetchone() == (counted["answered"],)
            assert owner.execute("select count(*) from forgotten").fetchone() == (0,)


@control(here('(pair.primary.data / "standby.signal").touch()', "pass"), fails_with="it follows: not within")
def test_the_old_primary_can_follow_the_new_one(pooler, load) -> None:
    """Shut down by the script, it starts with standby.signal and primary_conninfo, and has what the new one writes."""
    with replicated() as pair:
        note_postgres(pair.primary.server.version())
        with pair.database.connect() as owner:
            owner.execute("create table heard (at timestamptz default now())")
        pair.catch_up()
        bouncer = pooler(pair.database, pool_mode="transaction")
        assert switch(pair, bouncer, load) == (0, "")
        with pair.copy.connect() as owner:
            owner.execute("insert into heard default values")
        until("the old primary has ended", pair.primary.leash.ended)
        (pair.primary.data / "standby.signal").touch()
        pair.primary.settings["primary_conninfo"] = pair.standby.server.superuser
        pair.primary.start(pair.primary.server.port)
        with pair.primary.server.connect(pair.database.name) as admin:
            until("it follows", lambda: admin.execute("select count(*) from heard").fetchone() == (1,))
            assert admin.execute("select pg_is_in_recovery()").fetchone() == (True,)


@control(here(" connect_query='select 1'", ""), fails_with="the pause ends its login: not within")
@control(here("server_login_retry=0", "server_login_retry=3600"), fails_with="clients are served: not within")
@control(here("reload(server_login_retry=0)", "reload(server_login_retry=0); bouncer.connect(database).close()"))
def test_a_login_between_reload_and_resume_counts_as_one_that_failed(database, pooler) -> None:
    """The pause closes that login's server connection, and a connected client gets the error after RESUME.

    When server_login_retry has passed, the first client to query gets it as well, and then clients are served.
    """
    bouncer = pooler(database, pool_mode="transaction", server_login_retry=3600, query_wait_timeout=20)

    def closed() -> int:
        return bouncer.leash.said().count("closing because: pause mode")

    def ask() -> None:
        with bouncer.connect(database) as client:
            client.execute("select 1")

    with (
        bouncer.connect(database) as kept,
        bouncer.connect(database) as later,
        ThreadPoolExecutor(1) as threads,
        bouncer.admin() as console,
    ):
        assert kept.execute("select 1").fetchone() == (1,)
        console.execute(f"pause {database.name}")
        bouncer.entries[database.name] += " connect_query='select 1'"  # like any change to an entry
        bouncer.reload()
        before = closed()  # of the first client's
        threads.submit(heard, bouncer.connect, database)
        until("the pause ends its login", lambda: closed() > before)
        console.execute(f"resume {database.name}")
        told = heard(kept.execute, "select 1")
        bouncer.set(query_wait_timeout=0.1)  # ends the wait
        threads.shutdown()  # else PgBouncer logs in for it as soon as it may
        assert told.startswith("server login has been failing")
        bouncer.reload(server_login_retry=0)
        assert heard(later.execute, "select 1").startswith("server login has been failing")
        until("clients are served", lambda: not heard(ask))


@control(edit("drill/switchover.sh", "trap 'exit 1' HUP INT TERM\n", ""))
@control(edit("drill/switchover.sh", 'kill "$pausing"', "true"), fails_with="nothing is left of it: not within")
@control(edit("drill/switchover.sh", '$DATABASE\\"" &', '$DATABASE\\""'), fails_with="Ctrl-C ends it: not within")
@control(edit("drill/switchover.sh", 'trap "" HUP INT TERM', "true"))
def test_a_switchover_that_is_broken_off_leaves_nobody_waiting(pair, pooler, load, tmp_path) -> None:
    """If the terminal goes away while the primary is being stopped, or stopping it fails, clients are resumed. So they
    are after Ctrl-C while the pause waits for an open transaction, and no psql is left.

    If the script is killed, the database stays paused.
    """
    bouncer = pooler(pair.database, pool_mode="transaction")

    def paused() -> bool:
        return any(row["paused"] for row in bouncer.show("databases"))

    def gone() -> bool:
        try:
            os.killpg(script.pid, 0)
        except ProcessLookupError:
            return True
        return False

    with bouncer.connect(pair.database) as client, client.transaction():
        client.execute("select 1")
        script = begin(pair, bouncer, load, "false")
        try:
            until("the pause waits", paused)
            until("Ctrl-C ends it", lambda: script.poll() is not None or os.killpg(script.pid, signal.SIGINT))
            assert (script.returncode, paused()) == (1, False)
            until("nothing is left of it", gone)
        finally:
            if not gone():
                os.killpg(script.pid, signal.SIGKILL)
            script.communicate()
    stopping = tmp_path / "stopping"
    script = begin(pair, bouncer, load, f"touch {stopping}; sleep 600")
    try:
        until("the primary is being stopped", stopping.exists)
        assert paused()
        # The kernel and the terminal's shell both send SIGHUP, a moment apart.
        until("it ends", lambda: script.poll() is not None or os.killpg(script.pid, signal.SIGHUP))
        assert (script.returncode, paused()) == (1, False)
        script.communicate()
        stopping.unlink()
        script = begin(pair, bouncer, load, f"touch {stopping}; sleep 600")
        until("the primary is being stopped again", stopping.exists)
        os.killpg(script.pid, signal.SIGKILL)
        script.wait()
        assert paused()
        with bouncer.admin() as console:
            console.execute(f"resume {pair.database.name}")
        assert ended(begin(pair, bouncer, load, "echo it stays >&2; false")) == (1, "it stays\n")
        assert not paused()
        with bouncer.connect(pair.database) as client:
            assert client.execute("select pg_is_in_recovery()").fetchone() == (False,)
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
        script.communicate()


@control(edit("drill/switchover.sh", "until [", "false && until ["))
@control(edit("drill/switchover.sh", '"$over")" = t', '"$over")" != f'))
def test_a_switchover_promotes_nothing_while_the_standby_hears_from_the_primary(pair, pooler, load, tmp_path) -> None:
    """If the command that should stop the primary succeeds and does not stop it, clients wait, and go on after Ctrl-C.

    The primary still takes writes, and the standby none, even if the script cannot ask the standby once meanwhile.
    """
    bouncer = pooler(pair.database, pool_mode="transaction")
    waits, failed = tmp_path / "waits", tmp_path / "failed"
    usual = f"{bin_dir()}:{os.environ['PATH']}"
    fails = f'case "$*" in *"not in"*) mkdir {failed} 2>&- && exit 2;; esac'
    for name, before in (("sleep", f"touch {waits}"), ("psql", fails)):
        (tmp_path / name).write_text(f'#!/bin/sh\n{before}\nPATH={usual} exec {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    script = begin(pair, bouncer, load, "true", first=str(tmp_path))
    try:
        until("it waits", lambda: waits.exists() or script.poll() is not None)
        assert (script.poll(), failed.exists()) == (None, True)
        assert any(row["paused"] for row in bouncer.show("databases"))
        until("Ctrl-C ends it", lambda: script.poll() is not None or os.killpg(script.pid, signal.SIGINT))
        assert script.returncode == 1
    finally:
        if script.poll() is None:
            os.killpg(script.pid, signal.SIGKILL)
        script.communicate()
    with bouncer.connect(pair.database) as client:
        assert client.execute("select pg_is_in_recovery()").fetchone() == (False,)
    assert pair.copy.admin.execute("select pg_is_in_recovery()").fetchone() == (True,)


@control(
    edit("drill/switchover.sh", 'if ! grep -q "^[\\" ]*${DATABASE}[\\" ]*=.*host=$OLD " "$INI"; then', "if false; then")
)
@control(edit("drill/switchover.sh", '"^[\\" ]*${DATABASE}[\\" ]*=.*host', '"host'))
@control(
    edit(
        "drill/switchover.sh",
        "echo \"switchover: $INI has no '$DATABASE",
        'ask "$CONSOLE" "pause $DATABASE" "resume $DATABASE"; echo "switchover: $INI has no \'$DATABASE',
    )
)
@control(edit("drill/switchover.sh", '"${NEW:?}"', "true"))
def test_a_switchover_with_a_wrong_file_or_without_a_variable_does_nothing(pair, pooler, load) -> None:
    """It says what is wrong and pauses nothing: no client waits, or is sent to a dead server."""
    bouncer = pooler(pair.database, pool_mode="transaction")
    entry = pair.database.name
    bouncer.leash.write("another.ini", f"other = host=127.0.0.1 port=5432\n{entry} = port=5432 host=127.0.0.1\n")
    for ini in ("settings.ini", "another.ini"):
        said = f"switchover: {bouncer.leash.folder}/{ini} has no '{entry} = … host=127.0.0.1 '. Nothing was changed.\n"
        assert ended(begin(pair, bouncer, load, "false", ini=ini)) == (1, said)
    for name in ("CONSOLE", "STANDBY", "STOP", "DATABASE", "INI", "OLD", "NEW"):
        status, said = ended(begin(pair, bouncer, load, "false", without=name))
        assert (status != 0, f"{name}: " in said) == (True, True)  # which status it is depends on the shell
    assert "PAUSE '" not in bouncer.leash.said()
