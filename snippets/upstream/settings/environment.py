"""Read a setting from the environment, or stop with one clear error."""

import os

from django.core.exceptions import ImproperlyConfigured

TRUE = ("true", "1", "yes", "on")
FALSE = ("false", "0", "no", "off")


def seconds(name: str, default: int) -> int | None:
    """Return a whole number of seconds; "none" means that there is no limit."""
    value = os.environ.get(name, str(default)).strip()
    if value.lower() == "none":
        return None
    if not value.isdecimal():
        wanted = 'a whole number of seconds, or "none" for no limit'
        raise ImproperlyConfigured(f"{name}={value!r}: give {wanted}")
    return int(value)


def flag(name: str, default: bool) -> bool:
    """Return a yes or no."""
    value = os.environ.get(name, str(default)).strip()
    if value.lower() not in TRUE + FALSE:
        raise ImproperlyConfigured(f"{name}={value!r}: give True or False")
    return value.lower() in TRUE
