"""A deployment's connections, pools and waits in one plan: the calculator.

Keep connections.py and queueing.py beside it.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from connections import (
    max_connections_for,
    peak_connections,
    usable_slots,
    web_connections,
)
from queueing import mmc_wait_percentile, offered_load, servers_needed


# region: fields
class Field(NamedTuple):
    """A number to be typed in: its default, and its limits."""

    default: float
    lowest: float
    highest: float
    whole: bool = True

    def wants(self) -> str:
        """Return what to type."""
        kind = "a whole number" if self.whole else "a number"
        return f"Enter {kind} from {self.lowest} to {self.highest}."


# The defaults are the example project's, and PostgreSQL's own.
FIELDS = {
    # The web tier: the number of instances, and the most to which they scale
    # (0: they do not); the processes of each; and of each process the threads,
    # or the max_size of Django's own pool (0: there is none).
    "instances": Field(1, 1, 10_000),
    "max_instances": Field(0, 0, 10_000),
    "processes": Field(2, 1, 1_000),
    "threads": Field(4, 1, 1_000),
    "pool": Field(0, 0, 1_000),
    "aliases": Field(1, 1, 20),
    "surge": Field(100, 0, 300),  # percent of it that runs twice in a deploy
    # What else connects: the first two as the web tier does, the others
    # always straight to PostgreSQL.
    "celery": Field(0, 0, 10_000),
    "cron": Field(0, 0, 10_000),
    "migrations": Field(1, 0, 1_000),
    "other": Field(2, 0, 1_000),
    # PgBouncer: its processes (0: there is none), and what each of them has: a
    # pool for each pair of a user and a database, and its size (0: as advised).
    "replicas": Field(1, 0, 1_000),
    "pairs": Field(1, 1, 1_000),
    "pool_size": Field(0, 0, 10_000),
    "reserve_pool": Field(0, 0, 10_000),
    # PostgreSQL: its settings of these names.
    "max_connections": Field(100, 1, 262_143),  # the maximum
    "superuser_reserved": Field(3, 0, 262_143),
    "reserved": Field(0, 0, 262_143),
    # The load: requests a second; how long each holds a connection, and the
    # longest that 95 of 100 may wait for one, in milliseconds.
    "rate": Field(50, 0, 100_000, whole=False),
    "db_ms": Field(10, 0, 60_000, whole=False),
    "wait_ms": Field(5, 0, 60_000, whole=False),
}
# PgBouncer's other files: its log, its own sockets, cancel requests.
OTHER_FILES = 100
MOST_BUSY = 1_000  # connections: beyond what one PostgreSQL server can do
NUMBER = re.compile(r" *([0-9]{1,9}(\.[0-9]{1,9})?) *")


def refusals(typed: Mapping[str, str]) -> dict[str, str]:
    """Return the error for each invalid input, by the field's name."""
    found = {}
    for name, field in FIELDS.items():
        number = NUMBER.fullmatch(typed[name])
        whole = number is not None and number[2] is None
        if (
            number is None
            or (field.whole and not whole)
            or not field.lowest <= float(number[1]) <= field.highest
        ):
            found[name] = field.wants()
    if found:
        return found
    given = numbers(typed)
    kept = given["superuser_reserved"] + given["reserved"]
    if given["max_connections"] <= kept:
        found["max_connections"] = f"Enter more than the {kept} reserved slots."
    if given["rate"] * given["db_ms"] / 1000 > MOST_BUSY:
        found["rate"] = (
            f"Enter less: more than {MOST_BUSY} connections would be busy."
        )
    return found


def numbers(typed: Mapping[str, str]) -> dict[str, float]:
    """Return the inputs as numbers; all of them have to be valid."""
    return {
        name: int(typed[name]) if field.whole else float(typed[name])
        for name, field in FIELDS.items()
    }


# endregion: fields
# region: plan
def plan(given: Mapping[str, float]) -> dict[str, float | str | None]:
    """Return what a deployment opens, what it should have and what it may.

    given: a number for each of FIELDS. Waits are in milliseconds.
    """
    whole = {name: int(given[name]) for name in FIELDS}
    processes, surge = whole["processes"], whole["surge"]
    replicas, pairs = whole["replicas"], whole["pairs"]
    max_connections = whole["max_connections"]
    superusers, reserved = whole["superuser_reserved"], whole["reserved"]

    # What connects at the worst moment of a deploy.
    in_each = whole["pool"] or whole["threads"]
    most_instances = max(whole["instances"], whole["max_instances"])
    web = web_connections(processes, in_each, most_instances, whole["aliases"])
    everyone = peak_connections(
        web,
        surge=Fraction(surge, 100),  # exact, unlike a float
        celery=whole["celery"],
        cron=whole["cron"],
        migrations=whole["migrations"],
        other=whole["other"],
    )
    straight = whole["migrations"] + whole["other"]
    clients = everyone - straight  # of PgBouncer, where there is one
    usable = usable_slots(max_connections, superusers, reserved)

    # Each pool is a queue of its own, and gets its share of the requests.
    pools = replicas * pairs
    if not pools and whole["pool"]:
        pools = processes * whole["instances"]  # each process has its own
    rate = given["rate"] / max(pools, 1)
    hold = given["db_ms"] / 1000
    needed = servers_needed(rate, hold, given["wait_ms"] / 1000)
    size = whole["pool_size"] or needed
    servers = size if replicas else whole["pool"]
    # Without a pool nobody waits: each thread keeps its own connection.
    wait = mmc_wait_percentile(rate, hold, servers) if pools else 0.0

    # What each PgBouncer accepts, and what it opens itself.
    most_clients = ceil_div(clients * 5, 4)  # a quarter more
    most_servers = pairs * (size + whole["reserve_pool"])

    # What PostgreSQL then has open, and the max_connections with a fifth free.
    behind = replicas * most_servers
    opened = behind + straight if replicas else everyone
    least = max_connections_for(ceil_div(opened * 5, 4), superusers, reserved)

    # The other way round: what this max_connections allows.
    free = usable - straight
    kept = whole["celery"] + whole["cron"]
    fits = max(0, (free - kept) * 100 // (100 + surge))  # of the web tier
    share = max(0, free) // max(replicas * pairs, 1)
    return {
        "web": web,
        "clients": clients,
        "everyone": everyone,
        "straight": straight,
        "behind": behind,
        "opened": opened,
        "usable": usable,
        "band": band(opened, usable),
        "busy": offered_load(given["rate"], hold),
        "needed": needed,
        "size": size,
        "wait": wait * 1000,
        "max_client_conn": most_clients,
        "max_db_connections": most_servers,
        "open_files": most_clients + most_servers + OTHER_FILES,
        "least": least if least <= FIELDS["max_connections"].highest else None,
        "most_instances": fits // (processes * in_each * whole["aliases"]),
        "most_threads": fits // (processes * most_instances * whole["aliases"]),
        "largest_pool": max(0, share - whole["reserve_pool"]),
    }


def band(opened: int, usable: int) -> str:
    """Return how well this many connections fit."""
    if opened > usable:
        return "too many"
    return "tight" if opened * 5 > usable * 4 else "fits"


def ceil_div(number: int, by: int) -> int:
    """Divide and round up."""
    return -(-number // by)


# endregion: plan
# region: files
# The example project's settings modules, by whether there is a PgBouncer, and
# whether Django's own pool is on.
MODULES = {
    (False, False): "settings.prod",
    (False, True): "settings.pool",
    (True, False): "settings.pgbouncer",
    (True, True): "settings.pooled",
}


def settings(given: Mapping[str, float]) -> dict[str, dict[str, object]]:
    """Return the settings of each file, by their names."""
    found = plan(given)
    pooled, reserve = given["replicas"] > 0, given["reserve_pool"]
    files: dict[str, dict[str, object]] = {
        ".env": {
            "DATABASE_URL": address(6432 if pooled else 5432),
            "DATABASE_DIRECT_URL": address(5432),
            # With Django's own pool, CONN_MAX_AGE has to be 0.
            "DB_CONN_MAX_AGE": 0 if given["pool"] else 60,
            "DJANGO_SETTINGS_MODULE": MODULES[pooled, given["pool"] > 0],
            "GUNICORN_WORKERS": given["processes"],
            "GUNICORN_THREADS": given["threads"],
            "DB_POOL_SIZE": given["pool"],
        }
    }
    if pooled:
        files["pgbouncer.ini"] = {
            "default_pool_size": found["size"],
            "reserve_pool_size": reserve,
            "max_db_connections": found["max_db_connections"],
            "max_client_conn": found["max_client_conn"],
        }
    if found["least"] is not None:
        files["postgresql.conf"] = {
            "max_connections": max(found["least"], given["max_connections"]),
            "superuser_reserved_connections": given["superuser_reserved"],
            "reserved_connections": given["reserved"],
        }
    return files


def address(port: int) -> str:
    """Return the URL of the example's database at this port."""
    return f"postgresql://upstream:change-me@127.0.0.1:{port}/upstream"


def fill(text: str, values: Mapping[str, object]) -> str:
    """Return a file's text with these settings.

    A setting that the text lacks is added after the one before it, unless it
    is 0, which is then its default: older servers may not know it.
    """
    before = ""
    for name, value in values.items():
        line = re.compile(rf"^{name}( ?= ?).*$", re.MULTILINE)
        if line.search(text):
            text = line.sub(rf"{name}\g<1>{value}", text)
        elif value:
            after = re.compile(rf"^{before}( ?= ?).*$", re.MULTILINE)
            text = after.sub(rf"\g<0>\n{name}\g<1>{value}", text)
        before = name
    return text


# endregion: files
# All other fields have their defaults.
WORKED: dict[str, dict[str, float]] = {
    "The example project, 2 × 4": {},
    "The same, straight to PostgreSQL": {"replicas": 0},
    "Two servers, 4 × 4, 8 Celery processes, 2 cron jobs": {
        "instances": 2,
        "processes": 4,
        "celery": 8,
        "cron": 2,
        "rate": 200,
    },
    "20 pods, 2 × 4, a quarter at a time, two PgBouncers": {
        "instances": 20,
        "surge": 25,
        "celery": 16,
        "replicas": 2,
        "reserve_pool": 2,
        "reserved": 2,
        "rate": 800,
    },
    "Cloud Run, 5 to 50 instances, 1 × 8, two PgBouncers": {
        "instances": 5,
        "max_instances": 50,
        "processes": 1,
        "threads": 8,
        "replicas": 2,
        "rate": 1000,
    },
    "ASGI, 4 instances × 2, a pool of 10 in each": {
        "instances": 4,
        "pool": 10,
        "replicas": 0,
        "rate": 400,
    },
}


def defaults(**changed: float) -> dict[str, float]:
    """Return the defaults, with these changes."""
    return {name: field.default for name, field in FIELDS.items()} | changed


def worked_plans() -> list[dict[str, str | int]]:
    """Return a few deployments, each with its numbers."""
    rows: list[dict[str, str | int]] = []
    for name, changed in WORKED.items():
        given = defaults(**changed)
        found = plan(given)
        pooled = given["replicas"] > 0
        rows.append(
            {
                "Deployment": name,
                "Open": str(found["opened"]),
                "Direct": str(found["everyone"]),
                "max_connections": str(found["least"]),
                "Pool": str(found["size"]) if pooled else "none",
                "Clients": str(found["max_client_conn"]) if pooled else "none",
                "p95 wait": f"{found['wait']:.1f} ms",
            }
        )
    return rows


if __name__ == "__main__":
    found = plan(defaults(instances=20, surge=25, rate=800))
    print(found["everyone"], found["opened"], found["band"])
    #> 203 15 fits
    print(found["size"], found["max_client_conn"], found["open_files"])
    #> 12 250 362
    print(plan(defaults(max_connections=100))["most_instances"])
    #> 5
