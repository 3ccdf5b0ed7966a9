"""Close Django's pools before a process forks. Import it to have that done.

Who was forked then opens a pool of its own, instead of sharing sockets.
"""

import os

from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper


def close_pools() -> None:
    for connection in connections.all():
        if isinstance(connection, DatabaseWrapper):
            connection.close()
            connection.close_pool()


os.register_at_fork(before=close_pools)
