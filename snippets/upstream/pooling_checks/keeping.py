"""How connections are kept: by CONN_MAX_AGE, or by Django's pool."""

import sys
from collections.abc import Iterator

from django.conf import settings as project
from django.core.checks import CheckMessage
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

from .aliases import Alias, has_wrong_age, keeps, pool_size, postgresql
from .told import found


def check(**kwargs: object) -> list[CheckMessage]:
    kept = [each for alias in postgresql() for each in looked_at(alias)]
    return [*kept, *ignored()]


def ignored() -> Iterator[CheckMessage]:
    """Find settings that the project has only outside DATABASES."""
    for name in ("CONN_MAX_AGE", "CONN_HEALTH_CHECKS"):
        value = getattr(project, name, None)
        given = [each.settings_dict[name] for each in connections.all()]
        if value is not None and value not in given:
            yield found("pooling.W009", detail=f"The setting is {name}.")


def looked_at(alias: Alias) -> Iterator[CheckMessage]:
    name, settings = alias
    pool = pool_size(settings)
    if has_wrong_age(settings):
        yield found("pooling.E008", name)
    elif keeps(settings) and pool is not None:
        yield found("pooling.E004", name)
    elif keeps(settings):
        if getattr(project, "ASGI_APPLICATION", None):
            yield found("pooling.W002", name)
        if sys.argv[1:2] == ["runserver"]:
            yield found("pooling.W003", name)
    if pool is not None and has_parameters_of_its_own(name):
        yield found("pooling.W005", name)


def has_parameters_of_its_own(name: str) -> bool:
    """Return whether a backend has its own get_connection_params()."""
    backend = type(connections[name])
    own = backend.get_connection_params
    return own is not DatabaseWrapper.get_connection_params
