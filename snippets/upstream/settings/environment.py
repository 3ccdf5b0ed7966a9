"""Read a setting from the environment, or stop with one clear error."""

import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environ import Env

TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off")


def database(name: str) -> dict[str, Any]:
    """Return the PostgreSQL database that a variable's URL names.

    DATABASE_URL's password may be in the file DATABASE_PASSWORD_FILE names.
    The error does not repeat the URL, which may contain a password.
    """
    url = os.environ.get(name, "")
    try:
        scheme = url.startswith(("postgresql://", "postgres://"))
        right = scheme and " #" not in url  # a comment in .env
        found = Env.db_url_config(url) if right else {}
    except ValueError:
        found = {}
    if not found.get("NAME"):
        wanted = "postgresql://user:password@host:port/database"
        raise ImproperlyConfigured(f"{name} must look like {wanted}")
    if secret := os.environ.get(name.replace("_URL", "_PASSWORD_FILE")):
        found["PASSWORD"] = Path(secret).read_text().strip()
    return found


def seconds(name: str, default: int) -> int | None:
    """Return a whole number of seconds, or None (no limit) for "none"."""
    value = os.environ.get(name, str(default)).strip()
    if value.lower() == "none":
        return None
    if not value.isdecimal():
        wanted = 'a whole number of seconds, or "none" for no limit'
        raise ImproperlyConfigured(f"{name}={value!r} must be {wanted}")
    return int(value)


def connections(name: str, default: int) -> int:
    """Return a number of connections, at least one."""
    value = os.environ.get(name, str(default)).strip()
    if not value.isdecimal() or int(value) == 0:
        wanted = "a whole number of connections, 1 or more"
        raise ImproperlyConfigured(f"{name}={value!r} must be {wanted}")
    return int(value)


def flag(name: str, default: bool) -> bool:
    """Return True or False."""
    value = os.environ.get(name, str(default)).strip()
    if value.lower() not in TRUE + FALSE:
        raise ImproperlyConfigured(f"{name}={value!r} must be True or False")
    return value.lower() in TRUE
