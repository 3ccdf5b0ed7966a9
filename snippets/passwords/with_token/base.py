"""A database backend for Django that gets a new password for each connect."""

import os
from pathlib import Path
from typing import Any

from django.db.backends.postgresql import base


def token() -> str:
    """Return a password that is valid now. Call your provider here."""
    return Path(os.environ["DATABASE_TOKEN_FILE"]).read_text().strip()


class DatabaseWrapper(base.DatabaseWrapper):
    """Its parameters are asked for at each connect; for a pool only once."""

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "password": token()}
