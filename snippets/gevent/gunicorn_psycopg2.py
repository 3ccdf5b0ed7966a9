"""Gunicorn with gevent and psycopg2. psycopg 3 needs no post_fork."""

from typing import Any

worker_class = "gevent"
worker_connections = 100  # requests at a time in each process


# region: callback
def post_fork(server: Any, worker: Any) -> None:
    """Have gevent wait for psycopg2, which would wait in C and block it.

    The package psycogreen does the same.
    """
    from gevent.socket import wait_read, wait_write
    from psycopg2 import extensions

    def wait(connection: Any) -> None:
        while (state := connection.poll()) != extensions.POLL_OK:
            reads = state == extensions.POLL_READ
            (wait_read if reads else wait_write)(connection.fileno())

    extensions.set_wait_callback(wait)


# endregion: callback
