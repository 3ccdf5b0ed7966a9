"""Checks that query a server: python manage.py check --database default"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from . import transaction_mode
from .aliases import Alias, has_wrong_age, host, pool_size, postgresql
from .told import found, told

# region: asked
ASKED = """
select
    current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    -- New in PostgreSQL 16; null before.
    - coalesce(current_setting('reserved_connections', true), '0')::int,
    (select rolconnlimit from pg_roles where rolname = session_user),
    (select datconnlimit from pg_database where datname = current_database()),
    current_setting('statement_timeout'),
    current_setting('idle_in_transaction_session_timeout')
"""
# endregion: asked


def check(
    databases: Iterable[str] | None = None, **kwargs: object
) -> list[CheckMessage]:
    messages = []
    for alias in postgresql(databases or ()):
        if has_wrong_age(alias[1]):
            continue  # Django cannot connect with it, as E008 says
        try:
            messages += answers(alias)
        except (Error, ImproperlyConfigured) as error:
            said = str(error).strip().partition("\n")[0]
            messages.append(found("pooling.W030", alias[0], said))
    return messages


def answers(alias: Alias) -> Iterator[CheckMessage]:
    """Ask the server, and return what is wrong with its answers."""
    name, settings = alias
    pooled = transaction_mode.is_told(name, settings)
    with connections[name].temporary_connection() as cursor:
        cursor.execute(ASKED)
        slots, role, database, statement, silence = cursor.fetchone()
        if not pooled and is_lent(name, cursor):
            pooled = True
            yield from transaction_mode.broken(alias)
    if not pooled and told("PROCESSES") and told("THREADS"):
        yield from too_many(name, slots, role, database)
    if statement == "0":
        yield found("pooling.W033", name)
    if silence == "0":
        yield found("pooling.W034", name)


def is_lent(name: str, cursor: Any) -> bool:
    """Return whether a second client is served by the same backend.

    The first is still connected, so a pooler must be lending it to both. Each
    asks a few times, as the pooler may have several backends.
    """
    if told("TRANSACTION_MODE") is not None:
        return False  # the project has said it
    second = connections[name].copy()
    second.settings_dict["OPTIONS"].pop("pool", None)
    with second.temporary_connection() as other:
        return not backends(cursor).isdisjoint(backends(other))


def backends(cursor: Any) -> set[int]:
    """Return the backends that answer a client."""
    found = set()
    for _ in range(5):
        cursor.execute("select pg_backend_pid()")
        found.add(cursor.fetchone()[0])
    return found


def too_many(
    name: str, slots: int, role: int, database: int
) -> Iterator[CheckMessage]:
    """Compare what is open at the worst moment with the limits."""
    most = worst_moment(name)
    if most > slots:
        detail = f"It opens {most}, and there are {slots} slots."
        yield found("pooling.W031", name, detail)
    limit = min((each for each in (role, database) if each >= 0), default=most)
    if most > limit:
        detail = f"It opens {most}, and the limit is {limit}."
        yield found("pooling.W032", name, detail)


# region: worst-moment
def worst_moment(name: str) -> int:
    """Return how many connections a deploy opens on the server of an alias.

    It is the formula of how-to/size-connections/, with the project's values.
    """
    here = connections[name].settings_dict
    in_each = sum(
        pool_size(settings) or told("THREADS")
        for other, settings in postgresql()
        if place(settings) == place(here)
    )
    web = told("PROCESSES") * in_each * told("INSTANCES")
    others = ("CELERY", "CRON", "MIGRATIONS", "OTHER")
    twice = math.ceil(web * told("SURGE"))
    return web + twice + sum(map(told, others))


def place(settings: dict[str, Any]) -> tuple[str, str]:
    """Return an alias's host and port."""
    return host(settings), str(settings["PORT"] or 5432)


# endregion: worst-moment
