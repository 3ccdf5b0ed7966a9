"""Watch clients wait for a pool of two, and read its statistics.

Django's own pool is one of these: connection.pool.get_stats()
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg_pool

TOLD = {
    "size": "pool_size",
    "free": "pool_available",
    "waiting": "requests_waiting",
    "queued": "requests_queued",
    "errors": "requests_errors",
}


def tell(what: str) -> None:
    stats = pool.get_stats()  # omits what was never counted
    counts = [f"{stats.get(name, 0):>8}" for name in TOLD.values()]
    print(f"{what:<22}", *counts, sep="")


def waiting(count: int) -> None:
    while pool.get_stats()["requests_waiting"] < count:
        time.sleep(0.01)


pool = psycopg_pool.ConnectionPool(
    os.environ["DATABASE_URL"],
    min_size=1,
    max_size=2,
    max_waiting=2,
    open=False,
)
print(" " * 22, *(f"{name:>8}" for name in TOLD), sep="")
with pool, ThreadPoolExecutor() as threads:
    pool.wait()
    tell("open")
    ada = pool.getconn()
    tell("Ada has a connection")
    ben = pool.getconn()
    tell("Ben has a new one")
    cyd = threads.submit(pool.getconn)
    waiting(1)
    dan = threads.submit(pool.getconn)
    waiting(2)
    tell("Cyd and Dan wait")
    try:
        pool.getconn(timeout=1)
    except psycopg_pool.TooManyRequests:
        tell("Eve is refused")
    pool.putconn(ada)
    cyd.result()
    tell("Cyd has Ada's")
    pool.putconn(ben)
    dan.result()
    tell("Dan has Ben's")
    pool.putconn(cyd.result())
    pool.putconn(dan.result())
    tell("all are returned")
