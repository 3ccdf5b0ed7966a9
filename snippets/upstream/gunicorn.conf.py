"""Gunicorn reads this file by itself: run `gunicorn` in this folder."""

import os

wsgi_app = "wsgi:application"
bind = os.environ.get("GUNICORN_BIND", "127.0.0.1:8000")

# region: connections
# Each thread of each worker process keeps a database connection of its own.
worker_class = "gthread"
workers = int(os.environ.get("GUNICORN_WORKERS", "2"))
threads = int(os.environ.get("GUNICORN_THREADS", "4"))
# endregion: connections

# A worker that is told to stop finishes the requests it has begun.
graceful_timeout = 30
