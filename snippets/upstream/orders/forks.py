"""Close connections and pools before each fork, once this is imported.

The child then opens its own, instead of sharing the parent's sockets.
"""

import os

from django.db import connections


def close_all() -> None:
    for connection in connections.all():
        if connection.connection:  # in async code there is none
            connection.close()
        if hasattr(connection, "close_pool"):  # from Django 5.1 on
            connection.close_pool()


os.register_at_fork(before=close_all)
