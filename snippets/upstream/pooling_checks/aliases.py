"""The aliases in DATABASES that are PostgreSQL."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import connections

Alias = tuple[str, dict[str, Any]]  # its name, and its entry in DATABASES


def postgresql(names: Iterable[str] | None = None) -> Iterator[Alias]:
    """Return each, or only those named, with its settings."""
    for name in connections if names is None else names:
        connection = connections[name]
        if connection.vendor == "postgresql":
            yield name, connection.settings_dict


def keeps(settings: dict[str, Any]) -> bool:
    """Return whether a connection outlives its request."""
    return settings["CONN_MAX_AGE"] != 0


def has_wrong_age(settings: dict[str, Any]) -> bool:
    """Return whether CONN_MAX_AGE is neither a number nor None."""
    age = settings["CONN_MAX_AGE"]
    return age is not None and not isinstance(age, int | float)


def pool_size(settings: dict[str, Any]) -> int | None:
    """Return how many connections Django's pool may have, if it is on."""
    options = settings["OPTIONS"].get("pool")
    if not options:
        return None
    given = options if isinstance(options, dict) else {}
    return given.get("max_size") or given.get("min_size", 4)


def tries(settings: dict[str, Any]) -> bool:
    """Return whether Django or the pool checks a connection before its use."""
    pool = settings["OPTIONS"].get("pool")
    own = isinstance(pool, dict) and pool.get("check")
    return settings["CONN_HEALTH_CHECKS"] or bool(own)


def host(settings: dict[str, Any]) -> str:
    """Return the server's host, as libpq determines it."""
    return settings["HOST"] or os.environ.get("PGHOST", "")


def elsewhere(settings: dict[str, Any]) -> bool:
    """Return whether a server is on a host other than this process's."""
    return not all(here(at) for at in host(settings).split(","))


def here(at: str) -> bool:
    """Return whether an address, or a socket, is this host's own."""
    return at.startswith(("/", "@", "127.")) or at in ("", "localhost", "::1")
