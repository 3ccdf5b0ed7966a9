"""Proves docs/runbooks/pgbouncer-paused-or-down.md, with the alerts that docs/how-to/alert.md makes fire."""

import psycopg
import pytest


def test_where_pgbouncer_is_down_clients_are_refused(database, pooler) -> None:
    """Nothing listens on its port, and the operating system says so at once."""
    bouncer = pooler(database)
    bouncer.connect(database).close()
    bouncer.leash.halt()
    with pytest.raises(psycopg.OperationalError, match="Connection refused"):
        bouncer.connect(database)
