"""What is measured: setups, queries, loads, and how long."""

from collections.abc import Iterator
from dataclasses import dataclass

PROCESSES, THREADS = 2, 4  # Gunicorn's, as the example project is shipped
AGE = 60  # seconds for which a connection is kept, where it is


@dataclass(frozen=True)
class Setup:
    """One way for the example project to reach its database."""

    says: str
    settings: dict[str, str]  # its environment
    pooler: bool = False  # PgBouncer in between, in transaction mode


def _kept(seconds: int, checked: bool = False) -> dict[str, str]:
    return {"DB_CONN_MAX_AGE": str(seconds), "DB_CONN_HEALTH_CHECKS": str(checked)}


SETUPS = {
    "none": Setup("No reuse", _kept(0)),
    "kept": Setup("Kept", _kept(AGE)),
    "checked": Setup("Kept and checked", _kept(AGE, checked=True)),
    "pool": Setup("Django's pool", {**_kept(0), "DJANGO_SETTINGS_MODULE": "settings.pool"}),
    "pooler_none": Setup("PgBouncer, no reuse", _kept(0), pooler=True),
    "pooler_kept": Setup("PgBouncer, kept", _kept(AGE), pooler=True),
    # The control: a difference between two identical setups is noise.
    "again": Setup("Kept, once more", _kept(AGE)),
}


@dataclass(frozen=True)
class Query:
    """How much processor time a request's one query takes in PostgreSQL, in ms, and how many arrive in a second."""

    says: str
    cost: float  # 0: a lookup by primary key, as cheap as a query can be
    rate: int  # of the open load: what the slowest setup serves with a quarter of two processors


QUERIES = {
    "trivial": Query("trivial query", 0.0, 30),
    "ms5": Query("query of 5 ms", 5.0, 25),
    "ms25": Query("query of 25 ms", 25.0, 12),
}


@dataclass(frozen=True)
class Block:
    """What is compared side by side: the same query, load and encryption, for each of these setups."""

    load: str  # "open" or "closed"
    query: str
    tls: bool
    setups: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """How much is measured. Each round measures every block, in an order of its own."""

    name: str
    rounds: int
    setups: tuple[str, ...]
    queries: tuple[str, ...]
    encrypted: tuple[str, ...]  # the queries that are measured with TLS too
    seconds: dict[str, int]  # of each load; k6 takes no less than one
    control: bool = False
    clients: int = 2 * PROCESSES * THREADS  # of the closed load: as many wait as are served

    def blocks(self) -> Iterator[Block]:
        """Return every block."""
        for load in self.seconds:
            for query in self.queries:
                control = ("again",) if self.control and query == "trivial" else ()
                yield Block(load, query, False, (*self.setups, *control))
                if query in self.encrypted:
                    yield Block(load, query, True, self.setups)

    def cells(self) -> int:
        """Return how many measurements a round has."""
        return sum(len(block.setups) for block in self.blocks())

    def lanes(self) -> set[tuple[str, bool]]:
        """Return which setups must stand ready, without and with TLS."""
        return {(setup, block.tls) for block in self.blocks() for setup in block.setups}


EVERY = tuple(name for name in SETUPS if name != "again")
# A connect costs the same whatever query follows: TLS is measured with the cheapest query alone.
FULL = Plan("full", 7, EVERY, tuple(QUERIES), ("trivial",), {"open": 2, "closed": 1}, control=True)
FEW = ("none", "kept", "pooler_none", "pooler_kept")
QUICK = Plan("quick", 4, FEW, ("trivial",), (), {"open": 1, "closed": 1})
