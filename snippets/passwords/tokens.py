"""Settings with a pool whose connections ask for a password each."""

import os
from pathlib import Path
from typing import Any

import psycopg
from settings.pool import *  # noqa: F403
from settings.pool import DATABASES, size


def token() -> str:
    """Return a password that holds now. Put your provider's call in here."""
    return Path(os.environ["DATABASE_TOKEN_FILE"]).read_text().strip()


class WithToken(psycopg.Connection):
    """The pool hands on the password that it began with: take a new one."""

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
