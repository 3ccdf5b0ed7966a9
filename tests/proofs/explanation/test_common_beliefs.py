"""Proves docs/explanation/common-beliefs.md. Django's own connection handler, in this process, on a real database."""

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest

from proven import evidence
from proven.sources.controls import control, edit, here
from tests.stack.database import fresh
from tests.stack.scripts import execute
from tests.stack.upstream import needs_django_5_1
from tests.stack.wait import until

Connect = Callable[..., Any]


@pytest.fixture
def connect(database) -> Iterator[Connect]:
    """Connect with one entry of DATABASES as given: connect(CONN_MAX_AGE=60)."""
    import django
    from django.conf import settings
    from django.db.utils import ConnectionHandler

    if not settings.configured:
        settings.configure(USE_TZ=True)  # by itself only since Django 5.0
        django.setup()
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
    connect(OPTIONS={"pool": True})
    until("the pool has filled", lambda: len(database.backends()) == 4)


@control(here("CONN_MAX_AGE=60", "CONN_MAX_AGE=0"))
@control(here('OPTIONS={"pool": True}', 'OPTIONS={"pool": False}'))
def test_the_pool_and_conn_max_age_exclude_each_other(connect) -> None:
    """The pool decides how long connections live, and says so."""
    needs_django_5_1()
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match="Pooling doesn't support persistent connections"):
        connect(OPTIONS={"pool": True}, CONN_MAX_AGE=60)


@control(here("ENGINE=None, ", ""))
@control(here("connect(ENGINE=None, CONN_MAX_AGE=60)", "pass"))
def test_settings_without_an_engine_are_no_database(connect) -> None:
    """An entry that has everything but an ENGINE cannot connect."""
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match="Please supply the ENGINE value"):
        connect(ENGINE=None, CONN_MAX_AGE=60)


@control(here('CONN_MAX_AGE="60"', "CONN_MAX_AGE=60"))
@control(here('connect(CONN_MAX_AGE="60")', "pass"))
def test_an_age_that_is_text_fails_when_a_connection_is_opened(connect) -> None:
    """A value taken from the environment without a cast is text, and the first query raises TypeError."""
    with pytest.raises(TypeError, match="unsupported operand"):
        connect(CONN_MAX_AGE="60")


@control(here('CONN_HEALTH_CHECKS="False"', "CONN_HEALTH_CHECKS=False"), fails_with="terminating connection")
def test_false_as_text_turns_health_checks_on(connect, database) -> None:
    """Any text that is not empty is true: with "False" a lost connection is found and replaced."""
    wrapper = connect(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS="False")
    with wrapper.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        (pid,) = cursor.fetchone()
    database.terminate(pid)
    wrapper.close_if_unusable_or_obsolete()  # as at the start of a request
    with wrapper.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        assert cursor.fetchone() != (pid,)


@control(here("wrapper.close_if_unusable_or_obsolete()", "pass"))
def test_conn_max_age_is_zero_by_default(connect) -> None:
    """Without a value of your own Django closes the connection after each request."""
    wrapper = connect()
    assert wrapper.settings_dict["CONN_MAX_AGE"] == 0
    wrapper.close_if_unusable_or_obsolete()
    assert wrapper.connection is None


@control(here("DEBUG=True", "DEBUG=False"))
def test_connection_queries_counts_no_connections(connect, database) -> None:
    """It lists statements of this one connection, and only with DEBUG on: off, it is empty."""
    from django.test import override_settings

    wrapper = connect()
    with wrapper.cursor() as cursor:
        cursor.execute("select 1")
    assert len(wrapper.queries) == 0
    assert len(database.backends()) == 1
    with override_settings(DEBUG=True), wrapper.cursor() as cursor:
        cursor.execute("select 1")
        cursor.execute("select 2")
    assert len(wrapper.queries) == 2
    assert len(database.backends()) == 1


@control(edit("sizing/connections.py", "- superuser_reserved - reserved", "- superuser_reserved - reserved - 5"))
@pytest.mark.parametrize(("slots", "rings"), [(10, {80: False, 95: False}), (100, {80: True, 95: True})])
def test_on_a_small_server_alerts_on_all_of_max_connections_never_fire(slots, rings, cluster, sessions, load) -> None:
    """Locked out with 7 of 10 slots taken, below an alert at 80 %; of 100 with 97, past alerts at 80 % and at 95 %."""
    usable = execute(load("sizing/connections.py"))["usable_slots"](slots)
    with fresh(cluster(max_connections=slots).server) as database:
        for _ in range(usable):
            sessions(database)
        share = database.admin.execute(
            "select 100.0 * count(*) / current_setting('max_connections')::int from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        ).fetchone()[0]
        with pytest.raises(Exception, match="slots are reserved"):
            database.connect()
    assert share == 100 * usable / slots
    assert {limit: share >= limit for limit in rings} == rings
