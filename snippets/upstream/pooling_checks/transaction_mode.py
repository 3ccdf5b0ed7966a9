"""What breaks behind a pooler in transaction mode."""

import re
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage

from .aliases import Alias, postgresql
from .told import found, told

PGBOUNCER = "6432"  # its default port
SETTING = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")


def check(**kwargs: object) -> list[CheckMessage]:
    return [
        each
        for alias in postgresql()
        if is_told(*alias)
        for each in broken(alias)
    ]


def is_told(name: str, settings: dict[str, Any]) -> bool:
    """Return whether the settings say that an alias is behind such a pooler."""
    behind = told("TRANSACTION_MODE")
    if behind is None:
        return PGBOUNCER in str(settings["PORT"]).split(",")
    return name in behind


def broken(alias: Alias) -> Iterator[CheckMessage]:
    """Return what is wrong with an alias behind such a pooler."""
    name, settings = alias
    options = settings["OPTIONS"]
    if not settings.get("DISABLE_SERVER_SIDE_CURSORS"):
        yield found("pooling.W010", name)
    if options.get("assume_role"):
        yield found("pooling.W011", name)
    if given := options.get("options"):
        names = set(SETTING.findall(given))
        if names != {"search_path"}:
            yield found("pooling.W012", name)
        if "search_path" in names:
            yield found("pooling.W013", name)
