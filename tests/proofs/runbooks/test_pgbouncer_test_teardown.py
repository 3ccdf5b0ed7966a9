"""Proves docs/runbooks/pgbouncer-test-teardown.md: manage.py test through PgBouncer."""

from types import SimpleNamespace

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here, replace
from tests.stack.database import fresh
from tests.stack.upstream import needs_a_pool


@pytest.fixture
def testing(server, server_version, pooler):
    """A role that may create databases, and a PgBouncer in front of its own, the test database and postgres."""
    evidence.on(PostgreSQL=server_version)
    with fresh(server) as database:
        database.admin.execute(f'alter role "{database.role.name}" createdb')
        same = {"server": server, "role": database.role, "admin": database.admin}
        others = {name: SimpleNamespace(name=name, **same) for name in ("postgres", f"test_{database.name}")}
        bouncer = pooler(database, named=others, pool_mode="transaction")
        yield database, bouncer, f"test_{database.name}"
        bouncer.stop()
        database.admin.execute(f'drop database if exists "test_{database.name}" with (force)')


def run(project, url: str) -> tuple[int, str]:
    """Run the example's own tests."""
    return project.run("manage.py", "test", "orders", "--noinput", database_url=url)


def exists(database, name: str) -> bool:
    """Return whether there is a database of this name."""
    query = "select count(*) = 1 from pg_database where datname = %s"
    return database.admin.execute(query, [name]).fetchone()[0]


@control(here("bouncer.url(database)", "database.url"))
@control(edit("postgres/drop_test_database.sql", "with (force)", ""), fails_with="is being accessed by other users")
def test_the_pool_keeps_the_test_database_from_being_dropped(project, testing, load) -> None:
    """The tests pass, but PgBouncer's idle session blocks the drop, and the command fails; WITH (FORCE) succeeds."""
    database, bouncer, name = testing
    status, output = run(project, bouncer.url(database))
    assert status == 1
    assert "\nOK\n" in output
    assert f'OperationalError: database "{name}" is being accessed by other users' in output
    assert "There is 1 other session using the database." in output
    found = database.psql(load("postgres/who_is_in.sql"), database=name)
    (row,) = [line for line in found.splitlines() if database.role.name in line]
    with database.connect() as beside:  # as PgBouncer, from this machine
        (address,) = beside.execute("select host(inet_client_addr())").fetchone()
    assert [part.strip() for part in row.split("|")][2:] == ["upstream", address, "idle"]
    database.psql(load("postgres/drop_test_database.sql"), database=name)
    assert not exists(database, name)


@control(here("superuser=False", "superuser=True"))
def test_a_role_sees_no_address_of_another_roles_session(database, second_user, load) -> None:
    """The query names the other role, but only a superuser sees from where it has connected."""
    query = load("postgres/who_is_in.sql")

    def address(found: str) -> str:
        (row,) = [line for line in found.splitlines() if second_user.role.name in line]
        return row.split("|")[3].strip()

    with second_user.connect() as client:
        (host,) = client.execute("select host(inet_client_addr())").fetchone()
        assert address(database.psql(query, database=database.name)) == host
        found = database.psql(query, superuser=False, database=database.name)
        assert address(found) == ""


@control(here("bouncer.url(database))", "database.url)"))
@control(edit("postgres/drop_test_database.sql", "with (force)", ""), fails_with="is being accessed by other users")
def test_the_owner_may_drop_the_test_database_too(project, testing, load) -> None:
    """The tests' role created it and has all sessions in it; it is no superuser, and ends PgBouncer's session."""
    database, bouncer, name = testing
    run(project, bouncer.url(database))
    whose = "select usename from pg_stat_activity where datname = %s and backend_type = 'client backend'"
    assert database.admin.execute(whose, [name]).fetchall() == [(database.role.name,)]
    database.psql(load("postgres/drop_test_database.sql"), superuser=False, database=name)
    assert not exists(database, name)


@control(here("bouncer.url(database))  # leaves it", "database.url)  # leaves it"))
@control(edit("postgres/drop_test_database.sql", "with (force)", ""), fails_with="is being accessed by other users")
@control(here("database=name", 'database="another"'))
@pytest.mark.parametrize("way", ["through PgBouncer", "past it"])
def test_an_old_test_database_keeps_the_next_run_from_its_tests(project, testing, load, way) -> None:
    """The database that the first run left blocks the next, whose tests run once it has been dropped by force."""
    database, bouncer, name = testing
    run(project, bouncer.url(database))  # leaves it
    status, output = run(project, bouncer.url(database) if way == "through PgBouncer" else database.url)
    text = f'Got an error recreating the test database: database "{name}" is being accessed by other users'
    assert (status, text in output, "Ran 1 test" in output) == (2, True, False), output
    database.psql(load("postgres/drop_test_database.sql"), database=name)
    status, output = run(project, database.url)
    assert (status, "\nOK\n" in output, exists(database, name)) == (0, True, False), output


TWICE = """
from orders.tests import OrdersTest

class Again(OrdersTest):
    pass
"""


@control(here("bouncer.url(database)", "database.url"))
@control(here('"--parallel", "2"', '"--parallel", "1"'))
def test_the_pool_keeps_the_test_database_from_being_copied(project, testing, tmp_path) -> None:
    """With --parallel Django copies the database for each process, which fails while another session is in it.

    Then no test runs. On a direct connection all run, and each of the two processes has a copy.
    """
    database, bouncer, name = testing
    (tmp_path / "test_twice.py").write_text(TWICE)
    command = ("manage.py", "test", "test_twice", "--noinput", "--parallel", "2")
    own = {"PYTHONPATH": str(tmp_path)}
    copies = [f"{name}_1", f"{name}_2"]
    try:
        status, output = project.run(*command, database_url=bouncer.url(database), **own)
        text = f'source database "{name}" is being accessed by other users'
        assert (status != 0, text in output, "Ran " in output) == (True, True, False), output
        assert not [copy for copy in copies if exists(database, copy)]
        bouncer.stop()
        status, output = project.run(*command, "--keepdb", database_url=database.url, **own)
        assert (status, "Ran 2 tests" in output) == (0, True), output
        made = database.admin.execute("select datname from pg_database where starts_with(datname, %s)", [f"{name}_"])
        assert sorted(found for (found,) in made) == copies
    finally:
        for copy in copies:
            database.admin.execute(f'drop database if exists "{copy}" with (force)')


POOL = """
from django.conf import settings
settings.DATABASES["default"]["OPTIONS"]["pool"] = True
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "test", "orders", "--noinput"])
"""


@control(
    replace(
        "tests.proofs.runbooks.test_pgbouncer_test_teardown:POOL",
        """
from django.conf import settings
settings.DATABASES["default"]["OPTIONS"]["pool"] = True
from django.db.backends.postgresql.base import DatabaseWrapper
DatabaseWrapper.close_pool = lambda self: None
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "test", "orders", "--noinput"])
""",
    )
)
def test_djangos_own_pool_is_not_in_the_way(project, testing) -> None:
    """Django closes its pool before it drops the test database."""
    needs_a_pool()
    database, _, name = testing
    settings = {"DJANGO_SETTINGS_MODULE": "settings.prod", "DB_CONN_MAX_AGE": "0"}
    status, output = project.run("-c", POOL, database_url=database.url, **settings)
    assert (status, "\nOK\n" in output) == (0, True), output
    assert not exists(database, name)


TWO = """
import copy, sys
from django.conf import settings
aliases = settings.DATABASES
aliases["default"]["OPTIONS"]["pool"] = True
aliases["second"] = copy.deepcopy(aliases["default"])
if {mirror}:
    aliases["second"] |= {{"NAME": "elsewhere", "TEST": {{"MIRROR": "default"}}}}
if not {pool}:
    del aliases["second"]["OPTIONS"]["pool"]
sys.path.insert(0, {folder!r})
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "test", "test_both", "--noinput"])
"""
BOTH = """
from django.test import TestCase
from orders.models import Order

class Both(TestCase):
    databases = {"default", "second"}

    def test_each_is_asked(self):
        for alias in self.databases:
            self.assertEqual(Order.objects.using(alias).count(), 0)
"""


@control(here("pool=True", "pool=False"))
@control(here("pool=False", "pool=True"))
@control(here("write_text(BOTH)", """write_text(BOTH.replace(', "second"', ""))"""))
@pytest.mark.parametrize("mirror", [True, False], ids=["a mirror", "the same name"])
def test_the_pool_of_a_second_alias_is_in_the_way(project, testing, tmp_path, load, mirror) -> None:
    """Django closes only the pool of the alias whose database it drops; if another has one, that blocks the drop."""
    needs_a_pool()
    database, _, name = testing
    (tmp_path / "test_both.py").write_text(BOTH)
    common = {"database_url": database.url, "DJANGO_SETTINGS_MODULE": "settings.prod", "DB_CONN_MAX_AGE": "0"}
    status, output = project.run("-c", TWO.format(mirror=mirror, pool=True, folder=str(tmp_path)), **common)
    text = f'OperationalError: database "{name}" is being accessed by other users'
    assert (status, "\nOK\n" in output, text in output) == (1, True, True), output
    database.psql(load("postgres/drop_test_database.sql"), database=name)
    status, output = project.run("-c", TWO.format(mirror=mirror, pool=False, folder=str(tmp_path)), **common)
    assert (status, "\nOK\n" in output, exists(database, name)) == (0, True, False), output


@control(here("database.url", "testing[1].url(database)"))
def test_tests_on_a_direct_connection_leave_nothing_behind(project, testing) -> None:
    """With a DATABASE_URL that points to PostgreSQL itself, the same tests pass, and their database is dropped."""
    database, _, name = testing
    status, output = run(project, database.url)
    assert (status, "\nOK\n" in output) == (0, True), output
    assert not exists(database, name)
