"""Proves docs/how-to/through-the-pooler.md: dumps, backups, and who the client is."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from proven.sources.controls import control, here
from tests.proofs.heard import heard
from tests.stack.console import at_least
from tests.stack.database import Database, fresh
from tests.stack.fixtures import note_postgres
from tests.stack.pgbouncer import PgBouncer
from tests.stack.postgres import Cluster, bin_dir, own_major
from tests.stack.wait import DEADLINE, until

HBA = "local all,replication postgres trust\nhost all,replication all 127.0.0.1/32 scram-sha-256\n"
MISSING = 'relation "item" does not exist'


@pytest.fixture
def item(database) -> None:
    """A table in the schema public, as Django makes them."""
    with database.connect() as owner:
        owner.execute("create table item (id int)")


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's own programs."""
    command = [bin_dir() / program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)


def clients(bouncer: PgBouncer, database: Database, number: int) -> list[str]:
    """Have clients read the table at the same time, each on a server connection of its own; return their errors."""
    with ExitStack() as open_:
        asking = [open_.enter_context(bouncer.connect(database, autocommit=False)) for _ in range(number)]
        return [heard(client.execute, "select * from item") for client in asking]


@control(here("default_pool_size=3", "default_pool_size=1"))
@pytest.mark.usefixtures("item")
def test_pg_dump_breaks_in_a_pool_or_breaks_others(database, pooler) -> None:
    """Other clients lose their tables because it empties search_path; with 1.26 and PostgreSQL 18, the dump fails."""
    assert run("pg_dump", "--schema-only", database.url).returncode == 0
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=3, server_round_robin=1)
    with bouncer.connect(database) as client:
        reported = client.info.parameter_status("search_path") is not None
    size = int(str(bouncer.settings["default_pool_size"]))
    assert clients(bouncer, database, size) == [""] * size  # opens each of the pool's connections
    dump = run("pg_dump", "--schema-only", bouncer.url(database))
    lost = MISSING in clients(bouncer, database, size)
    if at_least(1, 26) and reported:
        assert "FATAL:  invalid server parameter" in dump.stderr
        assert not lost
    else:
        assert lost
    alone = pooler(database, pool_mode="transaction", default_pool_size=1)
    assert run("pg_dump", "--schema-only", alone.url(database)).returncode == 0
    assert clients(alone, database, 1) == [""]
    assert "client disconnect while server was not ready" in alone.leash.said()


@control(here("set_config('search_path', '', false)", "set_config('search_path', 'public', false)"))
def test_who_empties_its_path_is_ended_on_another_connection(database, pooler) -> None:
    """PgBouncer 1.26 with PostgreSQL 18 cannot set an empty search_path there, and ends the client."""
    bouncer = pooler(database, pool_mode="transaction", default_pool_size=2)
    own = "select pg_backend_pid()"
    with (
        bouncer.connect(database, autocommit=False) as empties,
        bouncer.connect(database, autocommit=False) as other,
    ):
        if not at_least(1, 26) or empties.info.parameter_status("search_path") is None:
            pytest.skip("needs PgBouncer 1.26 and PostgreSQL 18, which reports search_path")
        empties.execute("select set_config('search_path', '', false)")
        first = empties.execute(own).fetchone()
        other.execute(own)  # opens another one
        other.rollback()
        empties.commit()
        with bouncer.connect(database, autocommit=False) as third:
            assert third.execute(own).fetchone() == first
            ended = heard(empties.execute, own)
        assert ended == "invalid server parameter"


@control(here("application_name_add_host=1", "application_name_add_host=0"))
@control(here('("", "app")', '("other", "app")'))
@control(here('("w" * 60, "w" * 60)', '("w" * 40, "w" * 60)'))
def test_pgbouncer_tells_postgresql_who_the_client_is(database, pooler) -> None:
    """application_name includes the client's address, cut to 63 bytes; client_port is PgBouncer's own.

    A name that the client sets later is shown alone.
    """
    bouncer = pooler(database, pool_mode="transaction", application_name_add_host=1)
    query = "select application_name, client_port from pg_stat_activity where pid = pg_backend_pid()"
    for given, shown in (("web", "web"), ("", "app"), ("w" * 60, "w" * 60)):
        with bouncer.connect(database, application_name=given) as client:
            name, port = client.execute(query).fetchone()
            with socket.fromfd(client.fileno(), socket.AF_INET, socket.SOCK_STREAM) as its:
                own = its.getsockname()[1]
            assert name == f"{shown} - 127.0.0.1:{own}"[:63]
            assert port != own
            client.execute("set application_name = 'later'")
            assert client.execute(query).fetchone()[0] == "later"


# ---- replication ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source() -> Iterator[Cluster]:
    """A server that lets a role replicate over TCP."""
    made = Cluster(cluster_name="source")
    (made.data / "pg_hba.conf").write_text(HBA)
    with made.server.connect() as superuser:
        superuser.execute("select pg_reload_conf()")
    yield made
    made.stop()


@control(here('named.rpartition("/")[0]', "named"))
@control(here('" replication"', '" noreplication"'))
def test_pg_basebackup_works_through_pgbouncer_from_1_23(source, pooler, tmp_path) -> None:
    """It must name a database that PgBouncer has; its two server connections are not reused, but closed.

    Without a name it asks for one called replication; before PostgreSQL 17, it does so even with a name.
    """

    note_postgres(source.server.version())

    def copied(url: str) -> subprocess.CompletedProcess[str]:
        options = ("--pgdata", str(tmp_path / "copy"), "--no-sync", "--checkpoint=fast", "--dbname", url)
        return run("pg_basebackup", *options)

    with fresh(source.server) as database:
        database.admin.execute(f"alter role {database.role.name}" + " replication")
        bouncer = pooler(database, pool_mode="transaction", default_pool_size=2)
        named = bouncer.url(database)
        nameless = named.rpartition("/")[0]
        refused = [nameless] if own_major() >= 17 else [nameless, named]
        if at_least(1, 23):
            for url in refused:
                assert "no such database: replication" in copied(url).stderr
        if named in refused:
            bouncer = pooler(named={"replication": database}, pool_mode="transaction", default_pool_size=2)
        done = copied(bouncer.url(database))
        if at_least(1, 23):
            assert done.returncode == 0, done.stderr
            assert (tmp_path / "copy" / "backup_label").exists()
            until("both are closed", lambda: bouncer.leash.said().count("replication client was closed") == 2)
        else:
            assert done.returncode == 1
            assert "unsupported startup parameter: replication" in done.stderr
