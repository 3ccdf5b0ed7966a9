"""Celery: celery -A workers.on_celery worker"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.celery")
app = Celery("upstream")
# Reads every Django setting that begins with CELERY_.
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task
def count_orders() -> None:
    # Celery sets Django up after it has imported this file.
    from orders.tasks import count_orders

    count_orders()
