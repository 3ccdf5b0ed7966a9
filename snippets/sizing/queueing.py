"""How long a transaction waits for a server connection, and how many to have.

A pool is a queue: transactions arrive, server connections serve them, and one
that finds all busy waits in line. Times are in seconds, rates per second.
"""

import math

MOST_SERVERS = 10_000  # beyond any pool there is, and quick to compute
LONGEST = 86_400.0  # a day, in seconds


# region: checks
def check(name: str, value: float, lowest: float, highest: float) -> None:
    """Raise ValueError unless the value lies within its limits."""
    if not lowest <= value <= highest:  # refuses nan as well
        raise ValueError(
            f"{name} must be from {lowest:g} to {highest:g}, not {value!r}"
        )


def check_servers(servers: int) -> None:
    """Raise ValueError unless this is a whole number of servers."""
    check("servers", servers, 1, MOST_SERVERS)
    if servers != int(servers):
        raise ValueError(f"servers must be a whole number, not {servers!r}")


# endregion: checks
# region: load
def offered_load(rate: float, service_time: float) -> float:
    """Return how many server connections are busy on average.

    Little's law, L = λW (Little 1961, Operations Research 9), which
    assumes no distribution of arrivals or service times.

    rate: transactions per second
    service_time: mean time that one holds a server connection, in seconds
    """
    check("rate", rate, 0, MOST_SERVERS * 1e6)
    check("service_time", service_time, 0, LONGEST)
    load = rate * service_time
    check("rate × service_time", load, 0, MOST_SERVERS)
    return load


def utilisation(rate: float, service_time: float, servers: int) -> float:
    """Return the share of the server connections that is busy; from 1 on,
    the pool falls behind.
    """
    check_servers(servers)
    return offered_load(rate, service_time) / servers


# endregion: load
# region: mmc
def erlang_c(servers: int, load: float) -> float:
    """Return the probability that a transaction finds all servers busy.

    Erlang's formula of 1917 for an M/M/c queue, by way of the recursion
    for Erlang B: its terms stay between 0 and 1, so nothing overflows
    (Cooper, Introduction to Queueing Theory, 2nd edition 1981, chapter 3).

    load: rate × service_time
    """
    check_servers(servers)
    check("load", load, 0, MOST_SERVERS)
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang B of no server at all
    for number in range(1, int(servers) + 1):
        blocked = load * blocked / (number + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


def mmc_mean_wait(rate: float, service_time: float, servers: int) -> float:
    """Return the mean wait of all transactions, in seconds.

    M/M/c: Poisson arrivals, exponential service times, first come first
    served. Exact. Infinite where the servers cannot keep up.
    """
    load = offered_load(rate, service_time)
    waiting = erlang_c(servers, load)
    if load >= servers:
        return math.inf
    return waiting * service_time / (servers - load)


def mmc_wait_percentile(
    rate: float, service_time: float, servers: int, percent: float = 95
) -> float:
    """Return the wait that this percentage of transactions stays within.

    M/M/c, exact: P(W > t) = C exp(-(c - load) t / service_time). It is 0
    if no more than the remaining percentage waits at all.
    """
    check("percent", percent, 0, 99.999)
    load = offered_load(rate, service_time)
    waiting = erlang_c(servers, load)
    if load >= servers:
        return math.inf
    rest = (100 - percent) / 100
    if waiting <= rest:
        return 0.0
    return service_time / (servers - load) * math.log(waiting / rest)


# endregion: mmc
# region: mdc
def constant_factor(servers: int, load: float) -> float:
    """Return the wait when each service takes the same time, as a share of
    the wait when service times are exponential.

    An approximation: Cosmetatos' of 1975, with the limit that Whitt gives
    it (Approximations for the GI/G/m queue, Production and Operations
    Management 2, 1993). Exactly a half for one server; approaches a half
    as the servers become fully used.
    """
    check_servers(servers)
    check("load", load, 0, MOST_SERVERS)
    if servers == 1 or load == 0 or load >= servers:
        return 0.5
    used = load / servers
    spread = (servers - 1) * (math.sqrt(4 + 5 * servers) - 2) / (16 * servers)
    return (1 + min(0.24, (1 - used) / used * spread)) / 2


def mdc_mean_wait(rate: float, service_time: float, servers: int) -> float:
    """Return the mean wait when each service takes the same time.

    M/D/c, approximated: the mean of M/M/c, times the factor above.
    """
    factor = constant_factor(servers, offered_load(rate, service_time))
    return factor * mmc_mean_wait(rate, service_time, servers)


def mdc_wait_percentile(
    rate: float, service_time: float, servers: int, percent: float = 95
) -> float:
    """Return the wait that this percentage of transactions stays within,
    when each service takes the same time.

    M/D/c, approximated: that of M/M/c, times the factor above.
    """
    factor = constant_factor(servers, offered_load(rate, service_time))
    return factor * mmc_wait_percentile(rate, service_time, servers, percent)


# endregion: mdc
# region: needed
def servers_needed(
    rate: float, service_time: float, wait: float, percent: float = 95
) -> int:
    """Return the fewest servers with which this percentage of transactions
    waits no longer than this, by M/M/c.
    """
    check("wait", wait, 0, LONGEST)
    servers = math.floor(offered_load(rate, service_time)) + 1
    while mmc_wait_percentile(rate, service_time, servers, percent) > wait:
        servers += 1
    return servers


# endregion: needed
def worked_utilisations() -> list[dict[str, str]]:
    """Return the waits for ten server connections at several utilisations."""
    service_time, servers = 0.010, 10
    rows = []
    for used in (0.5, 0.7, 0.85, 0.95, 0.99):
        rate = used * servers / service_time
        load = offered_load(rate, service_time)
        waits = [
            mmc_wait_percentile(rate, service_time, servers, percent)
            for percent in (50, 95, 99)
        ]
        rows.append(
            {
                "Utilisation": f"{100 * used:.0f} %",
                "Transactions a second": f"{rate:.0f}",
                "Wait at all": f"{100 * erlang_c(servers, load):.0f} %",
                "p50 wait": in_ms(waits[0]),
                "p95 wait": in_ms(waits[1]),
                "p99 wait": in_ms(waits[2]),
            }
        )
    return rows


def worked_sizes() -> list[dict[str, str | int]]:
    """Return how many server connections keep the wait short."""
    service_time, wait = 0.010, 0.005
    rows: list[dict[str, str | int]] = []
    for rate in (50, 200, 800, 3200):
        load = offered_load(rate, service_time)
        servers = servers_needed(rate, service_time, wait)
        rows.append(
            {
                "Transactions a second": rate,
                "Busy on average": f"{load:g}",
                "Server connections": servers,
                "Utilisation": f"{100 * load / servers:.0f} %",
            }
        )
    return rows


def worked_splits() -> list[dict[str, str | int]]:
    """Return the waits for forty server connections split into pools."""
    rate, service_time, servers = 3200, 0.010, 40
    rows: list[dict[str, str | int]] = []
    for pools in (1, 2, 4, 8, 20):
        wait = mmc_wait_percentile(rate / pools, service_time, servers // pools)
        needed = pools * servers_needed(rate / pools, service_time, 0.005)
        rows.append(
            {
                "Pools": pools,
                "Server connections in each": servers // pools,
                "p95 wait": in_ms(wait),
                "To wait 5 ms or less": needed,
            }
        )
    return rows


def in_ms(seconds: float) -> str:
    """Return a time for a table, as in "12 ms"."""
    milliseconds = 1000 * seconds
    digits = 0 if milliseconds >= 10 or milliseconds == 0 else 1
    return f"{milliseconds:.{digits}f} ms"


if __name__ == "__main__":
    print(offered_load(rate=800, service_time=0.010))
    #> 8.0
    print(servers_needed(rate=800, service_time=0.010, wait=0.005))
    #> 12
    print(in_ms(mmc_wait_percentile(800, 0.010, servers=10)))
    #> 11 ms
    print(in_ms(mdc_wait_percentile(800, 0.010, servers=10)))
    #> 5.7 ms
