"""How many server connections Cloud SQL's pooler may open."""


def server_connections(max_pool_size: int, vcpus: int, pairs: int = 1) -> int:
    """Return the most that all poolers of an instance open together.

    Google runs one pooler for every four vCPUs, and at least one. `pairs` is
    how many pairs of a user and a database connect.
    """
    poolers = max(1, vcpus // 4)
    return poolers * pairs * max_pool_size


if __name__ == "__main__":
    print(server_connections(20, vcpus=2))
    #> 20
    print(server_connections(20, vcpus=16, pairs=2))
    #> 160
