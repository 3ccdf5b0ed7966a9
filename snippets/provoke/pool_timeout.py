"""Time out waiting for a pool, for two reasons.

Prints the error, which is the same, and what tells the reasons apart.
"""

import os

import psycopg_pool

TOLD = ("pool_size", "pool_available", "requests_waiting", "connections_errors")


def ask(pool: psycopg_pool.ConnectionPool) -> None:
    try:
        pool.getconn(timeout=0.3)
    except psycopg_pool.PoolTimeout as error:
        print(f"{type(error).__name__}: {error}")
    stats = pool.get_stats()
    print({name: stats.get(name, 0) for name in TOLD})


url = os.environ["DATABASE_URL"]
with psycopg_pool.ConnectionPool(url, min_size=1, max_size=1) as pool:
    pool.wait()
    with pool.connection():
        print("All connections are in use:")
        ask(pool)

nowhere = "host=127.0.0.1 port=1 connect_timeout=2"
with psycopg_pool.ConnectionPool(nowhere, min_size=1, max_size=1) as pool:
    print("No server listens:")
    ask(pool)
