"""How many connections a deployment opens at its worst moment."""

import math
from fractions import Fraction


# region: formula
def web_connections(
    processes: int, threads: int, instances: int = 1, aliases: int = 1
) -> int:
    """Return how many connections the web tier holds.

    Each thread keeps one for each database alias that it uses. This is true of
    Gunicorn's sync and gthread workers: under gevent or ASGI the number of
    threads is no limit.
    """
    return processes * threads * instances * aliases


def peak_connections(
    web: int,
    *,
    surge: float | Fraction = 1.0,
    celery: int = 0,
    cron: int = 0,
    migrations: int = 1,
    other: int = 2,
) -> int:
    """Return the most connections open at one time.

    surge: the share of the web tier that runs twice during a deploy:
        1.0 for all of it, 0.25 for Kubernetes' default
    celery: child processes of all workers
    cron: management commands at one time
    migrations: during the deploy
    other: monitoring, and people with psql
    """
    return web + math.ceil(web * surge) + celery + cron + migrations + other


def usable_slots(
    max_connections: int, superuser_reserved: int = 3, reserved: int = 0
) -> int:
    """Return how many connections ordinary roles can have."""
    return max_connections - superuser_reserved - reserved


def max_connections_for(
    peak: int, superuser_reserved: int = 3, reserved: int = 0
) -> int:
    """Return the max_connections that lets ordinary roles have this many."""
    return peak + superuser_reserved + reserved


# endregion: formula
# region: pooled
def pooled_connections(
    pool_size: int, poolers: int = 1, pairs: int = 1, surge: float = 0.0
) -> int:
    """Return the most server connections that PgBouncers open together.

    pool_size: of each user in each database, the reserve included
    poolers: processes: one for each pod or instance that has a sidecar
    pairs: of a user and a database
    surge: the share of the processes that runs twice during a deploy
    """
    return pool_size * pairs * (poolers + math.ceil(poolers * surge))


# endregion: pooled
def worked_deployments() -> list[dict[str, str | int]]:
    """Return a few deployments, each with its numbers."""
    small = web_connections(2, 4)
    large = web_connections(4, 4, instances=2)
    pods = web_connections(2, 4, instances=20)
    peaks = {
        "One server, 2 × 4, stopped for the deploy": (
            small,
            peak_connections(small, surge=0.0),
        ),
        "One server, 2 × 4, rolling deploy": (small, peak_connections(small)),
        "Two servers, 4 × 4, rolling deploy": (large, peak_connections(large)),
        "The same, 8 Celery processes, 2 cron jobs": (
            large,
            peak_connections(large, celery=8, cron=2),
        ),
        "20 pods, 2 × 4, a quarter at a time, 16 Celery processes": (
            pods,
            peak_connections(pods, surge=0.25, celery=16),
        ),
    }
    return [
        {
            "Deployment": name,
            "Web tier": web,
            "At the peak": peak,
            "max_connections": max_connections_for(peak),
        }
        for name, (web, peak) in peaks.items()
    ]


def worked_poolers() -> list[dict[str, str | int]]:
    """Return places for the poolers, and the server connections of each."""
    instances, processes, threads, pool = 20, 2, 4, 4
    web = web_connections(processes, threads, instances)
    beside = pooled_connections(pool, instances)
    central = pooled_connections(20, poolers=2)
    rows = {
        f"None: {instances} instances with {processes} × {threads}": (
            web,
            web * 2,
        ),
        f"Beside each of {instances} instances, a pool of {pool}": (
            beside,
            pooled_connections(pool, instances, surge=1.0),
        ),
        "Two for everybody, a pool of 20": (central, central),
    }
    return [
        {
            "PgBouncer": name,
            "Server connections at most": most,
            "While the application is deployed": deployed,
        }
        for name, (most, deployed) in rows.items()
    ]


if __name__ == "__main__":
    web = web_connections(processes=2, threads=4)
    print(web)
    #> 8
    peak = peak_connections(web)
    print(peak)
    #> 19
    print(max_connections_for(peak))
    #> 22
    print(usable_slots(max_connections=10))
    #> 7
    print(pooled_connections(pool_size=4, poolers=20))
    #> 80
