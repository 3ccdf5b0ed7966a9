"""What the setting POOLING_CHECKS tells these checks, and what they say."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from .rules import RULES

# What no other setting says. Counting needs PROCESSES and THREADS.
# region: told
DEFAULTS: dict[str, Any] = {
    # The address of the guide, to which each hint links.
    "GUIDE": "https://guide.example",
    # Aliases behind a pooler in transaction mode. With None they are
    # recognised by port 6432, and by asking the server.
    "TRANSACTION_MODE": None,
    # What connects at the worst moment of a deploy: the processes of each
    # instance, and the threads of each process; the share of instances that
    # runs twice meanwhile; and what else connects then.
    "PROCESSES": None,
    "THREADS": None,
    "INSTANCES": 1,
    "SURGE": 1.0,
    "CELERY": 0,
    "CRON": 0,
    "MIGRATIONS": 1,
    "OTHER": 2,
}
# endregion: told


def told(name: str) -> Any:
    """Return the project's value for a name if valid, else the default."""
    value = given().get(name, DEFAULTS[name])
    return DEFAULTS[name] if wanted(name, value) else value


def given() -> dict[str, Any]:
    """Return the setting; if it is no dictionary, under the name ""."""
    if not hasattr(settings, "POOLING_CHECKS"):
        return {}
    setting = settings.POOLING_CHECKS
    return setting if isinstance(setting, dict) else {"": setting}


def wanted(name: str, value: object) -> str:
    """Return what to give instead, or "" if a value is right."""
    if name not in DEFAULTS:
        return f"a dictionary with names from this list: {', '.join(DEFAULTS)}"
    if name == "GUIDE":
        return "" if isinstance(value, str) else "an address"
    if name == "TRANSACTION_MODE":
        right = value is None or isinstance(value, list | tuple | set)
        return "" if right else "a list of aliases"
    number = isinstance(value, int | float) and value >= 0
    return "" if number or value is DEFAULTS[name] else "a number, 0 or more"


def check(**kwargs: object) -> list[CheckMessage]:
    return list(mistakes())


def mistakes() -> Iterator[CheckMessage]:
    for name, value in given().items():
        if instead := wanted(name, value):
            detail = f"Wrong: {name or 'the setting itself'}. Use {instead}."
            yield found("pooling.W001", detail=detail)


def found(rule: str, alias: str = "", detail: str = "") -> CheckMessage:
    """Return what a rule has found about an alias, as Django's message."""
    finds, fix, page = RULES[rule]
    kind = checks.Error if ".E" in rule else checks.Warning
    return kind(
        f"{finds} {detail}".strip(),
        hint=f"{fix} {told('GUIDE').rstrip('/')}/{page}",
        obj=f"DATABASES[{alias!r}]" if alias else None,
        id=rule,
    )
