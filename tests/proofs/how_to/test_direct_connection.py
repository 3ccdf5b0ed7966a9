"""Proves docs/how-to/direct-connection.md: the example project with both of its connections to the database."""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.proofs.pooled import INI, section
from tests.stack.database import fresh
from tests.stack.pgbouncer import PgBouncer
from tests.stack.upstream import Process, needs_psycopg_3
from tests.stack.wait import DEADLINE, until

DJANGO = "import django; django.setup(); from django.db import connection, connections; "


@pytest.fixture(scope="module")
def bouncer(setup, project):
    """PgBouncer as the reader starts it, and the project's tables."""
    started = setup.start()
    status, said = manage(project, setup, started, "migrate", "--database=direct", "--verbosity=0", owner=True)
    assert status == 0, said
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def noted(setup) -> None:
    """Tell the ledger what the proof ran on."""
    setup.note()


def environment(setup, bouncer, owner: bool = False) -> dict[str, str]:
    """Return the environment for the two aliases: one for PgBouncer, the other for PostgreSQL, perhaps as the owner."""
    direct = setup.as_owner.url if owner else setup.database.url
    return {
        "database_url": bouncer.url(setup.database),
        "DATABASE_DIRECT_URL": direct,
        "DJANGO_SETTINGS_MODULE": "settings.pgbouncer",
    }


def manage(project, setup, bouncer, *arguments, owner: bool = False) -> tuple[int, str]:
    """Run one of Django's commands."""
    return project.run("manage.py", *arguments, **environment(setup, bouncer, owner))


def run(project, setup, bouncer, code: str, owner: bool = False) -> str:
    """Run Python in the project, and return what it printed."""
    status, said = project.run("-c", DJANGO + code, **environment(setup, bouncer, owner))
    assert status == 0, said
    return said


# ---- migrations ----------------------------------------------------------------------------------------------


@control(
    here(
        '"migrate", "--database=direct"',
        '"check", "--database=direct"',
        of="tests.proofs.how_to.test_direct_connection:bouncer",
    )
)
def test_migrations_go_past_pgbouncer_as_the_owner(project, setup, bouncer) -> None:
    """Neither alias has anything left to migrate, and the tables and the database belong to the owner."""
    assert manage(project, setup, bouncer, "migrate", "--database=direct", "--check", owner=True)[0] == 0
    assert manage(project, setup, bouncer, "migrate", "--check")[0] == 0
    with setup.database.connect() as connection:
        query = "select tableowner from pg_tables where tablename = 'orders_order'"
        assert connection.execute(query).fetchone() == ("upstream_owner",)
        query = "select pg_get_userbyid(datdba) from pg_database where datname = current_database()"
        assert connection.execute(query).fetchone() == ("upstream_owner",)


@control(here('"--database=direct")', '"--database=direct", owner=True)'))
def test_the_application_cannot_migrate(project, setup, bouncer) -> None:
    """With its own login it can neither drop a table, as a reversed migration does, nor alter one.

    It does not own the schema, by itself, as a member of the owner, or as a superuser.
    """
    owns = "select pg_has_role('upstream', nspowner, 'usage') from pg_namespace where nspname = 'public'"
    assert setup.database.admin.execute(owns).fetchone() == (False,)
    status, said = manage(project, setup, bouncer, "migrate", "orders", "zero", "--database=direct")
    assert status == 1
    assert "must be owner of table orders_order" in said
    with (
        setup.database.connect() as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of table orders_order"),
    ):
        connection.execute("alter table orders_order add note text")


@control(here("revoke select on tables from", "grant select on tables to"))
def test_what_the_owner_creates_is_the_applications_by_default_privileges(setup) -> None:
    """A table of the owner's is there for the application to read, and without those privileges it is not."""
    revoked = "alter default privileges in schema public revoke select on tables from upstream"
    reads = []
    with setup.as_owner.connect() as owner:
        for change in ("select 1", revoked):
            owner.execute("begin")
            owner.execute(change)
            owner.execute("create table made_later (id int)")
            readable = "select has_table_privilege('upstream', 'made_later', 'select')"
            reads += owner.execute(readable).fetchone()
            owner.execute("rollback")
    assert reads == [True, False]


def migrates(folder: Path, sets: str, options: str = "") -> str:
    """Return code that sets this, with the modules of a folder at hand, and migrates."""
    return (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from django.conf import settings; {sets}; "
        "import django; django.setup(); "
        f"from django.core.management import call_command; call_command('migrate', {options}verbosity=0)"
    )


@control(here("return db == 'direct'", "return True"))
def test_a_router_that_forbids_migrations_marks_them_as_done(project, setup, tmp_path) -> None:
    """`migrate` without --database then records every migration in the table that both aliases share, and applies none.

    The database is one of this proof's own, to which no migration was applied.
    """
    (tmp_path / "routers.py").write_text(
        "class Direct:\n    def allow_migrate(self, db, app_label, **hints):\n        return db == 'direct'\n"
    )
    code = migrates(tmp_path, "settings.DATABASE_ROUTERS = ['routers.Direct']")
    with fresh(setup.server) as empty:
        urls = {"DATABASE_DIRECT_URL": empty.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
        assert project.run("-c", code, database_url=empty.url, **urls) == (0, "")
        with empty.connect() as connection:
            assert connection.execute("select count(*) from django_migrations").fetchone() == (1,)
            assert connection.execute("select to_regclass('orders_order')").fetchone() == (None,)


def ended(process: Process) -> tuple[int | None, str]:
    """Wait until a process has ended by itself; return its status and its output."""
    until("it ends", process.ended)
    process.stop()
    return process.status, process.said()


MADE_TWICE = re.compile(
    r'(?:relation|type) "orders_order\w*" already exists|'
    r'duplicate key value violates unique constraint "pg_(?:class_relname|type_typname)_nsp_index"'
)


@control(here("for _ in range(2)]", "for _ in range(1)]"), fails_with="both are about to: not within")
def test_of_two_that_migrate_at_once_one_fails(project, setup) -> None:
    """Both processes see that a table is missing: one creates it, and the other ends with an error and adds nothing."""
    with fresh(setup.server) as empty:
        urls = {"DATABASE_DIRECT_URL": empty.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
        migrate = ("manage.py", "migrate", "--database=direct", "--verbosity=0", "orders")
        for to in ((), ("zero",)):  # so that Django's own table is there
            assert project.run(*migrate, *to, database_url=empty.url, **urls) == (0, "")
        with setup.server.connect(empty.name) as catalogue:
            catalogue.execute("begin; lock table pg_class in share mode")
            two = [project.start(*migrate, database_url=empty.url, **urls) for _ in range(2)]
            waiting = "select from pg_locks where relation = 'pg_class'::regclass and not granted"
            until("both are about to", lambda: catalogue.execute(waiting).rowcount == 2)
            catalogue.execute("rollback")
        first, (status, said) = sorted(map(ended, two))
        assert (first, status) == ((0, ""), 1)
        assert MADE_TWICE.search(said), said
        assert project.run(*migrate, "--check", database_url=empty.url, **urls) == (0, "")


@control(
    edit("migrations/alone.py", "if alone:", "if alone in (True, False):"), fails_with="the other comes again: not"
)
@control(edit("migrations/alone.py", "while not migrated:", "for _ in range(2):"))
def test_of_two_that_take_the_lock_one_migrates_at_a_time(project, setup, load) -> None:
    """While one process is about to create a table, the other asks for the lock but waits in no query; both succeed.

    The other asks as long as that takes.
    """
    alone = load("migrations/alone.py")
    with fresh(setup.server) as empty:
        urls = {"DATABASE_DIRECT_URL": empty.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
        migrate = ("manage.py", "migrate", "--database=direct", "--verbosity=0", "orders")
        for to in ((), ("zero",)):  # so that Django's own table is there
            assert project.run(*migrate, *to, database_url=empty.url, **urls) == (0, "")
        with setup.server.connect(empty.name) as catalogue:
            catalogue.execute("begin; lock table pg_class in share mode")
            two = [project.start("-c", alone.text, database_url=empty.url, **urls) for _ in range(2)]
            makes = "select from pg_locks where relation = 'pg_class'::regclass and not granted"
            until("one is about to", lambda: catalogue.execute(makes).rowcount >= 1)
            asked = "select query_start from pg_stat_activity where datname = %s and state = 'idle' and query like %s"
            said, times = [empty.name, "%try_advisory_lock%"], set()

            def asks() -> int:
                times.update(empty.admin.execute(asked, said))
                return len(times)

            until("the other comes again", lambda: asks() > 2 or any(process.ended() for process in two))
            assert asks() > 2
            assert catalogue.execute(makes).rowcount == 1
            catalogue.execute("rollback")
        assert [*map(ended, two)] == [(0, "")] * 2
        assert project.run(*migrate, "--check", database_url=empty.url, **urls) == (0, "")
    evidence.ran(alone)


@control(
    here('other.execute, "select pg_advisory_lock(1)"', 'other.execute, "select"'), fails_with="it waits: not within"
)
@control(here("not_made on", "if not exists made on"))
def test_who_waits_for_a_lock_is_in_the_way_of_an_index(setup) -> None:
    """In the session that has the lock, CREATE INDEX CONCURRENTLY ends with "deadlock detected"; the index is invalid.

    This holds even if the waiting session has checked for a deadlock before. If that session has only tried to take the
    lock, the index is created.
    """
    server = setup.server
    with fresh(server) as empty, server.connect(empty.name) as one, server.connect(empty.name) as other:
        one.execute("create table rows (id int)")
        one.execute("select pg_advisory_lock(1)")
        assert other.execute("select pg_try_advisory_lock(1)").fetchone() == (False,)
        one.execute("create index concurrently made on rows (id)")
        other.execute("set deadlock_timeout = '10ms'")
        with ThreadPoolExecutor(1) as thread:
            waits = thread.submit(other.execute, "select pg_advisory_lock(1)")
            try:
                waiting = (
                    "select from pg_locks where locktype = 'advisory' and not granted and pid = %s"
                    " and clock_timestamp() - waitstart > interval '0.1 s'"
                )
                until("it waits", lambda: one.execute(waiting, [other.info.backend_pid]).rowcount == 1)
                with pytest.raises(psycopg.errors.DeadlockDetected):
                    one.execute("create index concurrently not_made on rows (id)")
            finally:
                one.execute("select pg_advisory_unlock(1)")
            waits.result()
        valid = "select relname, indisvalid from pg_index join pg_class c on c.oid = indexrelid where relname ~ 'made'"
        assert sorted(one.execute(valid).fetchall()) == [("made", True), ("not_made", False)]


DATA_MIGRATION = """
from django.db import migrations


def give(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock_shared(1)")
        cursor.execute("insert into voucher (owner) values ('ada')")


class Migration(migrations.Migration):
    operations = [migrations.RunPython(give)]
"""


LOCKED = "connections['direct'].cursor().execute('select pg_advisory_lock(2)'); "


@control(here('before = ""', "before = LOCKED"))
def test_of_two_that_make_a_data_migration_at_once_both_do(project, setup, tmp_path) -> None:
    """Each adds its row, records the migration, and succeeds."""
    (tmp_path / "vouchers/migrations").mkdir(parents=True)
    for name, text in (("__init__", ""), ("migrations/__init__", ""), ("migrations/0001_give", DATA_MIGRATION)):
        (tmp_path / f"vouchers/{name}.py").write_text(text)
    before = ""
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from django.conf import settings; "
        "settings.INSTALLED_APPS += ['vouchers']; import django; django.setup(); "
        f"from django.core.management import call_command; from django.db import connections; {before}"
        "call_command('migrate', database='direct', verbosity=0)"
    )
    with fresh(setup.server) as empty:
        urls = {"DATABASE_DIRECT_URL": empty.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
        assert project.run("manage.py", "migrate", "--database=direct", database_url=empty.url, **urls)[0] == 0
        with empty.connect() as connection, setup.server.connect(empty.name) as holder:
            connection.execute("create table voucher (owner text)")
            holder.execute("select pg_advisory_lock(1)")
            two = [project.start("-c", code, database_url=empty.url, **urls) for _ in range(2)]
            waiting = "select from pg_locks where locktype = 'advisory' and not granted"
            until("both make it", lambda: holder.execute(waiting).rowcount == 2)
            holder.execute("select pg_advisory_unlock(1)")
            assert [*map(ended, two)] == [(0, "")] * 2
            assert connection.execute("select owner from voucher").fetchall() == [("ada",)] * 2
            noted = "select name from django_migrations where app = 'vouchers'"
            assert connection.execute(noted).fetchall() == [("0001_give",)] * 2


NOTES = """
from django.db import migrations


class Migration(migrations.Migration):
    operations = [migrations.RunSQL("alter table orders_order add note text")]
"""
READ = "select count(*) from orders_order"


@pytest.fixture
def adding_a_column(project, setup, tmp_path) -> Iterator[tuple]:
    """A database with the project's tables, and the start of a migration that adds a column to one of them."""
    (tmp_path / "notes/migrations").mkdir(parents=True)
    for name, text in (("__init__", ""), ("migrations/__init__", ""), ("migrations/0001_note", NOTES)):
        (tmp_path / f"notes/{name}.py").write_text(text)
    code = migrates(tmp_path, "settings.INSTALLED_APPS += ['notes']", "database='direct', ")
    with fresh(setup.server) as empty:
        urls = {"DATABASE_DIRECT_URL": empty.url, "DJANGO_SETTINGS_MODULE": "settings.pgbouncer"}
        assert project.run("manage.py", "migrate", "--database=direct", database_url=empty.url, **urls)[0] == 0
        yield empty, lambda: project.start("-c", code, database_url=empty.url, **urls)


@control(here("old.execute(READ)", 'old.execute("select")'), fails_with="it waits: not within")
def test_whoever_reads_waits_behind_a_migration_that_waits(adding_a_column, setup) -> None:
    """For a transaction that has only read the table, and for as long as that is open; before, others could read."""
    empty, migrate = adding_a_column
    with (
        setup.server.connect(empty.name) as admin,
        empty.connect(autocommit=False) as old,
        empty.connect() as other,
        ThreadPoolExecutor(1) as thread,
    ):
        old.execute(READ)
        assert other.execute(READ).fetchone() == (0,)
        started = migrate()
        waits = "select mode from pg_locks where relation = 'orders_order'::regclass and not granted order by mode"
        until("it waits", lambda: admin.execute(waits).fetchall() == [("AccessExclusiveLock",)])
        reads = thread.submit(other.execute, READ)
        both = [("AccessExclusiveLock",), ("AccessShareLock",)]
        until("a reader waits too", lambda: admin.execute(waits).fetchall() == both)
        old.rollback()
        assert ended(started) == (0, "")
        assert reads.result().fetchone() == (0,)


@control(edit("postgres/role_lock_timeout.sql", "2s", "0"), fails_with="it ends: not within")
def test_a_lock_timeout_ends_a_migration_that_waits(adding_a_column, load) -> None:
    """It changes and records nothing, others read although the old transaction is still open; later it succeeds."""
    empty, migrate = adding_a_column
    empty.psql(load("postgres/role_lock_timeout.sql"), role=empty.role.name)
    noted = "select from django_migrations where app = 'notes'"
    with empty.connect(autocommit=False) as old, empty.connect() as other:
        old.execute(READ)
        status, said = ended(migrate())
        assert status == 1
        assert "canceling statement due to lock timeout" in said
        assert old.info.transaction_status is psycopg.pq.TransactionStatus.INTRANS
        assert (other.execute(READ).fetchone(), other.execute(noted).rowcount) == ((0,), 0)
        old.rollback()
        assert ended(migrate()) == (0, "")
        assert other.execute(noted).rowcount == 1


@control(here("empty.terminate(named)", "pass"), fails_with="it ends: not within")
def test_a_migration_goes_on_once_the_session_that_it_waits_for_is_ended(adding_a_column, load) -> None:
    """Who waits for whom names that session while the migration waits, and nobody once the migration has failed."""
    empty, migrate = adding_a_column
    empty.psql(load("postgres/role_lock_timeout.sql"), role=empty.role.name)

    def rows() -> list[list[str]]:
        lines = empty.psql(load("postgres/waiting.sql")).splitlines()
        return [[cell.strip() for cell in line.split("|")] for line in lines[2:] if "|" in line]

    with closing(empty.connect(autocommit=False)) as old:
        old.execute(READ)
        assert ended(migrate())[0] == 1
        assert not rows()
        empty.admin.execute(f'alter role "{empty.role.name}" reset lock_timeout')  # there is time to look
        started = migrate()
        ((*_, holder, _, state),) = until("somebody waits", rows)
        named = int(holder)
        assert (named, state) == (old.info.backend_pid, "idle in transaction")
        empty.terminate(named)
        assert ended(started) == (0, "")


@control(here('old.execute("insert into rows values (1)")', 'old.execute("select 1")'))
@control(here("create index concurrently", "create index"))
def test_a_lock_timeout_leaves_an_index_that_is_built_concurrently_invalid(setup) -> None:
    """It waits for each transaction that has written to the table, and the timeout counts for that wait as well."""
    with fresh(setup.server) as empty, empty.connect(autocommit=False) as old, empty.connect() as migration:
        migration.execute("create table rows (id int)")
        migration.execute("set lock_timeout = '20ms'")
        old.execute("insert into rows values (1)")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            migration.execute("create index concurrently half_made on rows (id)")
        valid = "select indisvalid from pg_index where indexrelid = to_regclass('half_made')"
        assert migration.execute(valid).fetchall() == [(False,)]


# ---- what needs a session ------------------------------------------------------------------------------------

HOLD = (
    "import sys; from orders.locks import exclusive\n"
    "with exclusive(7) as alone:\n"
    "    print(alone, flush=True)\n"
    "    if alone: open({fifo!r}).read()\n"
)


@contextmanager
def held(project, setup, bouncer, folder) -> Iterator[None]:
    """Have one process hold the lock for as long as the block lasts; assert that it then succeeds."""
    fifo = str(folder / "until")
    os.mkfifo(fifo)
    first = project.start("-c", DJANGO + HOLD.format(fifo=fifo), **environment(setup, bouncer))
    try:
        until("the lock is held", lambda: first.said() == "True\n" or first.ended())
        yield
        with open(fifo, "w"):  # noqa: PTH123
            pass
        until("the first ends", first.ended)
    finally:
        first.stop()
    assert first.status == 0, first.said()


@control(edit("upstream/orders/locks.py", 'connections["direct"]', 'connections["default"]'))
def test_an_advisory_lock_on_the_direct_connection_is_held_by_one_process(project, setup, bouncer, tmp_path) -> None:
    """While one process is in the block, another does not get the lock; afterwards the lock is free."""
    with held(project, setup, bouncer, tmp_path):
        assert run(project, setup, bouncer, HOLD.format(fifo=os.devnull)) == "False\n"
    assert run(project, setup, bouncer, HOLD.format(fifo=os.devnull)) == "True\n"


@pytest.fixture
def idle_too_long(setup, bouncer, load):
    """Set the role's timeouts, with a second for the hour; yield a function that waits until one ends a session.

    What PgBouncer has opened meanwhile would end soon after, perhaps when the next proof's client is given it.
    """
    setup.everything.psql(load("postgres/role_timeouts.sql"), role="upstream")
    setup.database.admin.execute("alter role upstream set idle_session_timeout = '1s'")

    def wait() -> None:
        with setup.database.connect() as idle:
            pid = idle.info.backend_pid
            until("an idle session has been ended", lambda: pid not in setup.database.backends())

    yield wait
    setup.database.admin.execute("alter role upstream reset all")
    with bouncer.admin() as console:
        console.execute("reconnect")


@control(edit("upstream/orders/locks.py", 'cursor.execute("set idle_session_timeout = 0")', "pass"))
def test_a_lock_outlives_the_roles_idle_session_timeout(project, setup, bouncer, tmp_path, idle_too_long) -> None:
    """The session that holds it is idle for longer than that, and no other process gets the lock meanwhile."""
    with held(project, setup, bouncer, tmp_path):
        idle_too_long()
        assert run(project, setup, bouncer, HOLD.format(fifo=os.devnull)) == "False\n"


LOSES = """
from django.db import Error, close_old_connections, connections
from orders.locks import exclusive
try:
    with exclusive(7):
        close_old_connections()
        print(connections["direct"].connection)
except Error:
    print("lost")
"""


@control(edit("upstream/settings/pgbouncer.py", '"CONN_MAX_AGE": 0', '"CONN_MAX_AGE": 60'))
def test_to_close_old_connections_in_the_block_lets_go_of_the_lock(project, setup, bouncer) -> None:
    """With CONN_MAX_AGE = 0 the direct connection is closed in the middle of the block, and the lock lost."""
    assert run(project, setup, bouncer, LOSES) == "None\nlost\n"


COMMITS = """
from django.db import transaction
from orders.locks import exclusive
from orders.models import Order

def others():
    with connections["direct"].cursor() as cursor:
        cursor.execute("select count(*) from pg_locks where locktype = 'advisory' and objid = 8")
        (locks,) = cursor.fetchone()
    return locks, Order.objects.using("direct").filter(customer=customer).count()

customer = "within"
with transaction.atomic():
    with exclusive(8):
        Order.objects.create(customer=customer)
    print(*others())
customer = "durable"
with exclusive(8):
    with transaction.atomic(durable=True):
        Order.objects.create(customer=customer)
    print(*others())
with transaction.atomic():
    try:
        transaction.atomic(durable=True).__enter__()
    except RuntimeError as error:
        print(error)
"""


@control(edit("upstream/orders/locks.py", "select pg_advisory_unlock(%s)", "select %s"))
@control(here("COMMITS)", 'COMMITS.replace("with transaction.atomic():", "if True:"))'))
@control(here("COMMITS)", 'COMMITS.replace("durable=True", ""))'))
def test_a_lock_within_a_transaction_is_let_go_before_the_commit(project, setup, bouncer) -> None:
    """The lock is free before others see the row. With atomic() inside it, they see the row while the lock is held.

    A durable atomic() refuses to be within another.
    """
    said = run(project, setup, bouncer, COMMITS).splitlines()
    assert said[:2] == ["0 0", "1 1"]
    assert "durable" in "".join(said[2:])


FAILS = """
from django.db import DatabaseError, transaction
from orders.locks import exclusive
def held():
    with connections["direct"].cursor() as cursor:
        cursor.execute("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        return cursor.fetchone()[0]
for around in (transaction.atomic(), transaction.atomic(using="direct")):
    try:
        with around, exclusive(9), connections["direct"].cursor() as cursor:
            cursor.execute("select 1 / 0")
    except DatabaseError:
        print(held())
connections["direct"].close()
print(held())
"""


@control(here("FAILS)", "FAILS.replace('using=\"direct\"', ''))"))
@control(here("FAILS)", "FAILS.replace('1 / 0', '1'))"))
def test_a_query_that_fails_within_a_transaction_of_direct_keeps_the_lock(project, setup, bouncer) -> None:
    """Its unlocking fails too; the lock goes with the connection. Within a transaction of `default` it is let go."""
    said = run(project, setup, bouncer, FAILS)
    assert said.split() == ["0", "1", "0"]


@control(
    edit(
        "upstream/orders/management/commands/follow_orders.py", 'cursor.execute("set idle_session_timeout = 0")', "pass"
    )
)
def test_listen_outlives_the_roles_idle_session_timeout(project, setup, bouncer, idle_too_long) -> None:
    """The command receives what is sent after it has been idle for longer than that."""
    needs_psycopg_3()
    following = project.start("manage.py", "follow_orders", **environment(setup, bouncer))
    try:
        until("the command listens", lambda: "listening" in following.said() or following.ended())
        idle_too_long()
        with bouncer.connect(setup.database) as connection:
            connection.execute("notify orders, 'late'")
        until("it arrives", lambda: following.said() == "listening\nlate\n" or following.ended())
        assert following.said() == "listening\nlate\n"
    finally:
        following.stop()
    project.note()


@control(
    edit("upstream/orders/management/commands/follow_orders.py", 'connections["direct"]', 'connections["default"]'),
    fails_with="it arrives: not within",
)
@control(
    edit("upstream/orders/management/commands/follow_orders.py", "notifies()", "notifies(stop_after=2)"),
    fails_with="it arrives: not within",
)
def test_listen_on_the_direct_connection_hears_every_notification(project, setup, bouncer) -> None:
    """What another client sends through PgBouncer arrives: NOTIFY needs no session, LISTEN does."""
    needs_psycopg_3()
    following = project.start("manage.py", "follow_orders", **environment(setup, bouncer))
    try:
        until("the command listens", lambda: "listening" in following.said() or following.ended())
        heard = "listening\n"
        for payload in ("the first", "the second", "the third", "the last"):  # each from a client of its own
            with bouncer.connect(setup.database) as connection:
                connection.execute(f"notify orders, '{payload}'")
            heard += f"{payload}\n"
            until("it arrives", lambda heard=heard: following.said() == heard)
    finally:
        following.stop()
    project.note()


CURSORS = (
    "from orders.models import Order\n"
    "Order.objects.bulk_create(Order(customer=str(n)) for n in range(50))\n"
    "def cursors(alias):\n"
    "    rows = Order.objects.using(alias).iterator(chunk_size=10); next(rows)\n"
    "    with connections[alias].cursor() as cursor:\n"
    "        cursor.execute('select count(*) from pg_cursors where name like %s', ['_django%'])\n"
    "        (open,) = cursor.fetchone()\n"
    "    return open, sum(1 for _ in rows) >= 49\n"
    "print(cursors('default'), cursors('direct'))\n"
)


@control(
    edit(
        "upstream/settings/pgbouncer.py", '"DISABLE_SERVER_SIDE_CURSORS": False', '"DISABLE_SERVER_SIDE_CURSORS": True'
    )
)
def test_a_long_report_has_its_cursor_on_the_direct_connection(project, setup, bouncer) -> None:
    """On the direct connection iterator() reads its rows from a server-side cursor; through PgBouncer it opens none."""
    assert run(project, setup, bouncer, CURSORS) == "(0, True) (1, True)\n"


@control(edit("upstream/settings/pgbouncer.py", '"CONN_MAX_AGE": 0', '"CONN_MAX_AGE": 60'))
def test_the_direct_connection_is_closed_after_each_request(project, setup, bouncer) -> None:
    """close_old_connections() closes it, and not the pooled connection."""
    code = (
        "from django.db import close_old_connections\n"
        "connections['default'].ensure_connection(); connections['direct'].ensure_connection()\n"
        "close_old_connections()\n"
        "print([connections[alias].connection is not None for alias in ('default', 'direct')])\n"
    )
    assert run(project, setup, bouncer, code) == "[True, False]\n"


# ---- tests ---------------------------------------------------------------------------------------------------

TESTS = (
    "from django.test.utils import setup_databases, teardown_databases\n"
    "made = setup_databases(verbosity=0, interactive=False, aliases={'default', 'direct'})\n"
    "for alias in connections:\n"
    "    with connections[alias].cursor() as cursor:\n"
    "        cursor.execute('select current_database(), inet_server_port()'); print(*cursor.fetchone())\n"
    "connections['direct'].close()\n"
    "teardown_databases(made, verbosity=0)\n"
)


@pytest.fixture
def createdb(setup):
    """Let both roles create databases, and drop the one that a test run has left."""
    admin = setup.database.admin
    admin.execute("alter role upstream createdb; alter role upstream_owner createdb")
    yield
    admin.execute("alter role upstream nocreatedb; alter role upstream_owner nocreatedb")
    admin.execute("drop database if exists test_upstream with (force)")


@control(edit("upstream/settings/tests.py", 'DATABASES["default"] = DATABASES["direct"]', ""))
@pytest.mark.usefixtures("createdb")
def test_djangos_tests_make_and_drop_their_database_past_pgbouncer(project, setup, bouncer) -> None:
    """Under settings.tests both aliases reach the same new database on PostgreSQL itself, and it can be dropped.

    `manage.py test`, as it is on the page, passes as well.
    """
    status, said = manage(project, setup, bouncer, "test", "--settings", "settings.tests", owner=True)
    assert (status, "\nOK\n" in said) == (0, True), said
    settings = {**environment(setup, bouncer, owner=True), "DJANGO_SETTINGS_MODULE": "settings.tests"}
    assert project.run("-c", DJANGO + TESTS, **settings) == (0, f"test_upstream {setup.server.port}\n" * 2)
    query = "select count(*) from pg_database where datname = 'test_upstream'"
    assert setup.database.admin.execute(query).fetchone() == (0,)


@control(
    here(
        "**environment(setup, bouncer))",
        '**environment(setup, bouncer) | {"DJANGO_SETTINGS_MODULE": "settings.tests"})',
    )
)
@pytest.mark.usefixtures("createdb")
def test_a_test_database_is_unknown_to_pgbouncer(project, setup, bouncer) -> None:
    """With the application's own settings the run creates its database and cannot connect to it."""
    status, said = project.run("-c", DJANGO + TESTS, **environment(setup, bouncer))
    assert status == 1
    assert "no such database: test_upstream" in said


ALIASES = """
from django.test import TestCase, TransactionTestCase
from orders.models import Order

class Uncommitted(TestCase):
    databases = {"default", "direct"}

    def test_direct_sees_nothing(self):
        Order.objects.create(customer="Ada")
        assert not Order.objects.using("direct").exists()

class Committed(TransactionTestCase):
    databases = {"default", "direct"}

    def test_direct_sees_it(self):
        Order.objects.create(customer="Ada")
        assert Order.objects.using("direct").exists()
"""
RUN = "from django.core.management import execute_from_command_line as run; run(['manage.py', 'test', 'aliases'])"


@control(here("write_text(ALIASES)", 'write_text(ALIASES.replace("(TestCase)", "(TransactionTestCase)"))'))
@control(here("write_text(ALIASES)", 'write_text(ALIASES.replace("(TransactionTestCase)", "(TestCase)"))'))
@pytest.mark.usefixtures("createdb")
def test_the_direct_alias_is_outside_of_a_tests_transaction(project, setup, bouncer, tmp_path) -> None:
    """A query on `direct` does not see what a TestCase writes on `default`, and sees a TransactionTestCase's."""
    (tmp_path / "aliases.py").write_text(ALIASES)
    settings = {**environment(setup, bouncer, owner=True), "DJANGO_SETTINGS_MODULE": "settings.tests"}
    status, said = project.run("-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {RUN}", **settings)
    assert (status, "Ran 2 tests" in said) == (0, True), said


# ---- without a direct way ------------------------------------------------------------------------------------


@pytest.fixture
def session_entry(setup):
    """PgBouncer that serves the ini's second entry, with all of its options but the address."""
    started = in_session_mode(setup, setup.users)
    yield started
    started.stop()


def in_session_mode(setup, users: dict[str, str]) -> PgBouncer:
    """Start a PgBouncer for that entry, with these users."""
    entry = section(setup.load(INI), "databases")["upstream_session"]
    options = " ".join(word for word in entry.split() if not word.startswith(("host=", "port=", "dbname=")))
    named = {"upstream_session": setup.database}
    return PgBouncer(named=named, ini=setup.load(INI), users=users, options=options)


@control(here("{**setup.users, **owner}", "setup.users"))
@control(here("setup.users, {**setup.users, **owner}", "{**setup.users, **owner}, {**setup.users, **owner}"))
def test_migrations_through_an_entry_in_session_mode_need_the_owner_in_the_userlist(project, setup, bouncer) -> None:
    """With the page's userlist the owner is refused; with its secret in it, a table is dropped and made again."""
    query = "select rolname, rolpassword from pg_authid where rolname = 'upstream_owner'"
    owner = dict(setup.database.admin.execute(query).fetchall())
    said = []
    for users in (setup.users, {**setup.users, **owner}):
        entry = in_session_mode(setup, users)
        role = setup.roles["upstream_owner"]
        url = f"postgresql://{role.name}:{role.password}@127.0.0.1:{entry.port}/upstream_session"
        try:
            for to in (("orders", "zero"), ()):
                urls = {**environment(setup, bouncer), "DATABASE_DIRECT_URL": url}
                said.append(project.run("manage.py", "migrate", *to, "--database=direct", "--verbosity=0", **urls))
        finally:
            entry.stop()
    refused, made = said[:2], said[2:]
    assert all(status == 1 and "SASL authentication failed" in text for status, text in refused), refused
    assert made == [(0, "")] * 2


@control(edit("pgbouncer/pgbouncer.ini", "pool_mode=session", "pool_mode=transaction"))
def test_an_entry_in_session_mode_keeps_what_a_session_knows(setup, session_entry) -> None:
    """From its first query a client has one server connection until it leaves: LISTEN and locks work."""

    def taken() -> list[int]:
        return [row["sv_active"] for row in session_entry.show("pools") if row["database"] == "upstream_session"]

    with session_entry.connect(setup.database) as one, session_entry.connect(setup.database) as other:
        assert taken() == [0]
        one.execute("listen orders")
        assert taken() == [1]
        one.execute("select pg_advisory_lock(1)")
        other.execute("notify orders, 'for you'")
        assert other.execute("select pg_try_advisory_lock(1)").fetchone() == (False,)
        (notification,) = one.notifies(timeout=DEADLINE, stop_after=1)
        assert notification.payload == "for you"
        assert taken() == [2]
        one.close()
        until("it has given its own back", lambda: taken() == [1])


@control(edit("pgbouncer/pgbouncer.ini", "pool_mode=session", "pool_mode=transaction"))
@control(edit("pgbouncer/pgbouncer.ini", "pool_size=5", "pool_size=6"))
def test_an_entry_in_session_mode_is_full_when_its_clients_are_idle(setup, session_entry) -> None:
    """Five idle clients that have run a query use up its connections; a sixth one's query gets query_wait_timeout."""
    sixth, *clients = [session_entry.connect(setup.database) for _ in range(6)]
    try:
        for client in clients:
            client.execute("select 1")
        with (
            session_entry.impatient(),
            pytest.raises(psycopg.errors.ProtocolViolation, match="query_wait_timeout"),
        ):
            sixth.execute("select 1")
    finally:
        for client in (sixth, *clients):
            client.close()
