"""Dramatiq: dramatiq workers.on_dramatiq"""

import os
from typing import Any

import django
import dramatiq
from django.db import close_old_connections
from dramatiq.brokers.redis import RedisBroker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.prod")
django.setup()

from orders import tasks  # noqa: E402  (Django has to be set up)


class LikeARequest(dramatiq.Middleware):
    def before_process_message(self, *args: Any, **kwargs: Any) -> None:
        close_old_connections()

    after_process_message = before_process_message


broker = RedisBroker(url=os.environ.get("REDIS_URL", "redis://127.0.0.1"))
broker.add_middleware(LikeARequest())
dramatiq.set_broker(broker)

count_orders = dramatiq.actor(tasks.count_orders, max_retries=0)
