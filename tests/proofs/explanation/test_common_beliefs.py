"""Proves docs/explanation/common-beliefs.md. Django's own connection handler, in this process, on a real database."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any, NamedTuple

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from proven.sources.snippets import Snippet
from tests.proofs.pooled import CERTIFICATES, certificates
from tests.stack.database import fresh
from tests.stack.scripts import execute
from tests.stack.upstream import alone, needs_django_5_1
from tests.stack.wait import until

Connect = Callable[..., Any]


@pytest.fixture
def connect(database) -> Iterator[Connect]:
    """Connect with one entry of DATABASES as given: connect(CONN_MAX_AGE=60)."""
    from django.db.utils import ConnectionHandler

    alone()
    evidence.on(Django=version("django"), psycopg=version("psycopg"))
    opened = []

    def open_one(**entry: Any) -> Any:
        full = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database.name,
            "USER": database.role.name,
            "PASSWORD": database.role.password,
            "HOST": database.server.host,
            "PORT": database.server.port,
            **entry,
        }
        settings_given = {name: value for name, value in full.items() if value is not None}
        wrapper = ConnectionHandler({"default": settings_given})["default"]
        opened.append(wrapper)
        wrapper.ensure_connection()
        return wrapper

    yield open_one
    for wrapper in opened:
        wrapper.close()
        if wrapper.settings_dict["OPTIONS"].get("pool") and not wrapper.settings_dict["CONN_MAX_AGE"]:
            wrapper.close_pool()


@control(here('"pool": True', '"pool": {"min_size": 2}'), fails_with="the pool has filled: not within")
def test_django_has_a_pool_of_its_own(connect, database) -> None:
    """`"pool": True` opens four connections for one process that has asked for one."""
    needs_django_5_1()
    pool = connect(OPTIONS={"pool": True}).pool
    until("the pool has filled", lambda: len(database.backends()) == 4)
    assert pool.get_stats()["pool_size"] == 4  # and no more are on the way


@control(here("CONN_MAX_AGE=60", "CONN_MAX_AGE=0"))
@control(here('OPTIONS={"pool": True}', 'OPTIONS={"pool": False}'))
def test_the_pool_and_conn_max_age_exclude_each_other(connect) -> None:
    """Django refuses both: the pool decides how long connections live."""
    needs_django_5_1()
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match="Pooling doesn't support persistent connections"):
        connect(OPTIONS={"pool": True}, CONN_MAX_AGE=60)


@control(here("ENGINE=None, ", ""))
def test_settings_without_an_engine_are_no_database(connect) -> None:
    """An entry that has everything but an ENGINE cannot connect."""
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match="Please supply the ENGINE value"):
        connect(ENGINE=None, CONN_MAX_AGE=60)


@control(here('CONN_MAX_AGE="60"', "CONN_MAX_AGE=60"))
def test_an_age_that_is_text_fails_when_a_connection_is_opened(connect) -> None:
    """A value taken from the environment without a cast is text, and the first query raises TypeError."""
    with pytest.raises(TypeError, match="unsupported operand"):
        connect(CONN_MAX_AGE="60")


@control(here('CONN_HEALTH_CHECKS="False"', "CONN_HEALTH_CHECKS=False"), fails_with="terminating connection")
def test_false_as_text_turns_health_checks_on(connect, database) -> None:
    """Any non-empty text is true: with "False" a lost connection is detected and replaced."""
    wrapper = connect(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS="False")
    with wrapper.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        (pid,) = cursor.fetchone()
    database.terminate(pid)
    wrapper.close_if_unusable_or_obsolete()  # as at the start of a request
    with wrapper.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        assert cursor.fetchone() != (pid,)


@control(here("connect()", "connect(CONN_MAX_AGE=60)"))
def test_conn_max_age_is_zero_by_default(connect) -> None:
    """Without a value of your own Django closes the connection after each request."""
    wrapper = connect()
    assert wrapper.settings_dict["CONN_MAX_AGE"] == 0
    wrapper.close_if_unusable_or_obsolete()
    assert wrapper.connection is None


@control(here("DEBUG=True", "DEBUG=False"))
def test_connection_queries_counts_no_connections(connect, database) -> None:
    """It lists the statements of one connection, and only with DEBUG on; otherwise it is empty."""
    from django.test import override_settings

    wrapper = connect()
    with wrapper.cursor() as cursor:
        cursor.execute("select 1")
    assert len(wrapper.queries) == 0
    assert len(database.backends()) == 1
    other = connect()
    with override_settings(DEBUG=True):
        for each, times in ((wrapper, 3), (other, 1)):
            with each.cursor() as cursor:
                for _ in range(times):
                    cursor.execute("select 1")
    assert (len(wrapper.queries), len(other.queries)) == (3, 1)
    assert len(database.backends()) == 2


@control(edit("sizing/connections.py", "- superuser_reserved - reserved", "- superuser_reserved - reserved - 5"))
@pytest.mark.parametrize(("slots", "rings"), [(10, {80: False, 95: False}), (100, {80: True, 95: True})])
def test_on_a_small_server_alerts_on_all_of_max_connections_never_fire(slots, rings, cluster, sessions, load) -> None:
    """The application is locked out at 7 of 10 slots, below an 80 % alert; at 97 of 100, past 80 % and 95 % alerts."""
    usable = execute(load("sizing/connections.py"))["usable_slots"](slots)
    with fresh(cluster(max_connections=slots).server) as database:
        for _ in range(usable):
            sessions(database)
        share = database.admin.execute(
            "select 100.0 * count(*) / current_setting('max_connections')::int from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        ).fetchone()[0]
        database.leave()  # a superuser's session takes a slot as well
        with pytest.raises(Exception, match="slots are reserved"):
            database.connect()
    assert share == 100 * usable / slots
    assert {limit: share >= limit for limit in rings} == rings


# ---- memory --------------------------------------------------------------------------------------------------

MEMORY = "postgres/memory.sh"
LEAST = 5 * 1024  # kB, the least that a connection is believed to take
CLIENTS = 100


class Taken(NamedTuple):
    """What the script prints about one process, in kB."""

    rss: int
    pss: int
    own: int


def memory(script: Snippet, *pids: int) -> tuple[str, list[Taken]]:
    """Return what the script prints about these processes, and its numbers."""
    evidence.ran(script)
    command = ["sh", "-c", script.text, "memory.sh", *map(str, pids)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Permission denied" in done.stderr:  # even to root, in a container that may not inspect other users' processes
        pytest.skip("needs to see what other processes take")
    assert done.returncode == 0, done.stderr
    return done.stdout, [Taken(*map(int, line.split()[1:])) for line in done.stdout.splitlines()[1:]]


@control(edit("postgres/memory.sh", "/^Pss:/", "/^Rss:/"))
@control(here("information_schema.columns", "pg_class"))
def test_most_of_what_ps_shows_of_an_idle_connection_is_shared(cluster, sessions, load, transcript) -> None:
    """For six that have run a query, PSS is below 5 MB and below half of RSS. One of them then reads the whole catalog.

    Its private memory then more than doubles, and stays so after DISCARD ALL.
    """
    with fresh(cluster(max_connections=10).server) as database:
        opened = [sessions(database) for _ in range(6)]
        for each in opened:
            each.execute("select count(*) from pg_class")
        pids = [each.info.backend_pid for each in opened]
        _, before = memory(load(MEMORY), *pids)
        opened[-1].execute("select count(*) from information_schema.columns")
        opened[-1].execute("discard all")
        said, after = memory(load(MEMORY), *pids)
    assert all(each.pss < min(LEAST, each.rss / 2) for each in before)
    assert after[-1].own > 2 * before[-1].own
    assert all(each.own < 2 * before[-1].own for each in after[:-1])
    transcript(load(MEMORY), said, volatile=[(r"\d+", "N")])


@control(here("sslmode=sslmode", 'sslmode="require"'))
@pytest.mark.parametrize(("sslmode", "times"), [("disable", 100), ("require", 10)])
def test_an_idle_client_of_pgbouncer_takes_a_fraction_of_a_backend(
    sslmode, times, cluster, sessions, pooler, load
) -> None:
    """Less than a hundredth of the PSS of any of six idle backends that have run a query; with TLS, less than a tenth.

    PgBouncer's private memory is compared, as its PSS falls when another PgBouncer starts, which shares the program.
    """
    with ExitStack() as opened:
        database = opened.enter_context(fresh(cluster(max_connections=10).server))
        (folder,) = opened.enter_context(certificates("pgbouncer"))
        evidence.ran(load(CERTIFICATES))
        own = folder / "pooler.internal"
        tls = {"client_tls_cert_file": f"{own}.crt", "client_tls_key_file": f"{own}.key", "client_tls_sslmode": "allow"}
        bouncer = pooler(database, pool_mode="transaction", default_pool_size=1, max_client_conn=2 * CLIENTS, **tls)

        def connect() -> None:
            opened.enter_context(bouncer.connect(database, sslmode=sslmode)).execute("select count(*) from pg_class")

        connect()
        for _ in range(5):
            sessions(database).execute("select count(*) from pg_class")
        _, (before, *backends) = memory(load(MEMORY), bouncer.leash.pid, *database.backends())
        for _ in range(CLIENTS):
            connect()
        _, (after,) = memory(load(MEMORY), bouncer.leash.pid)
    assert 0 < (after.own - before.own) / CLIENTS < min(each.pss for each in backends) / times
