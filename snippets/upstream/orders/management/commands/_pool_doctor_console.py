"""What PgBouncer's console shows: which clients wait, why, how many more fit.

It needs a user in stats_users, who may read and no more.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.db.utils import load_backend

from ._pool_doctor_findings import Finding, found, refused
from ._pool_doctor_processes import Clients

# The driver that Django uses, psycopg or psycopg2.
Database = load_backend("django.db.backends.postgresql").Database
LIKE = "postgresql://user@host:6432/pgbouncer"
WANTED = f"write the console's address as {LIKE}"
VIEWS = ("pools", "databases", "clients", "stats", "lists", "config", "state")
# A client that waits this long, in seconds, is a warning.
WAIT = 1
# The states of a server connection that is logged in.
CONNECTED = ("active", "idle", "used", "tested")
DOWN = "runbooks/pgbouncer-paused-or-down/"
FULL = "runbooks/pgbouncer-max-client-conn/"
LOGIN = "runbooks/pgbouncer-login-failed/"
QUEUE = "runbooks/pgbouncer-query-wait-timeout/"
Row = dict[str, Any]
Views = dict[str, list[Row]]


def look(address: str) -> tuple[list[Finding], Clients]:
    """Return the console's findings, and PgBouncer's clients."""
    try:
        views = ask(**parts(address))
    except (Database.Error, ValueError) as error:
        return [refused("console", error, FULL, DOWN)], {}
    findings = [finding for check in CHECKS for finding in check(views)]
    clients = {
        (row["port"], row["local_port"]): (
            f"a PgBouncer connection to {row['database']}"
        )
        for row in views["clients"]
    }
    return findings, clients


def parts(address: str) -> dict[str, Any]:
    """Return the driver's parameters. The error does not repeat the address."""
    try:
        url = urlsplit(address)
        # Keep every part of a password out of what follows: an "@" after the
        # host means that a "/", "?" or "#" in the password ended it too early.
        if (
            url.scheme[:8] == "postgres"
            and url.username
            and url.hostname
            and "@" not in url.path + url.query + url.fragment
        ):
            return {
                "host": url.hostname,
                "port": url.port or 6432,
                "user": unquote(url.username),
                # Without one, the driver uses PGPASSWORD or ~/.pgpass.
                "password": unquote(url.password or "") or None,
                "dbname": url.path[1:] or "pgbouncer",
                "connect_timeout": 5,
                **dict(parse_qsl(url.query)),
            }
    except ValueError:
        pass
    raise ValueError(WANTED)


def ask(**target: Any) -> Views:
    """Return the rows of each view, except the console's own."""
    views = {}
    with closing(Database.connect(**target)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for view in VIEWS:
            try:
                cursor.execute(f"show {view}")
            except Database.Error:
                # Before 1.19 no view shows that everything is paused.
                if view != "state":
                    raise
                views[view] = []
                continue
            names = [column[0] for column in cursor.description]
            rows = (dict(zip(names, r, strict=True)) for r in cursor.fetchall())
            views[view] = [r for r in rows if r.get("database") != "pgbouncer"]
    return views


# region: checks
def queues(views: Views) -> Iterator[Finding]:
    """Yield the pools whose clients wait longest for a connection, and why."""
    databases = {row["name"]: row for row in views["databases"]}
    # One that "*" created is no longer listed once it has no connections.
    used = [pool for pool in views["pools"] if pool["database"] in databases]
    # After this, clients get an error; 0 means never.
    limit = float(value(views, "config", "query_wait_timeout"))
    for pool in sorted(used, key=waited, reverse=True)[:10]:
        said, page = cause(pool, databases[pool["database"]], views)
        many = pool["cl_waiting"]
        clients = "1 client waits" if many == 1 else f"{many} clients wait"
        yield found(
            "queue",
            round(waited(pool), 1),
            "s",
            f"{pool['user']} in {pool['database']}: {clients}, {said}",
            page,
            warns=waited(pool) >= WAIT or alone(pool),
            alarms=bool(limit) and waited(pool) >= limit / 2,
        )


def waits(views: Views) -> Iterator[Finding]:
    """Yield how long clients recently waited on average (avg_wait_time)."""
    for row in views["stats"]:
        seconds = float(row["avg_wait_time"]) / 1e6
        said = f"average wait in {row['database']} (avg_wait_time)"
        warns = seconds >= WAIT
        yield found("waits", round(seconds, 3), "s", said, QUEUE, warns=warns)


def paused(views: Views) -> Iterator[Finding]:
    """Yield what serves no client until a RESUME or ENABLE."""
    states = [row["name"] for row in views["databases"] if stopped(row)]
    states += ["everything"] if all_paused(views) else []
    for name in states:
        said = f"{name} is paused or disabled"
        yield found("paused", None, "", said, DOWN, warns=True)


def places(views: Views) -> Iterator[Finding]:
    """Yield how much of max_client_conn is used, by console clients too."""
    taken = value(views, "lists", "used_clients")
    most = float(value(views, "config", "max_client_conn"))
    share = 100 * taken / most
    said = f"{taken} of {most:g} client connections (max_client_conn)"
    warns, alarms = share >= 80, share >= 95
    yield found(
        "clients", round(share), "%", said, FULL, warns=warns, alarms=alarms
    )


CHECKS: tuple[Callable[[Views], Iterator[Finding]], ...] = (
    queues,
    waits,
    paused,
    places,
)
# endregion: checks


def value(views: Views, view: str, name: str) -> Any:
    """Return a value from a view with a row for each name."""
    rows = map(dict.values, views[view])
    return {first: second for first, second, *_ in rows}[name]


def waited(pool: Row) -> float:
    return pool["maxwait"] + pool["maxwait_us"] / 1e6


def stopped(database: Row) -> bool:
    return bool(database["paused"] or database["disabled"])


def all_paused(views: Views) -> bool:
    """Return whether everything is paused: a PAUSE without a database."""
    told = bool(views["state"])
    return told and value(views, "state", "paused") == "yes"


def alone(pool: Row) -> bool:
    """Return whether clients wait in a pool that has no server connection.

    maxwait leaves out those that have waited since they connected.
    """
    connected = any(pool[f"sv_{state}"] for state in CONNECTED)
    return bool(pool["cl_waiting"]) and not connected


def cause(pool: Row, database: Row, views: Views) -> tuple[str, str]:
    """Return why clients of a pool wait, and the guide's page about it."""
    if stopped(database) or all_paused(views):
        return "the database is paused or disabled", DOWN
    if alone(pool):
        return "no server connection is open: see PgBouncer's log", LOGIN
    active, size = pool["sv_active"], database["pool_size"]
    return f"{active} of {size} server connections are active", QUEUE
