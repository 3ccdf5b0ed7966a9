"""Settings with a pool that gets a password for each connection."""

import os
from pathlib import Path
from typing import Any

import psycopg
from settings.pool import *  # noqa: F403
from settings.pool import DATABASES, size


def token() -> str:
    """Return a password that is valid now. Call your provider here."""
    return Path(os.environ["DATABASE_TOKEN_FILE"]).read_text().strip()


class WithToken(psycopg.Connection):
    """The pool passes on the password that it began with: replace it."""

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Any:
        parameters["password"] = token()
        return super().connect(conninfo, **parameters)


options = DATABASES["default"].setdefault("OPTIONS", {})
options["pool"] = {
    "min_size": size,
    "max_size": size,
    "connection_class": WithToken,
}
