"""Connections that were opened while the project was loaded."""

import traceback
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.db import connections

from .told import found

# Each alias, and the project's line that first connected.
asked: dict[str, str] = {}


def note(connection: Any, **kwargs: object) -> None:
    """Note what opens a connection before the project is loaded."""
    frames = traceback.extract_stack()[:-1]
    imports = any("importlib" in frame.filename for frame in frames)
    if imports or not apps.ready:
        own = [frame for frame in frames if is_own(frame.filename)]
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else ""
        asked.setdefault(connection.alias, place)


def is_own(file: str) -> bool:
    """Return whether a file is the project's, not a library's."""
    return not file.startswith("<") and "site-packages" not in file


def check(**kwargs: object) -> list[CheckMessage]:
    return list(still_open())


def still_open() -> Iterator[CheckMessage]:
    for name, place in asked.items():
        connection = connections[name]
        detail = f"First opened at {place}." if place else ""
        if pool := getattr(connection, "pool", None):  # from Django 5.1 on
            if not pool.closed:
                yield found("pooling.W007", name, detail)
        elif connection.connection is not None:
            yield found("pooling.W006", name, detail)
