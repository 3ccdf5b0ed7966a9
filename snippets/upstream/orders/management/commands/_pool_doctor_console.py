"""What PgBouncer's console tells: who waits, for what, and how much is left.

It takes a user in stats_users, who may look and no more.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.db.utils import load_backend

from ._pool_doctor_findings import Finding, found, refused
from ._pool_doctor_processes import Clients

# The driver that Django takes, psycopg or psycopg2.
Database = load_backend("django.db.backends.postgresql").Database
WANTED = "give postgresql://user@host:6432/pgbouncer"
VIEWS = ("pools", "databases", "clients", "stats", "lists", "config", "state")
# Who waits for a second or longer is a warning.
WAIT = 1
# What a server connection can be that PgBouncer has.
CONNECTED = ("active", "idle", "used", "tested")
DOWN = "runbooks/pgbouncer-paused-or-down/"
FULL = "runbooks/pgbouncer-max-client-conn/"
LOGIN = "runbooks/pgbouncer-login-failed/"
QUEUE = "runbooks/pgbouncer-query-wait-timeout/"
Row = dict[str, Any]
Views = dict[str, list[Row]]


def look(address: str) -> tuple[list[Finding], Clients]:
    """Return what the console tells, and who its clients are."""
    try:
        views = ask(**parts(address))
    except (Database.Error, ValueError) as error:
        return [refused("console", error, FULL, DOWN)], {}
    findings = [finding for check in CHECKS for finding in check(views)]
    clients = {
        (row["port"], row["local_port"]): f"a client of {row['database']}"
        for row in views["clients"]
    }
    return findings, clients


def parts(address: str) -> dict[str, Any]:
    """Return what the driver takes. The error does not repeat the address."""
    try:
        url = urlsplit(address)
        # So that there is no piece of a password in what follows: an "@" behind
        # the host says that a "/", "?" or "#" of one was read as its end.
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
                # With none the driver looks into PGPASSWORD and ~/.pgpass.
                "password": unquote(url.password or "") or None,
                "dbname": url.path[1:] or "pgbouncer",
                "connect_timeout": 5,
                **dict(parse_qsl(url.query)),
            }
    except ValueError:
        pass
    raise ValueError(WANTED)


def ask(**target: Any) -> Views:
    """Return what each view shows, but for the console's own clients."""
    views = {}
    with closing(Database.connect(**target)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for view in VIEWS:
            try:
                cursor.execute(f"show {view}")
            except Database.Error:
                # Before 1.19 there is none that tells of a pause of everything.
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
    """The pools whose clients wait longest for a server connection, and why."""
    databases = {row["name"]: row for row in views["databases"]}
    # One that "*" made is no longer among them once nobody is connected by it.
    used = [pool for pool in views["pools"] if pool["database"] in databases]
    # At its end clients get an error; 0 is no end.
    limit = float(value(views, "config", "query_wait_timeout"))
    for pool in sorted(used, key=waited, reverse=True)[:10]:
        said, page = cause(pool, databases[pool["database"]], views)
        yield found(
            "queue",
            round(waited(pool), 1),
            "s",
            f"{pool['user']} in {pool['database']}: {pool['cl_waiting']} wait, "
            + said,
            page,
            warns=waited(pool) >= WAIT or alone(pool),
            alarms=bool(limit) and waited(pool) >= limit / 2,
        )


def waits(views: Views) -> Iterator[Finding]:
    """How long clients waited on average of late, by avg_wait_time."""
    for row in views["stats"]:
        seconds = float(row["avg_wait_time"]) / 1e6
        said = f"on average in {row['database']}"
        warns = seconds >= WAIT
        yield found("waits", round(seconds, 3), "s", said, QUEUE, warns=warns)


def paused(views: Views) -> Iterator[Finding]:
    """What nobody is served from until somebody says so."""
    states = [row["name"] for row in views["databases"] if stopped(row)]
    states += ["everything"] if all_paused(views) else []
    for name in states:
        said = f"{name} is paused or disabled"
        yield found("paused", None, "", said, DOWN, warns=True)


def places(views: Views) -> Iterator[Finding]:
    """How much of max_client_conn is taken, by the console's clients too."""
    taken = value(views, "lists", "used_clients")
    most = float(value(views, "config", "max_client_conn"))
    share = 100 * taken / most
    said = f"{taken} of {most:g} places for clients taken"
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
    """Return a value of a view that has its names in rows."""
    rows = map(dict.values, views[view])
    return {first: second for first, second, *_ in rows}[name]


def waited(pool: Row) -> float:
    return pool["maxwait"] + pool["maxwait_us"] / 1e6


def stopped(database: Row) -> bool:
    return bool(database["paused"] or database["disabled"])


def all_paused(views: Views) -> bool:
    """Return whether it is after a PAUSE that names no database."""
    told = bool(views["state"])
    return told and value(views, "state", "paused") == "yes"


def alone(pool: Row) -> bool:
    """Return whether clients wait where PgBouncer has no server connection.

    Those that wait since they came are not in maxwait.
    """
    connected = any(pool[f"sv_{state}"] for state in CONNECTED)
    return bool(pool["cl_waiting"]) and not connected


def cause(pool: Row, database: Row, views: Views) -> tuple[str, str]:
    """Return why clients of a pool would wait, and where the guide tells."""
    if stopped(database) or all_paused(views):
        return "it is paused", DOWN
    if alone(pool):
        return "it has no server connection; PgBouncer's log says why", LOGIN
    active, size = pool["sv_active"], database["pool_size"]
    return f"{active} of {size} server connections at work", QUEUE
