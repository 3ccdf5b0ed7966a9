"""What Django, and what reads its settings, say themselves. A function raises it, or returns the warnings."""

import asyncio
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import django.db
from django.db.utils import ConnectionHandler
from django.utils.connection import ConnectionDoesNotExist

from tests.proofs.reference.texts.bench import HERE, Bench, Case
from tests.proofs.reference.texts.clients import Django


def another_thread(bench: Bench) -> Any:
    """Use Django's connection in another thread."""
    client = Django(bench.url(HERE))
    heard: list[Exception] = []

    def use() -> None:
        try:
            client.run("select 1")
        except Exception as error:
            heard.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    client.close()
    raise heard[0]


def in_a_loop(bench: Bench) -> None:
    """Use it within an event loop."""
    client = Django(bench.url(HERE))

    async def use() -> None:
        client.run("select 1")

    try:
        asyncio.run(use())
    finally:
        client.close()


def broken_atomic(bench: Bench) -> None:
    """Query again in atomic() after an error."""
    from django.db import connections
    from django.db.transaction import Atomic

    client = Django(bench.url(HERE))
    connections["bench"] = client.connection
    try:
        with Atomic("bench", savepoint=False, durable=False):
            with suppress(Exception), Atomic("bench", savepoint=False, durable=False):
                client.run("select 1/0")
            client.run("select 1")
    finally:
        client.close()
        del connections["bench"]


def in_atomic(does: Callable[[Any], object]) -> Callable[[Bench], None]:
    """Do something with Django's connection within atomic()."""

    def run(bench: Bench) -> None:
        from django.db import connections
        from django.db.transaction import Atomic

        client = Django(bench.url(HERE))
        connections["bench"] = client.connection
        try:
            with Atomic("bench", savepoint=False, durable=False):
                does(client.connection)
        finally:
            client.close()
            del connections["bench"]

    return run


def locks_alone(bench: Bench) -> None:
    """Let Django's ORM lock rows where no transaction is open."""
    from django.apps.registry import Apps
    from django.db import connections, models

    class Row(models.Model):
        class Meta:
            app_label = "bench"
            apps = Apps()

        def __str__(self) -> str:
            return str(self.pk)

    client = Django(bench.url(HERE))
    connections["bench"] = client.connection
    try:
        Row.objects.using("bench").select_for_update().first()
    finally:
        client.close()
        del connections["bench"]


def too_early(bench: Bench) -> list[str]:
    """Use it before Django's apps are ready."""
    from django.apps import apps

    client = Django(bench.url(HERE))
    ready, apps.ready = apps.ready, False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client.run("select 1")
        return [str(each.message) for each in caught]
    finally:
        apps.ready = ready
        client.close()


def without_postgres(bench: Bench) -> list[str]:
    """Have Django look for the database postgres behind a PgBouncer that has no such entry."""
    client = Django(bench.url(Case("")))
    try:
        with warnings.catch_warnings(record=True) as caught, suppress(django.db.Error):
            warnings.simplefilter("always")
            with client.connection._nodb_cursor():
                pass
        return [str(each.message) for each in caught]
    finally:
        client.close()


def unset(_: Bench) -> str:
    """Read a variable that is not set, with django-environ."""
    import environ

    return str(environ.Env().db())


def unconfigured(entry: dict[str, str]) -> Callable[[Bench], None]:
    """Connect with an incomplete entry of DATABASES."""

    def run(_: Bench) -> None:
        ConnectionHandler({"default": entry})["default"].cursor()

    return run


def of_another_backend(_: Bench) -> object:
    """Ask Django's own backend for what that of django-tenants has."""
    return ConnectionHandler({"default": {"ENGINE": "django.db.backends.postgresql"}})["default"].schema_name


def no_such_alias(_: Bench) -> str:
    """Ask Django for an alias that DATABASES does not have; return its traceback's last line."""
    try:
        ConnectionHandler({"default": {}})["direct"]
    except ConnectionDoesNotExist as error:
        return "".join(traceback.format_exception_only(error))
    return ""


def without_driver(_: Bench) -> str:
    """Let Django look for a driver when none is installed."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('psycopg', 'psycopg2')); import django.db.backends.postgresql.base"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


# Which program says it, and how it is made to.
TEXTS: dict[str, tuple[str, Callable[[Bench], Any]]] = {
    "Set the DATABASE_URL environment variable": ("django-environ", unset),
    "settings.DATABASES is improperly configured. Please supply the ENGINE value": ("Django", unconfigured({})),
    "settings.DATABASES is improperly configured. Please supply the NAME or": (
        "Django",
        unconfigured({"ENGINE": "django.db.backends.postgresql"}),
    ),
    "Port could not be cast to integer value as '…'": (
        "Python",
        lambda _: urlsplit("postgresql://x:a#b@127.0.0.1:1/x").port,
    ),
    "DatabaseWrapper objects created in a thread can only be used in that same thread": ("Django", another_thread),
    "You cannot call this from an async context - use a thread or sync_to_async": ("Django", in_a_loop),
    "An error occurred in the current transaction. You can't execute queries until the end of the 'atomic' block.": (
        "Django",
        broken_atomic,
    ),
    "This is forbidden when an 'atomic' block is active": (
        "Django",
        in_atomic(lambda connection: connection.set_autocommit(True)),
    ),
    "select_for_update cannot be used outside of a transaction": ("Django", locks_alone),
    "ConnectionDoesNotExist: The connection '…' doesn't exist": ("Django", no_such_alias),
    "'DatabaseWrapper' object has no attribute": ("Django", of_another_backend),
    "isn't an available database backend or couldn't be imported": ("Django", unconfigured({"ENGINE": "with_token"})),
    "Accessing the database during app initialization is discouraged": ("Django", too_early),
    "Error loading psycopg2 or psycopg module": ("Django", without_driver),
    "Normally Django will use a connection to the 'postgres' database": ("Django", without_postgres),
}
