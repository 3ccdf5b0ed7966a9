"""What a client hears when a call fails: the first line of the driver's error."""

from collections.abc import Callable
from typing import Any

import psycopg
import psycopg2

Errors = (psycopg.Error, psycopg2.Error)


def heard(call: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Return the first line of the error that a call raises, without the server's address; "" if it succeeds."""
    try:
        made = call(*arguments, **options)
    except Errors as error:
        return (str(error).splitlines() or [""])[0].rpartition("failed: ")[2] or str(error)
    if isinstance(made, psycopg.Connection) or hasattr(made, "set_session"):
        made.close()
    return ""


def many(client: psycopg.Connection) -> None:
    """Query with executemany()."""
    client.cursor().executemany("select %s", [[1], [2]])


def piped(client: psycopg.Connection) -> None:
    """Query in a pipeline, and wait for the answer."""
    with client.pipeline():
        client.execute("select 1")
