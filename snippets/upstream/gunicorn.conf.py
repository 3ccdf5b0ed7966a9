"""Gunicorn reads this file by itself: run `gunicorn` in this folder."""

import os
from pathlib import Path
from typing import Any

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

# region: metrics
# With settings.metered any worker can answer for all of them: each keeps its
# counts in files of its own in this folder.
counts = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
# Created here: with --preload the application, which needs it, is loaded before
# on_starting. Emptied there: on HUP this file is read while workers count.
if counts:
    Path(counts).mkdir(parents=True, exist_ok=True)


def on_starting(server: Any) -> None:
    """Start at zero: the counts of an earlier run would be added."""
    if counts:
        for file in Path(counts).glob("*.db"):
            file.unlink()


def child_exit(server: Any, worker: Any) -> None:
    """Forget what a worker that has ended had open, but not its counts."""
    if counts:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)


# endregion: metrics
