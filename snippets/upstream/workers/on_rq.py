"""RQ: rq worker --worker-class workers.on_rq.Worker"""

import os
from typing import Any

import django
from django.db import close_old_connections
from rq import SimpleWorker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.prod")
django.setup()


class Worker(SimpleWorker):
    """Run all jobs in one process; RQ's own Worker forks for each."""

    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        close_old_connections()
        try:
            return super().perform_job(*args, **kwargs)
        finally:
            close_old_connections()
