"""What is missing in production: python manage.py check --deploy"""

import os
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage

from .aliases import (
    Alias,
    elsewhere,
    keeps,
    pool_size,
    postgresql,
    tries,
)
from .told import found, told


def check(**kwargs: object) -> list[CheckMessage]:
    return [each for alias in postgresql() for each in missing(alias)]


def missing(alias: Alias) -> Iterator[CheckMessage]:
    name, settings = alias
    pool = pool_size(settings)
    kept = keeps(settings) or pool is not None
    if kept and not tries(settings):
        yield found("pooling.W020", name)
    if elsewhere(settings):
        if not given(settings, "connect_timeout", "PGCONNECT_TIMEOUT"):
            yield found("pooling.W021", name)
        if not given(settings, "tcp_user_timeout"):
            yield found("pooling.W022", name)
        if not verifies(settings):
            yield found("pooling.W023", name)
    if settings["ATOMIC_REQUESTS"] and pool is not None:
        threads = told("THREADS")
        if threads is None or pool < threads:
            detail = f"The pool may have {pool} connections."
            yield found("pooling.W024", name, detail)


def given(settings: dict[str, Any], option: str, variable: str = "") -> Any:
    """Return a libpq option, or the environment variable in its place."""
    return settings["OPTIONS"].get(option) or os.environ.get(variable)


def verifies(settings: dict[str, Any]) -> bool:
    """Return whether libpq verifies the server's identity."""
    mode = given(settings, "sslmode", "PGSSLMODE")
    authority = given(settings, "sslrootcert", "PGSSLROOTCERT")
    if authority == "system":  # then it insists on verify-full by itself
        return True
    # The password exchange then proves that nobody is in between.
    if given(settings, "channel_binding", "PGCHANNELBINDING") == "require":
        return True
    # With a root certificate, require verifies as verify-ca does.
    return mode in ("verify-ca", "verify-full") or bool(
        mode == "require" and authority
    )
