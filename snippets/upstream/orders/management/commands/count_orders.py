"""Count the orders each time somebody presses Enter.

A process that lives long and serves no requests, as workers do.
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
            # A request does this by itself. It closes a connection that is
            # past its age, and lets the next query check one that is not.
            close_old_connections()
            self.stdout.write(f"{Order.objects.count()} orders")
            self.stdout.flush()

    # endregion: loop
