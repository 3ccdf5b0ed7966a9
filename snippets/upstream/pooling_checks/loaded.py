"""What was asked of a database while the project was loaded."""

import traceback
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.db import connections

from .told import found

# The alias, and the line of the project that asked first.
asked: dict[str, str] = {}


def note(connection: Any, **kwargs: object) -> None:
    """Remember who opens a connection before anything is to be done."""
    frames = traceback.extract_stack()[:-1]
    imports = any("importlib" in frame.filename for frame in frames)
    if imports or not apps.ready:
        own = [frame for frame in frames if is_own(frame.filename)]
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else ""
        asked.setdefault(connection.alias, place)


def is_own(file: str) -> bool:
    """Return whether a file is the project's, and no library's."""
    return not file.startswith("<") and "site-packages" not in file


def check(**kwargs: object) -> list[CheckMessage]:
    return list(still_open())


def still_open() -> Iterator[CheckMessage]:
    for name, place in asked.items():
        connection = connections[name]
        detail = f"Asked in {place}."
        if pool := getattr(connection, "pool", None):  # from Django 5.1 on
            if not pool.closed:
                yield found("pooling.W007", name, detail)
        elif connection.connection is not None:
            yield found("pooling.W006", name, detail)
