"""How many server connections are busy on average? Reads SHOW STATS twice.

PGBOUNCER_URL is the console's, with a user in stats_users, whose password may
be in ~/.pgpass, as for psql. SECONDS is the time between the two readings.
"""

import os
import time

import psycopg

Totals = dict[str, tuple[int, ...]]


def totals(console: psycopg.Connection) -> Totals:
    """Return each database's transactions, time in them, and time waited."""
    cursor = console.execute("show stats")
    names = [column.name for column in cursor.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    wanted = ("total_xact_count", "total_xact_time", "total_wait_time")
    return {
        row["database"]: tuple(int(row[name]) for name in wanted)
        for row in rows
    }


def report(before: Totals, after: Totals, seconds: float) -> list[str]:
    """Return a line for each database that had transactions."""
    lines = []
    for database, counted in after.items():
        earlier = before.get(database, (0, 0, 0))
        transactions, held, waited = (
            now - then for now, then in zip(counted, earlier, strict=True)
        )
        if transactions and database != "pgbouncer":
            # PgBouncer times a transaction from the client's first query on,
            # so it includes the wait for a server connection.
            held -= waited
            lines.append(
                f"{database}: {held / 1e6 / seconds:.2f} busy connections,"
                f" {transactions / seconds:.1f} transactions per second,"
                f" each held for {held / 1000 / transactions:.2f} ms"
                f" after waiting for {waited / 1000 / transactions:.2f} ms"
            )
    return lines


if __name__ == "__main__":
    with psycopg.connect(
        os.environ["PGBOUNCER_URL"], autocommit=True
    ) as console:
        console.cursor_factory = psycopg.ClientCursor  # simple protocol
        before, began = totals(console), time.monotonic()
        time.sleep(float(os.environ.get("SECONDS", "60")))
        after = totals(console)
        for line in report(before, after, time.monotonic() - began):
            print(line)
