"""Let only one process at a time do a piece of work."""

from collections.abc import Callable

from django.db import connection, transaction

NIGHTLY = 20260


# region: breaks
def alone(work: Callable[[], None]) -> bool:
    """Hold a session-level lock; return whether the work was done."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(%s)", [NIGHTLY])
        if not cursor.fetchone()[0]:
            return False
        try:
            work()
        finally:
            cursor.execute("select pg_advisory_unlock(%s)", [NIGHTLY])
    return True


# endregion: breaks
# region: works
def alone_in_a_transaction(work: Callable[[], None]) -> bool:
    """Hold a transaction-level lock; return whether the work was done."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_xact_lock(%s)", [NIGHTLY])
        if not cursor.fetchone()[0]:
            return False
        work()
    return True


# endregion: works
