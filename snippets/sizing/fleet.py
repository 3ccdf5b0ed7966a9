"""How many connections to PostgreSQL a fleet of poolers opens."""


# region: fleet
def server_connections(
    poolers: int, pool_size: int, pairs: int = 1, reserve: int = 0
) -> int:
    """Return the most server connections that all poolers open together.

    poolers: processes of PgBouncer: replicas, sidecars, or several on one
        port; each has pools of its own
    pool_size: default_pool_size
    pairs: of a user and a database that are in use
    reserve: reserve_pool_size, for each of these pairs
    """
    return poolers * pairs * (pool_size + reserve)


def pool_size_for(
    poolers: int, slots: int, pairs: int = 1, reserve: int = 0
) -> int:
    """Return the largest pool size at which all poolers fit the slots."""
    return slots // (poolers * pairs) - reserve


# endregion: fleet
def worked_fleets() -> list[dict[str, str | int]]:
    """Return a few fleets with the same load, and what each opens."""
    fleets = {
        "One PgBouncer": (1, 20),
        "Two processes on one port": (2, 10),
        "Three replicas behind a load balancer": (3, 10),
        "A sidecar in each of 20 pods": (20, 5),
        "A sidecar in each of up to 100 instances": (100, 5),
    }
    return [
        {
            "Fleet": name,
            "Poolers": poolers,
            "Pool of each": pool_size,
            "Server connections": server_connections(poolers, pool_size),
        }
        for name, (poolers, pool_size) in fleets.items()
    ]


if __name__ == "__main__":
    print(server_connections(poolers=100, pool_size=5))
    #> 500
    print(pool_size_for(poolers=100, slots=97))
    #> 0
