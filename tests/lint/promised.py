"""What the values of an ini promise: to its own comments, to Django before it and to PostgreSQL behind it.

PgBouncer starts with many that keep no promise: with query_wait_timeout = 0 clients wait until Gunicorn kills them.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache

from proven.problems import Problem
from proven.sources import snippets

PORT = "6432"  # where the settings of Django, exporters and probes look for it
GUNICORN = 30  # seconds after which it kills a worker, by default
SLOTS = 97  # that PostgreSQL has for ordinary roles, by default
INI = "pgbouncer/pgbouncer.ini"
# What every deployment has as that file has it, so that whoever moves on meets the same PgBouncer.
SAME = ("max_prepared_statements", "query_wait_timeout", "idle_transaction_timeout", "server_login_retry")
HOSTS = ("127.0.0.1", "0.0.0.0", "*")  # noqa: S104
ENTRY = re.compile(r"(\w+)=(\S+)")
Settings = Mapping[str, str]


@cache
def roles() -> set[str]:
    """Return who is in userlist.txt."""
    made = snippets.read("pgbouncer/roles.sql").text
    return set(re.findall(r"^create role (\w+)", made, re.MULTILINE))


@cache
def databases() -> set[str]:
    """Return which databases there are."""
    return set(re.findall(r"^create database (\w+)", snippets.read("pgbouncer/roles.sql").text, re.MULTILINE))


def _number(of: Settings, name: str) -> float:
    return float(of[name])


# A setting, whether its value keeps its promise, and what to say where it does not. Settings that are not there have
# PgBouncer's default, of which nothing is promised.
PROMISES: dict[str, tuple[Callable[[str, Settings], bool], str]] = {
    "listen_addr": (lambda value, _: value in HOSTS, f"it listens on one of {', '.join(HOSTS)}"),
    "listen_port": (lambda value, _: value == PORT, f"all else looks for it on port {PORT}"),
    "unix_socket_dir": (
        lambda value, _: not value or value.startswith("/"),
        "it is a folder, from the root, or nothing",
    ),
    "auth_type": (lambda value, _: value == "scram-sha-256", "userlist.txt has SCRAM secrets: scram-sha-256"),
    "auth_file": (lambda value, _: value.endswith("/userlist.txt"), "who may connect is in a userlist.txt"),
    "admin_users": (lambda value, _: value in roles(), "no role of roles.sql is called so"),
    "stats_users": (lambda value, _: value in roles(), "no role of roles.sql is called so"),
    "server_tls_ca_file": (lambda value, _: value.endswith("/ca.crt"), "the authority's certificate is a ca.crt"),
    "pool_mode": (lambda value, _: value == "transaction", "settings.pgbouncer is made for transaction mode"),
    "max_prepared_statements": (lambda value, _: int(value) > 0, "at 0 PgBouncer follows no prepared statements"),
    "default_pool_size": (
        lambda value, of: 0 < int(value) <= _number(of, "max_db_connections"),
        "no pool is larger than max_db_connections",
    ),
    "max_db_connections": (
        lambda value, _: 0 < int(value) <= SLOTS,
        f"PostgreSQL has {SLOTS} slots, and 0 is without limit",
    ),
    "max_client_conn": (
        lambda value, of: int(value) > _number(of, "max_db_connections"),
        "fewer clients than server connections: then it pools nothing",
    ),
    "query_wait_timeout": (
        lambda value, _: 0 < float(value) < GUNICORN,
        f"whoever waits hears of it before Gunicorn's timeout of {GUNICORN} s, and at 0 never",
    ),
    "idle_transaction_timeout": (
        lambda value, _: float(value) > 0,
        "at 0 a transaction that says nothing keeps its server connection",
    ),
    "server_login_retry": (
        lambda value, of: float(value) < _number(of, "query_wait_timeout"),
        "it tries again before whoever waits gives up, at query_wait_timeout",
    ),
}


def problems(path: str, text: str, first: int = 0) -> list[Problem]:
    """Return the promises that a whole ini does not keep. `first` is how many lines are before it in its file."""
    found, section = [], ""
    settings: dict[str, tuple[int, str]] = {}
    entries: dict[str, tuple[int, dict[str, str]]] = {}
    for number, line in enumerate(text.splitlines(), start=first + 1):
        if header := re.fullmatch(r"\s*\[(\w+)\]\s*", line):
            section = header[1]
        elif setting := re.fullmatch(r"\s*(\w+)\s*=[^\S\n]*(.*?)\s*", line):
            if section == "databases":
                entries[setting[1]] = (number, {"port": "5432", **dict(ENTRY.findall(setting[2]))})
            else:
                settings[setting[1]] = (number, setting[2])
    values = {name: value for name, (_, value) in settings.items()}
    for name, (keeps, why) in PROMISES.items():
        if name in settings and not keeps(values[name], values):
            found.append(Problem(path, settings[name][0], f"{name} = {values[name]}: {why}"))
    own = dict(re.findall(r"^(\w+) = (.*)$", snippets.read(INI).text, re.MULTILINE))
    for name in SAME:
        if values.get(name, own[name]) != own[name]:
            found.append(Problem(path, settings[name][0], f"{name} = {values[name]}: {INI} has {own[name]}"))
    found += [Problem(path, number, f"{name}: {why}") for name, number, why in _apart(entries)]
    return found


def _apart(entries: Mapping[str, tuple[int, dict[str, str]]]) -> list[tuple[str, int, str]]:
    """Return the entries that lead elsewhere than the first one, or to a database that nothing makes."""
    found = []
    first = next((entry for _, entry in entries.values()), {})
    for name, (number, entry) in entries.items():
        for key in ("host", "port", "dbname"):
            if entry.get(key) != first.get(key):
                found.append(
                    (name, number, f"{key} is another than in the first entry, which leads to {first.get(key)}")
                )
        if entry.get("dbname") not in databases():
            found.append((name, number, f"roles.sql makes no database {entry.get('dbname')}"))
        if name.endswith("_session") and entry.get("pool_mode") != "session":
            found.append((name, number, "whoever comes here needs a session of their own: pool_mode=session"))
        if int(entry.get("pool_size", "1")) > SLOTS // 10:
            found.append((name, number, f"pool_size is for a few clients, not {entry['pool_size']}"))
    return found
