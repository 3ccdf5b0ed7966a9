"""Huey: huey_consumer workers.on_huey.huey --workers 4"""

import os
from typing import Any

import django
from django.db import close_old_connections
from huey import SqliteHuey

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.prod")
django.setup()

from orders import tasks  # noqa: E402  (Django has to be set up)

huey = SqliteHuey(filename=os.environ.get("HUEY_FILE", "huey.db"))


@huey.pre_execute()
def before(task: Any) -> None:
    close_old_connections()


@huey.post_execute()
def after(task: Any, value: Any, error: Any) -> None:
    close_old_connections()


count_orders = huey.task()(tasks.count_orders)
