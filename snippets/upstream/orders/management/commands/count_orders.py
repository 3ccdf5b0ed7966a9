"""Count the orders each time somebody presses Enter.

A long-lived process that serves no requests, like a worker.
"""

import sys

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from orders.models import Order


class Command(BaseCommand):
    help = __doc__

    # region: loop
    def handle(self, *args: object, **options: object) -> None:
        for _ in sys.stdin:
            # Django does this around each request. It closes a connection
            # past its age; any other is checked before the next query.
            close_old_connections()
            self.stdout.write(f"{Order.objects.count()} orders")
            self.stdout.flush()

    # endregion: loop
