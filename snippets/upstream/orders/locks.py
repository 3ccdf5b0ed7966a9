"""Let one process at a time do something, however long it takes."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections


# region: exclusive
@contextmanager
def exclusive(number: int) -> Iterator[bool]:
    """Yield whether we are the only one in the block.

    The lock belongs to a session, so it is taken on the direct connection.
    """
    with connections["direct"].cursor() as cursor:
        # Nor may the idle session time out, and release it, while we work.
        cursor.execute("set idle_session_timeout = 0")
        cursor.execute("select pg_try_advisory_lock(%s)", [number])
        (locked,) = cursor.fetchone()
        try:
            yield locked
        finally:
            if locked:
                cursor.execute("select pg_advisory_unlock(%s)", [number])


# endregion: exclusive
