"""A backend of Django's that asks for a password at each connect."""

import os
from pathlib import Path
from typing import Any

from django.db.backends.postgresql import base


def token() -> str:
    """Return a password that holds now. Put your provider's call in here."""
    return Path(os.environ["DATABASE_TOKEN_FILE"]).read_text().strip()


class DatabaseWrapper(base.DatabaseWrapper):
    """Django calls this before each connect; for a pool only once."""

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "password": token()}
