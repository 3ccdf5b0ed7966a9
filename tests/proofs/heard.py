"""What a program says when something fails: the type of the exception, and its first line."""

from collections.abc import Callable
from typing import Any

import psycopg
import psycopg2

Errors = (psycopg.Error, psycopg2.Error)


def heard(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Return the first line that a call fails with, less where the server is; "" where it does not fail."""
    try:
        made = call(*arguments, **options)
    except Errors as error:
        return (str(error).splitlines() or [""])[0].rpartition("failed: ")[2] or str(error)
    if isinstance(made, psycopg.Connection) or hasattr(made, "set_session"):
        made.close()
    return ""


def many(client: psycopg.Connection) -> None:
    """Ask by executemany()."""
    client.cursor().executemany("select %s", [[1], [2]])


def piped(client: psycopg.Connection) -> None:
    """Ask in a pipeline, which waits for its answer."""
    with client.pipeline():
        client.execute("select 1")
