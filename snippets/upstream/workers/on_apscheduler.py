"""APScheduler: python -m workers.on_apscheduler"""

import os

import django
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings.prod")
django.setup()

from orders.tasks import count_orders  # noqa: E402  (Django has to be set up)

from workers.around import like_a_request  # noqa: E402

scheduler = BlockingScheduler(executors={"default": ThreadPoolExecutor(4)})
scheduler.add_job(like_a_request(count_orders), "interval", minutes=1)

if __name__ == "__main__":
    scheduler.start()
