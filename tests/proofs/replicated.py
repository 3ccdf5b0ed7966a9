"""A primary and its standby, on the same port of two addresses, and a database on both."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.proofs.pooled import Existing
from tests.stack.database import Database
from tests.stack.postgres import Cluster
from tests.stack.wait import until

SETTINGS = {"autovacuum": "off"}  # only proofs remove dead rows


class Pair:
    """The two servers. The database has the same role and password on both."""

    def __init__(self, primary: Cluster, standby: Cluster, database: Database) -> None:
        self.primary = primary
        self.standby = standby
        self.database = database
        self.copy = Existing(standby.server, database.name, database.role)

    def position(self) -> str:
        """Return the primary's WAL insert position."""
        return str(self._ask(self.database, "select pg_current_wal_insert_lsn()"))

    def replayed(self, position: str) -> bool:
        """Return whether the standby has replayed as far."""
        return bool(self._ask(self.copy, f"select pg_last_wal_replay_lsn() >= '{position}'::pg_lsn"))

    def catch_up(self) -> None:
        """Wait until the standby has replayed all that was written."""
        position = self.position()
        until("the standby has replayed it", lambda: self.replayed(position))

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Pause the standby's replay for as long as the block lasts."""
        self.catch_up()
        self.copy.admin.execute("select pg_wal_replay_pause()")
        until("it replays nothing", lambda: self._ask(self.copy, "select pg_get_wal_replay_pause_state() = 'paused'"))
        try:
            yield
        finally:
            self.copy.admin.execute("select pg_wal_replay_resume()")

    def leave(self) -> None:
        """Close the superuser's sessions."""
        self.database.leave()
        self.copy.leave()

    @staticmethod
    def _ask(database: Database, query: str) -> object:
        row = database.admin.execute(query.encode()).fetchone()
        return row and row[0]


@contextmanager
def replicated() -> Iterator[Pair]:
    """Start a primary and its standby for as long as the block lasts."""
    primary = Cluster(cluster_name="primary", **SETTINGS)
    try:
        database = Database(primary.server)  # it goes with its servers
        standby = Cluster(primary, listen_addresses="127.0.0.2", cluster_name="standby", **SETTINGS)
        try:
            database.follow(primary.server)
            pair = Pair(primary, standby, database)
            try:
                yield pair
            finally:
                pair.leave()
        finally:
            standby.stop()
    finally:
        primary.stop()
